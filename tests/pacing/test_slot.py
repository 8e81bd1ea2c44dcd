"""The slot: a permit, an open gate, the rate; and what is told of the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bulkup.outcome import CloseGate
from bulkup.pacing import Concurrency, Gate, Pacing, Rate, Waiting
from tests.pacing.virtual import give_way, run_virtual


def least(low: float, _: float) -> float:
    return low


def pacing(*, cap: int = 4, rate: Rate | None = None, uniform: Callable[[float, float], float] = least) -> Pacing:
    clock = asyncio.get_running_loop().time
    return Pacing(
        concurrency=Concurrency(cap=cap),
        gate=Gate(clock=clock, sleep=asyncio.sleep),
        rate=rate or Rate(),
        clock=clock,
        uniform=uniform,
    )


async def test_an_unthrottled_slot_is_had_at_once() -> None:
    paced = pacing()
    await paced.enter(rows=1, size=1)
    assert (paced.concurrency.in_flight, paced.throttled_s, paced.waiting) == (1, 0.0, Waiting.NOTHING)
    paced.leave()
    assert paced.concurrency.in_flight == 0


def test_nobody_goes_while_the_gate_is_closed() -> None:
    """Not those who had their permit when it closed, nor those who asked later."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        paced = pacing()
        went: list[float] = []

        async def send() -> None:
            await paced.enter(rows=1, size=1)
            went.append(loop.time())
            paced.leave()

        paced.gate.close(60, "429")
        tasks = [asyncio.ensure_future(send()) for _ in range(3)]
        await asyncio.sleep(59)
        assert went == []
        assert paced.waiting is Waiting.GATE
        paced.gate.close(60, "429 again")
        await asyncio.gather(*tasks)
        return [*went, len(paced.waiting)]

    assert run_virtual(main) == pytest.approx([119, 119, 119, 0])


def test_a_gate_that_closes_while_the_rate_is_waited_for_is_waited_for_too() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        paced = pacing(rate=Rate(requests_per_minute=6))
        await paced.enter(rows=1, size=1)
        second = asyncio.ensure_future(paced.enter(rows=1, size=1))
        await asyncio.sleep(5)
        assert paced.waiting is Waiting.RATE
        paced.gate.close(100, "429")
        await second
        return loop.time()

    assert run_virtual(main) >= 105


def test_a_refusal_that_names_no_wait_closes_the_gate_for_a_moment() -> None:
    """Until whoever was refused has closed it for as long as they see fit: nobody follows at once."""

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        paced = pacing()
        await paced.enter(rows=1, size=1)
        paced.answered(CloseGate("429", None, True), began_s=loop.time(), body_ended_s=loop.time(), size=1)
        paced.leave()
        await paced.enter(rows=1, size=1)
        return loop.time(), paced.throttled_s

    assert run_virtual(main) == pytest.approx((0.35, 0.35))


def test_who_waits_behind_the_lead_when_the_gate_closes_is_held_back_by_the_gate() -> None:
    """The time counts as throttled, and is told as the service's, though nobody asked for a slot after it closed."""

    async def main() -> tuple[float, Waiting, float, Waiting]:
        loop = asyncio.get_running_loop()
        paced = pacing()
        await paced.enter(rows=1, size=1)

        async def send() -> None:
            await paced.enter(rows=1, size=1)
            paced.leave()

        tasks = [asyncio.ensure_future(send()) for _ in range(2)]
        await give_way()
        paced.answered(CloseGate("503", 30, False), began_s=loop.time(), body_ended_s=loop.time(), size=1)
        paced.leave()
        await asyncio.sleep(10)
        midway = paced.throttled_s, paced.waiting
        await asyncio.gather(*tasks)
        return *midway, paced.throttled_s, paced.waiting

    midway, told, in_all, at_last = run_virtual(main)
    assert (midway, in_all) == pytest.approx((10, 30))
    assert (told, at_last) == (Waiting.GATE, Waiting.NOTHING)


def test_a_look_that_was_answered_lets_others_go() -> None:
    async def main() -> int:
        paced = pacing()
        await paced.enter(rows=0, size=0)
        now = asyncio.get_running_loop().time()
        paced.answered(None, began_s=now, body_ended_s=now, size=0)
        paced.leave()
        tasks = [asyncio.ensure_future(paced.enter(rows=1, size=1)) for _ in range(3)]
        await give_way()
        for task in tasks:
            task.cancel()
        return sum(task.done() and not task.cancelled() for task in tasks)

    assert run_virtual(main) == 2


def test_throttled_time_is_counted_once_however_many_wait() -> None:
    """And is told while it lasts."""

    async def main() -> tuple[float, float]:
        paced = pacing()
        paced.gate.close(30, "429")

        async def send() -> None:
            await paced.enter(rows=1, size=1)
            paced.leave()

        tasks = [asyncio.ensure_future(send()) for _ in range(4)]
        await asyncio.sleep(10)
        midway = paced.throttled_s
        await asyncio.gather(*tasks)
        await asyncio.sleep(1000)
        return midway, paced.throttled_s

    assert run_virtual(main) == pytest.approx((10, 30))


def test_waiting_for_a_permit_is_not_throttling() -> None:
    async def main() -> float:
        paced = pacing(cap=1)
        await paced.enter(rows=1, size=1)
        second = asyncio.ensure_future(paced.enter(rows=1, size=1))
        await asyncio.sleep(50)
        paced.leave()
        await second
        return paced.throttled_s

    assert run_virtual(main) == 0


def test_cancelled_at_the_gate_the_permit_is_given_back() -> None:
    async def main() -> tuple[float, float, float]:
        paced = pacing(cap=1)
        paced.gate.close(1000, "429")
        gone = asyncio.ensure_future(paced.enter(rows=1, size=1))
        await asyncio.sleep(5)
        gone.cancel()
        await give_way()
        return paced.concurrency.in_flight, paced.throttled_s, len(paced.waiting)

    assert run_virtual(main) == pytest.approx((0, 5, 0), abs=1e-5)
