"""How many at once: 4 to begin with, one more for each clean round, never over the cap."""

from __future__ import annotations

import asyncio

import pytest

from bulkup.pacing import Concurrency
from tests.pacing.virtual import give_way


def rounds(concurrency: Concurrency, *windows: str) -> list[int]:
    """The limit after each window, given as a string of `.` (clean) and `x`."""
    limits = []
    for window in windows:
        for request in window:
            concurrency.ended(clean=request == ".")
        limits.append(concurrency.limit)
    return limits


def test_it_starts_at_four_or_the_cap() -> None:
    assert [Concurrency(cap=cap).limit for cap in (1, 3, 4, 16)] == [1, 3, 4, 4]


def test_a_clean_window_adds_one_up_to_the_cap() -> None:
    """A window is as many requests as the limit allows."""
    assert rounds(Concurrency(cap=6), "....", ".....", "......", "......") == [5, 6, 6, 6]


def test_a_window_is_not_over_early() -> None:
    assert rounds(Concurrency(cap=16), "...", ".", "....", ".") == [4, 5, 5, 6]


@pytest.mark.parametrize("window", ["x...", "..x.", "...x", "xxxx"])
def test_a_window_with_a_refusal_or_a_loss_adds_nothing(window: str) -> None:
    """And the next one begins with a clean slate."""
    assert rounds(Concurrency(cap=16), window, "....") == [4, 5]


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


async def test_growing_lets_one_more_in_at_once() -> None:
    concurrency = Concurrency(cap=16)
    tasks = [asyncio.ensure_future(concurrency.enter()) for _ in range(6)]
    await give_way()
    assert concurrency.in_flight == 4
    rounds(concurrency, "....")
    await give_way()
    assert concurrency.in_flight == 5
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
