"""Simulated services on a simulated clock: so many places, a queue behind them, and clients that keep the limit full."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from bulkup.pacing import AdaptiveLimit, Ending, RoundTrip

__all__ = ["Driven", "Plateau", "Service", "best_fixed", "drive", "goodput_between"]

SIZE = 1000
REFUSED_S = 0.001


@dataclass(frozen=True)
class Plateau:
    """From *since_s* on the service has *places*."""

    since_s: float
    places: int


@dataclass
class Service:
    """Serves *places* requests at once, each in *service_s* (times *noise*), the others wait in line.

    *queue*: how many may wait; one more is refused at once. None lets all wait. *thrashes_beyond*: with more than so many times
    *places* in the house, work takes longer in proportion.
    """

    plateaus: Sequence[Plateau]
    service_s: float = 0.1
    queue: int | None = None
    noise: Callable[[], float] = lambda: 1.0
    thrashes_beyond: float = float("inf")

    def works_s(self, now: float, inside: int) -> float:
        """How long the work on a request takes that begins now."""
        return self.service_s * self.noise() * max(1.0, inside / (self.thrashes_beyond * self.places(now)))

    def places(self, now: float) -> int:
        return [p.places for p in self.plateaus if p.since_s <= now][-1]


@dataclass
class Driven:
    """What came of it: when each request was served or refused, and when each window ended."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)


def drive(service: Service, limit: AdaptiveLimit | int, until_s: float) -> Driven:
    """Keep as many requests in flight as *limit* says, always."""
    found, now, in_flight, busy = Driven(), 0.0, 0, 0
    waiting: deque[float] = deque()
    events: list[tuple[float, int, float, bool]] = [(p.since_s, -1, 0.0, True) for p in service.plateaus[1:]]
    heapq.heapify(events)
    number = 0

    def most() -> int:
        return limit if isinstance(limit, int) else limit.limit

    def push(at: float, began: float, taken: bool) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (at, number, began, taken))

    def fill() -> None:
        nonlocal in_flight, busy
        while in_flight < most():
            in_flight += 1
            if busy < service.places(now):
                busy += 1
                push(now + service.works_s(now, busy + len(waiting)), now, True)
            elif service.queue is None or len(waiting) < service.queue:
                waiting.append(now)
            else:
                push(now + REFUSED_S, now, False)

    fill()
    while events:
        now, kind, began, taken = heapq.heappop(events)
        if now > until_s:
            break
        if kind >= 0:
            (found.served if taken else found.refused).append(now)
            if isinstance(limit, AdaptiveLimit):
                windows, ending = limit.windows, Ending.TAKEN if taken else Ending.PRESSED
                limit.ended(RoundTrip(began, now, SIZE, ending), is_full=in_flight >= limit.limit)
                found.windows += [now] * (limit.windows - windows)
            in_flight -= 1
            busy -= taken
        while waiting and busy < service.places(now):
            busy += 1
            push(now + service.works_s(now, busy + len(waiting)), waiting.popleft(), True)
        fill()
    return found


def goodput_between(driven: Driven, since_s: float, until_s: float) -> float:
    """Requests served a second."""
    return sum(since_s <= at < until_s for at in driven.served) / (until_s - since_s)


@cache
def best_fixed(places: int, cap: int, noise: Callable[[], float]) -> float:
    """The best of a sweep over every fixed number at once, in requests a second."""
    service = Service([Plateau(0.0, places)], noise=noise)
    return max(goodput_between(drive(service, at_once, 15.0), 5.0, 15.0) for at_once in range(1, cap + 1))
