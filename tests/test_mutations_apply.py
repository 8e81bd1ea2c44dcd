"""A mutation whose line has changed proves nothing any more: `python -m tests.mutations` takes an hour, this does not."""

from __future__ import annotations

from pathlib import Path

from tests.mutations import MUTATIONS

ROOT = Path(__file__).parents[1]


def test_each_finds_its_line_once_and_changes_it() -> None:
    wrong = [
        (one.rule, one.what)
        for one in MUTATIONS
        if (ROOT / one.file).read_text().count(one.old) != 1 or one.new == one.old
    ]
    assert wrong == []


def test_the_tests_that_should_fail_are_there() -> None:
    """Named by their file, or by a test in it."""
    named = {test.partition("::")[0] for one in MUTATIONS for test in one.tests}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
