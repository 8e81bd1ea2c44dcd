"""The byte budget: never over except for a lone giant, first come first served, nothing lost to cancellation."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from bulkup.pacing import ByteBudget
from tests.examples import examples
from tests.pacing.virtual import give_way

sizes = st.lists(st.integers(0, 30), min_size=1, max_size=25)


@examples(20)
@given(sizes, st.integers(1, 20), st.integers(0, 2**32), st.sets(st.integers(0, 24)))
def test_never_over_in_order_and_all_given_back(wanted: list[int], total: int, seed: int, leave: set[int]) -> None:
    """Whatever is taken, given back and cancelled: the sum stays within the budget and the order is that of asking."""
    dice = random.Random(seed)

    async def main() -> None:
        budget = ByteBudget(total)
        held: dict[int, int] = {}
        granted: list[int] = []
        back: dict[int, asyncio.Event] = {place: asyncio.Event() for place in range(len(wanted))}

        async def hold(place: int, size: int) -> None:
            await budget.take(size)
            try:
                held[place] = size
                granted.append(place)
                assert sum(held.values()) <= total or sum(1 for s in held.values() if s) == 1
                assert budget.held_bytes >= sum(held.values())
                await back[place].wait()
            finally:
                del held[place]
                budget.give(size)

        tasks = [asyncio.ensure_future(hold(place, size)) for place, size in enumerate(wanted)]
        await give_way()
        cancelled = {place for place in leave if place < len(wanted)}
        order = list(range(len(wanted)))
        dice.shuffle(order)
        for place in order:
            if place in cancelled:
                tasks[place].cancel()
            else:
                back[place].set()
            if dice.random() < 0.7:
                await give_way()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert budget.held_bytes == 0
        assert granted == sorted(granted)
        assert set(range(len(wanted))) - cancelled <= set(granted)

    asyncio.run(main())


async def test_a_small_request_waits_behind_a_large_one() -> None:
    """Small takers do not starve a large one."""
    budget = ByteBudget(10)
    await budget.take(8)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        await budget.take(size)
        order.append(name)

    large, small = asyncio.ensure_future(take("large", 9)), asyncio.ensure_future(take("small", 1))
    await give_way()
    assert order == []
    budget.give(8)
    await asyncio.gather(large, small)
    assert order == ["large", "small"]


async def test_one_giant_goes_alone() -> None:
    """More than the whole budget is granted when nothing else is held, and nothing is granted beside it."""
    budget = ByteBudget(10)
    await budget.take(1)
    giant = asyncio.ensure_future(budget.take(100))
    await give_way()
    assert not giant.done()
    budget.give(1)
    await giant
    other = asyncio.ensure_future(budget.take(1))
    await give_way()
    assert not other.done()
    budget.give(100)
    await other
    assert budget.held_bytes == 1


async def test_cancelling_the_head_of_the_queue_lets_the_next_in() -> None:
    """Who waits behind a large request that is withdrawn need not wait for the next `give`."""
    budget = ByteBudget(10)
    await budget.take(5)
    head, behind = asyncio.ensure_future(budget.take(9)), asyncio.ensure_future(budget.take(5))
    await give_way()
    head.cancel()
    await behind
    assert budget.held_bytes == 10


async def test_cancelled_in_the_moment_of_the_grant() -> None:
    """What was granted to a task that is cancelled before it runs again is given back."""
    budget = ByteBudget(10)
    await budget.take(10)
    waiting = asyncio.ensure_future(budget.take(7))
    await give_way()
    budget.give(10)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.held_bytes == 0


async def test_a_budget_that_grows_admits_more() -> None:
    more = [0]
    budget = ByteBudget(10, more=lambda: more[0])
    await budget.take(10)
    assert not budget.has_room(5)
    more[0] = 5
    assert budget.has_room(5)
    assert budget.total_bytes == 15


def test_there_is_no_room_where_somebody_waits_for_more_than_is_left() -> None:
    """Else what is small would pass by what is large for ever."""

    async def main() -> None:
        budget = ByteBudget(10)
        await budget.take(6)
        assert budget.has_room(4)
        large = asyncio.ensure_future(budget.take(8))
        await give_way()
        assert not budget.has_room(1)
        budget.give(6)
        await large
        assert budget.has_room(2)

    asyncio.run(main())
