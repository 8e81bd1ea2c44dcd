"""The journal's interface: what a run and its lanes tell it, and what it answers. `sqlite` keeps it on disk,
`postgres` in a database, `memory` in memory, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from bulkup.authority import UNENDING, Authority
from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.journal.facts import LaneFact, RunFact
from bulkup.journal.sidecars import IdsLine

__all__ = [
    "BY_A_PERSON",
    "LOST",
    "PAGE_CHUNKS",
    "GuardedByLock",
    "Journal",
    "LaneJournal",
    "every_chunk",
    "every_ids",
    "landed_without_ids",
]

T = TypeVar("T")

BY_A_PERSON = "decided by a person"
"""The reason kept with a chunk of which a person said what became of it."""

LOST = "the process ended while this was being sent"
"""The reason kept with a chunk that was being sent when its process ended."""

PAGE_CHUNKS = 1000
"""So many chunks are read from the journal at once."""

PAGE_BYTES = 1 << 20
"""About so many bytes of `ids.jsonl` are read at once, and at least a line."""


class Journal(Protocol):
    """One run's journal. What it is told is durable when it returns; what it cannot keep or read is a `BulkupError`."""

    def lane(self, name: str) -> LaneJournal:
        """The part of the journal that belongs to one lane."""

    async def fact(self, fact: RunFact[T]) -> T:
        """What is recorded of the run, or what stands for nothing. Raises `JournalUnusable` where it makes no sense."""

    async def set_fact(self, fact: RunFact[T], value: T) -> None:
        """Record a fact about the run."""

    async def is_blank(self) -> bool:
        """Nothing was planned yet in any lane."""

    async def latest_time(self) -> float:
        """The latest time (Unix seconds) of anything that was sent or looked at, 0 where nothing was. Reads every chunk."""

    @property
    def authority(self) -> Authority:
        """The right of this process to send for the run, as long as it has the journal."""

    @property
    def shared_lease(self) -> tuple[Path, int] | None:
        """Where this machine's workers find how long that right goes on, and its epoch (`bulkup.journal.lease_cell`); None where it
        does not end."""

    async def claim_dataset(self, identity: str) -> None:
        """Take a destination's dataset for this run, where the journal is what tells runs apart: else its lock in the state
        directory does. Raises `RunLocked` where another run has it."""

    def close(self) -> None:
        """Finish what waits and close the files."""


class GuardedByLock:
    """What holds of a journal whose run is kept from others by locks on this machine: the kernel keeps those until the process
    ends."""

    authority: Final = UNENDING
    shared_lease: Final = None

    async def claim_dataset(self, identity: str) -> None:
        pass  # its lock says who has it


class LaneJournal(Protocol):
    """What one lane tells the journal. Every method returns when its record is durable."""

    @property
    def name(self) -> str:
        """The lane's."""

    @property
    def earlier_s(self) -> float:
        """For how long, s, a process that had the run before may still end what it was sending. 0 or less: it cannot."""

    async def fact(self, fact: LaneFact[T]) -> T:
        """What is recorded of the lane, or what stands for nothing. Raises `JournalUnusable` where it makes no sense."""

    async def set_fact(self, fact: LaneFact[T], value: T) -> None:
        """Record a fact about the lane."""

    # --- what becomes of chunks: of those that are open, as an end is one ---------------------------------------------

    def plan(
        self, chunks: Sequence[Chunk], *, rejects: bytes = b"", tiles: Sequence[TileSpan] = ()
    ) -> asyncio.Future[None]:
        """Record chunks with the rejected rows of their ranges, and *tiles* that are now planned whole.

        The record is durable before anything that is done or asked of chunks later: nothing is sent of what is not. The future is
        done when there is room for more plans; where one fails after that, what is asked later does.
        """

    async def recover(self, at: float) -> int:
        """What stood as sending when the last process ended is in doubt; how many chunks that is. *at*: Unix time, now: a byte may
        have left until just before that."""

    async def sending(self, chunk: ChunkId, at: float) -> None:
        """The slot is granted: from here on the chunk may reach the service. *at* is Unix time."""

    async def plan_again(self, chunk: ChunkId, reason: str | None = None) -> None:
        """The chunk may be sent anew: nothing of it is stored, or the user accepts doubles."""

    async def answered(self, chunk: ChunkId, remote_id: str) -> None:
        """The service has taken the chunk under *remote_id* and is not done with it."""

    async def landed(self, chunk: ChunkId, remote_id: str, *, evidence: Evidence, ids: bytes = b"") -> None:
        """The chunk is stored. *ids*, a line for `ids.jsonl`, is durable before this is."""

    async def in_doubt(self, chunk: ChunkId, reason: str, at: float, *, was_answered: bool = False) -> None:
        """Whether the chunk was stored is not known. *at*: when a byte of it may last have left. *was_answered*: the service
        refused it, so nothing is on its way."""

    async def absent(self, chunk: ChunkId) -> None:
        """A look has shown that the chunk is not stored: it may be sent again. That it was is kept for the final audit."""

    async def held(self, chunk: ChunkId, reason: str) -> None:
        """The doubt could not be settled; *reason* gives what was seen."""

    async def landed_by_a_person(self, chunk: ChunkId, remote_id: str, at: float) -> None:
        """A person says that the chunk is stored. *remote_id* is empty where nobody knows it; *at*: Unix time."""

    async def absent_by_a_person(self, chunk: ChunkId, at: float) -> None:
        """A person says that the chunk is not stored: it may be sent again, and the final audit looks for it. *at*: Unix time."""

    async def refused(self, chunk: ChunkId, reason: str, rejects: bytes) -> None:
        """The service will take none of the chunk's rows: they are rejected rows now."""

    async def replace(self, parent: ChunkId, children: Sequence[Chunk], reason: str, rejects: bytes = b"") -> None:
        """*children* stand for *parent* from now on, in one transaction with what was rejected on the way."""

    # --- what is asked: none of it costs more the more has landed, but for pages --------------------------------------

    async def chunk(self, tile: int, child: int) -> Chunk | None:
        """The chunk of that number, whatever has become of it; None if there is none."""

    async def open_chunks(self, *states: ChunkState) -> list[Chunk]:
        """The chunks in *states* (of those that are not ends), by position."""

    async def page(self, after: Chunk | None = None) -> list[Chunk]:
        """Chunks that were not split, by position, those behind *after* first: so many as are read at once, none at the end."""

    async def page_without_ids(self, after: Chunk | None = None) -> list[Chunk]:
        """The same of those that have landed, and whose rows' ids are not known."""

    async def page_of_ids(self, at: int = 0) -> tuple[list[IdsLine], int | None]:
        """The lane's ids in `ids.jsonl` from byte *at* on, and where the next page begins, None at the end."""

    async def called_absent(self) -> list[Chunk]:
        """The chunks that were called absent at some time, whatever has become of them since."""

    async def absences(self) -> int:
        """How often chunks were called absent."""

    async def next_child(self, tile: int) -> int:
        """The first child number of *tile* that was never used."""

    async def frontier(self) -> tuple[int, int | None]:
        """Where planning goes on: the next tile, and the position up to which it is planned already (None: it is not begun)."""

    async def planned_to(self) -> int | None:
        """The position up to which the source is planned, chunk by chunk; None where there is no chunk."""

    async def totals(self) -> Totals:
        """What the lane's chunks add up to."""

    async def landings(self) -> dict[str, float]:
        """Each remote dataset that holds landed rows, with the time after which the last in it was stored (0: unknown)."""

    async def remote_ids(self, name: str) -> set[str]:
        """The known ids of the datasets called *name* that hold landed rows."""


async def every_chunk(lane: LaneJournal) -> AsyncIterator[Chunk]:
    """Every chunk of *lane* that was not split, by position. A page of them is in memory."""
    last: Chunk | None = None
    while page := await lane.page(last):
        for chunk in page:
            yield chunk
        last = page[-1]


async def landed_without_ids(lane: LaneJournal) -> AsyncIterator[Chunk]:
    """Every landed chunk of *lane* whose rows' ids are not known, by position. A page of them is in memory."""
    last: Chunk | None = None
    while page := await lane.page_without_ids(last):
        for chunk in page:
            yield chunk
        last = page[-1]


async def every_ids(lane: LaneJournal) -> AsyncIterator[IdsLine]:
    """The ids of *lane*'s landed rows, a chunk at a time, in the order in which they came. A page of them is in memory."""
    at: int | None = 0
    while at is not None:
        page, at = await lane.page_of_ids(at)
        for line in page:
            yield line
