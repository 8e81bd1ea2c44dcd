"""Requests a minute: told, read from headers, learned; evenly spaced; and how long what is left takes."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from math import floor
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.emulator import Growth as ServerGrowth
from bulkup.emulator import Rate as ServerRate
from bulkup.emulator.limits import Limits
from bulkup.outcome import Accepted, CloseGate
from bulkup.pacing import (
    Eta,
    Growth,
    LimitedBy,
    Quota,
    QuotaTold,
    Spacing,
    quotas_told,
    time_for_s,
)
from tests.pacing.quotas import Bucket
from tests.pacing.senders import Answer, Senders
from tests.pacing.virtual import run_virtual

LATENCY_S, WOKEN_LATE_S = 0.05, 0.001
UNIX = 1_800_000_000


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("12", 12),
        ("0.5", 0.5),
        ("10.000s", 10),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("soon", None),
        ("", None),
    ],
)
def test_headers_are_read(reset: str, seconds: float | None) -> None:
    """Seconds or a duration; what cannot be read counts as absent."""
    headers = {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": reset,
    }
    assert quotas_told(headers, UNIX) == (QuotaTold(600, 599, seconds),)


@pytest.mark.parametrize("limit", ["", "0", "-1", "many", "1e9", "nan", "٣"])
def test_no_limit_no_quota(limit: str) -> None:
    assert not quotas_told({"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": "5"}, UNIX)


@given(st.dictionaries(st.sampled_from(["limit", "remaining", "reset"]), st.text(max_size=12)))
def test_whatever_stands_in_headers_raises_nothing(values: dict[str, str]) -> None:
    quota = Quota()
    told = quotas_told({f"x-ratelimit-{name}-requests": value for name, value in values.items()}, UNIX)
    if told:
        quota.headers(0.0, *told)
        assert (quota.per_minute(0.0) or 0) > 0


def test_nothing_known_nothing_kept() -> None:
    assert Quota().per_minute(0) is None
    assert not Quota().is_known


def test_what_headers_tell_is_followed_when_it_changes() -> None:
    """At 0.99 of it, which is over the 0.8 that make it grow."""
    quota = Quota()
    for limit in (60, 72, 40):
        quota.headers(0, QuotaTold(limit, None, None))
        assert quota.per_minute(0) == pytest.approx(0.99 * limit)


def test_what_is_left_is_shared_out_over_what_is_left_of_the_window() -> None:
    """Somebody else uses the same quota. When the window is over that no longer counts."""
    quota = Quota()
    quota.headers(0, QuotaTold(600, 100, 30))
    assert quota.per_minute(0) == 200
    quota.headers(0, QuotaTold(600, 0, 30))
    assert quota.per_minute(0) == 60
    assert quota.per_minute(31) == pytest.approx(594)


@pytest.mark.parametrize("window_s", [60.0, 2.0])
def test_what_is_shown_is_what_was_told(window_s: float) -> None:
    """Not the pace that keeps just below it; and the pace, where another one holds."""
    quota = Quota(told_per_minute=300)
    assert quota.told_per_minute(0) == 300
    quota = Quota()
    assert quota.told_per_minute(0) is None
    quota.headers(0, QuotaTold(300 * window_s / 60, None, None, window_s))
    assert quota.told_per_minute(0) == pytest.approx(300)
    quota.headers(0, QuotaTold(300 * window_s / 60, 1, window_s, window_s))
    assert quota.told_per_minute(0) is None


def test_the_user_knows_the_window_that_headers_leave_open() -> None:
    """A limit of 15 is one of 15 a minute, unless the user says that it is 600 (15 in each 1.5 s)."""
    quota = Quota(told_per_minute=600)
    quota.headers(0, QuotaTold(15, 14, 1.0))
    assert quota.per_minute(0) == pytest.approx(594)


def test_a_refusal_that_measures_nothing_counts_only_where_nobody_has_said_anything() -> None:
    """One at a time, two seconds each, is a trial for who knows nothing: not for who was told ten a second."""
    for quota, pace in ((Quota(told_per_minute=600), 594), (Quota(), 30)):
        quota.accepted(2.0, began_s=0.0)
        quota.refused(4.0, began_s=2.0, wait_s=1.0)
        assert quota.per_minute(4.0) == pytest.approx(pace)
        assert quota.is_known


def _unasked(_: float) -> Answer:
    raise AssertionError("the emulator's limits answer")


class Simulated(Senders):
    """Sixteen who send to the emulator's own limits, which count a request as it begins."""

    def __init__(self, rate: ServerRate, told: float | None, latency_s: float = LATENCY_S) -> None:
        super().__init__(_unasked, told=told, latency_s=latency_s)
        self.rate, self.limits = rate, Limits(self.clock)

    async def send(self, requests: int) -> float:
        """So many requests, after one look. How long that took, in seconds."""
        await self.attempt()
        return await super().send(requests)

    async def attempt(self) -> Accepted | CloseGate:
        began_s = self.clock()
        self.went.append(began_s)
        quota = self.limits.take("nebius", self.rate)
        headers = {name.lower(): value for name, value in quota.headers(UNIX + began_s).items()}
        await asyncio.sleep(self.latency_s)
        self.pacing.headers({**headers, "date": formatdate(UNIX + floor(began_s), usegmt=True)})
        wait = headers.get("retry-after")
        outcome = Accepted("id", "n") if quota.allowed else CloseGate("429", float(wait) if wait else None, True)
        self.pacing.answered(outcome, began_s=began_s, body_ended_s=began_s, size=1000)
        return outcome


def simulate(
    rate: ServerRate, requests: int, told: float | None = None, *, latency_s: float = LATENCY_S
) -> tuple[float, Simulated]:
    async def main() -> tuple[float, Simulated]:
        simulated = Simulated(rate, told, latency_s)
        return await simulated.send(requests), simulated

    return run_virtual(main)


Algorithm = Literal["fixed", "bucket"]


@pytest.mark.parametrize("algorithm", ["fixed", "bucket"])
@pytest.mark.parametrize("requests", [300, 1300])
@pytest.mark.parametrize(
    ("told", "headers"), [(600, "off"), (None, "on"), (600, "on")], ids=["told", "headers", "both"]
)
def test_a_quota_that_is_known_is_used_up_without_one_refusal(
    algorithm: Algorithm, requests: int, told: float | None, headers: Literal["on", "off"]
) -> None:
    """600 a minute, 50 ms latency: at most 1.05 times the least time, and never two close together."""
    rate = ServerRate(requests=600, algorithm=algorithm, headers=headers)
    took, simulated = simulate(rate, requests, told)
    assert simulated.refused == 0
    assert simulated.pacing.concurrency.limit == 4, "a quota is no reason for more at once"
    assert took <= 1.05 * requests * 0.1
    gaps = [later - earlier for earlier, later in zip(simulated.went[1:], simulated.went[2:], strict=False)]
    assert min(gaps) >= 0.04


@pytest.mark.parametrize("how", ["told", "headers"])
@pytest.mark.parametrize("seed", range(5))
def test_a_bucket_that_begins_with_one_refuses_nobody(how: str, seed: int) -> None:
    """Nor where some requests take 25 ms longer to arrive than others, nor though headers come only with the first answer."""

    async def main() -> tuple[float, Senders]:
        bucket = Bucket(10.0, 10, 1)
        headers = {"x-ratelimit-limit-requests": "600"} if how == "headers" else {}
        senders = Senders(
            lambda now: Answer(bucket.wait_s(now) == 0, None, headers),
            told=600 if how == "told" else None,
            jitter_s=0.025,
            seed=seed,
        )
        return await senders.send(305), senders

    took, senders = run_virtual(main)
    assert senders.refused == 0
    assert took <= 1.05 * 305 * 0.1


@pytest.mark.parametrize("algorithm", ["fixed", "bucket"])
@pytest.mark.parametrize("requests", [1200, 3000])
def test_a_quota_that_nobody_tells_is_found_out(algorithm: Algorithm, requests: int) -> None:
    """At most 1.15 times the least time, at most 2 % refused."""
    rate = ServerRate(requests=600, algorithm=algorithm, headers="off")
    took, simulated = simulate(rate, requests)
    assert took <= 1.15 * requests * 0.1
    assert simulated.refused <= 0.02 * requests


def test_without_a_retry_after_it_is_found_out_too() -> None:
    """It takes longer to see how long to wait; in the end the pace is the quota's."""
    took, simulated = simulate(ServerRate(requests=600, headers="off", retry_after="none"), 6000)
    assert took <= 1.15 * 600
    assert simulated.refused <= 0.02 * 6000
    assert simulated.pacing.quota.per_minute(0) == pytest.approx(600, rel=0.15)


def test_who_is_woken_late_makes_up_for_it_and_who_comes_late_does_not() -> None:
    spacing = Spacing()
    spacing.took(0.0, 1.0, waited=False)
    assert spacing.wait_s(0.25, 1.0) == 0.75
    spacing.took(1.125, 1.0, waited=True)
    assert spacing.wait_s(1.125, 1.0) == 0.875
    spacing.took(2.875, 1.0, waited=True)
    assert spacing.wait_s(2.875, 1.0) == 0.5
    spacing.took(9.0, 1.0, waited=False)
    assert spacing.wait_s(9.0, 1.0) == 1.0


def test_until_the_first_refusal_there_is_no_rate() -> None:
    took, simulated = simulate(ServerRate(requests=10_000, headers="off"), 1000)
    assert took < 10
    assert simulated.pacing.quota.per_minute(0) is None


@pytest.mark.parametrize("headers", ["on", "off"])
def test_a_quota_that_grows_by_its_use_is_made_to_grow(headers: Literal["on", "off"]) -> None:
    """By a fifth each quarter of an hour, since the pace stays above the four fifths that this takes. 60 a minute at first."""
    rate = ServerRate(requests=60, headers=headers, grows=ServerGrowth())
    requests = int(15 * 60 * (1 + 1.2 + 1.44 + 1.728) * 0.93)
    took, simulated = simulate(rate, requests)
    assert took <= 4 * 15 * 60
    assert simulated.refused <= (0 if headers == "on" else 0.02 * requests)
    assert simulated.limits._periods["nebius"].requests == pytest.approx(60 * 1.2**3)


def test_growth_that_was_seen_is_foreseen() -> None:
    quota = Quota()
    quota.headers(0, QuotaTold(60, None, None))
    assert quota.growth(0) is None
    quota.headers(900, QuotaTold(72, None, None))
    growth = quota.growth(1000)
    assert growth is not None
    assert (growth.factor, growth.next_s, growth.most) == pytest.approx((1.2, 800, 0.99 * 1200))
    quota.headers(1900, QuotaTold(48, None, None))
    assert quota.growth(1900) is None


def test_what_is_left_takes_as_long_as_the_quota_makes_it() -> None:
    """60 a minute for 100 s more, then 72 for a quarter of an hour, then 86.4."""
    assert time_for_s(120, 60, None) == 120
    assert time_for_s(100 + 1080 + 144, 60, Growth(1.2, 100, 1200)) == pytest.approx(100 + 900 + 100)
    assert time_for_s(10**6, 60, Growth(1.2, 100, 60)) == pytest.approx(10**6)


def left(limited_by: LimitedBy | None, per_minute: float | None = 60, growth: Growth | None = None) -> float | None:
    """Half is done, in 100 requests, at a hundredth a second."""
    eta = Eta()
    for second in range(3):
        found = eta.left_s(
            second, 0.48 + second / 100, chunks=100, per_minute=per_minute, growth=growth, limited_by=limited_by
        )
    return found


def test_the_time_left_is_the_quotas_where_that_limits_and_never_less() -> None:
    assert left(None, None) == pytest.approx(50)
    assert left(LimitedBy.SOURCE) == pytest.approx(100)
    assert left(LimitedBy.QUOTA, 600) == pytest.approx(10)
    assert left(LimitedBy.SOURCE, 600) == pytest.approx(50)
    assert left(LimitedBy.QUOTA, 60, Growth(1.2, 10, 1200)) == pytest.approx(10 + 75)


def test_nobody_can_say() -> None:
    eta = Eta()
    for share in (None, 0.0):
        assert eta.left_s(5, share, chunks=0, per_minute=60, growth=None, limited_by=None) is None
