"""A quota that is told in windows of any length, and in any form, is used to the full without one refusal; in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.emulator import Rate as ServerRate
from bulkup.emulator import Window
from bulkup.pacing import Quota, QuotaTold
from tests.pacing.test_quota import simulate

FIVE: dict[str, Any] = {"requests": 50, "window_s": 5.0}
"""600 a minute, of which 0.1.0 used 50."""


@pytest.mark.parametrize(
    "rate",
    [
        {},
        {"starts": "clock"},
        {"reset": "duration"},
        {"reset": "duration", "starts": "clock"},
        {"reset": "floor"},
        {"reset": "floor", "starts": "clock"},
        {"reset": "date", "starts": "clock"},
        {"reset": "unix", "starts": "clock"},
        {"tells": "ietf"},
        {"tells": "ietf", "algorithm": "bucket"},
        {"tells": "ietf", "starts": "clock"},
        {"tells": "ietf-07"},
        {"tells": "ietf-06"},
        {"requests": 100, "window_s": 10.0},
        {"requests": 30, "window_s": 3.0},
        {"requests": 20, "window_s": 2.0},
        {"requests": 20, "window_s": 2.0, "reset": "duration"},
        {"requests": 600, "window_s": 60.0, "tells": "ietf"},
        {"requests": 600, "window_s": 60.0, "starts": "clock"},
    ],
    ids=str,
)
def test_six_hundred_a_minute_told_in_whatever_form(rate: dict[str, Any]) -> None:
    """At most 1.05 times the least time, and no refusal at all."""
    took, simulated = simulate(ServerRate(**(FIVE | rate)), 600)
    assert simulated.refused == 0
    assert took <= 1.05 * 60


def test_in_a_window_of_a_second_a_twentieth_is_left_free() -> None:
    """Requests do not take equally long to arrive."""
    took, simulated = simulate(ServerRate(requests=10, window_s=1.0, tells="ietf"), 600)
    assert simulated.refused == 0
    assert took <= 1.1 * 60


@pytest.mark.parametrize("reset", ["seconds", "floor", "duration", "date", "unix"])
def test_with_long_round_trips_nobody_is_refused_either(reset: Any) -> None:
    """How fast it can be there is the slow start's matter."""
    took, simulated = simulate(ServerRate(**FIVE, reset=reset), 300, latency_s=0.8)
    assert simulated.refused == 0
    assert took <= 1.3 * 30


@pytest.mark.parametrize(
    ("rate", "also", "per_minute"),
    [
        ({"requests": 300, "window_s": 60.0}, [(10, 1.0)], 300),
        ({"requests": 10, "window_s": 1.0}, [(300, 60.0)], 300),
        ({"requests": 10, "window_s": 1.0}, [(100, 10.0), (200, 60.0)], 200),
    ],
)
def test_several_windows_all_hold(rate: dict[str, Any], also: list[tuple[int, float]], per_minute: int) -> None:
    windows = tuple(Window(requests=requests, window_s=window_s) for requests, window_s in also)
    took, simulated = simulate(ServerRate(**rate, also=windows, tells="ietf"), per_minute)
    assert simulated.refused == 0
    assert took <= 1.05 * 60


def test_a_bucket_whose_window_nobody_names_is_found_out_bit_by_bit() -> None:
    """It begins at 50 a minute, and is used to the full in the end, without a refusal."""
    took, simulated = simulate(ServerRate(**FIVE, algorithm="bucket"), 1200)
    assert simulated.refused == 0
    assert took <= 1.2 * 120
    assert simulated.pacing.quota.per_minute(simulated.clock()) == pytest.approx(600, rel=0.15)


@pytest.mark.parametrize("reset", ["seconds", "duration"])
def test_an_hours_quota_is_spread_over_the_hour(reset: Any) -> None:
    """A limit of 1,000 with resets in an hour is not 1,000 a minute: 0.1.0 was refused after a minute of that."""
    took, simulated = simulate(ServerRate(requests=120, window_s=3600.0, reset=reset), 100)
    assert simulated.refused == 0
    assert took <= 1.05 * 3000


def test_a_quota_of_a_day_is_there_to_be_used_today() -> None:
    """What is left of it is spread over an hour at most."""
    quota = Quota()
    quota.headers(0.0, QuotaTold(1000, 900, 80_000, 86_400, "daily"))
    assert (quota.per_minute(0.0) or 0) >= 0.99 * 900 / 60


def test_what_others_use_is_left_to_them() -> None:
    """Half of a window is gone, and a fifth of it is left."""
    quota = Quota()
    quota.headers(0.0, QuotaTold(600, 60, 30.0, 60.0, "a", whole=False))
    assert quota.per_minute(0.0) == pytest.approx(120, rel=0.02)
    assert quota.changes_s(0.0) == 30
    assert quota.per_minute(30.0) == pytest.approx(594)


def test_resets_that_are_not_the_windows_are_not_believed() -> None:
    """`remaining` comes back each minute though the reset is far away: then it is a minute."""
    quota, left = Quota(), 60.0
    for at in range(0, 1200, 12):
        left = 60.0 if at % 60 == 0 else left
        left -= 1
        quota.headers(float(at), QuotaTold(60, left, 10_000.0 - at, whole=False))
    assert quota.per_minute(1200.0) == pytest.approx(59.4)


def test_a_quota_that_is_not_told_any_more_is_forgotten() -> None:
    quota = Quota()
    quota.headers(0.0, QuotaTold(1, 1, 60, 60.0, "old"))
    for at in range(70):
        quota.headers(float(at), QuotaTold(600, 599, 60, 60.0, "new"))
    assert quota.per_minute(100.0) == pytest.approx(594)


def test_windows_that_become_longer_or_shorter_are_followed() -> None:
    """Five seconds, then twenty, then five again, of 50 requests each: never faster than the window of the time."""
    quota, at = Quota(), 0.0
    for window_s in (5.0, 20.0, 5.0):
        for _ in range(5):
            used, began = 0.0, at
            while at < began + window_s:
                used = min(50.0, used + 1)
                quota.headers(at, QuotaTold(50, 50 - used, began + window_s - at, whole=False))
                at += window_s / 50
        assert quota.per_minute(at) == pytest.approx(0.99 * 3000 / window_s, rel=0.05)


hostile = st.sampled_from([0.0, 1e-9, 1.0, 5.0, 60.0, 3600.0, 31_536_000.0, 1e9, 1e12]) | st.floats(0, 1e12)
told = st.builds(
    QuotaTold,
    st.none() | hostile.map(lambda value: max(value, 1e-3)),
    st.none() | hostile,
    st.none() | hostile.map(lambda value: min(value, 1e9)),
    st.none() | hostile.map(lambda value: min(max(value, 1e-3), 1e9)),
    st.sampled_from(["", "a", "b"]),
    st.booleans(),
)


@given(st.lists(st.tuples(hostile.map(lambda value: min(value, 1e4)), told, st.floats(0, 10)), max_size=40))
def test_no_sequence_of_headers_stops_a_lane_or_takes_it_past_the_user(
    steps: list[tuple[float, QuotaTold, float]],
) -> None:
    """Never a crash, never no pace, never faster than what the user allows."""
    mine, free, now = Quota(told_per_minute=600), Quota(), 0.0
    for gone_s, one, late_s in steps:
        now += gone_s
        for quota in (mine, free):
            quota.headers(now, one, late_s=late_s)
            for at in (now, now + 0.5, now + 100, now + 1e5):
                pace = quota.per_minute(at)
                assert pace is not None
                assert 0.09 <= pace < float("inf")
                changes_s = quota.changes_s(at)
                assert changes_s is None or changes_s > at
        assert (mine.per_minute(now) or 0) <= 594 + 1e-6


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 1e6))
def test_one_answer_alone_makes_nobody_faster_than_a_limit_in_a_second(limit: int, left: int, reset_s: float) -> None:
    """Nor faster than ten a second, where a minute would be slower."""
    quota = Quota()
    quota.headers(0.0, QuotaTold(limit, left, reset_s))
    assert (quota.per_minute(0.0) or 0) <= max(600.0, limit) + 1e-6
