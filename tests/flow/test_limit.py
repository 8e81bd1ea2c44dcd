"""What a 413 teaches of the largest body."""

from __future__ import annotations

from bulkup.flow.limit import BodyLimit


def test_nothing_is_learned_before_a_refusal() -> None:
    assert BodyLimit(1000).learned is None


def test_half_of_what_was_too_large_is_the_limit() -> None:
    limit = BodyLimit(1000)
    limit.refused(801)
    assert (limit.bytes, limit.learned) == (400, 400)


def test_a_body_that_was_under_way_when_it_was_lowered_does_not_raise_it() -> None:
    limit = BodyLimit(1000)
    limit.refused(300)
    limit.refused(900)
    assert (limit.bytes, limit.learned) == (150, 150)


def test_something_may_always_be_sent() -> None:
    limit = BodyLimit(1000)
    limit.refused(1)
    assert limit.bytes == 1
