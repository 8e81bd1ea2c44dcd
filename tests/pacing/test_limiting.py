"""What limits: the rule of docs/cli.md, line by line."""

from __future__ import annotations

import asyncio

import pytest

from bulkup.outcome import Accepted
from bulkup.pacing import Concurrency, Gate, LimitedBy, Limiting, Pacing, Rate, Spent
from tests.pacing.virtual import run_virtual


@pytest.mark.parametrize(
    ("spent", "by"),
    [
        (Spent(), None),
        (Spent(lane_s=10, quota_s=6, full_s=4, cpu_s=10, wall_s=10), LimitedBy.QUOTA),
        (Spent(lane_s=10, full_s=9, answer_s=90, cpu_s=9, wall_s=10), LimitedBy.CPU),
        (Spent(lane_s=10, full_s=9, answer_s=90, cpu_s=9, wall_s=10, processes=2), LimitedBy.SERVER),
        (Spent(lane_s=10, full_s=9, answer_s=30, body_s=60, cpu_s=4, wall_s=10), LimitedBy.NETWORK),
        (Spent(lane_s=10, full_s=2, cpu_s=6, wall_s=10), LimitedBy.CPU),
        (Spent(lane_s=10, full_s=2, cpu_s=2, wall_s=10), LimitedBy.SOURCE),
    ],
)
def test_the_rule(spent: Spent, by: LimitedBy | None) -> None:
    assert spent.limited_by() == by


def test_now_is_the_last_second_and_overall_is_all() -> None:
    """And while nothing is being sent, what was known stays."""
    limiting = Limiting()
    limiting.take(Spent(wall_s=100))
    limiting.take(Spent(lane_s=9, quota_s=9, wall_s=109))
    assert (limiting.now, limiting.overall, limiting.is_client) == (LimitedBy.QUOTA, LimitedBy.QUOTA, False)
    limiting.take(Spent(lane_s=9.5, quota_s=9, wall_s=109.5))
    assert (limiting.now, limiting.is_client) == (LimitedBy.QUOTA, False), "half a second is too short to say"
    limiting.take(Spent(lane_s=10.5, quota_s=9, wall_s=110.5))
    assert (limiting.now, limiting.overall, limiting.is_client) == (LimitedBy.SOURCE, LimitedBy.QUOTA, True)
    limiting.take(Spent(lane_s=10.5, quota_s=9, wall_s=300))
    assert limiting.now == LimitedBy.SOURCE


def limited(
    *, told: float | None, latency_s: float, source_s: float, evidence_s: float = 0.0, paused_s: float = 0.0
) -> LimitedBy | None:
    """What limits forty requests by five senders, of which each finds the next chunk after *source_s*."""

    async def main() -> LimitedBy | None:
        loop = asyncio.get_running_loop()
        pacing = Pacing(
            concurrency=Concurrency(cap=4),
            gate=Gate(clock=loop.time, sleep=asyncio.sleep),
            rate=Rate(requests_per_minute=told, clock=loop.time, sleep=asyncio.sleep),
            clock=loop.time,
        )
        pacing.take_stock(cpu_s=0)
        chunks = iter(range(40))

        async def send() -> None:
            for _ in chunks:
                await asyncio.sleep(source_s)
                await pacing.enter(rows=1, size=1)
                began_s = loop.time()
                await asyncio.sleep(latency_s)
                pacing.answered(Accepted("i", "n"), began_s=began_s, body_ended_s=began_s, size=1)
                pacing.leave()

        await asyncio.gather(*(send() for _ in range(5)))
        pacing.waiting_for_evidence = "a quiet period"
        await asyncio.sleep(evidence_s)
        pacing.waiting_for_evidence = ""
        pacing.pause()
        held = asyncio.create_task(pacing.enter(rows=1, size=1))
        await asyncio.sleep(paused_s)
        pacing.go_on()
        await held
        pacing.leave()
        pacing.finish()
        await asyncio.sleep(1000)
        pacing.take_stock(cpu_s=0)
        return pacing.limiting.overall

    return run_virtual(main)


def test_the_time_of_a_lane_is_told_apart() -> None:
    assert limited(told=60, latency_s=0.1, source_s=0) is LimitedBy.QUOTA
    assert limited(told=None, latency_s=1, source_s=0) is LimitedBy.SERVER
    assert limited(told=None, latency_s=0.1, source_s=2) is LimitedBy.SOURCE


def test_a_pause_is_nobodys_fault() -> None:
    assert limited(told=None, latency_s=1, source_s=0, paused_s=500) is LimitedBy.SERVER


def test_waiting_for_evidence_is_nobodys_fault() -> None:
    """Nor is what comes after the lane's end."""
    assert limited(told=None, latency_s=1, source_s=0, evidence_s=500) is LimitedBy.SERVER
