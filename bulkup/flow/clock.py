"""Time and chance, injected; and how a run's Unix times stay in order whatever becomes of the machine's clock.

A run has a *timeline*: one reading of the wall clock, the anchor (`bulkup.journal.facts.Anchor`), and from then on what the
kernel's own clock counts, which nobody sets. A run that is gone on with under the same boot keeps its anchor, so time passes
between two processes as it really does. Under another boot, or on another machine, nobody knows how much has passed: a new anchor
is made, never before what the journal has recorded, and what was sent before it counts as sent at it; or as long after it as those
that had the run before may still send.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

from bulkup.light_dataclass import dataclass

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, injected. `unix` is the run's timeline, in Unix seconds, and never goes back."""

    monotonic: Callable[[], float]
    unix: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    uniform: Callable[[float, float], float]
    since: float = -inf
    """What was sent before the timeline began counts as sent then."""

    def sent_at(self, recorded: float | None) -> float:
        """When what the journal says was sent at *recorded* (Unix seconds) counts as sent: since then no less time has passed than
        this clock says."""
        return max(recorded or 0.0, self.since)
