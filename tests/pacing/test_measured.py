"""Goodput from round trips: what a window's ends fall on does not matter, and what lies between two requests counts."""

from __future__ import annotations

import pytest

from bulkup.pacing.measured import Ending, Goodput, Measured, RoundTrip, Window

SIZE = 1000


def over(goodput: Goodput, *, limit: int, trip_s: float, every_s: float, ends: int) -> Measured:
    """A window of requests that end one after the other, *limit* of them in every *every_s* seconds."""
    window = Window()
    at = 0.0
    for place in range(ends):
        at = place * every_s / limit
        window.add(RoundTrip(at - trip_s, at, SIZE, Ending.TAKEN), is_full=True)
    return goodput.of_window(window, limit, at)


def test_the_time_between_two_requests_counts() -> None:
    """A tenth of a second after each round trip of nine tenths: it is found out over some windows."""
    goodput = Goodput()
    assert over(goodput, limit=4, trip_s=0.9, every_s=1.0, ends=8).goodput > 4000
    for _ in range(40):
        found = over(goodput, limit=4, trip_s=0.9, every_s=1.0, ends=8)
    assert found.goodput == pytest.approx(4000, rel=0.01)


def test_ends_in_step_flatter_nobody() -> None:
    """Twenty under way at a service of sixteen: sixteen end at a time, and the window ends in the middle of a round."""
    window, goodput = Window(), Goodput()
    for began_s, ended_s, count in ((0.0, 0.2, 16), (0.0, 0.4, 4), (0.2, 0.4, 12), (0.2, 0.6, 4)):
        for _ in range(count):
            window.add(RoundTrip(began_s, ended_s, SIZE, Ending.TAKEN), is_full=True)
    assert goodput.of_window(window, 20, 0.6).goodput == pytest.approx(80_000, rel=0.06)


def test_what_was_not_taken_is_no_goodput() -> None:
    window = Window()
    for ending in (Ending.TAKEN, Ending.OTHER):
        window.add(RoundTrip(0.0, 1.0, SIZE, ending), is_full=False)
    assert Goodput().of_window(window, 2, 1.0).goodput == pytest.approx(1000)
