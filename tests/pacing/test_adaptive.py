"""The limit on a simulated clock: it finds what simulated services can take, keeps near it, and follows when that changes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.pacing import AdaptiveLimit, Ending, RoundTrip
from tests.examples import examples
from tests.pacing.servers import Driven, Plateau, Service, best_fixed, drive, goodput_between

SIZE = 1000


def steady() -> float:
    return 1.0


def noisy(seed: int = 5) -> Callable[[], float]:
    dice = random.Random(seed)
    return lambda: dice.lognormvariate(-0.02, 0.2)


def window(limit: AdaptiveLimit, at: float, *, goodput: float, is_full: bool = True) -> float:
    """Rounds of as many as the limit allows, at so many bytes a second, until a window is over; when that was."""
    trip_s, before = limit.limit * SIZE / goodput, limit.windows
    while True:
        for _ in range(limit.limit):
            limit.ended(RoundTrip(at, at + trip_s, SIZE, Ending.TAKEN), is_full=is_full)
            if limit.windows > before:
                return at + trip_s
        at += trip_s


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
            at = window(limit, at, goodput=1000 * 2.0**-place, is_full=is_full)
            at = window(limit, at, goodput=1000 * 2.0**place, is_full=is_full)
        assert limit.limit == 4


def test_back_pressure_costs_three_tenths_once_a_window() -> None:
    """What had begun before the cut is of the same window."""
    limit = AdaptiveLimit(cap=64)
    at = window(limit, 0.0, goodput=1000)
    at = window(limit, at, goodput=2000)
    assert limit.limit == 16
    for _ in range(16):
        limit.ended(RoundTrip(at, at + 1, SIZE, Ending.PRESSED), is_full=True)
    assert limit.limit == 11
    limit.ended(RoundTrip(at + 2, at + 3, SIZE, Ending.PRESSED), is_full=True)
    assert limit.limit == 7


def settled_at(places: int) -> tuple[AdaptiveLimit, float]:
    """A limit that has found that more than so many do not pay."""
    limit, at = AdaptiveLimit(cap=64), 0.0
    while limit.limit <= places:
        at = window(limit, at, goodput=1000 * limit.limit)
    at = window(limit, at, goodput=1000 * places)
    assert limit.limit == places
    at = window(limit, at, goodput=1000 * places)
    assert limit.limit == places
    return limit, at


def test_slow_round_trips_cost_a_tenth() -> None:
    for places, left in ((8, 7), (32, 28)):
        limit, at = settled_at(places)
        window(limit, at, goodput=1000 * places / 1.5)
        assert limit.limit == left


def test_where_more_pays_again_it_doubles_again() -> None:
    """The service has become larger: twice in a row a quarter more at once has brought as much more goodput."""
    limit, at = settled_at(8)
    limits = []
    for _ in range(7):
        at = window(limit, at, goodput=1000 * limit.limit)
        limits.append(limit.limit)
    assert limits == [9, 10, 11, 12, 13, 26, 52]


def test_round_trips_within_the_spread_cost_nothing() -> None:
    """σ is not 0: a few per cent are no queue."""
    limit, at = settled_at(8)
    window(limit, at, goodput=8000 / 1.04)
    assert limit.limit == 9, "the next trial was due"


def test_a_cut_that_costs_goodput_is_taken_back() -> None:
    """The way has become longer: with fewer at once there is only less. The long round trip is the usual one from then on."""
    limit, at = settled_at(8)
    at = window(limit, at, goodput=8000 / 1.5)
    assert limit.limit == 7
    at = window(limit, at, goodput=7000 / 1.5)
    assert limit.limit == 8
    window(limit, at, goodput=8000 / 1.5)
    assert limit.limit >= 8


def end_of(limit: AdaptiveLimit, began_s: float, ended_s: float, *, ends: int) -> None:
    for _ in range(ends):
        limit.ended(RoundTrip(began_s, ended_s, SIZE, Ending.TAKEN), is_full=True)


def test_a_choked_service_is_not_waited_out() -> None:
    """What matters is the mean of the last four, whenever those requests began; then it goes down to half."""
    limit, at = settled_at(32)
    end_of(limit, at - 1, at + 3, ends=1)
    assert limit.limit == 32
    end_of(limit, at - 1, at + 3, ends=3)
    assert limit.limit == 16
    end_of(limit, at - 1, at + 5, ends=16)
    assert limit.limit == 16, "these had still stood in the old line"
    end_of(limit, at + 5, at + 9, ends=4)
    assert limit.limit == 8


def test_a_choke_in_proportion() -> None:
    """Round trips two and a half times as long: four tenths would do, but never less than half at once."""
    limit, at = settled_at(32)
    end_of(limit, at, at + 2.1, ends=4)
    assert limit.limit == 16


def test_a_deep_cut_that_costs_half_of_what_it_might_stays() -> None:
    """The round trips before it had only begun to grow, and flatter the larger number."""
    limit, at = settled_at(32)
    end_of(limit, at, at + 2.1, ends=4)
    window(limit, at + 2.1, goodput=16_000 / 1.4)
    assert limit.limit <= 17


def test_a_way_that_has_become_much_longer_is_no_choke() -> None:
    """Half as many have brought half as much: the cut is taken back, and the long round trip is no reason for another."""
    limit, at = settled_at(16)
    end_of(limit, at, at + 4, ends=4)
    assert limit.limit == 8
    at = window(limit, at + 4, goodput=8000 / 4)
    assert limit.limit == 16
    for _ in range(3):
        at = window(limit, at, goodput=16000 / 4)
        assert limit.limit >= 16


def test_a_doubling_that_costs_is_taken_back_at_once() -> None:
    """Not after a whole window, of which each round takes so much longer."""
    limit, at = AdaptiveLimit(cap=64), 0.0
    for goodput in (4000, 8000, 16000):
        at = window(limit, at, goodput=goodput)
    assert limit.limit == 32
    end_of(limit, at, at + 2.5, ends=3)
    assert limit.limit == 32
    end_of(limit, at, at + 2.5, ends=1)
    assert limit.limit == 32, "12.8 of 16 is no gain, and no loss to speak of"
    end_of(limit, at, at + 4, ends=4)
    assert limit.limit == 16


def test_who_only_stands_in_line_is_let_go_of() -> None:
    """Where more did not pay and round trips are longer than they were, fewer are tried, and kept if they do as much."""
    limit, at = AdaptiveLimit(cap=64), 0.0
    limits = []
    for _ in range(60):
        at = window(limit, at, goodput=1000 * min(limit.limit, 20))
        limits.append(limit.limit)
    assert limits[5] == 32
    assert sum(limits[30:]) / 30 <= 22
    assert min(limits[30:]) >= 16


def test_small_bodies_say_nothing_of_the_round_trip() -> None:
    """A short last chunk comes back sooner, and does not make the others look slow."""
    limit, at = settled_at(8)
    before = limit._trips.mean_s
    for place in range(4):
        limit.ended(RoundTrip(at + place, at + place + 0.01, SIZE // 10, Ending.TAKEN), is_full=True)
    assert limit._trips.mean_s == before
    assert limit._window.trips == []


@examples(20)
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
        limit.ended(RoundTrip(now - trip_s, now, size, ending), is_full=is_full)
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


@pytest.mark.parametrize(("spread", "steps"), [(0.1, (16, 4, 16)), (0.05, (12, 3, 12)), (0.05, (16, 8, 16))])
@pytest.mark.parametrize("seed", range(5))
def test_it_follows_a_service_that_thrashes(spread: float, steps: tuple[int, ...], seed: int) -> None:
    """As the benchmark's: with more than twice as many in the house as it has places, work takes longer in proportion.

    Ten seconds a plateau, 0.2 s the work; from the middle of each on.
    """
    dice = random.Random(seed)
    plateaus = [Plateau(10.0 * place, places) for place, places in enumerate(steps)]
    service = Service(
        plateaus,
        service_s=0.2,
        noise=lambda: dice.lognormvariate(-spread * spread / 2, spread),
        thrashes_beyond=2.0,
    )
    driven = drive(service, AdaptiveLimit(cap=64), 30)
    for plateau in plateaus:
        reached = goodput_between(driven, plateau.since_s + 5, plateau.since_s + 10)
        assert reached >= 0.9 * plateau.places / 0.2, plateau
