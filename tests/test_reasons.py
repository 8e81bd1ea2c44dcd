"""Rejected rows by reason."""

from __future__ import annotations

from bulkup.account import reasons as module
from bulkup.account.reasons import Reasons, RejectedFor


def counted(*found: str, place: str | None = None) -> list[RejectedFor]:
    reasons = Reasons()
    for position, reason in enumerate(found):
        reasons.add(stage="validate", place=place, reason=reason, position=position)
    return [why for why, _ in reasons.commonest()]


def test_reasons_that_differ_in_values_are_one() -> None:
    """The row that stands first in the source lends its words."""
    values = {70: "'x'", 10: r"'it\'s 5'", 40: r'"a 7 \\ b"'}
    reasons = Reasons()
    for position, value in values.items():
        reason = f"v: expected an integer, got the string {value}"
        reasons.add(stage="validate", place="v", reason=reason, position=position)
    ((why, _),) = reasons.commonest()
    assert (why.rows, why.reason) == (3, r"v: expected an integer, got the string 'it\'s 5'")


def test_places_within_a_row_are_one_and_keys_are_not() -> None:
    reasons = Reasons()
    for place in ("messages[0].role", "messages[17].role", "a1", "a2"):
        reasons.add(stage="validate", place=place, reason=f"{place}: bad", position=0)
    assert [why.rows for why, _ in reasons.commonest()] == [2, 1, 1]
    assert [why.rows for why in counted("not valid JSON at byte 12", "not valid JSON at byte 1,200")] == [2]
    reasons = Reasons()
    for place in ("c1", "c2"):
        reasons.add(
            stage="validate",
            place=place,
            reason=f"{place}: got null; in a new run --column '{place}=text?' takes it",
            position=0,
        )
    assert len(reasons) == 2


def test_the_commonest_come_first_and_the_rest_is_left_out() -> None:
    found = counted(*(reason for n, reason in enumerate("abcdefg") for _ in range(n + 1)))
    assert [why.reason for why in found] == list("gfedc")


def test_kinds_without_end_fill_no_memory(monkeypatch: object) -> None:
    """What comes after so many kinds is one kind."""
    most = module._MOST_KINDS
    module._MOST_KINDS = 3
    try:
        found = counted("a", "b", "c", "d", "e", "d")
    finally:
        module._MOST_KINDS = most
    assert found[0] == RejectedFor(3, "other reasons")
    assert len(found) == 4
