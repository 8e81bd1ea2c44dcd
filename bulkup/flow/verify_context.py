"""What the comparison of one lane shares: its landed chunks, which of them are compared row by row, and what was found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from bulkup.account.row_numbers import RowNumbers
from bulkup.chunk import Chunk, ChunkState
from bulkup.destinations.base import Asking, StoredRow
from bulkup.doubt.settlement import Others
from bulkup.doubt.verification import (
    SHOWN_ROWS,
    Comparison,
    DatasetDifference,
    LaneVerification,
    Mismatch,
    RowDifference,
    Sample,
)
from bulkup.flow.context import LaneContext, PlannedLane
from bulkup.flow.looking import row_pages
from bulkup.flow.sent_rows import SentRows
from bulkup.flow.tally import Tally
from bulkup.journal import every_chunk
from bulkup.journal.facts import Survey
from bulkup.light_dataclass import dataclass

__all__ = ["Findings", "LandedChunks", "VerifyContext"]

PART_ROWS = 100_000
"""How many rows are put together at once, where they are found by id. At a row a chunk that is some 25 MiB."""


COMPARED = "chunks compared"


class LandedChunks:
    """The lane's landed chunks, and which of them are compared row by row.

    They are read from the journal as they are needed, in the source's order, and several times: none are kept.
    """

    def __init__(self, lane: LaneContext, sample: Sample) -> None:
        self._lane = lane
        self._sample = sample
        self._bounds: list[int] = []
        """Where each part of the landed chunks begins: so many rows each as are put together at once."""

    @property
    def count(self) -> int:
        """How many are compared."""
        return self._sample.count

    def __contains__(self, start: int) -> bool:
        """Whether the chunk that starts there is compared row by row."""
        return start in self._sample

    async def landed(self) -> AsyncIterator[tuple[Chunk, dict[int, int]]]:
        """Every chunk that has landed, by position, with the number of its first line in each file."""
        numbers = RowNumbers()
        async for chunk in every_chunk(self._lane.journal):
            first = numbers.pass_by(chunk)
            if chunk.state is ChunkState.LANDED and chunk.rows:
                yield chunk, first

    async def choose(self) -> None:
        """Which chunks are compared row by row."""
        rows = PART_ROWS
        async for chunk, _ in self.landed():
            self._sample.show(chunk.start)
            if rows >= PART_ROWS:
                self._bounds.append(chunk.start)
                rows = 0
            rows += chunk.rows
        self._sample.count_up()
        if not self._sample.is_all:
            async for chunk, _ in self.landed():
                self._sample.show_again(chunk.start)
        total = self._sample.total
        self._lane.say(f"comparing the rows of {self._sample.count:,} of {total:,} chunk{'' if total == 1 else 's'}")
        self._lane.tally.begin_stage(COMPARED, self._sample.count)

    def parts(self, rows: int) -> int:
        """In how many parts *rows* rows are put together."""
        return 1 + rows // PART_ROWS

    def part_of(self, start: int) -> int:
        """The number of the part to which the chunk that starts there belongs."""
        return bisect_right(self._bounds, start) - 1


class Findings:
    """What was found so far. *sent* knows where a row stands in the source."""

    def __init__(self, found: LaneVerification, sent: SentRows, tally: Tally) -> None:
        self.found = found
        self._sent = sent
        self._tally = tally

    def differs(self, dataset_id: str, what: str) -> None:
        """Something is wrong with a whole dataset."""
        self.found.dataset_differences.append(DatasetDifference(dataset_id, what))

    async def note(self, chunk: Chunk, first: Mapping[int, int], dataset_id: str, comparison: Comparison) -> None:
        """*chunk* was compared with the dataset. *first*: the chunk's first line in each file."""
        self.count_compared(chunk)
        self.found.rows_differing += comparison.count
        if comparison.count:
            await self.name(chunk, first, dataset_id, comparison.first)

    def count_compared(self, chunk: Chunk) -> None:
        """Its rows were compared."""
        self.found.chunks_compared += 1
        if self._tally.stage == COMPARED:
            self._tally.stage_done += 1
        self.found.rows_compared += chunk.rows

    async def name(
        self, chunk: Chunk, first: Mapping[int, int], dataset_id: str, mismatches: Sequence[Mismatch]
    ) -> None:
        """Keep what differs, the first rows with their places in the source. *first*: the chunk's first line in each file."""
        shown = mismatches[: SHOWN_ROWS - len(self.found.row_differences)]
        wanted = {m.sent for m in shown if m.sent is not None}
        locations = await self._sent.locations(chunk, wanted, first) if wanted else {}
        for mismatch in shown:
            location = None if mismatch.sent is None else locations[mismatch.sent]
            self.found.row_differences.append(
                RowDifference(
                    kind=mismatch.kind,
                    chunk=str(chunk.id),
                    file=None if location is None else location.file,
                    row_number=None if location is None else location.row_number,
                    byte_offset=None if location is None else location.byte_offset,
                    dataset_id=dataset_id,
                    dataset_row=None if mismatch.stored is None else mismatch.stored + 1,
                )
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyContext:
    """What one comparison of a lane is made of.

    *survey* is what the destination held before the run, None if that was never seen; *others* is what other runs have put there
    since. *scratch* is a folder for what is sorted on disk.
    """

    planned: PlannedLane
    survey: Survey | None
    others: Others
    sent: SentRows
    chunks: LandedChunks
    findings: Findings
    scratch: Path

    @property
    def lane(self) -> LaneContext:
        """The lane."""
        return self.planned.lane

    @property
    def asking(self) -> Asking:
        """How the destination is asked."""
        return self.lane.requests.ask_patiently

    def pages(
        self, dataset_id: str, row_bytes: int, at_most: int, counted: int | None = None
    ) -> AsyncIterator[list[StoredRow]]:
        """A dataset's rows, as `row_pages` reads them."""
        return row_pages(
            self.asking, self.lane.destination, dataset_id, row_bytes=row_bytes, at_most=at_most, counted=counted
        )
