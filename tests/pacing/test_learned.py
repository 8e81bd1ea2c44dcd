"""A rate that nobody tells, against every kind of service: buckets, fixed and sliding windows; Retry-After exact, in whole seconds,
as a date, and none. 600 a minute, 50 ms latency; least time = requests × 100 ms, whatever burst a service allows at first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.pacing import LearnedRate
from tests.pacing.quotas import Bucket, FixedWindow, RetryAfter, Server, SlidingWindow, says
from tests.pacing.senders import Answer, Senders
from tests.pacing.virtual import run_virtual

PER_S = 10.0
SERVERS: dict[str, Callable[[], Server]] = {
    "bucket of 1 s, empty at first": partial(Bucket, PER_S, 10, 1),
    "bucket of 1 s": partial(Bucket, PER_S, 10, 10),
    "bucket of 10 s": partial(Bucket, PER_S, 100, 100),
    "bucket of 60 s": partial(Bucket, PER_S, 600, 600),
    "window of 2 s": partial(FixedWindow, PER_S, 2),
    "window of 10 s": partial(FixedWindow, PER_S, 10),
    "window of 10 s, begun": partial(FixedWindow, PER_S, 10, 6.0),
    "window of 60 s": partial(FixedWindow, PER_S, 60),
    "sliding window of 1 s": partial(SlidingWindow, PER_S, 1),
    "sliding window of 10 s": partial(SlidingWindow, PER_S, 10),
    "sliding window of 60 s": partial(SlidingWindow, PER_S, 60),
}
FORMS: tuple[RetryAfter, ...] = ("exact", "seconds", "date", "none")


def sent(name: str, form: RetryAfter, requests: int, *, seed: int = 1) -> tuple[float, Senders]:
    """How long that took, and who sent."""

    async def main() -> tuple[float, Senders]:
        server = SERVERS[name]()

        def answer(now: float) -> Answer:
            wait_s = server.wait_s(now)
            return Answer(wait_s == 0, says(form, now, wait_s) if wait_s else None)

        senders = Senders(answer, seed=seed)
        return await senders.send(requests), senders

    return run_virtual(main)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_as_the_benchmark(form: RetryAfter, seed: int) -> None:
    """305 requests to a bucket of one second's worth that begins with one: 1.15 times the least time, 2 % refused."""
    took, senders = sent("bucket of 1 s, empty at first", form, 305, seed=seed)
    assert took <= 1.15 * 305 / PER_S
    assert senders.refused <= 0.02 * (305 + senders.refused)


HARD = {
    (
        "sliding window of 1 s",
        "seconds",
    ): "half a second's wait becomes one: what it took over that is two thirds of the rate",
    ("sliding window of 1 s", "date"): "the same, with up to two seconds",
    ("sliding window of 1 s", "none"): "a try more a refusal",
    ("window of 2 s", "none"): "a try more a refusal",
    (
        "window of 10 s",
        "none",
    ): "nobody says when it opens: the waits between tries double, so up to half of the wait is lost",
    ("window of 10 s, begun", "none"): "the same",
    ("window of 60 s", "none"): "the same",
    ("sliding window of 10 s", "none"): "the same",
    ("sliding window of 60 s", "none"): "the same",
}
"""1.15 times the least time is missed there with 1,000 requests, and why."""


def _some(names: Iterable[str], forms: Sequence[RetryAfter], every: int) -> list[Any]:
    """Each of *names* with each form; by default every so many of them, so that each comes with some."""
    return [
        pytest.param(name, form, marks=[pytest.mark.slow] if (at + place) % every else [])
        for at, name in enumerate(names)
        for place, form in enumerate(forms)
    ]


@pytest.mark.parametrize(("name", "form"), _some(SERVERS, FORMS, 2))
def test_it_is_found_out_within_a_thousand_requests(name: str, form: RetryAfter) -> None:
    """At most 2 % are refused beyond those that are under way when nothing is known yet, which are as many as there are senders."""
    took, senders = sent(name, form, 1000)
    at_first = sum(not taken for at, taken, _ in senders.log if at <= first_refusal(senders) + 2 * senders.latency_s)
    assert at_first <= 16
    if (name, form) in HARD:
        assert took <= 1.5 * 1000 / PER_S
        assert senders.refused - at_first <= 0.03 * 1000
    else:
        assert took <= 1.15 * 1000 / PER_S
        assert senders.refused - at_first <= 0.02 * 1000


def first_refusal(senders: Senders) -> float:
    return next(at for at, taken, _ in senders.log if not taken)


@pytest.mark.parametrize(("name", "form"), _some([name for name in SERVERS if "window" in name], FORMS[:3], 3))
def test_a_window_is_not_run_past(name: str, form: RetryAfter) -> None:
    """That its quota lasts for a while after it has opened is no reason to grow: it is about the rate all the time."""
    _, senders = sent(name, form, 1500)
    paces = [pace for _, _, pace in senders.log[800:] if pace is not None]
    assert max(paces) <= 1.4 * 600


def test_after_a_long_run_hardly_anything_is_refused() -> None:
    for name in ("bucket of 1 s", "window of 10 s", "window of 60 s"):
        _, senders = sent(name, "seconds", 3000)
        late = [taken for _, taken, _ in senders.log[1000:]]
        assert late.count(False) <= 0.01 * len(late), name


def learned(*, every_s: float, taken: int) -> LearnedRate:
    """After so many requests, evenly spaced, none of which was refused."""
    rate = LearnedRate()
    for place in range(taken):
        rate.accepted(place * every_s + 0.05, began_s=place * every_s)
    return rate


def test_what_is_refused_at_the_same_time_counts_once() -> None:
    """They had all begun before the first of them was answered."""
    rate = learned(every_s=0.1, taken=100)
    for place in range(5):
        rate.refused(10.1 + place / 100, began_s=10.0, wait_s=10.0)
    assert rate.refusals_in_a_row == 1
    assert rate.per_minute == pytest.approx(60 * 0.98 * 99 / 19.1)
    rate.refused(21, began_s=20.9, wait_s=10.0)
    assert rate.refusals_in_a_row == 2


def test_a_long_wait_makes_a_rate_of_what_was_taken_before_it() -> None:
    """A hundred in ten seconds, then ten seconds of quiet: five a second."""
    rate = learned(every_s=0.1, taken=100)
    rate.refused(10.0, began_s=9.96, wait_s=9.9)
    assert rate.is_measured
    assert rate.per_minute == pytest.approx(60 * 0.98 * 99 / 19.9)


def test_a_short_wait_after_a_burst_makes_no_rate() -> None:
    """It may have been a bucket's content: a quarter of it is tried."""
    rate = learned(every_s=0.01, taken=600)
    rate.refused(6.0, began_s=5.995, wait_s=0.1)
    assert not rate.is_measured
    assert rate.per_minute == pytest.approx(60 * 0.25 * 600 / 6.1)


def test_a_refusal_that_comes_too_early_makes_a_trial_of_one_at_a_time() -> None:
    """It doubles in twelve that follow one another at its pace; the first of them follows none."""
    rate = learned(every_s=0.1, taken=1)
    rate.refused(0.2, began_s=0.15, wait_s=1.0)
    assert rate.per_minute == pytest.approx(60 / 0.05)
    at = 1.2
    for _ in range(13):
        rate.accepted(at + 0.05, began_s=at)
        assert rate.per_minute is not None
        at += 60 / rate.per_minute
    assert rate.per_minute == pytest.approx(2 * 60 / 0.05)
    assert not rate.is_measured


def test_from_refusal_to_refusal_it_is_measured_whatever_was_waited() -> None:
    """Between two moments at which it is empty a bucket takes what it grants: 21 in 2.3 s, or in 2.2 since it took one again."""
    rate = learned(every_s=0.1, taken=2)
    rate.refused(0.2, began_s=0.15, wait_s=None)
    at = 0.4
    for _ in range(21):
        rate.accepted(at + 0.05, began_s=at)
        at += 0.1
    rate.refused(at, began_s=at - 0.05, wait_s=None)
    rate.accepted(at + 0.25, began_s=at + 0.2)
    assert rate.is_measured
    assert rate.per_minute == pytest.approx(60 * 0.98 * 20 / 2.2)


def test_who_sends_less_than_it_may_does_not_raise_it() -> None:
    """Growth is for a pace that was kept."""
    rate = learned(every_s=0.1, taken=100)
    rate.refused(10.0, began_s=9.96, wait_s=10.0)
    before = rate.per_minute
    for place in range(500):
        rate.accepted(21 + place, began_s=20.9 + place)
    assert before is not None
    assert rate.per_minute == pytest.approx(before, rel=0.001)


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 5), st.sampled_from([True, True, False]), st.floats(0, 90))))
def test_whatever_comes_the_rate_is_a_rate(ends: list[tuple[float, float, bool, float]]) -> None:
    rate, now = LearnedRate(), 0.0
    for gap_s, trip_s, is_taken, wait_s in ends:
        now += gap_s
        if is_taken:
            rate.accepted(now, began_s=now - trip_s)
        else:
            rate.refused(now, began_s=now - trip_s, wait_s=wait_s if wait_s < 60 else None)
        assert rate.per_minute is None or 0 < rate.per_minute < 1e6
