"""Rejected rows by reason."""

from __future__ import annotations

import random

import pytest

from bulkup.account import reasons as module
from bulkup.account.reasons import Reasons, RejectedFor
from bulkup.model import Reject, Stage
from bulkup.scan import reasons as of_scan
from bulkup.scan.reasons import Rejects, joined_reasons, most_frequent_first
from bulkup.scan.seen import Place


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


def test_of_keys_that_are_values_the_place_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each is a kind of its own, and what they have in common is not seen. The order does not matter, nor where parts end."""
    monkeypatch.setattr(module, "MOST_KINDS", 20)
    monkeypatch.setattr(of_scan, "MOST_KINDS", 20)
    rejects = [Reject(n, n, Stage.VALIDATE, f"k{n}", f"k{n}: not a column", b"", 0) for n in range(30)]
    rejects += [Reject(n, n, Stage.READ, None, "not valid JSON", b"", 0) for n in range(30, 33)]
    for seed in range(5):
        shuffled, reasons = random.Random(seed).sample(rejects, len(rejects)), Reasons()
        parts = [Rejects(), Rejects(), Rejects()]
        for n, one in enumerate(shuffled):
            reasons.add(stage=one.stage, place=one.field, reason=one.reason, position=one.position, first=one.position)
            parts[n // 25].add(one, Place(0, one.position, None))
        found = [(why.rows, why.reason, first) for why, first in reasons.commonest()]
        assert found == [(30, "k0: not a column", 0), (3, "not valid JSON", 30)]
        left = joined_reasons(joined_reasons(parts[0].reasons, parts[1].reasons), parts[2].reasons)
        right = joined_reasons(parts[0].reasons, joined_reasons(parts[1].reasons, parts[2].reasons))
        for joined in (left, right):
            assert [(why.count, why.text, why.places[0].at) for why in most_frequent_first(joined)] == found


def test_kinds_without_end_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after so many kinds is one kind."""
    monkeypatch.setattr(module, "MOST_KINDS", 3)
    found = counted("a", "b", "c", "d", "e", "d")
    assert found[0] == RejectedFor(3, "other reasons")
    assert len(found) == 4
