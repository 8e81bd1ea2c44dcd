"""When refusals stop a lane, and when they must not."""

from __future__ import annotations

import pytest

from bulkup.chunk import Totals
from bulkup.errors import ExitCode
from bulkup.flow.halt import Halt
from bulkup.flow.stop_rules import StopRules
from bulkup.settings.config import RejectLimit, RunSettings

WORDS = "HTTP 422: body.rows.{}.text: no such field"


def _rules(limit: str | None = "5%", *, rejected: int = 0, read: int = 0) -> tuple[StopRules, Halt]:
    halt = Halt()
    totals = Totals(lines=read, rows_rejected=rejected)
    return StopRules(totals=totals, limit=None if limit is None else RejectLimit.parse(limit), halt=halt), halt


@pytest.mark.parametrize(
    ("limit", "rejected", "read", "stops"),
    [
        ("5%", 51, 1000, True),
        ("5%", 50, 1000, False),
        ("5%", 999, 999, False),
        ("100%", 1000, 1000, False),
        (None, 1000, 1000, False),
        ("0%", 1, 1000, True),
        ("3", 4, 10, True),
        ("3", 3, 10, False),
        ("0", 1, 1, True),
    ],
)
def test_too_many_rejects(limit: str | None, rejected: int, read: int, stops: bool) -> None:
    rules, halt = _rules(limit, rejected=rejected, read=read)
    rules.check_rejects()
    assert (halt.reason is not None) is stops
    if halt.reason is not None:
        assert halt.reason.exit_code is ExitCode.STOPPED_BY_LIMIT
        assert f"{rejected:,} of {read:,} rows" in halt.reason.text
        assert "--max-rejects" in halt.reason.text


def test_how_many_and_which_share_of_the_rows_were_rejected_is_told() -> None:
    rules, halt = _rules(rejected=1_234, read=9_999)
    rules.check_rejects()
    assert halt.reason is not None
    assert halt.reason.text.startswith(
        "1,234 of 9,999 rows read were rejected (12.3 %), more than --max-rejects 5% allows; "
    )


def test_rows_that_were_made_of_others_are_among_those_that_were_read() -> None:
    for made, stops in ((499, False), (500, True)):
        halt = Halt()
        totals = Totals(lines=500, rows_made=made, rows_rejected=51)
        StopRules(totals=totals, limit=RejectLimit.parse("5%"), halt=halt).check_rejects()
        assert (halt.reason is not None) is stops


def test_five_percent_is_the_default() -> None:
    assert RunSettings(name="x").max_rejects == RejectLimit.parse("5%")


def test_three_roots_of_which_nothing_landed_stop_the_lane_in_the_services_words() -> None:
    rules, halt = _rules()
    for tile in range(3):
        assert halt.reason is None
        rules.nothing_landed(tile, WORDS.format(tile * 7))
    assert halt.reason is not None
    assert halt.reason.exit_code is ExitCode.STOPPED_BY_LIMIT
    assert WORDS.format(14) in halt.reason.text
    assert "--retry" in halt.reason.text


def test_pieces_of_one_root_count_once() -> None:
    rules, halt = _rules()
    for _ in range(9):
        rules.nothing_landed(4, WORDS)
    assert halt.reason is None


def test_anything_that_lands_in_between_starts_the_count_anew() -> None:
    rules, halt = _rules()
    for tile in range(9):
        rules.nothing_landed(tile, WORDS)
        if tile % 2:
            rules.landed()
    assert halt.reason is None


def test_other_words_start_the_count_anew() -> None:
    rules, halt = _rules()
    for tile, words in enumerate(["a", "a", "b", "b", "a", "a"]):
        rules.nothing_landed(tile, words)
    assert halt.reason is None


def test_a_hundred_percent_turns_this_off_too() -> None:
    rules, halt = _rules("100%")
    for tile in range(9):
        rules.nothing_landed(tile, WORDS)
    assert halt.reason is None
