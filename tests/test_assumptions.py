"""What the guarantee rests on is said in the same words in the receipt and on the page."""

from __future__ import annotations

import re
from pathlib import Path

from bulkup.destinations.registry import BUILT_IN, assumptions_for

PAGE = (Path(__file__).parents[1] / "docs" / "guarantees.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+\.) \| ([a-z, ]+) \| (open|confirmed) \|$", PAGE, re.MULTILINE)


def test_the_page_has_the_same_sentences_in_the_same_order() -> None:
    assert ROWS
    for name, service in BUILT_IN.items():
        of_it = [(text, ground) for text, services, ground in ROWS if name in services.split(", ")]
        assert of_it == [(a.text, a.ground.value) for a in service.assumptions]
    for _, services, _ in ROWS:
        assert services in {"nebius", "collinear", "nebius, collinear"}


def test_a_receipt_has_the_sentences_of_its_service() -> None:
    assert "A 422 stores nothing." in assumptions_for("collinear")
    assert "A 422 stores nothing." not in assumptions_for("nebius")


def test_the_sentences_are_short_and_plain() -> None:
    for service in BUILT_IN.values():
        for assumption in service.assumptions:
            assert len(assumption.text) < 160
            assert assumption.text.endswith(".")
            assert "|" not in assumption.text
