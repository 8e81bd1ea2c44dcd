"""Each chunk makes a dataset of its own name, and a dataset of that name shows that it was stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkup.chunk import Chunk, ChunkId, Evidence, Totals
from bulkup.doubt.late import stored_late
from bulkup.doubt.naming import family_name
from bulkup.doubt.policy import Comparer
from bulkup.doubt.settlement import Doubt, Known, Look, Match, Seen, Verdict, judge_by_name

__all__ = ["BY_NAME", "ByName"]


class ByName:
    """For a service where each request makes a dataset."""

    has_dataset_per_chunk = True
    evidence = Evidence.READ_BACK
    bad_rows = 4  # each piece that is taken becomes a dataset

    def chunk_name(self, dataset_name: str, chunk: ChunkId, rows_hash: bytes, *, is_family: bool) -> str:
        return family_name(dataset_name, chunk, rows_hash) if is_family else dataset_name

    def announcement(self, dataset_name: str, chunks: int, *, is_exact: bool = False) -> str | None:
        if chunks == 1:
            return f"one dataset, {dataset_name}"
        about = "" if is_exact else "about "
        return f"{about}{chunks:,} datasets, named {dataset_name}-<tile>-<hash>: each request makes one"

    def adding(self, dataset_name: str) -> str:
        return f"makes another dataset named {dataset_name} (or of that family) beside what is there: nothing is added to that one"

    def announcement_of_added(self, dataset_name: str) -> str | None:
        return (
            "the rows that have landed stay where they are; the added rows go into new datasets, "
            f"named {dataset_name}-<tile>-<hash>"
        )

    def patience_at_start_s(self, totals: Totals, quiet_s: float) -> float | None:
        return 0.0  # what one look tells

    def to_compare(self, chunks: Sequence[Chunk], look: Look, known: Known) -> list[tuple[Chunk, str]]:
        by_name = {chunk.name: chunk for chunk in chunks}
        return [
            (by_name[dataset.name], dataset.id)
            for dataset in _unaccounted(look, known)
            if dataset.name in by_name and dataset.status == "READY"
        ]

    def judge(
        self,
        doubts: Sequence[Doubt],
        looks: Sequence[Look],
        known: Known,
        matches: Mapping[str, Match],
        quiet_s: float,
    ) -> list[Verdict]:
        return judge_by_name(doubts, looks, known, matches, quiet_s)

    def shows_all(self, look: Look, known: Known) -> bool:
        return known.landed.keys() <= look.ids

    def trouble(self, look: Look, known: Known, again: Sequence[Chunk], doubts: Sequence[Chunk]) -> str | None:
        if not self.shows_all(look, known):
            return "the service does not show all that has landed"
        strays = {dataset.name for dataset in _unaccounted(look, known)} - {chunk.name for chunk in doubts}
        doubled = [chunk for chunk in again if chunk.name in strays]
        return stored_late(doubled) if doubled else None

    async def compare(self, look: Look, comparer: Comparer) -> None:
        await comparer.compare_each(look)


BY_NAME = ByName()


def _unaccounted(look: Look, known: Known) -> list[Seen]:
    """Datasets that a look shows and that nothing accounts for."""
    return [d for d in look.seen if d.id not in known.before and d.id not in known.landed and d.status != "FAILED"]
