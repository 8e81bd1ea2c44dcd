"""What the guarantee rests on is said in the same words in the receipt and on the page."""

from __future__ import annotations

import re
from pathlib import Path

from bulkup.assumptions import ASSUMPTIONS, assumptions_for

PAGE = (Path(__file__).parents[1] / "docs" / "guarantees.md").read_text(encoding="utf-8")


def test_the_page_has_the_same_sentences() -> None:
    rows = re.findall(r"^\| ([^|]+\.) \| ([a-z, ]+) \| (open|confirmed) \|$", PAGE, re.MULTILINE)
    assert rows == [(a.text, ", ".join(a.services), a.ground.value) for a in ASSUMPTIONS]


def test_each_service_has_its_own() -> None:
    assert "A 422 stores nothing." in assumptions_for("collinear")
    assert "A 422 stores nothing." not in assumptions_for("nebius")
    assert set(assumptions_for("nebius")) | set(assumptions_for("collinear")) == {a.text for a in ASSUMPTIONS}


def test_the_sentences_are_short_and_plain() -> None:
    for assumption in ASSUMPTIONS:
        assert len(assumption.text) < 160
        assert assumption.text.endswith(".")
        assert "|" not in assumption.text
