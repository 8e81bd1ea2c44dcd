"""Time and chance, injected; and how a run's Unix times stay in order whatever becomes of the machine's clock.

A run has a *timeline*: one reading of the wall clock, the anchor, and from then on what the kernel's own clock counts, which nobody
sets. A run that is gone on with under the same boot keeps its anchor, so time passes between two processes as it really does. Under
another boot, or on another machine, nobody knows how much has passed: a new anchor is made, never before what the journal has
recorded, and what was sent before it counts as sent at it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from typing import Any

__all__ = ["Anchor", "Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, injected. `unix` is the run's timeline, in Unix seconds, and never goes back."""

    monotonic: Callable[[], float]
    unix: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    uniform: Callable[[float, float], float]
    since: float = -inf
    """The timeline's anchor."""

    def sent_at(self, recorded: float | None) -> float:
        """When what the journal says was sent at *recorded* (Unix seconds) counts as sent: since then no less time has passed than
        this clock says."""
        return max(recorded or 0.0, self.since)


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a timeline begins: the wall clock said *unix* when the clock of *boot* said *elapsed_s*. *boot* is None where boots
    cannot be told apart."""

    boot: str | None
    elapsed_s: float
    unix: float

    @classmethod
    def from_json(cls, record: Any) -> Anchor | None:
        """From a fact of the journal, None where there is none or it makes no sense."""
        try:
            anchor = cls(record["boot"], float(record["elapsed_s"]), float(record["unix"]))
        except (TypeError, KeyError, ValueError):
            return None
        return anchor if isfinite(anchor.elapsed_s) and isfinite(anchor.unix) else None

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)

    def at(self, elapsed_s: float) -> float:
        """Unix seconds, when the boot's clock says *elapsed_s*."""
        return self.unix + elapsed_s - self.elapsed_s

    def as_other(self, unix: float, other: Anchor | None) -> float:
        """The moment *unix* of this timeline on the *other* one, where the two can be compared, else *unix*."""
        if other is None or self.boot is None or self.boot != other.boot:
            return unix
        return other.at(self.elapsed_s + unix - self.unix)

    def goes_on(self, here: Anchor) -> bool:
        """Whether the timeline holds for a process that begins *here*: the same boot, later."""
        return here.boot is not None and self.boot == here.boot and self.elapsed_s <= here.elapsed_s

    def not_before(self, latest: float) -> Anchor:
        """The same moment, called *latest* (Unix seconds) at least: no timeline begins before what is recorded."""
        return replace(self, unix=max(self.unix, latest))
