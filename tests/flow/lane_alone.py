"""A lane's journal and source, and a destination in memory: chunks that are planned, and nobody who sends them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bulkup.chunk import Chunk, ChunkState, Evidence
from bulkup.destinations.seam import PAGE_ROWS, Creates, StoredRow
from bulkup.flow.chunker import Chunker
from bulkup.flow.plan import LanePlan
from bulkup.flow.settler import Settler
from bulkup.flow.tally import Tally
from bulkup.journal import Journal, LaneJournal
from bulkup.outcome import RemoteStatus
from bulkup.settlement import Look, Others
from bulkup.sources import Source, open_source
from tests.destinations.memory import MemoryDestination
from tests.flow import rig
from tests.flow.alone import UNIX_S, Alone, counted

__all__ = ["QUIET_S", "LaneAlone", "Listed", "lane_of"]

QUIET_S = 30.0


@dataclass(slots=True)
class Listed(MemoryDestination):
    """A destination in memory, of which the list may say otherwise than it is. *looks* and *polled* are what was asked."""

    clock: Any = None
    hidden: set[str] = field(default_factory=set)
    """Ids that no look shows."""
    listed_as: dict[str, str] = field(default_factory=dict)
    """Another status than the dataset's own, by id."""
    known_datasets: int = -1
    looks: int = 0
    polled: list[str] = field(default_factory=list)
    unreadable: Exception | None = None
    """What reading rows raises."""
    shown: int | None = None
    """How many rows at most are read back."""
    twice: bool = False
    """Row ids are given twice."""

    async def look(self) -> Look:
        self.looks += 1
        look = await MemoryDestination.look(self)
        seen = tuple(
            replace(d, status=self.listed_as.get(d.id, d.status)) for d in look.seen if d.id not in self.hidden
        )
        return replace(look, seen=seen)

    async def poll(self, remote_id: str) -> RemoteStatus:
        self.polled.append(remote_id)
        return await MemoryDestination.poll(self, remote_id)

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        if self.unreadable is not None:
            raise self.unreadable
        found = await MemoryDestination.read_rows(self, dataset_id, page, page_rows=page_rows)
        found = [replace(row, id=int(row.id or 0) // 2) for row in found] if self.twice else found
        return found if self.shown is None else found[: self.shown]


class LaneAlone(Alone):
    """Chunks of two rows, by number from 0, all planned. What the lane does is done by hand."""

    def __init__(self, source: Source, journal: LaneJournal, to: Listed) -> None:
        super().__init__(to.token, clock=counted())
        self.source, self.journal, self.to = source, journal, to
        self.tally = Tally()
        self.plan = LanePlan(1 << 16, rig.rows_plan(), 1 << 16, 2, rig.MAX_ROW)
        self.chunker = Chunker(source, self.plan.rows.encoder(), self.halt)
        self.chunks: list[Chunk] = []
        self.was_found = 0

    async def begin(self) -> None:
        """As a lane that finds nothing at the destination."""
        self.tally.totals = await self.journal.totals()
        self.chunks = await self.journal.open_chunks(ChunkState.PLANNED)
        await self.survey()

    async def survey(self, *found: tuple[str, str, int | None], unavailable: str | None = None) -> None:
        """What the first look saw."""
        listed = [list(one) for one in found]
        fact = {"at": UNIX_S - 1, "found": listed, "unavailable": unavailable, "listed": len(found)}
        await self.journal.set_fact("survey", fact)

    def rows(self, number: int) -> list[Any]:
        return [{"t": f"{row}"} for row in range(2 * number, 2 * number + 2)]

    def store(self, number: int, *, rows: int = 2, ends: RemoteStatus = RemoteStatus.READY) -> str:
        """The service stores *rows* of a chunk's rows; the dataset's id."""
        stored = self.to._store(self.chunks[number].name, self.rows(number)[:rows])
        stored.ends = ends
        return stored.id

    async def doubt(self, *numbers: int, at: float = 0.0, answered: bool = False) -> None:
        """Sent, and the answer was lost."""
        for number in numbers:
            chunk = self.chunks[number]
            await self.journal.sending(chunk.id, UNIX_S + at)
            await self.journal.in_doubt(chunk.id, "the answer was lost", UNIX_S + at, was_answered=answered)
            self.tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.IN_DOUBT)

    async def land(self, number: int, *, at: float = 0.0, ids: bytes = b"") -> str:
        """Sent from *at* on, stored and answered."""
        id_, chunk = self.store(number), self.chunks[number]
        await self.journal.sending(chunk.id, UNIX_S + at)
        await self.journal.landed(chunk.id, id_, evidence=Evidence.ANSWER, ids=ids)
        self.tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.LANDED)
        return id_

    async def now(self, number: int) -> Chunk:
        """A chunk as it stands in the journal."""
        id_ = self.chunks[number].id
        found = await self.journal.chunk(id_.tile, id_.child)
        assert found is not None
        return found

    async def states(self) -> list[str]:
        """How all chunks stand; the totals agree with it."""
        assert self.tally.totals == await self.journal.totals()
        return [(await self.now(number)).state.value for number in range(len(self.chunks))]

    def settler(self, *, quiet_s: float = QUIET_S, others: Others | None = None) -> Settler:
        async def read_others(at: float) -> Others:
            assert at == UNIX_S - 1
            return others or Others()

        def found() -> None:
            self.was_found += 1

        return Settler(
            destination=self.to,
            plan=self.plan,
            journal=self.journal,
            source=self.source,
            chunker=self.chunker,
            pacing=self.pacing,
            asker=self.asker,
            halt=self.halt,
            tally=self.tally,
            clock=self.clock,
            quiet_s=quiet_s,
            on_present=found,
            others=read_others,
            say=self.said.append,
        )


@asynccontextmanager
async def lane_of(chunks: int, *, creates: Creates = Creates.EACH_CHUNK) -> AsyncIterator[LaneAlone]:
    """A lane of so many chunks."""
    with rig.scratch_dir() as scratch:
        async with _planned(Path(scratch), chunks, creates) as lane:
            yield lane


@asynccontextmanager
async def _planned(folder: Path, chunks: int, creates: Creates) -> AsyncIterator[LaneAlone]:
    run = folder / "run"
    run.mkdir()
    paths = rig.write_source(folder, [b"".join(b'{"t":"%d"}\n' % row for row in range(2 * chunks))], "plain")
    await rig.plan(run, paths, rig.Setting(1 << 16, 1 << 15, rows=2, creates=creates))
    like = rig.destination(creates)
    with (
        closing(open_source(paths, max_row_bytes=rig.MAX_ROW, block_bytes=64)) as source,
        closing(Journal.open(run, create=False)) as journal,
    ):
        to = Listed(like.dataset_name, like.token, like.capabilities)
        lane = LaneAlone(source, journal.lane(rig.LANE), to)
        await lane.begin()
        assert len(lane.chunks) == chunks
        yield lane


def ids_line(chunk: Chunk, dataset_id: str, ids: list[int]) -> bytes:
    """As `ids.jsonl` has it."""
    record = {
        "lane": chunk.id.lane,
        "chunk": str(chunk.id),
        "position": chunk.start,
        "file": chunk.file,
        "byte_offset": chunk.byte_offset,
        "dataset_id": dataset_id,
        "rows": chunk.rows,
        "ids": ids,
    }
    return json.dumps(record).encode() + b"\n"
