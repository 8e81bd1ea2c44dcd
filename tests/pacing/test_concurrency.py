"""Permits: first come, first served, never more than the limit, none lost to cancellation."""

from __future__ import annotations

import asyncio

from bulkup.pacing import Concurrency, Ending, RoundTrip
from tests.pacing.virtual import give_way


def window(concurrency: Concurrency, began_s: float, *, ending: Ending = Ending.TAKEN) -> float:
    """Two rounds of attempts, each of a second: one that is not counted, and one that is. The time after them."""
    for round_ in (1, 2):
        for _ in range(concurrency.limit):
            trip = RoundTrip(began_s + round_ - 1, began_s + round_, 1000, ending)
            concurrency.ended(trip, is_full=True)
    return began_s + 2


async def test_never_more_than_the_limit_first_come_first_served() -> None:
    concurrency = Concurrency(cap=2)
    order: list[int] = []

    async def enter(number: int) -> None:
        await concurrency.enter()
        order.append(number)

    tasks = [asyncio.ensure_future(enter(number)) for number in range(5)]
    await give_way()
    assert (order, concurrency.in_flight) == ([0, 1], 2)
    concurrency.leave()
    await give_way()
    assert (order, concurrency.in_flight) == ([0, 1, 2], 2)
    concurrency.leave()
    concurrency.leave()
    await asyncio.gather(*tasks)
    assert (order, concurrency.in_flight) == ([0, 1, 2, 3, 4], 2)


async def test_growing_lets_more_in_at_once() -> None:
    concurrency = Concurrency(cap=16)
    tasks = [asyncio.ensure_future(concurrency.enter()) for _ in range(6)]
    await give_way()
    assert concurrency.in_flight == 4
    window(concurrency, 0.0)
    await give_way()
    assert (concurrency.limit, concurrency.in_flight) == (8, 6)
    concurrency.leave()
    await asyncio.gather(*tasks)


async def test_cancelled_waiting_or_just_granted_keeps_no_permit() -> None:
    concurrency = Concurrency(cap=1)
    await concurrency.enter()
    first, second, third = (asyncio.ensure_future(concurrency.enter()) for _ in range(3))
    await give_way()
    first.cancel()
    await give_way()
    concurrency.leave()  # second has it now, and does not know yet
    second.cancel()
    await third
    assert concurrency.in_flight == 1
    concurrency.leave()
    await asyncio.gather(first, second, return_exceptions=True)
    assert concurrency.in_flight == 0
