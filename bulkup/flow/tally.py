"""What a lane counts while it works, for the progress display and the receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import field

from bulkup.chunk import Chunk, ChunkState, Totals
from bulkup.light_dataclass import as_dict, dataclass

__all__ = ["Tally", "ToldTotals"]


class ToldTotals(Totals):
    """Totals that tell of each move: from which state to which, None for a chunk that is new."""

    def __init__(
        self, *, tell: Callable[[Chunk, ChunkState | None, ChunkState], None] | None = None, **counts: int
    ) -> None:
        super().__init__(**counts)
        self._tell = tell

    @classmethod
    def of(cls, totals: Totals, tell: Callable[[Chunk, ChunkState | None, ChunkState], None]) -> ToldTotals:
        """*totals*, of whose moves *tell* hears."""
        return cls(tell=tell, **as_dict(totals))

    def move(self, chunk: Chunk, old: ChunkState | None, new: ChunkState) -> None:
        super().move(chunk, old, new)
        if self._tell is not None:
            self._tell(chunk, old, new)


@dataclass(slots=True)
class Tally:
    """*totals* are the run's (over all invocations), the rest is this invocation's."""

    totals: Totals = field(default_factory=Totals)
    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    retries: int = 0
    in_flight: int = 0
    rows_landed: int = 0
    page_backs: int = 0
    largest_body: int = 0
    bodies: int = 0
    filled: float = 0.0
    """The sum of what each body that landed filled of the largest that was allowed when it went."""
    least_filled: float = 1.0
    stage: str = ""
    """What the lane is at where it sends nothing, in words; empty where it is at nothing that can be counted."""
    stage_done: int = 0
    stage_total: int = 0

    def begin_stage(self, what: str, total: int) -> None:
        """From now on it is at *what*, of which there are *total*."""
        self.stage, self.stage_done, self.stage_total = what, 0, total

    @property
    def mean_fill(self) -> float | None:
        """What the bodies that landed fill of the largest that was allowed, on average (0 to 1); None without any.

        Of several the least filled, which is what was left at the end, is left out.
        """
        if self.bodies > 1:
            return (self.filled - self.least_filled) / (self.bodies - 1)
        return self.filled if self.bodies else None

    def body_landed(self, size: int, limit: int) -> None:
        """A body of *size* bytes has landed where *limit* were allowed."""
        self.largest_body = max(self.largest_body, size)
        self.bodies += 1
        filled = min(1.0, size / limit)
        self.filled += filled
        self.least_filled = min(self.least_filled, filled)

    def sent(self, count: int) -> None:
        """*count* bytes of a body were handed to the connection."""
        self.bytes_sent += count
