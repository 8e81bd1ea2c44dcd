"""What goes wrong is said once, again when it is news again, and kept in bounds."""

from __future__ import annotations

from math import inf

import anyio
import pytest

from bulkup.event import Trouble
from bulkup.flow.clock import Clock
from bulkup.flow.trouble import LONGEST_CHARS, MOST_REASONS, SAID_AGAIN_AFTER_S, Troubles


class Told:
    """Troubles on a clock that is turned by hand, and what they have said."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        clock = Clock(lambda: self.now, lambda: self.now, anyio.sleep, lambda low, _: low)
        self.troubles = Troubles(clock, self.said.append)

    def after(self, seconds: float, reason: str = "503", doing: str = "trying again") -> int:
        """How often something was said, once *reason* has come *seconds* later."""
        self.now += seconds
        self.troubles.failed(reason, doing)
        return len(self.said)


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_reason_is_said_again_a_minute_after_it_was_said(told: Told) -> None:
    """However often it came meanwhile."""
    assert told.after(0) == 1
    for _ in range(3):
        assert told.after(SAID_AGAIN_AFTER_S / 4) == 1
    assert told.after(SAID_AGAIN_AFTER_S / 4) == 2


def test_texts_that_differ_in_ids_and_counts_are_one_reason(told: Told) -> None:
    assert told.after(0, "request 4d89c87498354518: 12 of 40 rows") == 1
    assert told.after(0, "request 5e90d98509465629: 1,300 of 4,000 rows") == 1
    assert told.after(0, "HTTP 502") == 2
    assert told.after(0, "HTTP 503") == 3


def test_what_is_kept_of_reasons_is_bounded(told: Told) -> None:
    """The oldest goes first."""
    words = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(MOST_REASONS + 1)]
    for word in words:
        told.after(0, word)
    assert told.after(0, words[1]) == len(words)
    assert told.after(0, words[0]) == len(words) + 1


def test_a_long_reason_is_cut(told: Told) -> None:
    told.after(0, "x" * 2 * LONGEST_CHARS)
    assert told.said == ["x" * LONGEST_CHARS + "; trying again"]
    assert told.troubles.last == Trouble("x" * LONGEST_CHARS, 1000.0, "trying again")


@pytest.mark.parametrize(
    ("for_s", "until", "said"), [(None, None, ""), (inf, None, ""), (590.0, 1590.0, " 9 min 50 s")]
)
def test_how_long_it_goes_on_is_said_where_it_ends(
    told: Told, for_s: float | None, until: float | None, said: str
) -> None:
    told.troubles.failed("503", "giving up in", for_s=for_s)
    assert told.said == [f"503; giving up in{said}"]
    assert told.troubles.last == Trouble("503", 1000.0, "giving up in", until)


def test_it_is_over_once_a_request_has_succeeded(told: Told) -> None:
    told.after(0)
    told.troubles.passed()
    over = told.troubles.last
    assert over == Trouble("503", 1000.0, is_over=True)
    told.troubles.passed()
    assert told.troubles.last is over, "every request that succeeds comes by here"


def test_a_success_without_a_failure_before_is_nothing(told: Told) -> None:
    told.troubles.passed()
    assert told.troubles.last is None


def test_what_was_told_already_is_kept_and_not_said(told: Told) -> None:
    told.troubles.failed("503", "waiting", quietly=True)
    assert not told.said
    assert told.troubles.last == Trouble("503", 1000.0, "waiting")
