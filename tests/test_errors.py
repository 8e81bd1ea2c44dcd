"""An error is one line for a person, whatever stands in it, and one code stands for all."""

from __future__ import annotations

import pytest

from bulkup.errors import PRECEDENCE, ExitCode, UsageProblem, worst


def test_a_long_error_is_cut() -> None:
    said = str(UsageProblem("x" * 10_000))
    assert len(said) == 4000
    assert said.endswith("x…")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("a\u202eb", "a\\u202eb"), ("größer – 大", "größer – 大")],
)
def test_what_would_break_the_line_or_hide_a_part_of_it_is_escaped(text: str, said: str) -> None:
    assert str(UsageProblem(text)) == said


def test_every_code_has_its_place_among_the_others() -> None:
    assert sorted(PRECEDENCE) == sorted(ExitCode)
    assert worst([]) == ExitCode.ALL_LANDED
