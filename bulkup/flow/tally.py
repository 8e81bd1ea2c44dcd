"""What a lane counts while it works, for the progress display and the receipt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bulkup.chunk import Totals

__all__ = ["Tally"]


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
    settlements: int = 0
    page_backs: int = 0
    largest_body: int = 0

    def sent(self, count: int) -> None:
        """*count* bytes of a body were handed to the connection."""
        self.bytes_sent += count
