"""The limit on a simulated clock: it finds what simulated services can take, keeps near it, and follows when that changes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkup.pacing import AdaptiveLimit, Attempt, Ending
from tests.pacing.servers import Driven, Plateau, Service, best_fixed, drive, goodput_between

SIZE = 1000


def steady() -> float:
    return 1.0


def noisy(seed: int = 5) -> Callable[[], float]:
    dice = random.Random(seed)
    return lambda: dice.lognormvariate(-0.02, 0.2)


def window(limit: AdaptiveLimit, at: float, *, goodput: float, trip_s: float = 1.0, is_full: bool = True) -> float:
    """One whole window, at so many bytes a second; when it ended."""
    if limit._window.since_s is None:  # the round that is not counted
        at += trip_s
        limit.ended(Attempt(at - trip_s, at, SIZE, Ending.TAKEN), is_full=is_full)
    ends = -(-4 // limit.limit) * limit.limit
    over = at + ends * SIZE / goodput
    for _ in range(ends):
        limit.ended(Attempt(over - trip_s, over, SIZE, Ending.TAKEN), is_full=is_full)
    return over


def test_it_starts_at_four_or_the_cap() -> None:
    assert [AdaptiveLimit(cap=cap).limit for cap in (1, 3, 4, 16)] == [1, 3, 4, 4]


def test_it_doubles_while_goodput_grows_by_a_fifth_of_linear() -> None:
    """Doubled and 20 % more: on; less: the doubling is taken back."""
    limit, at = AdaptiveLimit(cap=64), 0.0
    limits = []
    for goodput in (1000, 1201, 1442, 1700):
        at = window(limit, at, goodput=goodput)
        limits.append(limit.limit)
    assert limits == [8, 16, 32, 16]


def test_then_it_grows_by_one() -> None:
    """After two windows at the limit to which it went back."""
    limit, at = AdaptiveLimit(cap=64), 0.0
    limits = []
    for _ in range(5):
        at = window(limit, at, goodput=1000)
        limits.append(limit.limit)
    assert limits == [8, 4, 4, 5, 4]


def test_nothing_grows_while_the_client_is_the_limit() -> None:
    """Neither where permits are free, nor where whoever watches says so; nor do slow round trips count then."""
    for watched, is_full in ((False, False), (True, True)):
        limit, at = AdaptiveLimit(cap=64), 0.0
        limit.client_is_limit = watched
        for place in range(10):
            at = window(limit, at, goodput=1000 * 2**place, trip_s=1.0 + place, is_full=is_full)
        assert limit.limit == 4


def test_back_pressure_costs_three_tenths_once_a_window() -> None:
    """What had begun before the cut is of the same window."""
    limit = AdaptiveLimit(cap=64)
    at = window(limit, 0.0, goodput=1000)
    at = window(limit, at, goodput=2000)
    assert limit.limit == 16
    for _ in range(16):
        limit.ended(Attempt(at, at + 1, SIZE, Ending.PRESSED), is_full=True)
    assert limit.limit == 11
    limit.ended(Attempt(at + 2, at + 3, SIZE, Ending.PRESSED), is_full=True)
    assert limit.limit == 7


def settled_at(places: int) -> tuple[AdaptiveLimit, float]:
    """A limit that has found that more than so many do not pay."""
    limit, at = AdaptiveLimit(cap=64), 0.0
    while limit.limit <= places:
        at = window(limit, at, goodput=1000 * limit.limit)
    at = window(limit, at, goodput=1000 * places)
    assert limit.limit == places
    return limit, at


def test_slow_round_trips_cost_a_tenth() -> None:
    for places, left in ((8, 7), (32, 28)):
        limit, at = settled_at(places)
        window(limit, at, goodput=1000 * places, trip_s=1.5)
        assert limit.limit == left


def test_where_more_pays_again_it_doubles_again() -> None:
    """The service has become larger: a quarter more at once has brought as much more goodput."""
    limit, at = settled_at(8)
    limits = []
    for _ in range(5):
        at = window(limit, at, goodput=1000 * limit.limit)
        limits.append(limit.limit)
    assert limits == [8, 9, 10, 20, 40]


def test_round_trips_within_the_spread_cost_nothing() -> None:
    """σ is not 0: a few per cent are no queue."""
    limit, at = settled_at(8)
    window(limit, at, goodput=8000, trip_s=1.04)
    assert limit.limit == 8


def test_a_cut_that_costs_goodput_is_taken_back() -> None:
    """The way has become longer: with fewer at once there is only less. The long round trip is the usual one from then on."""
    limit, at = settled_at(8)
    at = window(limit, at, goodput=8000, trip_s=1.5)
    at = window(limit, at, goodput=7000, trip_s=1.5)
    assert limit.limit == 8
    window(limit, at, goodput=8000, trip_s=1.5)
    assert limit.limit >= 8


def test_small_bodies_say_nothing_of_the_round_trip() -> None:
    """A short last chunk comes back sooner, and does not make the others look slow."""
    limit, at = AdaptiveLimit(cap=64), 0.0
    for _ in range(3):
        at = window(limit, at, goodput=1000)
    before = limit._trips.mean_s
    for place in range(4):
        limit.ended(Attempt(at + place, at + place + 0.01, SIZE // 10, Ending.TAKEN), is_full=True)
    assert limit._trips.mean_s == before
    assert limit._window.trips == []


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.lists(
        st.tuples(
            st.floats(0.001, 5), st.integers(1, 10**7), st.sampled_from([*[Ending.TAKEN] * 6, *Ending]), st.booleans()
        ),
        max_size=300,
    ),
)
def test_it_is_never_below_one_nor_over_the_cap(cap: int, ends: list[tuple[float, int, Ending, bool]]) -> None:
    """Whatever comes back, in whatever order."""
    limit, now = AdaptiveLimit(cap=cap), 0.0
    for trip_s, size, ending, is_full in ends:
        now += trip_s / 4
        limit.ended(Attempt(now - trip_s, now, size, ending), is_full=is_full)
        assert 1 <= limit.limit <= cap


def after_ten_windows(driven: Driven, since_s: float, until_s: float) -> float:
    """Goodput of the plateau [since_s, until_s) from the end of its tenth window on."""
    ends = [at for at in driven.windows if at >= since_s]
    return goodput_between(driven, ends[9], until_s)


@pytest.mark.parametrize("noise", [steady, noisy()], ids=["steady", "noisy"])
@pytest.mark.parametrize("places", [1, 2, 3, 4, 6, 10, 16, 24])
def test_nine_tenths_of_the_best_fixed_number_within_ten_windows(places: int, noise: Callable[[], float]) -> None:
    """Whatever a service with a queue can take."""
    best = best_fixed(places, 16, noise=noise)
    driven = drive(Service([Plateau(0, places)], noise=noise), AdaptiveLimit(cap=16), 40)
    assert after_ten_windows(driven, 0, 40) >= 0.9 * best


@pytest.mark.parametrize("noise", [steady, noisy()], ids=["steady", "noisy"])
@pytest.mark.parametrize(("first", "then"), [(16, 4), (4, 16), (12, 3), (2, 10), (1, 16), (6, 8)])
def test_it_follows_a_capacity_that_steps_down_and_up(first: int, then: int, noise: Callable[[], float]) -> None:
    """On each plateau, within ten windows of the step."""
    steps = [Plateau(0, first), Plateau(40, then), Plateau(80, first)]
    driven = drive(Service(steps, noise=noise), AdaptiveLimit(cap=16), 120)
    for plateau in steps:
        best = best_fixed(plateau.places, 16, noise=noise)
        assert after_ten_windows(driven, plateau.since_s, plateau.since_s + 40) >= 0.9 * best, plateau


@pytest.mark.parametrize("places", [2, 4, 8, 16])
def test_a_service_that_refuses_instead_of_queueing_is_used_to_nine_tenths(places: int) -> None:
    """And hardly ever refuses: what met back pressure is remembered."""
    driven = drive(Service([Plateau(0, places)], queue=0), AdaptiveLimit(cap=32), 120)
    assert goodput_between(driven, 20, 120) >= 0.9 * places / 0.1
    refused = sum(at >= 20 for at in driven.refused)
    assert refused <= 0.02 * len(driven.served)
