"""How many requests pay: a limit that follows what the service gives. Pure: its times come in as arguments."""

from __future__ import annotations

from collections import deque
from math import ceil

from bulkup.pacing.measured import Ending, Goodput, Measured, RoundTrip, Trips, Window, mean_trip_s

__all__ = ["AdaptiveLimit", "FixedLimit"]

START = 4
LEAST_ENDS = 8
"""A window has as many ends as the limit, or several times as many, but not fewer than this."""

PAYS = 0.2
"""More at once pays where goodput grows by at least this share of what linear growth would be."""
PAYS_WELL = 0.5
COSTLY = 0.8
STEP = 1.25
"""One more at a time is judged over steps of this factor: within less, noise decides."""
QUEUED, SHORTEST_FADES = 1.15, 1.005
"""Round trips so much longer than the shortest (of late: what is old fades) are a queue, and fewer at once may do as much."""
HOLD_WINDOWS = 2
"""So long is waited, where more did not pay, before it is tried again."""
FASTER = 1.2
"""Goodput that has grown by so much at the same limit: the service has more to give."""

SLOW_FACTOR = 0.9
COSTS = 0.75
"""A doubling that brings less than this share of what there was is taken back at once."""
CHOKED, CHOKED_FACTOR, CHOKED_TRIPS = 2.0, 0.5, 4
"""A mean round trip so many times the usual one, over the last so many, is not waited out: the limit goes down in proportion,
but not below half."""
PRESSED_FACTOR = 0.7
PRESSED_HOLD_WINDOWS = 12
"""So long the limit stays below the one that met back pressure."""

FULL_SIZE = 0.75
"""A body of this share of the largest of late is of full size: only those round trips are compared."""
LARGEST_FADES = 0.98
TRIPS_TO_JUDGE = 8


class FixedLimit:
    """A number that may be in flight and stays as it is."""

    client_is_limit = False

    def __init__(self, limit: int) -> None:
        self.limit = self.cap = limit

    def change_cap(self, cap: int) -> None:
        """Another number."""
        self.limit = self.cap = cap

    def ended(self, trip: RoundTrip, *, is_full: bool) -> None:
        """Nothing follows from an attempt."""


class AdaptiveLimit:
    """The number of requests that may be in flight, at most *cap*.

    It starts at 4 and doubles while goodput grows by at least a fifth of linear; a doubling that did not pay is taken back. From
    then on it grows by one a window, and where that does not pay and round trips are longer than they were, it tries fewer. It
    shrinks to 0.9 when the round trip passes mean + 2.5 σ, down to half within a window when it is twice the mean (and not, after
    all, where that costs goodput: then the way has become longer), to 0.7 on back pressure, and stays below the number that met it
    for some windows. A window is as many ends as the limit allows, of attempts that found the service as this limit makes it.
    """

    def __init__(self, *, cap: int) -> None:
        self.cap = cap
        self.limit = min(START, cap)
        self.windows = 0
        """How many windows there have been."""
        self.client_is_limit = False
        """Set by whoever can see it. While it is so nothing grows, and slow round trips are the client's own doing."""
        self._doubling = True
        self._before: Measured | None = None
        self._before_cut: Measured | None = None
        self._ceiling: int | None = None
        self._hold = 0
        self._down = self._has_leapt = self._has_paid = False
        self._changed_s = self._lowered_s = float("-inf")
        self._trips = Trips()
        self._slow_trips: list[float] = []
        self._largest = 0.0
        self._shortest = float("inf")
        self._goodput = Goodput()
        self._window = Window()
        self._recent: deque[RoundTrip] = deque(maxlen=CHOKED_TRIPS)
        self._of_before: deque[RoundTrip] = deque(maxlen=CHOKED_TRIPS)

    def change_cap(self, cap: int) -> None:
        """At most *cap* from now on: fewer at once, more as far as they pay."""
        self.cap = cap
        if self.limit > cap:
            self._set(cap, self._changed_s)
        else:  # it may have stopped growing at the old one
            self._ceiling, self._hold = None, 0

    def ended(self, trip: RoundTrip, *, is_full: bool) -> None:
        """Take in an attempt. *is_full*: when it ended, as many were in flight as may be."""
        self._note_recent(trip, is_full=is_full)
        if self._is_choked():
            self._unchoke(trip.ended_s)
            return
        if trip.began_s < self._changed_s:
            return  # it belongs to an earlier limit
        window = self._window
        if trip.ending is Ending.PRESSED:
            self._pressed(trip.ended_s)
            return
        self._note_trip(trip)
        if window.since_s is None:
            window.since_s = trip.ended_s if self._has_leapt else trip.began_s
        if trip.began_s < window.since_s:
            return  # it found the service as the earlier limit had left it
        window.add(trip, is_full=is_full)
        rounds = -(-LEAST_ENDS // self.limit)  # whole ones: where all end together, half a round would flatter
        if window.ends >= rounds * self.limit and window.busy_s > 0:
            self._judge(trip.ended_s)

    def _note_recent(self, trip: RoundTrip, *, is_full: bool) -> None:
        if not is_full:
            self._recent.clear()
        elif trip.ending is Ending.TAKEN and self._is_full_size(trip):
            if trip.began_s >= self._lowered_s:
                self._recent.append(trip)
            else:
                self._note_of_before(trip)

    def _note_of_before(self, trip: RoundTrip) -> None:
        """What had begun before the cut tells best what it was like then: round trips had only begun to grow."""
        before = self._before_cut
        if before is not None:
            self._of_before.append(trip)
            if len(self._of_before) == CHOKED_TRIPS:
                goodput = self._goodput.of(self._of_before, before.limit).goodput
                self._before_cut = Measured(before.limit, min(before.goodput, goodput))

    def _note_trip(self, trip: RoundTrip) -> None:
        if trip.ending is not Ending.TAKEN:
            return
        self._largest = max(trip.size, self._largest * LARGEST_FADES)
        if self._is_full_size(trip):
            self._window.trips.append(trip.round_trip_s)

    def _is_full_size(self, trip: RoundTrip) -> bool:
        return trip.size >= FULL_SIZE * self._largest

    def _judge(self, now: float) -> None:
        """The window is over."""
        window, self._window = self._window, Window(since_s=now)
        self.windows += 1
        here = self._goodput.of_window(window, self.limit, now)
        self._shortest = min(SHORTEST_FADES * self._shortest, here.trip_s_a_byte)
        if self.client_is_limit or not window.is_full:
            self._learn(window.trips)
        elif self._cut_was_wrong(here):
            self._take_back(now)
        elif self._is_slow(window.trips):
            self._before_cut, self._before, self._doubling = here, None, False
            self._slow_trips = window.trips
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

    def _is_choked(self) -> bool:
        if len(self._recent) < CHOKED_TRIPS or self.client_is_limit or self.limit == 1:
            return False
        if (
            self._doubling
        ):  # round trips twice as long are what a doubling that does not pay brings: more than that costs
            before = self._before
            return (
                before is not None
                and before.limit < self.limit
                and (self._goodput.of(self._recent, self.limit).goodput < COSTS * before.goodput)
            )
        if self._trips.count < TRIPS_TO_JUDGE:
            return False
        return mean_trip_s(self._recent) > max(CHOKED * self._trips.mean_s, self._trips.slow_s)

    def _unchoke(self, now: float) -> None:
        """As many as are in flight at the usual round trip when the service answers as it does."""
        self.windows += 1
        if self._doubling and self._before is not None:
            self._not_doubled(self._before, now)
            return
        here = self._goodput.of(self._recent, self.limit)
        if self._cut_was_wrong(here):
            self._take_back(now)
            return
        self._before_cut, self._before = here, None
        self._ceiling, self._down = None, False
        self._slow_trips = [trip.round_trip_s for trip in self._recent] * (TRIPS_TO_JUDGE // CHOKED_TRIPS)
        self._of_before.clear()
        share = max(CHOKED_FACTOR, self._trips.mean_s / mean_trip_s(self._recent))
        self._set(min(self.limit - 1, int(self.limit * share)), now)

    def _take_back(self, now: float) -> None:
        """Of a cut that was wrong: the long round trips are the usual ones from now on."""
        assert self._before_cut is not None
        self._trips = Trips()
        self._learn(self._slow_trips)
        self._set(self._before_cut.limit, now)
        self._before, self._before_cut = None, None

    def _cut_was_wrong(self, here: Measured) -> bool:
        """Less at once has cost goodput, so it was not a queue that made the round trips long."""
        before = self._before_cut
        if before is None or before.limit <= here.limit:
            return False
        # what round trips were when they had just begun to grow flatters the larger number: so a deep cut must cost nearly all
        costly = PAYS_WELL if here.limit >= before.limit * SLOW_FACTOR - 1 else COSTLY
        return before.gain(here) > costly

    def _grow(self, here: Measured, now: float) -> None:
        before = self._before
        if self._ceiling is not None:
            self._grow_below(self._ceiling, now)
        elif self._doubling and before is not None and here.limit > before.limit and before.gain(here) < PAYS:
            self._not_doubled(before, now)
        elif self._doubling:
            self._before = here
            self._set(self.limit * 2, now)
        elif before is None:
            self._before = here
            self._set(self.limit + 1, now)
        else:
            self._grow_from(before, here, now)

    def _grow_from(self, before: Measured, here: Measured, now: float) -> None:
        """One more at a time since *before*."""
        if here.limit < before.limit:
            if before.gain(here) < PAYS:
                self._down = self._has_a_queue(here)
                self._hold_at(here, now)  # fewer do as much: the others have stood in line
            else:
                self._down = False
                self._hold_at(before, now)
        elif here.limit == before.limit:
            if here.goodput > FASTER * before.goodput:
                self._double(here, now)
                return
            self._before = Measured(before.limit, (before.goodput + here.goodput) / 2)
            self._hold -= 1
            if self._hold <= 0:
                self._set(int(self.limit / STEP) if self._down else self.limit + 1, now)
        elif here.limit < min(self.cap, ceil(STEP * before.limit)):
            self._set(self.limit + 1, now)
        elif (gain := before.gain(here)) >= PAYS_WELL and self._has_paid:
            self._double(here, now)
        elif gain < PAYS:
            self._has_paid = False
            self._down = self._has_a_queue(before)
            self._hold_at(before, now)
        else:
            self._has_paid = gain >= PAYS_WELL  # once may be noise
            self._before = here
            self._set(self.limit + 1, now)

    def _has_a_queue(self, here: Measured) -> bool:
        """Whether fewer may do as much: round trips are longer than they were at best, and there are enough to find it out."""
        return here.trip_s_a_byte > QUEUED * self._shortest and int(here.limit / STEP) >= START

    def _double(self, here: Measured, now: float) -> None:
        self._before, self._doubling, self._has_paid = here, True, False
        self._set(self.limit * 2, now)

    def _not_doubled(self, before: Measured, now: float) -> None:
        self._doubling, self._trips = False, Trips()  # where so many stand in line is no usual round trip
        self._hold_at(before, now)

    def _hold_at(self, before: Measured, now: float) -> None:
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
        self._has_leapt = not self.limit < limit <= STEP * self.limit
        if limit < self.limit:
            self._lowered_s = now
            self._recent.clear()
        self.limit, self._changed_s = limit, now
        self._window = Window()
