"""Who may send while the dataset does not exist: one at a time, and after a doubt not before a quiet period has passed."""

from __future__ import annotations

import asyncio

import pytest

from bulkup.flow.creation import Creation
from tests.pacing.virtual import give_way, run_virtual

QUIET_S = 30.0


def creation(*, exists: bool = False, last_byte_at: float | None = None) -> Creation:
    clock = asyncio.get_running_loop().time
    return Creation(exists=exists, quiet_s=QUIET_S, last_byte_at=last_byte_at, clock=clock, sleep=asyncio.sleep)


async def test_where_it_exists_nobody_waits() -> None:
    made = creation(exists=True)
    assert [await made.enter() for _ in range(3)] == [False, False, False]


def test_one_at_a_time_until_one_has_landed_then_all() -> None:
    """A refused first chunk lets the second try, alone again."""

    async def main() -> list[tuple[int, bool, float]]:
        made, log = creation(), list[tuple[int, bool, float]]()
        at_once = 0

        async def send(number: int) -> None:
            nonlocal at_once
            alone = await made.enter()
            at_once += 1
            log.append((number, alone, asyncio.get_running_loop().time()))
            assert at_once == 1 or not alone
            await asyncio.sleep(10)
            at_once -= 1
            if number == 1:
                made.landed()
            if alone:
                made.leave()

        await asyncio.gather(*(send(number) for number in range(5)))
        return log

    log = run_virtual(main)
    assert [(number, alone) for number, alone, _ in log] == [(0, True), (1, True), (2, False), (3, False), (4, False)]
    assert [at for *_, at in log] == pytest.approx([0, 10, 20, 20, 20], abs=0.01)


def test_after_a_doubt_the_next_waits_for_quiet() -> None:
    """Counted from its last byte, and anew after each further doubt."""

    async def main() -> list[float]:
        made, began = creation(), list[float]()
        loop = asyncio.get_running_loop()

        async def send() -> None:
            assert await made.enter()
            began.append(loop.time())
            await asyncio.sleep(5)
            made.in_doubt()
            made.leave()

        await asyncio.gather(send(), send(), send())
        return began

    assert run_virtual(main) == pytest.approx([0, 35, 70], abs=0.01)


def test_a_doubt_of_an_earlier_process_counts() -> None:
    async def main() -> float:
        await asyncio.sleep(100)
        made = creation(last_byte_at=90.0)
        assert await made.enter()
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(120, abs=0.01)


def test_the_last_part_of_a_second_is_waited_too() -> None:
    async def main() -> float:
        await asyncio.sleep(100)
        assert await creation(last_byte_at=100.5 - QUIET_S).enter()
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(100.5, abs=0.01)


def test_an_old_doubt_costs_nothing() -> None:
    async def main() -> float:
        await asyncio.sleep(1000)
        assert await creation(last_byte_at=90.0).enter()
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(1000, abs=0.01)


def test_cancelled_in_its_quiet_period_the_turn_passes_on() -> None:
    async def main() -> float:
        made = creation(last_byte_at=0.0)
        gone, next_ = asyncio.ensure_future(made.enter()), asyncio.ensure_future(made.enter())
        await asyncio.sleep(10)
        gone.cancel()
        await give_way()
        assert not next_.done()
        assert await next_
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(30, abs=0.01)
