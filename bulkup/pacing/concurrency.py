"""Permits to be in flight, first come, first served. How many there are is `adaptive`'s to say, or stays as it is."""

from __future__ import annotations

from collections import deque

import anyio

from bulkup.pacing.adaptive import AdaptiveLimit, FixedLimit
from bulkup.pacing.measured import RoundTrip

__all__ = ["Concurrency"]


class Concurrency:
    """Permits to be in flight, first come, first served; at most *cap*, as many of them as pay."""

    def __init__(self, *, cap: int) -> None:
        self.adaptive: AdaptiveLimit | FixedLimit = AdaptiveLimit(cap=cap)
        self.in_flight = 0
        self.cap_changed = anyio.Event()
        self._queue: deque[anyio.Event] = deque()

    @classmethod
    def fixed(cls, count: int) -> Concurrency:
        """*count* permits, whatever comes back: for who measures what so many at once do."""
        concurrency = cls(cap=count)
        concurrency.adaptive = FixedLimit(count)
        return concurrency

    def change_cap(self, cap: int) -> None:
        """At most *cap* permits from now on."""
        self.adaptive.change_cap(cap)
        self.cap_changed.set()
        self._admit()

    @property
    def limit(self) -> int:
        """How many permits there are now."""
        return self.adaptive.limit

    @property
    def is_full(self) -> bool:
        """Every permit is taken."""
        return self.in_flight >= self.limit

    async def enter(self) -> None:
        """Wait for a permit. Give it back with `leave`."""
        if not self._queue and self.in_flight < self.limit:
            self.in_flight += 1
            return
        turn = anyio.Event()
        self._queue.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.leave()
            else:
                self._queue.remove(turn)
            raise

    def leave(self) -> None:
        """Hand the permit back."""
        self.in_flight -= 1
        self._admit()

    def ended(self, trip: RoundTrip, *, is_full: bool) -> None:
        """An attempt is over. *is_full*: as many were really under way as may be, none of them held back by a rate."""
        self.adaptive.ended(trip, is_full=is_full)
        self._admit()

    def _admit(self) -> None:
        while self._queue and self.in_flight < self.limit:
            self.in_flight += 1
            self._queue.popleft().set()
