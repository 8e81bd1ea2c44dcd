"""A journal in memory: what `sqlite` keeps, without a disk. It passes the same contract suite, so tests may stand on it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from typing import Final, TypeVar

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.errors import JournalUnusable
from bulkup.journal.base import BY_A_PERSON, LOST, PAGE_BYTES, PAGE_CHUNKS, GuardedByLock
from bulkup.journal.facts import DECISIONS, SURVEY, Decided, Fact, LaneFact, RunFact
from bulkup.journal.sidecars import IdsLine, decode_ids
from bulkup.light_dataclass import dataclass

__all__ = ["MemoryJournal", "MemoryLane"]

T = TypeVar("T")

ENDS = frozenset({ChunkState.LANDED, ChunkState.REFUSED, ChunkState.SPLIT, ChunkState.EMPTY})


@dataclass(slots=True)
class Held:
    """What is kept of one lane. *stored_after*: when what has landed began to be sent, 0 where it was found by looking."""

    chunks: dict[ChunkId, Chunk] = field(default_factory=dict)
    tiles: dict[int, TileSpan] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    stored_after: dict[ChunkId, float] = field(default_factory=dict)


class MemoryJournal(GuardedByLock):
    """One run's journal."""

    def __init__(self) -> None:
        self.rejects = bytearray()
        """What would stand in `rejects.jsonl`."""
        self.ids = bytearray()
        """What would stand in `ids.jsonl`."""
        self._lanes: defaultdict[str, Held] = defaultdict(Held)

    def lane(self, name: str) -> MemoryLane:
        return MemoryLane(name, self, self._lanes[name])

    async def fact(self, fact: RunFact[T]) -> T:
        return _recorded(self._lanes[""].facts, fact)

    async def set_fact(self, fact: RunFact[T], value: T) -> None:
        self._lanes[""].facts[fact.key] = fact.to_text(value)

    async def is_blank(self) -> bool:
        return not any(held.chunks or held.tiles for held in self._lanes.values())

    async def latest_time(self) -> float:
        surveys = (_recorded(held.facts, SURVEY) for held in self._lanes.values())
        sent = (chunk.last_byte_at or 0.0 for held in self._lanes.values() for chunk in held.chunks.values())
        return max([0.0, *sent, *(survey.at for survey in surveys if survey is not None)])

    def close(self) -> None:
        pass


class MemoryLane:
    """What one lane tells the journal."""

    earlier_s: Final = 0.0

    def __init__(self, name: str, journal: MemoryJournal, held: Held) -> None:
        self.name = name
        self._journal = journal
        self._held = held

    async def fact(self, fact: LaneFact[T]) -> T:
        return _recorded(self._held.facts, fact)

    async def set_fact(self, fact: LaneFact[T], value: T) -> None:
        self._held.facts[fact.key] = fact.to_text(value)

    # --- what becomes of chunks ---------------------------------------------------------------------------------------

    def plan(
        self, chunks: Sequence[Chunk], *, rejects: bytes = b"", tiles: Sequence[TileSpan] = ()
    ) -> asyncio.Future[None]:
        self._insert(chunks)
        self._held.tiles |= {span.tile: span for span in tiles}
        self._journal.rejects += rejects
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def recover(self, at: float) -> int:
        lost = await self.open_chunks(ChunkState.SENDING)
        for chunk in lost:
            self._move(chunk.id, state=ChunkState.IN_DOUBT, reason=LOST, last_byte_at=at)
        return len(lost)

    async def sending(self, chunk: ChunkId, at: float) -> None:
        attempts = self._open(chunk).attempts + 1
        self._move(chunk, state=ChunkState.SENDING, attempts=attempts, was_answered=False, last_byte_at=at)

    async def plan_again(self, chunk: ChunkId, reason: str | None = None) -> None:
        self._move(chunk, state=ChunkState.PLANNED, reason=reason)

    async def answered(self, chunk: ChunkId, remote_id: str) -> None:
        self._move(chunk, state=ChunkState.ANSWERED, remote_id=remote_id)

    async def landed(self, chunk: ChunkId, remote_id: str, *, evidence: Evidence, ids: bytes = b"") -> None:
        began = self._open(chunk).last_byte_at
        ids_at = len(self._journal.ids) if ids else None
        self._journal.ids += ids
        self._move(chunk, state=ChunkState.LANDED, remote_id=remote_id, evidence=evidence, reason=None, ids_at=ids_at)
        self._held.stored_after[chunk] = (began or 0.0) if evidence is Evidence.ANSWER else 0.0

    async def in_doubt(self, chunk: ChunkId, reason: str, at: float, *, was_answered: bool = False) -> None:
        self._move(chunk, state=ChunkState.IN_DOUBT, reason=reason, last_byte_at=at, was_answered=was_answered)

    async def absent(self, chunk: ChunkId) -> None:
        absences = self._open(chunk).absences + 1
        self._move(chunk, state=ChunkState.PLANNED, reason=None, absences=absences)

    async def held(self, chunk: ChunkId, reason: str) -> None:
        self._move(chunk, state=ChunkState.IN_DOUBT, reason=reason)

    async def landed_by_a_person(self, chunk: ChunkId, remote_id: str, at: float) -> None:
        evidence = Evidence.PERSON
        self._move(chunk, state=ChunkState.LANDED, remote_id=remote_id, evidence=evidence, reason=BY_A_PERSON)
        await self._add_decision(chunk, "landed", at)

    async def absent_by_a_person(self, chunk: ChunkId, at: float) -> None:
        absences = self._open(chunk).absences + 1
        self._move(chunk, state=ChunkState.PLANNED, reason=BY_A_PERSON, absences=absences)
        await self._add_decision(chunk, "absent", at)

    async def refused(self, chunk: ChunkId, reason: str, rejects: bytes) -> None:
        known = self._open(chunk)
        self._move(chunk, state=ChunkState.REFUSED, rejected=known.rejected + known.rows, rows=0, reason=reason)
        self._journal.rejects += rejects

    async def replace(self, parent: ChunkId, children: Sequence[Chunk], reason: str, rejects: bytes = b"") -> None:
        self._move(parent, state=ChunkState.SPLIT, reason=reason)
        self._insert(children)
        self._journal.rejects += rejects

    def _insert(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            assert chunk.id not in self._held.chunks, f"chunk {chunk.id} is there already"
            self._held.chunks[chunk.id] = chunk

    def _open(self, id_: ChunkId) -> Chunk:
        chunk = self._held.chunks.get(id_)
        assert chunk is not None, f"chunk {id_} is not open in the journal"
        assert chunk.state not in ENDS, f"chunk {id_} is not open in the journal"
        return chunk

    def _move(self, id_: ChunkId, **changes: object) -> None:
        self._held.chunks[id_] = replace(self._open(id_), **changes)  # type: ignore[arg-type]

    async def _add_decision(self, chunk: ChunkId, said: str, at: float) -> None:
        await self.set_fact(DECISIONS, (*await self.fact(DECISIONS), Decided(str(chunk), said, at)))

    # --- what is asked ------------------------------------------------------------------------------------------------

    async def chunk(self, tile: int, child: int) -> Chunk | None:
        return self._held.chunks.get(ChunkId(self.name, tile, child))

    async def open_chunks(self, *states: ChunkState) -> list[Chunk]:
        found = [chunk for chunk in self._held.chunks.values() if chunk.state in states and chunk.state not in ENDS]
        return sorted(found, key=lambda chunk: chunk.start)

    async def page(self, after: Chunk | None = None) -> list[Chunk]:
        return self._page(after, lambda chunk: chunk.state is not ChunkState.SPLIT)

    async def page_without_ids(self, after: Chunk | None = None) -> list[Chunk]:
        return self._page(after, lambda chunk: chunk.state is ChunkState.LANDED and chunk.ids_at is None)

    def _page(self, after: Chunk | None, which: Callable[[Chunk], bool]) -> list[Chunk]:
        found = sorted(filter(which, self._held.chunks.values()), key=_place)
        return [chunk for chunk in found if after is None or _place(chunk) > _place(after)][:PAGE_CHUNKS]

    async def page_of_ids(self, at: int = 0) -> tuple[list[IdsLine], int | None]:
        found = []
        begin = at
        for line in bytes(self._journal.ids[at:]).splitlines(keepends=True):
            record = decode_ids(line)
            found += [record] if record.lane == self.name else []
            at += len(line)
            if at - begin >= PAGE_BYTES:
                break
        return found, at if at < len(self._journal.ids) else None

    async def called_absent(self) -> list[Chunk]:
        found = [chunk for chunk in self._held.chunks.values() if chunk.absences]
        return sorted(found, key=lambda chunk: chunk.start)

    async def absences(self) -> int:
        return sum(chunk.absences for chunk in self._held.chunks.values())

    async def next_child(self, tile: int) -> int:
        return 1 + max((chunk.id.child for chunk in self._of_tile(tile)), default=0)

    async def frontier(self) -> tuple[int, int | None]:
        tile = max(self._held.tiles, default=-1) + 1
        return tile, max((chunk.stop for chunk in self._of_tile(tile)), default=None)

    async def planned_to(self) -> int | None:
        last = max((id_.tile for id_ in self._held.chunks), default=-1)
        return max((chunk.stop for chunk in self._of_tile(last)), default=None)

    def _of_tile(self, tile: int) -> Iterator[Chunk]:
        return (chunk for chunk in self._held.chunks.values() if chunk.id.tile == tile)

    async def totals(self) -> Totals:
        totals = Totals()
        for chunk in self._held.chunks.values():
            totals.move(chunk, None, chunk.state)
        return totals

    async def landings(self) -> dict[str, float]:
        found: defaultdict[str, float] = defaultdict(float)
        for chunk in self._landed():
            if chunk.remote_id:
                found[chunk.remote_id] = max(found[chunk.remote_id], self._held.stored_after.get(chunk.id, 0.0))
        return dict(found)

    async def remote_ids(self, name: str) -> set[str]:
        return {chunk.remote_id for chunk in self._landed() if chunk.name == name and chunk.remote_id}

    def _landed(self) -> Iterator[Chunk]:
        return (chunk for chunk in self._held.chunks.values() if chunk.state is ChunkState.LANDED)


def _place(chunk: Chunk) -> tuple[int, int, int]:
    return chunk.id.tile, chunk.start, chunk.id.child


def _recorded(facts: dict[str, str], fact: Fact[T]) -> T:
    try:
        return fact.of_text(facts.get(fact.key))
    except ValueError as error:
        raise JournalUnusable(f"the journal in memory: {error}") from error
