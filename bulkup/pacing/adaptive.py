"""How many requests pay: a limit that follows what the service gives. Pure: its times come in as arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import ceil, sqrt

__all__ = ["AdaptiveLimit", "Attempt", "Ending"]

START = 4
LEAST_ENDS = 4
"""A window has as many ends as the limit, or several times as many, but not fewer than this."""

PAYS = 0.2
"""More at once pays where goodput grows by at least this share of what linear growth would be."""
PAYS_WELL = 0.5
STEP = 1.25
"""One more at a time is judged over steps of this factor: within less, noise decides."""
HOLD_WINDOWS = 2
"""So long is waited, where more did not pay, before it is tried again."""
FASTER = 1.2
"""Goodput that has grown by so much at the same limit: the service has more to give."""

SLOW_FACTOR, SLOW_SIGMAS = 0.9, 2.5
PRESSED_FACTOR = 0.7
PRESSED_HOLD_WINDOWS = 12
"""So long the limit stays below the one that met back pressure."""

FULL_SIZE = 0.75
"""A body of this share of the largest of late is of full size: only those round trips are compared."""
LARGEST_FADES = 0.98
TRIP_WEIGHT = 0.1
LEAST_SPREAD = 0.02
"""σ is taken to be at least this share of the mean."""
TRIPS_TO_JUDGE = 8


class Ending(Enum):
    """How an attempt ended, as far as the pace is concerned."""

    TAKEN = "the service took it"
    PRESSED = "429, 503, a closed gate, or no answer"
    OTHER = "an answer that says nothing about the pace"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send *size* bytes: from the moment its slot was granted to its outcome, on any one clock, in seconds."""

    began_s: float
    ended_s: float
    size: int
    ending: Ending

    @property
    def round_trip_s(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s


@dataclass(slots=True)
class _Trips:
    """Mean and spread of the round trips, the older the less they weigh."""

    mean_s: float = 0.0
    variance: float = 0.0
    count: int = 0

    def add(self, seconds: float) -> None:
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
class _Measured:
    """Goodput (bytes a second) at a limit."""

    limit: int
    goodput: float

    def gain(self, limit: int, goodput: float) -> float:
        """What the way from here to there brought, as a share of linear growth."""
        return (goodput / self.goodput - 1) / (limit / self.limit - 1) if self.goodput > 0 else 1.0


@dataclass(slots=True)
class _Window:
    """What came back since the round that was on its way when the limit changed."""

    since_s: float | None = None
    bytes: int = 0
    ends: int = 0
    full: int = 0
    trips: list[float] = field(default_factory=list)


class AdaptiveLimit:
    """The number of requests that may be in flight, at most *cap*.

    It starts at 4 and doubles while goodput grows by at least a fifth of linear; a doubling that did not pay is taken back. From
    then on it grows by one a window. It shrinks to 0.9 when the round trip passes mean + 2.5 σ (and not, after all, where that
    costs goodput: then the way has become longer), to 0.7 on back pressure, and stays below the number that met it for some
    windows. A window is as many ends as the limit allows, of attempts begun since the last change, the first round not counted.
    """

    def __init__(self, *, cap: int) -> None:
        self.cap = cap
        self.limit = min(START, cap)
        self.windows = 0
        """How many windows there have been."""
        self.client_is_limit = False
        """Set by whoever can see it. While it is so nothing grows, and slow round trips are the client's own doing."""
        self._doubling = True
        self._before: _Measured | None = None
        self._before_cut: _Measured | None = None
        self._ceiling: int | None = None
        self._hold = 0
        self._changed_s = float("-inf")
        self._trips = _Trips()
        self._largest = 0.0
        self._window = _Window()

    def ended(self, attempt: Attempt, *, is_full: bool) -> None:
        """Take in an attempt. *is_full*: when it ended, as many were in flight as may be."""
        if attempt.began_s < self._changed_s:
            return  # it belongs to an earlier limit
        window = self._window
        if attempt.ending is Ending.PRESSED:
            self._pressed(attempt.ended_s)
            return
        self._note_trip(attempt)
        if window.since_s is None:
            window.since_s = attempt.ended_s
            return
        window.ends += 1
        window.full += is_full
        window.bytes += attempt.size if attempt.ending is Ending.TAKEN else 0
        rounds = -(-LEAST_ENDS // self.limit)  # whole ones: where all end together, half a round would flatter
        if window.ends >= rounds * self.limit and attempt.ended_s > window.since_s:
            self._judge(attempt.ended_s, window.bytes / (attempt.ended_s - window.since_s))

    def _note_trip(self, attempt: Attempt) -> None:
        if attempt.ending is not Ending.TAKEN:
            return
        self._largest = max(attempt.size, self._largest * LARGEST_FADES)
        if attempt.size >= FULL_SIZE * self._largest:
            self._window.trips.append(attempt.round_trip_s)

    def _judge(self, now: float, goodput: float) -> None:
        """The window is over."""
        window, self._window = self._window, _Window(since_s=now)
        self.windows += 1
        here = _Measured(self.limit, goodput)
        if self.client_is_limit or 2 * window.full < window.ends:
            self._learn(window.trips)
        elif self._cut_was_wrong(here):
            assert self._before_cut is not None
            self._trips = _Trips()
            self._learn(window.trips)
            self._set(self._before_cut.limit, now)
            self._before, self._before_cut = None, None
        elif self._is_slow(window.trips):
            self._before_cut, self._before, self._doubling = here, None, False
            self._set(min(self.limit - 1, int(self.limit * SLOW_FACTOR)), now)
        else:
            self._learn(window.trips)
            self._before_cut = None
            self._grow(here, now)

    def _learn(self, trips: list[float]) -> None:
        for seconds in trips:
            self._trips.add(seconds)

    def _is_slow(self, trips: list[float]) -> bool:
        if not trips or self._trips.count < TRIPS_TO_JUDGE or self._doubling:
            return False
        return self.limit > 1 and sum(trips) / len(trips) > self._trips.slow_s

    def _cut_was_wrong(self, here: _Measured) -> bool:
        """Less at once has cost goodput, so it was not a queue that made the round trips long."""
        before = self._before_cut
        return before is not None and before.limit > here.limit and before.gain(here.limit, here.goodput) > PAYS_WELL

    def _grow(self, here: _Measured, now: float) -> None:
        before = self._before
        if self._ceiling is not None:
            self._grow_below(self._ceiling, now)
        elif (
            self._doubling
            and before is not None
            and here.limit > before.limit
            and before.gain(here.limit, here.goodput) < PAYS
        ):
            self._doubling = False
            self._hold_at(before, now)
        elif self._doubling:
            self._before = here
            self._set(self.limit * 2, now)
        elif before is None:
            self._before = here
            self._set(self.limit + 1, now)
        else:
            self._grow_from(before, here, now)

    def _grow_from(self, before: _Measured, here: _Measured, now: float) -> None:
        """One more at a time since *before*."""
        if here.limit <= before.limit:
            if here.goodput > FASTER * before.goodput:
                self._double(here, now)
                return
            self._before = _Measured(before.limit, (before.goodput + here.goodput) / 2)
            self._hold -= 1
            if self._hold <= 0:
                self._set(self.limit + 1, now)
        elif here.limit < min(self.cap, ceil(STEP * before.limit)):
            self._set(self.limit + 1, now)
        elif (gain := before.gain(here.limit, here.goodput)) >= PAYS_WELL:
            self._double(here, now)
        elif gain < PAYS:
            self._hold_at(before, now)
        else:
            self._before = here
            self._set(self.limit + 1, now)

    def _double(self, here: _Measured, now: float) -> None:
        self._before, self._doubling = here, True
        self._set(self.limit * 2, now)

    def _hold_at(self, before: _Measured, now: float) -> None:
        self._before, self._hold = before, HOLD_WINDOWS
        self._set(before.limit, now)

    def _grow_below(self, ceiling: int, now: float) -> None:
        """Half of the way back a window, then stay, then try whether what met back pressure goes now."""
        if self.limit >= ceiling:
            self._ceiling, self._before = None, None
        elif self.limit < ceiling - 1:
            self._set(self.limit + max(1, (ceiling - 1 - self.limit) // 2), now)
        else:
            self._hold -= 1
            if self._hold <= 0:
                self._set(ceiling, now)

    def _pressed(self, now: float) -> None:
        self.windows += 1
        self._ceiling, self._hold = self.limit, PRESSED_HOLD_WINDOWS
        self._doubling, self._before, self._before_cut = False, None, None
        self._set(int(self.limit * PRESSED_FACTOR), now)
        self._changed_s = now  # also where it was 1 already: once a window

    def _set(self, limit: int, now: float) -> None:
        limit = max(1, min(self.cap, limit))
        if limit == self.limit:
            return
        self.limit, self._changed_s = limit, now
        self._window = _Window()
