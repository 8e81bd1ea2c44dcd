"""What attempts say of a service: round trips, and the goodput at a number of them at once. Pure: times come in as arguments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field
from enum import Enum
from math import sqrt

from bulkup.light_dataclass import dataclass

__all__ = ["Ending", "Goodput", "Measured", "RoundTrip", "Trips", "Window", "mean_trip_s"]

SLOW_SIGMAS = 2.5
TRIP_WEIGHT = 0.1
LEAST_SPREAD = 0.02
"""σ is taken to be at least this share of the mean."""
BETWEEN_WEIGHT = 0.2


class Ending(Enum):
    """How an attempt ended, as far as the pace is concerned."""

    TAKEN = "the service took it"
    PRESSED = "429, 503, a closed gate, or no answer"
    OTHER = "an answer that says nothing about the pace"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One attempt to send *size* bytes: from the moment its slot was granted to its outcome, on any one clock, in seconds."""

    began_s: float
    ended_s: float
    size: int
    ending: Ending

    @property
    def round_trip_s(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s


def mean_trip_s(trips: Collection[RoundTrip]) -> float:
    """Of one or more."""
    return sum(trip.round_trip_s for trip in trips) / len(trips)


@dataclass(slots=True)
class Trips:
    """Mean and spread of the round trips, the older the less they weigh."""

    mean_s: float = 0.0
    variance: float = 0.0
    count: int = 0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        weight = max(TRIP_WEIGHT, 1 / self.count)
        off = seconds - self.mean_s
        self.mean_s += weight * off
        self.variance = (1 - weight) * (self.variance + weight * off * off)

    @property
    def slow_s(self) -> float:
        """What is too long."""
        return self.mean_s + SLOW_SIGMAS * max(sqrt(self.variance), LEAST_SPREAD * self.mean_s)


@dataclass(frozen=True, slots=True)
class Measured:
    """Goodput (bytes a second) at a limit."""

    limit: int
    goodput: float

    @property
    def trip_s_a_byte(self) -> float:
        """Seconds of round trip a byte."""
        return self.limit / self.goodput if self.goodput > 0 else float("inf")

    def gain(self, other: Measured) -> float:
        """What the way from here to *other* brought, as a share of linear growth."""
        return (other.goodput / self.goodput - 1) / (other.limit / self.limit - 1) if self.goodput > 0 else 1.0


@dataclass(slots=True)
class Window:
    """What came back of what had begun at *since_s* or later; None: since the first one that comes back."""

    since_s: float | None = None
    bytes: int = 0
    busy_s: float = 0.0
    first_end_s: float = 0.0
    ends: int = 0
    full: int = 0
    trips: list[float] = field(default_factory=list)

    def add(self, trip: RoundTrip, *, is_full: bool) -> None:
        """One more."""
        if not self.ends:
            self.first_end_s = trip.ended_s
        self.ends += 1
        self.full += is_full
        self.busy_s += trip.round_trip_s
        self.bytes += trip.size if trip.ending is Ending.TAKEN else 0

    @property
    def is_full(self) -> bool:
        """Mostly, as many were under way as may be."""
        return 2 * self.full >= self.ends


class Goodput:
    """Computed from round trips, by Little's law: where many end at the same time, how many end in a window says little.

    What lies between an outcome and the next request of the same place is measured beside it, over many windows.
    """

    def __init__(self) -> None:
        self._between_s = 0.0

    def of_window(self, window: Window, limit: int, now: float) -> Measured:
        """Of a window that is over at *now*, with *limit* under way."""
        trip_s = window.busy_s / window.ends
        if window.is_full and window.ends > 1:
            between_s = limit * (now - window.first_end_s) / (window.ends - 1) - trip_s
            self._between_s += BETWEEN_WEIGHT * (between_s - self._between_s)
        return self._at(limit, window.bytes / window.ends, trip_s)

    def of(self, trips: Collection[RoundTrip], limit: int) -> Measured:
        """What these attempts stand for, with *limit* under way."""
        return self._at(limit, sum(trip.size for trip in trips) / len(trips), mean_trip_s(trips))

    def _at(self, limit: int, size: float, trip_s: float) -> Measured:
        cycle_s = trip_s + max(0.0, self._between_s)
        return Measured(limit, limit * size / cycle_s if cycle_s > 0 else 0.0)
