"""Rates on a clock that jumps: never over the quota in any window, no burst at the start, none after a pause."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.pacing import Rate
from tests.examples import examples
from tests.pacing.virtual import run_virtual


def times(rate: dict[str, float], asked: list[tuple[int, int]], *, pause_s: float = 0.0) -> list[float]:
    """When each of *asked* (rows, bytes), all waiting at once, may go; the second half asks *pause_s* later."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        limit = Rate(**rate)  # type: ignore[arg-type]
        went: list[float] = []

        async def go(rows: int, size: int) -> None:
            await limit.acquire(rows=rows, size=size)
            went.append(loop.time())

        half = len(asked) // 2 if pause_s else len(asked)
        await asyncio.gather(*(go(*one) for one in asked[:half]))
        await asyncio.sleep(pause_s)
        await asyncio.gather(*(go(*one) for one in asked[half:]))
        return went

    return run_virtual(main)


def most_in(window_s: float, went: list[float], amounts: list[float] | None = None) -> float:
    """The largest sum in any window of that length."""
    weights = amounts or [1.0] * len(went)
    return max(
        sum(w for at, w in zip(went, weights, strict=True) if start <= at < start + window_s - 1e-6) for start in went
    )


def test_sixty_a_minute_is_one_a_second_from_the_start() -> None:
    """A free bucket would let 60 through at once and 60 more within the same minute. Two come half a second later."""
    went = times({"requests_per_minute": 60}, [(1, 1)] * 70)
    assert went[0] == pytest.approx(0, abs=0.01)
    assert went[1] == pytest.approx(1.5, abs=0.02)
    assert went[2] == pytest.approx(3, abs=0.04)
    assert went[3] == pytest.approx(4, abs=0.06)
    assert most_in(60, went) <= 61
    assert went[-1] == pytest.approx(70 / 0.99, rel=0.01)


def test_no_burst_after_a_pause() -> None:
    """What was not used is forgone."""
    went = times({"requests_per_minute": 60}, [(1, 1)] * 8, pause_s=100)
    assert went[4] - went[3] >= 90
    assert went[5] - went[4] == pytest.approx(1, abs=0.02)
    assert most_in(2, went) <= 3


@examples(4)
@given(st.lists(st.integers(1, 5_000), min_size=2, max_size=12), st.sampled_from([10.0, 333.0, 1000.0]))
def test_bytes_and_rows_keep_their_rate_in_any_order(amounts: list[int], per_second: float) -> None:
    """Amounts above the bucket neither raise nor overtake each other, and the whole takes as long as it must."""
    for key, asked in (
        ("bytes_per_second", [(1, amount) for amount in amounts]),
        ("rows_per_second", [(amount, 1) for amount in amounts]),
    ):
        went = times({key: per_second}, asked)
        assert went == sorted(went)
        least = (sum(amounts) - max(1.0, per_second / 10)) / per_second
        assert went[-1] >= least - 1e-6
        assert went[-1] <= sum(amounts) / per_second * 1.05 + 1


def test_a_large_one_is_not_overtaken() -> None:
    went = times({"bytes_per_second": 100.0}, [(1, 1000), (1, 1)])
    assert went[0] == pytest.approx(9.9, abs=0.2)
    assert went[1] >= went[0]


def test_no_rate_waits_for_nothing() -> None:
    assert times({}, [(10**9, 10**12)] * 3) == [pytest.approx(0, abs=1e-6)] * 3
    assert not Rate().is_limited


def test_a_cancelled_waiter_leaves_the_queue() -> None:
    """And the next one goes in its time."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        rate = Rate(requests_per_minute=6)
        await rate.acquire(rows=1, size=1)
        gone = asyncio.ensure_future(rate.acquire(rows=1, size=1))
        next_ = asyncio.ensure_future(rate.acquire(rows=1, size=1))
        await asyncio.sleep(5)
        gone.cancel()
        await next_
        return loop.time()

    assert run_virtual(main) == pytest.approx(15 / 0.99, abs=0.1)
