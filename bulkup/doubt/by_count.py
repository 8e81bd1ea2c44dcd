"""Chunks are appended to one dataset, and its number of rows shows which of them were stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from bulkup.chunk import Chunk, ChunkId, Evidence, Totals
from bulkup.doubt.late import rows_sent, stored_late
from bulkup.doubt.policy import DOUBTS_TO_SETTLE, Comparer
from bulkup.doubt.settlement import Doubt, Known, Look, Match, PageBack, Verdict, judge_by_count

__all__ = ["BY_COUNT", "ByCount"]

QUIET_PERIODS_AT_START = 3


class ByCount:
    """For a service where the first request makes the dataset, and the others add to it."""

    has_dataset_per_chunk = False
    evidence = Evidence.COUNT
    bad_rows = 8

    def chunk_name(self, dataset_name: str, chunk: ChunkId, rows_hash: bytes, *, is_family: bool) -> str:
        return dataset_name

    def announcement(self, dataset_name: str, chunks: int, *, is_exact: bool = False) -> str | None:
        return None

    def adding(self, dataset_name: str) -> str:
        return f"appends to the dataset {dataset_name} that is there"

    def announcement_of_added(self, dataset_name: str) -> str | None:
        return None

    def patience_at_start_s(self, totals: Totals, quiet_s: float) -> float | None:
        # While nothing has landed one of the doubts may have made the dataset: that is known before anything else is sent.
        if not totals.chunks_landed:
            return inf
        return QUIET_PERIODS_AT_START * quiet_s if totals.chunks_in_doubt >= DOUBTS_TO_SETTLE else None

    def to_compare(self, chunks: Sequence[Chunk], look: Look, known: Known) -> list[tuple[Chunk, str]]:
        return []  # a chunk is no dataset of its own

    def judge(
        self,
        doubts: Sequence[Doubt],
        looks: Sequence[Look],
        known: Known,
        matches: Mapping[str, Match],
        quiet_s: float,
    ) -> list[Verdict] | PageBack:
        return judge_by_count(doubts, looks, known, quiet_s)

    def shows_all(self, look: Look, known: Known) -> bool:
        return look.rows >= known.base_rows + known.landed_rows

    def trouble(self, look: Look, known: Known, again: Sequence[Chunk], doubts: Sequence[Chunk]) -> str | None:
        accounted = known.base_rows + known.landed_rows
        if not self.shows_all(look, known):
            return f"the service does not show all that has landed: {look.rows:,} rows, not {accounted:,}"
        surplus = look.rows - accounted
        if surplus <= sum(chunk.rows for chunk in doubts):  # what is in doubt may account for it
            return None
        return stored_late([chunk for chunk in again if rows_sent(chunk) == surplus] or again, surplus)

    async def compare(self, look: Look, comparer: Comparer) -> None:
        await comparer.compare_all(look)


BY_COUNT = ByCount()
