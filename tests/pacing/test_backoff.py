"""The arithmetic of waiting: full jitter under a ceiling, and how long a lane goes on without a success."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from bulkup.pacing import Patience, full_jitter_s


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


def test_an_ordered_wait_is_waited_out_and_tried_once_more() -> None:
    """Fifteen minutes of Retry-After are the service's, not the user's patience; a service that only ever says so is."""
    patience = Patience(retry_for_s=600, now=0)
    patience.ordered_wait(900)
    assert not patience.is_over(901)
    assert not patience.is_over(1350)
    assert patience.is_over(1351)


def test_short_ordered_waits_do_not_prolong_patience_for_ever() -> None:
    patience = Patience(retry_for_s=4, now=0)
    for _ in range(10):
        patience.ordered_wait(1)
    assert patience.is_over(4.1)


def test_nothing_takes_patience_back() -> None:
    """An earlier success or a shorter wait that is reported late shortens nothing."""
    patience = Patience(retry_for_s=10, now=100)
    patience.ordered_wait(5)
    patience.succeeded(20)
    assert not patience.is_over(110)
