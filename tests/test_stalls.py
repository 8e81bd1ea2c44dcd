"""What does not move is told of, and given up: on a clock of the test's own."""

from __future__ import annotations

import pytest

from bulkup.transport.stalls import (
    AGAIN_S,
    FREE_TIMES,
    LATE_S,
    LEAST_BYTES_PER_S,
    GiveUp,
    RoundTrips,
    SlowAnswer,
    StallWatch,
    Tell,
    Wait,
    again_s,
    quiet_s,
)


def _trips(*seconds: float) -> RoundTrips:
    trips = RoundTrips()
    for one in seconds:
        trips.add(one)
    return trips


@pytest.mark.parametrize(
    ("trips", "quiet"),
    [
        (_trips(), 120.0),
        (_trips(1.0, 2.0), 120.0),
        (_trips(*[1.0] * 99, 30.0), 120.0),  # one in a hundred is left out
        (_trips(*[1.0] * 49, 30.0), 300.0),
        (_trips(*[13.0] * 200), 130.0),
    ],
)
def test_a_lane_may_be_quiet_for_ten_times_what_its_answers_take(trips: RoundTrips, quiet: float) -> None:
    assert quiet_s(120.0, trips) == quiet


def test_old_round_trips_are_forgotten() -> None:
    assert quiet_s(120.0, _trips(*[50.0] * 600, *[1.0] * 512)) == 120.0


def test_told_once_then_given_up_after_three_times_as_long() -> None:
    watch = StallWatch(1000.0, give_up_s=60.0)
    watch.expect(1000.0, quiet_s=120.0)
    assert watch.check(1000.0) == Wait(120.0)
    assert watch.check(1119.0) == Wait(1.0)
    assert watch.check(1120.0) == Tell(120.0, 240.0)
    assert watch.check(1121.0) == Wait(239.0)
    assert watch.check(1360.0) == GiveUp(360.0)


def test_whatever_moves_begins_the_quiet_anew() -> None:
    watch = StallWatch(0.0, give_up_s=60.0)
    for now in range(0, 10_000, 119):
        watch.expect(float(now), quiet_s=120.0)
        assert isinstance(watch.check(now + 118.0), Wait)
    assert isinstance(watch.check(9_996.0 + 120.0), Tell)
    watch.expect(10_200.0, quiet_s=120.0)
    assert watch.check(10_320.0) == Tell(120.0, 240.0), "told again, as it is another quiet"


def test_an_answer_to_a_large_body_is_waited_for_longer() -> None:
    watch = StallWatch(0.0, give_up_s=60.0)
    watch.expect(0.0, quiet_s=120.0, extra_s=128.0)
    assert watch.check(247.0) == Wait(1.0)
    assert watch.check(248.0) == Tell(248.0, 240.0)
    assert watch.check(488.0) == GiveUp(488.0)


def test_a_connection_that_does_not_come_is_given_up_without_a_word() -> None:
    watch = StallWatch(0.0, give_up_s=60.0)
    assert watch.check(0.0) == Wait(60.0)
    assert watch.check(59.0) == Wait(1.0)
    assert watch.check(60.0) == GiveUp(60.0)


def test_a_process_that_was_stopped_looks_once_more_before_it_gives_up() -> None:
    """The answer may have come meanwhile, and nobody has taken it in."""
    watch = StallWatch(0.0, give_up_s=60.0)
    watch.expect(0.0, quiet_s=120.0)
    assert watch.check(0.0) == Wait(120.0)
    assert watch.check(4_000.0) == Wait(AGAIN_S), "neither told nor given up"
    assert watch.check(4_000.0 + AGAIN_S) == GiveUp(4_000.0 + AGAIN_S)


def test_stopped_again_it_looks_again() -> None:
    watch = StallWatch(0.0, give_up_s=60.0)
    assert watch.check(0.0) == Wait(60.0)
    assert watch.check(100.0) == Wait(AGAIN_S)
    assert watch.check(200.0) == Wait(AGAIN_S)
    assert isinstance(watch.check(200.0 + AGAIN_S), GiveUp)


@pytest.mark.parametrize(
    ("late_s", "waited_s", "more_s"),
    [(0.0, 120.0, 0.0), (LATE_S / 2, 120.0, 0.0), (LATE_S, 120.0, AGAIN_S), (9e9, 0.5, 0.5), (-5.0, 1.0, 0.0)],
)
def test_how_much_longer_is_waited_where_a_timer_was_late(late_s: float, waited_s: float, more_s: float) -> None:
    assert again_s(late_s, waited_s) == more_s


def test_an_answer_that_moves_too_slowly_is_given_up_in_the_end() -> None:
    """It has five quiet periods, and a second for each KiB."""
    slow = SlowAnswer(1000.0, 10.0)
    for second in range(1, FREE_TIMES * 10 + 1):
        assert slow.came(1000.0 + second, 0) is None
    assert slow.came(1051.0, LEAST_BYTES_PER_S) is None
    assert slow.came(1052.0, 0) == 52.0


def test_an_hour_in_which_the_process_was_stopped_is_one_quiet_period() -> None:
    slow = SlowAnswer(1000.0, 10.0)
    assert slow.came(4600.0, 1) is None
    assert slow.came(8200.0, 1) is None
