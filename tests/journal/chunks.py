"""Chunks and operations for the journal's tests, and a model of the journal in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import strategies as st

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.journal import Journal, LaneJournal
from bulkup.journal.reading import view

LANE = "collinear"


def chunk(tile: int, child: int = 0, *, rows: int = 3, blank: int = 0, rejected: int = 0, lane: str = LANE) -> Chunk:
    start = tile * 1000 + child * 10
    return Chunk(
        id=ChunkId(lane, tile, child),
        start=start,
        stop=start + 10,
        file=0,
        byte_offset=start,
        rows=rows,
        blank=blank,
        rejected=rejected,
        lines=((0, rows + blank + rejected),),
        body_bytes=rows * 7,
        raw_hash=b"r" * 16,
        rows_hash=tile.to_bytes(8, "big") + child.to_bytes(8, "big"),
        name=f"n-{tile}-{child}",
        verbatim=not blank and not rejected,
        state=ChunkState.PLANNED if rows else ChunkState.EMPTY,
    )


@dataclass
class Model:
    """What a lane's journal must know after everything that was acknowledged."""

    chunks: dict[ChunkId, Chunk] = field(default_factory=dict)
    tiles: dict[int, TileSpan] = field(default_factory=dict)
    rejects: bytes = b""
    ids: bytes = b""
    facts: dict[str, object] = field(default_factory=dict)

    def totals(self) -> Totals:
        totals = Totals()
        for one in self.chunks.values():
            totals.move(one, None, one.state)
        return totals

    def in_states(self, *states: ChunkState) -> list[Chunk]:
        return sorted((c for c in self.chunks.values() if c.state in states), key=lambda c: c.start)

    def frontier(self) -> tuple[int, int | None]:
        tile = max(self.tiles, default=-1) + 1
        return tile, max((c.stop for c in self.chunks.values() if c.id.tile == tile), default=None)

    def next_child(self, tile: int) -> int:
        return max((c.id.child for c in self.chunks.values() if c.id.tile == tile), default=0) + 1

    def recovered(self) -> Model:
        """After a crash: what was being sent is in doubt."""
        chunks = {
            id_: replace(
                c, state=ChunkState.IN_DOUBT, reason="the process ended while this was being sent", last_byte_at=9.0
            )
            if c.state is ChunkState.SENDING
            else c
            for id_, c in self.chunks.items()
        }
        return replace(self, chunks=chunks)


OPEN = (ChunkState.PLANNED, ChunkState.SENDING, ChunkState.ANSWERED, ChunkState.IN_DOUBT)


@dataclass(frozen=True)
class Step:
    """One operation, chosen by numbers: what they mean depends on what there is."""

    kind: str
    pick: int
    rows: int
    rejected: int

    async def apply(self, lane: LaneJournal, model: Model) -> None:
        """Do it on the journal and, once that has acknowledged it, on the model."""
        match self.kind:
            case "plan":
                await self._plan(lane, model)
            case "fact":
                await lane.set_fact(f"key {self.pick % 3}", self.rows)
                model.facts[f"key {self.pick % 3}"] = self.rows
            case _:
                chunks = model.in_states(*OPEN)
                if chunks:
                    await self._move(lane, model, chunks[self.pick % len(chunks)])

    async def _plan(self, lane: LaneJournal, model: Model) -> None:
        tile, planned_to = model.frontier()
        child = 0 if planned_to is None else model.next_child(tile)
        whole = self.pick % 2 == 0
        new = [chunk(tile, child, rows=self.rows, rejected=self.rejected, blank=self.pick % 3, lane=lane.name)]
        if self.pick % 5 == 0 and planned_to is not None:
            new = []  # the rest of a tile that turned out to hold nothing
        spans = [TileSpan(tile, tile * 1000, (tile + 1) * 1000)] if whole else []
        letters = b"".join(b'{"id":"%d:%d"}\n' % (tile, n) for n in range(self.rejected))
        await lane.plan(new, rejects=letters, tiles=spans)
        await lane.fact("anything")  # a plan is durable before what is asked later
        model.chunks |= {c.id: c for c in new}
        model.tiles |= {span.tile: span for span in spans}
        model.rejects += letters

    async def _move(self, lane: LaneJournal, model: Model, one: Chunk) -> None:
        at, text = float(self.pick), f"because {self.pick}"
        after: Chunk
        match self.kind:
            case "sending":
                await lane.sending(one.id, at)
                after = replace(one, state=ChunkState.SENDING, attempts=one.attempts + 1, last_byte_at=at)
            case "again":
                await lane.plan_again(one.id, text)
                after = replace(one, state=ChunkState.PLANNED, reason=text)
            case "answered":
                await lane.answered(one.id, f"ds-{self.pick}")
                after = replace(one, state=ChunkState.ANSWERED, remote_id=f"ds-{self.pick}")
            case "landed":
                ids = b'{"ids":[%d]}\n' % self.pick
                await lane.landed(one.id, f"ds-{self.pick}", evidence=Evidence.ANSWER, ids=ids)
                after = replace(
                    one,
                    state=ChunkState.LANDED,
                    remote_id=f"ds-{self.pick}",
                    reason=None,
                    evidence=Evidence.ANSWER,
                )
                model.ids += ids
            case "doubt":
                await lane.in_doubt(one.id, text, at)
                after = replace(one, state=ChunkState.IN_DOUBT, reason=text, last_byte_at=at)
            case "absent":
                await lane.absent(one.id)
                after = replace(one, state=ChunkState.PLANNED, reason=None, absences=one.absences + 1)
            case "held":
                await lane.held(one.id, text)
                after = replace(one, state=ChunkState.IN_DOUBT, reason=text)
            case "refused":
                letters = b'{"id":"r%d"}\n' % self.pick
                await lane.refused(one.id, text, letters)
                after = replace(one, state=ChunkState.REFUSED, rejected=one.rejected + one.rows, rows=0, reason=text)
                model.rejects += letters
            case "split":
                first = await lane.next_child(one.id.tile)
                assert first == model.next_child(one.id.tile)
                children = _halves(one, first)
                await lane.replace(one.id, children, text)
                after = replace(one, state=ChunkState.SPLIT, reason=text)
                model.chunks |= {c.id: c for c in children}
            case _:
                raise AssertionError(self.kind)
        model.chunks[one.id] = after


def _halves(one: Chunk, first: int) -> Sequence[Chunk]:
    left = one.rows // 2
    cut = min(one.start + 1, one.stop)
    sizes = [(left, one.blank, 0, one.start, cut), (one.rows - left, 0, one.rejected, cut, one.stop)]
    return [
        replace(
            chunk(one.id.tile, first + place, rows=rows, blank=blank, rejected=rejected, lane=one.id.lane),
            start=start,
            stop=stop,
        )
        for place, (rows, blank, rejected, start, stop) in enumerate(sizes)
    ]


KINDS = (
    "plan",
    "plan",
    "plan",
    "sending",
    "sending",
    "again",
    "answered",
    "landed",
    "doubt",
    "absent",
    "held",
    "refused",
    "split",
    "fact",
)
steps = st.lists(
    st.builds(Step, st.sampled_from(KINDS), st.integers(0, 50), st.integers(0, 4), st.integers(0, 2)), max_size=25
)


async def assert_knows(folder: Path, model: Model) -> None:
    """The journal in *folder*, opened anew, knows what *model* knows, and its logs hold no more."""
    journal = Journal.open(folder, create=False)
    try:
        await assert_agrees(journal.lane(LANE), model)
        assert_shows(folder, model)
        assert (folder / "rejects.jsonl").read_bytes() == model.rejects
        assert (folder / "ids.jsonl").read_bytes() == model.ids
    finally:
        journal.close()


async def assert_agrees(lane: LaneJournal, model: Model) -> None:
    assert await lane.totals() == model.totals()
    for state in OPEN:
        assert await lane.open_chunks(state) == model.in_states(state)
    assert await lane.open_chunks(*OPEN) == model.in_states(*OPEN)
    assert await lane.frontier() == model.frontier()
    for key, value in model.facts.items():
        assert await lane.fact(key) == value
    landed = model.in_states(ChunkState.LANDED)
    landings: dict[str, float] = {}
    for one in landed:
        assert one.remote_id is not None
        landings[one.remote_id] = max(landings.get(one.remote_id, 0.0), one.last_byte_at or 0.0)
    assert await lane.landings() == landings
    assert await lane.planned_to() == max((c.stop for c in model.chunks.values()), default=None)
    for one in model.chunks.values():
        assert await lane.chunk(one.id.tile, one.id.child) == one
    totals = await lane.totals()
    assert totals.rows_read == (totals.rows_landed + totals.rows_rejected + totals.rows_in_doubt + totals.rows_left), (
        "every row is accounted for"
    )


def assert_shows(folder: Path, model: Model) -> None:
    """Who only looks at the journal in *folder* is shown what *model* knows."""
    landed = model.in_states(ChunkState.LANDED)
    datasets: dict[tuple[str | None, str], list[Chunk]] = {}
    for one in landed:
        datasets.setdefault((one.remote_id, one.name), []).append(one)
    with view(folder) as journal:
        assert journal.totals(LANE) == model.totals()
        remote = [(r.id, r.name, r.rows) for r in journal.remote(LANE, 10_000)]
        assert remote == [(*key, sum(c.rows for c in held)) for key, held in datasets.items()]
        assert journal.datasets(LANE) == len(datasets)
        assert journal.evidence(LANE) == ({"answer": len(landed)} if landed else {})
