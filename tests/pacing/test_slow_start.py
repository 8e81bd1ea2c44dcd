"""Who goes ahead: one, then two, then four; one again after a refusal; and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from bulkup.pacing import SlowStart
from tests.pacing.virtual import give_way, run_virtual


async def entering(slow_start: SlowStart, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.ensure_future(slow_start.enter()) for _ in range(count)]
    await give_way()
    return tasks


def gone(tasks: list[asyncio.Task[None]]) -> int:
    return sum(task.done() for task in tasks)


async def answered(slow_start: SlowStart, count: int) -> None:
    for _ in range(count):
        slow_start.taken(began_s=0.0)
        slow_start.leave()
    await give_way()


def test_as_many_more_as_were_taken() -> None:
    async def main() -> list[int]:
        slow_start = SlowStart()
        tasks = await entering(slow_start, 16)
        counts = [gone(tasks)]
        for under_way in (1, 2, 4):
            await answered(slow_start, under_way)
            counts.append(gone(tasks))
        await answered(slow_start, 8)
        return [*counts, gone(tasks)]

    assert run_virtual(main) == [1, 3, 7, 15, 16]


def test_after_a_refusal_one_goes_ahead_again() -> None:
    async def main() -> list[int]:
        slow_start = SlowStart()
        first = await entering(slow_start, 1)
        await answered(slow_start, 1)
        slow_start.refused(1.0)
        tasks = await entering(slow_start, 4)
        before = gone(tasks)
        slow_start.leave()  # refused once more
        await give_way()
        return [gone(first), before, gone(tasks)]

    assert run_virtual(main) == [1, 1, 2]


def test_what_had_begun_before_the_refusal_says_nothing_when_it_is_taken() -> None:
    """Many were under way when one was refused: one goes ahead, however many of the others are still taken."""

    async def main() -> list[int]:
        slow_start = SlowStart()
        slow_start.refused(1.0)
        for _ in range(20):
            slow_start.taken(began_s=0.5)
        tasks = await entering(slow_start, 8)
        before = gone(tasks)
        slow_start.taken(began_s=2.0)
        await give_way()
        return [before, gone(tasks)]

    assert run_virtual(main) == [1, 2]


def test_who_is_not_answered_holds_nobody_up_for_long() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        slow_start = SlowStart()
        await slow_start.enter()
        await asyncio.gather(*(slow_start.enter() for _ in range(3)))
        return loop.time()

    assert run_virtual(main) == pytest.approx(5)


def test_cancelled_while_waiting_it_takes_nobodys_place() -> None:
    async def main() -> tuple[int, int]:
        slow_start = SlowStart()
        await slow_start.enter()
        first, second = await entering(slow_start, 2)
        first.cancel()
        await give_way()
        slow_start.leave()
        await give_way()
        return gone([second]), slow_start.waiting

    assert run_virtual(main) == (1, 0)
