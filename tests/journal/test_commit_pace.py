"""How close commits may follow each other, on a clock that is turned by hand."""

from __future__ import annotations

import pytest

from bulkup.journal.commit_pace import AT_ONCE, PER_SECOND, CommitPace
from bulkup.journal.postgres.writer import PgPace


class Hand:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def commit(pace: CommitPace) -> None:
    pace.earn()
    pace.spend()


def test_some_come_at_once_and_the_next_waits() -> None:
    pace = CommitPace(Hand())
    for _ in range(int(AT_ONCE)):
        assert pace.wait_s() == 0.0
        commit(pace)
    assert pace.wait_s() == pytest.approx(1 / PER_SECOND)


def test_who_is_slower_than_the_pace_never_waits() -> None:
    clock = Hand()
    pace = CommitPace(clock)
    for _ in range(1000):
        clock.at += 1.01 / PER_SECOND
        pace.earn()
        assert pace.wait_s() == 0.0
        pace.spend()


def test_commits_that_could_not_wait_cost_no_more_than_a_moment() -> None:
    """However many went without waiting, and however long it was quiet, the next wait is bounded both ways."""
    clock = Hand()
    pace = CommitPace(clock)
    for _ in range(1000):
        commit(pace)
    assert pace.wait_s() == pytest.approx((AT_ONCE + 1) / PER_SECOND)
    clock.at += 3600
    for _ in range(int(AT_ONCE)):
        commit(pace)
    assert pace.wait_s() > 0.0


def test_groups_for_a_database_are_further_apart_where_many_chunks_come_over_many_requests() -> None:
    """5 ms apart, 20 ms above 500 chunks a second: but few requests would only wait for each other."""
    for pieces, under_way, per_second in ((200, 100, 200.0), (2000, 100, 50.0), (2000, 16, 200.0)):
        hand = Hand()
        pace = PgPace(hand)
        hand.at += 1.0
        pace.count(pieces, under_way)
        assert pace.per_second == per_second
