"""A quota that nobody tells, learned from 429s. Pure: times come in as arguments.

Two kinds of service are told apart by nothing but what they take and how long they refuse. A *bucket* refills all the time: between
two refusals, when it was empty, it took what it grants, whatever was waited. A *window* is filled at once: from one opening to the
next it took what it grants, whenever it was empty. Neither figure is far above the rate, and each may be well below it for the
other kind: so the greater of those that can be had is believed.
"""

from __future__ import annotations

from collections import deque

from bulkup.light_dataclass import dataclass

__all__ = ["LearnedRate"]

EVIDENCE, ENOUGH = 6, 100
"""So many requests must have been taken before a rate is made of them; so many are better, where there are as many."""

UNDER, BACK = 0.98, 0.95
"""A rate is kept so far below what was measured, and so far below the one that was refused."""
DROP, WENT_WELL = 0.8, 64
"""One that was kept for so many requests before it was refused cannot have been far too high: no lower than this share of it."""
DISTRUST = 0.25
"""What was taken at first may be a bucket's content as much as a rate, unless it had to last for a wait of some length."""
LONG_WAIT = 1 / 3
"""A wait of this share of the time between two openings is one for a window's end (or as long as if it were)."""
MANY_WAITS = 3.0
"""From refusal to refusal a rate is measured over so many times the longest wait: then it matters less where in a window."""

GROWTH = 0.015
"""By so much a rate grows over as many requests as it was measured on, and the faster the longer it goes well after that."""
LEAST_MEASURED, MOST_MEASURED = 48, 200
TRIAL_DOUBLES_IN, TRIAL_FALLS_TO = 12, 0.5
SLOWEST = 1.0
"""Requests a minute: refusals that do not depend on the pace must not bring it down for ever."""
PUSHED = 1.5
"""Requests that come further apart than so many times the pace's interval do not test it."""
KEPT = 16


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The service refused from *refused_s* to *opened_s*, after it had taken *taken* in all."""

    refused_s: float
    opened_s: float
    resumed_s: float
    taken: int

    @property
    def closed_s(self) -> float:
        return self.opened_s - self.refused_s


class LearnedRate:
    """Requests a minute, None until the first refusal.

    Where the first refusal comes too early to measure anything, one request at a time is tried, twice as many after twelve, and so
    on to the second. From then on each refusal measures the rate, or lowers it where it was known, and it grows in between.
    Refusals of requests that had begun before the last one count as the same.
    """

    def __init__(self) -> None:
        self.per_minute: float | None = None
        self.is_measured = False
        """It was made of what the service took; else it is a trial."""
        self.refusals_in_a_row = 0
        self._taken = 0
        self._past: deque[_Refusal] = deque(maxlen=KEPT)
        """The first one stands for the beginning, which was no refusal."""
        self._refused_s = self._refused_last_s = float("-inf")
        self._ordered_s: float | None = None
        self._is_whole = self._was_measured = False
        self._pace: float | None = None
        self._measured_on = 0
        self._since_opened = 0
        self._began_last_s = float("-inf")
        self._trips_s: dict[bool, float] = {}

    def accepted(self, now: float, *, began_s: float, stores: bool = True) -> None:
        """A request that had begun at *began_s* was taken. *stores*: it is one that stores rows, and not a look."""
        if not self._past:
            self._past.append(_Refusal(began_s, began_s, began_s, 0))
        trip_s = max(now - began_s, 1e-3)
        self._trips_s[stores] = min(trip_s, self._trips_s.get(stores, trip_s))
        if began_s <= self._refused_last_s:
            self._taken += 1
            return
        if self.refusals_in_a_row:
            self._opened(began_s)
        self._taken += 1
        self._grow(began_s)

    def refused(self, now: float, *, began_s: float, wait_s: float | None) -> None:
        """A request that had begun at *began_s* was refused; the gate is closed for *wait_s* (None: the service did not say)."""
        if began_s <= self._refused_last_s:
            return
        self._refused_last_s = now
        self.refusals_in_a_row += 1
        if self.refusals_in_a_row == 1:
            self._refused_s, self._pace, self._was_measured = now, self.per_minute, self.is_measured
        self._ordered_s = now + wait_s if wait_s is not None else None
        self._is_whole = wait_s is not None and wait_s == int(wait_s)
        if self._ordered_s is not None:
            self._reckon(self._ordered_s)

    def _opened(self, began_s: float) -> None:
        """It takes requests again: now it is known from when on, or about."""
        ordered_s = self._ordered_s
        opened_s = (self._refused_last_s + began_s) / 2 if ordered_s is None else min(ordered_s, began_s)
        self._reckon(opened_s)
        self._past.append(_Refusal(self._refused_s, opened_s, began_s, self._taken))
        self.refusals_in_a_row, self._since_opened = 0, 0

    def _reckon(self, opened_s: float) -> None:
        """What the refusal that ends at *opened_s* says of the rate."""
        self._measure(opened_s)
        if self.per_minute is not None:
            self.per_minute = max(self.per_minute, SLOWEST)

    def _measure(self, opened_s: float) -> None:
        if len(self._past) == 1 and self._is_whole:
            opened_s = max(self._refused_s, opened_s - 1)  # rounded up: it may have opened so much earlier
        this = _Refusal(self._refused_s, opened_s, opened_s, self._taken)
        pace = self._pace
        in_one, in_several = self._in_one(this), self._in_several(this)
        if in_one is not None or in_several is not None:
            measured = 60 * UNDER * max(in_one or 0.0, in_several or 0.0)
            if pace is not None:
                if in_one is None and self._was_measured and self._since_opened >= WENT_WELL:
                    measured = max(measured, DROP * pace)
                measured = min(measured, BACK * pace)
            self.per_minute = measured
            self._measured_on = this.taken - self._past[-1].taken
            self.is_measured = True
        elif self._was_measured and pace is not None:
            self.per_minute = BACK * pace
            self._measured_on = max(self._measured_on, this.taken - self._past[-1].taken)
        elif pace is not None:
            self.per_minute = TRIAL_FALLS_TO * pace
            self._measured_on = EVIDENCE
        elif (burst := self._burst(this)) is not None:
            self.per_minute = 60 * DISTRUST * burst
            self._measured_on = EVIDENCE
        elif self._trips_s:  # of the kind that takes longer: looks are answered in no time
            self.per_minute = 60 / max(self._trips_s.values())

    def _in_one(self, this: _Refusal) -> float | None:
        """Requests a second from the last opening to this one, if the wait says that a window has ended."""
        if not self._past:
            return None
        last = self._past[-1]
        span_s, taken = this.opened_s - last.resumed_s, this.taken - last.taken
        return (
            (taken - 1) / span_s if taken >= EVIDENCE and span_s > 0 and this.closed_s >= LONG_WAIT * span_s else None
        )

    def _in_several(self, this: _Refusal) -> float | None:
        """Requests a second since an earlier refusal, if that is long enough ago."""
        longest_s = max([this.closed_s, *(one.closed_s for one in self._past)])
        found = None
        for before in list(self._past)[:0:-1]:
            taken = this.taken - before.taken
            span_s = min(this.refused_s - before.refused_s, this.opened_s - before.resumed_s)
            if taken >= EVIDENCE and span_s >= MANY_WAITS * longest_s:
                found = (taken - 1) / span_s
            if taken >= ENOUGH:
                break
        return found

    def _burst(self, this: _Refusal) -> float | None:
        """Requests a second up to the first refusal, its wait included."""
        if not self._past or this.taken < EVIDENCE:
            return None
        span_s = this.opened_s - self._past[0].opened_s
        return this.taken / span_s if span_s > 0 else None

    def _grow(self, began_s: float) -> None:
        gap_s, self._began_last_s = began_s - self._began_last_s, began_s
        if self.per_minute is None:
            return
        self._since_opened += 1
        if gap_s > PUSHED * 60 / self.per_minute:
            return
        if not self._measured_on:
            self.per_minute *= 2 ** (1 / TRIAL_DOUBLES_IN)
            return
        least = LEAST_MEASURED if self.is_measured else EVIDENCE
        longest_s = max(
            one.closed_s for one in self._past
        )  # a window's worth is not to be grown past within the window
        over = max(least, min(self._measured_on, MOST_MEASURED), longest_s * self.per_minute / 60)
        self.per_minute *= 1 + GROWTH * (1 + (self._since_opened / over) ** 2) / over
