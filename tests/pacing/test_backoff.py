"""The arithmetic of waiting: full jitter under a ceiling, and how long a lane goes on without a success."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.pacing import Impatience, Patience, Refusals, full_jitter_s, wait_after_refusal_s


def top(_: float, high: float) -> float:
    return high


def test_the_ceiling_doubles_to_thirty_seconds() -> None:
    assert [full_jitter_s(n, top) for n in (1, 2, 3, 4, 5, 6, 7, 8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 10**9), st.integers(0, 2**32))
def test_the_wait_is_between_nothing_and_thirty_seconds(failures: int, seed: int) -> None:
    """However long it has failed."""
    assert 0 <= full_jitter_s(failures, random.Random(seed).uniform) <= 30


def test_the_jitter_is_full() -> None:
    """It begins at nothing: half of a thousand clients come in the first half of the time."""
    assert full_jitter_s(7, lambda low, _: low) == 0


def test_patience_lasts_as_long_as_it_says_and_a_success_renews_it() -> None:
    patience = Patience(retry_for_s=600, now=1000)
    assert not patience.is_over(1600)
    assert patience.is_over(1600.1)
    patience.succeeded(1500)
    assert not patience.is_over(2100)
    assert patience.is_over(2101)


def test_what_passes_before_a_request_is_wanted_is_not_time_spent_trying() -> None:
    """Workers that start, a first chunk that takes an hour to unpack: nothing has failed in that time."""
    patience = Patience(retry_for_s=10, now=0)
    for ready in (3600, 9000):
        patience.tries(ready)
        patience.tries(ready + 7)  # the next one begins nothing anew
        assert patience.left_s(ready + 7) == 3
        assert not patience.is_over(ready + 10)
        assert patience.is_over(ready + 10.1)
        patience.succeeded(ready + 20)
        assert patience.left_s(ready + 20) == 10


def test_an_order_counts_from_the_first_request_that_it_holds_up() -> None:
    patience = Patience(retry_for_s=10, now=0)
    patience.ordered_wait(0, 50)
    patience.tries(30)
    assert not patience.is_over(60)
    assert patience.is_over(60.1)


def test_waits_that_were_ordered_do_not_count() -> None:
    """Fifteen minutes of Retry-After are the service's, not the user's patience, however often they come."""
    patience = Patience(retry_for_s=600, now=0)
    for at in range(0, 9000, 901):
        patience.ordered_wait(at, 900)
        assert not patience.is_over(at + 900)
    assert not patience.is_over(9010 + 590)
    assert patience.is_over(9010 + 602)


def test_what_is_waited_beyond_an_order_counts() -> None:
    """A service that says 0 or 1 for ever, against which our own back-off grows, ends by `--retry-for`."""
    patience = Patience(retry_for_s=10, now=0)
    for at in (0, 4, 8):
        patience.ordered_wait(at, 1)
    assert not patience.is_over(13)
    assert patience.ended(13.1) is Impatience.NO_SUCCESS


def test_orders_that_overlap_count_once() -> None:
    patience = Patience(retry_for_s=10, max_wait_s=50, now=0)
    for at in (0.0, 0.1, 0.2):
        patience.ordered_wait(at, 40)
    assert patience.ended(0.2) is None
    assert patience.ended(50.1) is None
    assert patience.ended(50.3) is Impatience.NO_SUCCESS


@pytest.mark.parametrize("orders", [[3601.0], [86400.0], [1800.0, 1800.0, 1.0], [3600.0, 0.5]])
def test_more_waiting_than_the_user_allows_ends_it(orders: list[float]) -> None:
    """At once, or bit by bit without a success in between. Just as much as that is waited."""
    patience, now = Patience(retry_for_s=600, max_wait_s=3600, now=0), 0.0
    for wait_s in orders[:-1]:
        patience.ordered_wait(now, wait_s)
        assert patience.ended(now) is None
        now += wait_s
    patience.ordered_wait(now, orders[-1])
    assert patience.ended(now) is Impatience.TOLD_TO_WAIT


def test_a_success_begins_the_waiting_anew() -> None:
    patience = Patience(retry_for_s=600, max_wait_s=3600, now=0)
    for at in range(0, 40_000, 4000):
        patience.ordered_wait(at, 3600)
        assert patience.ended(at) is None
        patience.succeeded(at + 3601)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e7), st.booleans()), max_size=30),
    st.floats(0, 1000),
    st.floats(0, 5000),
)
def test_no_order_makes_patience_endless(
    steps: list[tuple[float, float, bool]], retry_for_s: float, max_wait_s: float
) -> None:
    """Without a success it is over after what may be tried and what may be waited, together, at the latest."""
    patience, now = Patience(retry_for_s=retry_for_s, max_wait_s=max_wait_s, now=0.0), 0.0
    since = 0.0
    for gone_s, wait_s, succeeds in steps:
        now += gone_s
        patience.ordered_wait(now, wait_s)
        if succeeds:
            patience.succeeded(now)
            since = now + wait_s
        if patience.ended(now) is None:
            assert now <= max(now, since) + retry_for_s + max_wait_s
            assert patience.is_over(now + retry_for_s + max_wait_s + 1 + 1e-6 * now + 1e7 * succeeds)


def test_nothing_takes_patience_back() -> None:
    """An earlier success that is reported late shortens nothing."""
    patience = Patience(retry_for_s=10, now=100)
    patience.ordered_wait(100, 5)
    patience.succeeded(20)
    assert not patience.is_over(115)
    assert patience.is_over(115.1)


@pytest.mark.parametrize("told_s", [None, 0.0, 0.001])
def test_a_refusal_that_asks_for_nothing_is_waited_out_by_our_own_back_off(told_s: float | None) -> None:
    """By refusals in a row, however the service puts it."""
    refusals = Refusals(top)
    waits = [refusals.refused(at, began_s=at - 0.1, told_s=told_s) for at in range(1, 9)]
    assert waits[0] == (told_s or 0.5)
    assert waits[1:] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 10**6), st.none() | st.floats(0, 1e9), st.integers(0, 2**32))
def test_the_wait_is_never_less_than_was_told_nor_than_our_own(in_a_row: int, told_s: float | None, seed: int) -> None:
    own_s = full_jitter_s(in_a_row, random.Random(seed).uniform)
    wait_s = wait_after_refusal_s(in_a_row, told_s, random.Random(seed).uniform)
    assert wait_s == (told_s if told_s and in_a_row == 1 else max(told_s or 0.35, own_s))


def test_a_late_word_of_a_success_gives_no_patience_either() -> None:
    """It was known already, and the wait since then was ordered after it."""
    patience = Patience(retry_for_s=10, now=100)
    patience.ordered_wait(105, 5)
    patience.succeeded(100)
    assert not patience.is_over(115)
    assert patience.is_over(115.1)


def test_an_order_that_comes_when_patience_is_over_changes_nothing() -> None:
    patience = Patience(retry_for_s=10, now=0)
    patience.ordered_wait(20, 30)
    assert patience.ended(20) is Impatience.NO_SUCCESS
    assert patience.ended(30) is Impatience.NO_SUCCESS


def test_a_wait_that_is_over_is_not_waited_again() -> None:
    """More was ordered than the user allows, and now it has passed."""
    patience = Patience(retry_for_s=10, max_wait_s=50, now=0)
    patience.ordered_wait(0, 60)
    assert patience.ended(59.9) is Impatience.TOLD_TO_WAIT
    assert patience.ended(60) is None


def test_what_began_as_the_last_refusal_came_says_nothing_of_what_came_after() -> None:
    refusals = Refusals(top)
    refusals.refused(1.0, began_s=0.5, told_s=None)
    refusals.refused(2.0, began_s=1.0, told_s=None)
    assert refusals.in_a_row == 1
    refusals.accepted(began_s=1.0)
    assert refusals.in_a_row == 1
    refusals.accepted(began_s=1.1)
    assert refusals.in_a_row == 0
    refusals.refused(3.0, began_s=0.9, told_s=None)  # one that was under way all the time
    assert refusals.in_a_row == 1


def test_refusals_of_requests_under_way_together_are_one_and_a_success_ends_the_row() -> None:
    refusals = Refusals(top)
    for _ in range(16):
        refusals.refused(1.0, began_s=0.5, told_s=None)
    assert refusals.in_a_row == 1
    refusals.refused(2.0, began_s=1.5, told_s=None)
    refusals.accepted(began_s=1.2)  # from before that refusal
    assert refusals.in_a_row == 2
    refusals.accepted(began_s=2.5)
    assert refusals.in_a_row == 0
    assert refusals.refused(3.0, began_s=2.9, told_s=0.0) == 0.5
