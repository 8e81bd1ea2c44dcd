"""What differs between destinations whose chunks have names and those whose rows are only counted. Pure: the flow asks and acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bulkup.chunk import Chunk, ChunkId, Evidence, Totals
from bulkup.doubt.settlement import Doubt, Known, Look, Match, PageBack, Verdict

__all__ = ["DOUBTS_TO_SETTLE", "Comparer", "Policy"]

DOUBTS_TO_SETTLE = 8
"""So many new doubts are settled before anything more is sent."""


class Comparer(Protocol):
    """What compares a destination with what was sent, by one look at it."""

    async def compare_each(self, look: Look) -> None:
        """Each chunk has a dataset of its own."""

    async def compare_all(self, look: Look) -> None:
        """All chunks are in one dataset."""


class Policy(Protocol):
    """How chunks become datasets at a destination, and what shows whether one of them was stored."""

    @property
    def has_dataset_per_chunk(self) -> bool:
        """Each chunk makes a dataset; else the first makes one, to which the others are appended."""

    @property
    def evidence(self) -> Evidence:
        """By what a chunk in doubt counts as landed."""

    @property
    def bad_rows(self) -> int:
        """For how many bad rows of one chunk, scattered over it, the requests of a search are allowed."""

    def chunk_name(self, dataset_name: str, chunk: ChunkId, rows_hash: bytes, *, is_family: bool) -> str:
        """What a chunk is called at the destination. *is_family*: it is one of several."""

    def announcement(self, dataset_name: str, chunks: int, *, is_exact: bool = False) -> str | None:
        """What a person is told before *chunks* chunks are sent, or about so many unless that *is_exact*."""

    def adding(self, dataset_name: str) -> str:
        """What `--append` does where there is such a dataset already, in words: `it …`."""

    def announcement_of_added(self, dataset_name: str) -> str | None:
        """What a person is told before rows that were added to the source are sent."""

    def patience_at_start_s(self, totals: Totals, quiet_s: float) -> float | None:
        """How long the doubts that an earlier process left may be settled before anything is sent. None: they wait."""

    def to_compare(self, chunks: Sequence[Chunk], look: Look, known: Known) -> list[tuple[Chunk, str]]:
        """Which of the *chunks* in doubt must be compared with which dataset of the *look*, by its id."""

    def judge(
        self,
        doubts: Sequence[Doubt],
        looks: Sequence[Look],
        known: Known,
        matches: Mapping[str, Match],
        quiet_s: float,
    ) -> list[Verdict] | PageBack:
        """The verdicts, or that rows must be read back first. Nothing may be in flight.

        *looks* are this settlement's, oldest first; *matches* are the answers to `to_compare` by the datasets' ids.
        """

    def shows_all(self, look: Look, known: Known) -> bool:
        """Whether a look shows everything that has landed."""

    def trouble(self, look: Look, known: Known, again: Sequence[Chunk], doubts: Sequence[Chunk]) -> str | None:
        """What the last look shows to be wrong, in one line. *again*: the chunks that were called absent and sent again; *doubts*:
        those that are still in doubt."""

    async def compare(self, look: Look, comparer: Comparer) -> None:
        """Let *comparer* compare what the *look* shows, in the way that this destination allows."""
