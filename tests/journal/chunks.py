"""Chunks and operations for the journal's tests: what is done to a journal on disk is done to the one in memory, and they are asked
the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan
from bulkup.journal import LaneJournal, SqliteJournal, every_chunk, every_ids, landed_without_ids
from bulkup.journal.facts import DECISIONS, FAILED_DATASETS, LaneFact
from bulkup.journal.memory import MemoryJournal
from bulkup.journal.reading import view

T = TypeVar("T")

LANE = "collinear"


def chunk(
    tile: int,
    child: int = 0,
    *,
    rows: int = 3,
    blank: int = 0,
    rejected: int = 0,
    skipped: int = 0,
    made: int = 0,
    lane: str = LANE,
) -> Chunk:
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
        lines=((0, rows + blank + rejected + skipped - made),),
        body_bytes=rows * 7,
        raw_hash=b"r" * 16,
        rows_hash=tile.to_bytes(8, "big") + child.to_bytes(8, "big"),
        name=f"n-{tile}-{child}",
        verbatim=not blank and not rejected,
        skipped=skipped,
        made=made,
        changes=(("1.0 -> 1", rows), ("joined", 1)) if made else (),
        state=ChunkState.PLANNED if rows else ChunkState.EMPTY,
    )


def ids_line(one: Chunk, *ids: str | int) -> bytes:
    """As `ids.jsonl` has it."""
    record = {"lane": one.id.lane, "chunk": str(one.id), "position": one.start, "file": 0, "byte_offset": one.start}
    return json.dumps({**record, "dataset_id": "ds", "rows": len(ids), "ids": ids}).encode() + b"\n"


NUMBERS: tuple[LaneFact[int], ...] = tuple(LaneFact(f"key {n}", int, 0) for n in range(3))
"""Facts of no meaning."""

OPEN = (ChunkState.PLANNED, ChunkState.SENDING, ChunkState.ANSWERED, ChunkState.IN_DOUBT)

Told = Callable[[LaneJournal], Awaitable[object]]


@dataclass(frozen=True)
class Step:
    """One operation, chosen by numbers: what they mean depends on what there is."""

    kind: str
    pick: int
    rows: int
    rejected: int

    async def apply(self, *lanes: LaneJournal) -> None:
        """Do it to each of *lanes*, which hold the same."""
        tell = await self._told(lanes[0])
        if tell is not None:
            answers = [await tell(lane) for lane in lanes]
            assert all(answer == answers[0] for answer in answers)
            for lane in lanes:
                await lane.totals()  # a plan is durable before what is asked later

    async def _told(self, lane: LaneJournal) -> Told | None:
        match self.kind:
            case "plan":
                return await self._planned(lane)
            case "fact":
                return lambda lane: lane.set_fact(NUMBERS[self.pick % 3], self.rows)
            case "recover":
                return lambda lane: lane.recover(float(self.pick))
        chunks = await lane.open_chunks(*OPEN)
        return await self._moved(lane, chunks[self.pick % len(chunks)]) if chunks else None

    async def _planned(self, lane: LaneJournal) -> Told:
        tile, planned_to = await lane.frontier()
        child = 0 if planned_to is None else await lane.next_child(tile)
        made = min(self.rows, self.pick % 4)
        counts = {"rejected": self.rejected, "blank": self.pick % 3, "skipped": self.pick % 2, "made": made}
        new = [chunk(tile, child, rows=self.rows, lane=lane.name, **counts)]
        if self.pick % 5 == 0 and planned_to is not None:
            new = []  # the rest of a tile that turned out to hold nothing
        tiles = [TileSpan(tile, tile * 1000, (tile + 1) * 1000)] if self.pick % 2 == 0 else []
        rejects = b"".join(b'{"id":"%d:%d"}\n' % (tile, n) for n in range(self.rejected))

        async def told(lane: LaneJournal) -> None:
            await lane.plan(new, rejects=rejects, tiles=tiles)

        return told

    async def _moved(self, lane: LaneJournal, one: Chunk) -> Told:
        id_, at, text, dataset = one.id, float(self.pick), f"because {self.pick}", f"ds-{self.pick % 4}"
        match self.kind:
            case "sending":
                return lambda lane: lane.sending(id_, at)
            case "again":
                return lambda lane: lane.plan_again(id_, text if self.rows else None)
            case "answered":
                return lambda lane: lane.answered(id_, dataset)
            case "landed":
                evidence = (Evidence.ANSWER, Evidence.ANSWER, Evidence.READ_BACK, Evidence.COUNT)[self.pick % 4]
                ids = ids_line(one, self.pick, text) if evidence is Evidence.ANSWER and self.rejected else b""
                return lambda lane: lane.landed(id_, dataset, evidence=evidence, ids=ids)
            case "doubt":
                return lambda lane: lane.in_doubt(id_, text, at, was_answered=self.rows == 0)
            case "absent":
                return lambda lane: lane.absent(id_)
            case "held":
                return lambda lane: lane.held(id_, text)
            case "landed, says a person":
                return lambda lane: lane.landed_by_a_person(id_, dataset if self.rows else "", at)
            case "absent, says a person":
                return lambda lane: lane.absent_by_a_person(id_, at)
            case "refused":
                return lambda lane: lane.refused(id_, text, b'{"id":"r%d"}\n' % self.pick)
            case "split":
                children = _halves(one, await lane.next_child(id_.tile))
                return lambda lane: lane.replace(id_, children, text, b'{"id":"s"}\n' * self.rejected)
            case _:
                raise AssertionError(self.kind)


def _halves(one: Chunk, first: int) -> Sequence[Chunk]:
    left = one.rows // 2
    cut = min(one.start + 1, one.stop)
    sizes = [(left, one.blank, 0, one.start, cut), (one.rows - left, 0, one.rejected, cut, one.stop)]
    children = [
        replace(
            chunk(one.id.tile, first + place, rows=rows, blank=blank, rejected=rejected, lane=one.id.lane),
            start=start,
            stop=stop,
        )
        for place, (rows, blank, rejected, start, stop) in enumerate(sizes)
    ]
    made = ((0, one.line_count - children[0].line_count),)
    return [children[0], replace(children[1], skipped=one.skipped, made=one.made, lines=made)]


KINDS = (
    *("plan", "plan", "plan", "sending", "sending", "again", "answered", "landed", "landed", "doubt", "absent", "held"),
    *("landed, says a person", "absent, says a person", "refused", "split", "recover", "fact"),
)
steps = st.lists(
    st.builds(Step, st.sampled_from(KINDS), st.integers(0, 50), st.integers(0, 4), st.integers(0, 2)), max_size=25
)


async def assert_knows(folder: Path, twin: MemoryJournal) -> None:
    """The journal in *folder*, opened anew, knows what *twin* knows, and its logs hold no more."""
    journal = SqliteJournal.open(folder, create=False)
    try:
        await assert_same(journal, twin)
        await assert_shows(folder, twin.lane(LANE))
        assert (folder / "rejects.jsonl").read_bytes() == twin.rejects
        assert (folder / "ids.jsonl").read_bytes() == twin.ids
    finally:
        journal.close()


async def assert_same(journal: SqliteJournal, twin: MemoryJournal) -> None:
    """Whatever they are asked, they answer the same."""
    assert (await journal.is_blank(), await journal.latest_time()) == (await twin.is_blank(), await twin.latest_time())
    assert await answers(journal.lane(LANE)) == await answers(twin.lane(LANE))
    totals = await twin.lane(LANE).totals()
    assert totals.is_whole, "every row is accounted for"


async def assert_shows(folder: Path, lane: LaneJournal) -> None:
    """Who only looks at the journal in *folder* is shown what *lane* knows."""
    chunks = await gathered(every_chunk(lane))
    landed = [one for one in chunks if one.state is ChunkState.LANDED]
    rows: Counter[tuple[str | None, str]] = Counter()
    for one in landed:
        rows[one.remote_id, one.name] += one.rows
    with view(folder) as looked:
        assert list(looked.chunks(LANE)) == chunks
        assert looked.totals(LANE) == await lane.totals()
        assert looked.evidence(LANE) == Counter(one.evidence for one in landed)
        assert looked.datasets(LANE) == len(rows)
        assert [(one.id, one.name, one.rows) for one in looked.remote(LANE, 2)] == [
            (*key, count) for key, count in list(rows.items())[:2]
        ]
        changes: Counter[str] = Counter()
        for one in chunks:
            changes.update(dict(one.changes) if one.state is not ChunkState.REFUSED else {})
        assert looked.changes(LANE) == changes
        states = Counter(one.state for one in chunks)
        assert {count.state: count.chunks for count in looked.states(LANE)} == states


async def answers(lane: LaneJournal) -> dict[str, object]:
    """Everything that a lane can be asked."""
    chunks = await gathered(every_chunk(lane))
    facts: tuple[LaneFact[Any], ...] = (*NUMBERS, DECISIONS, FAILED_DATASETS)
    tiles = range(-1, 2 + max((one.id.tile for one in chunks), default=0))
    return {
        "every chunk": chunks,
        "by number": [await lane.chunk(tile, child) for tile in tiles for child in range(8)],
        "open": [await lane.open_chunks(*states) for states in (*((state,) for state in ChunkState), OPEN)],
        "without ids": await gathered(landed_without_ids(lane)),
        "ids": await gathered(every_ids(lane)),
        "called absent": await lane.called_absent(),
        "absences": await lane.absences(),
        "next children": [await lane.next_child(tile) for tile in tiles],
        "frontier": await lane.frontier(),
        "planned to": await lane.planned_to(),
        "totals": await lane.totals(),
        "landings": await lane.landings(),
        "remote ids": [await lane.remote_ids(one.name) for one in chunks],
        "facts": [await lane.fact(fact) for fact in facts],
    }


async def gathered(values: AsyncIterator[T]) -> list[T]:
    return [value async for value in values]
