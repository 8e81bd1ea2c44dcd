"""`--both-sides`: two rows of each preference for Collinear."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulkup.destinations.collinear.rows import TARGET
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.errors import UsageProblem
from tests.encoding.lines import block

OPTIONS = RowOptions(both_sides=True)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def made(row: dict[str, Any], options: RowOptions = OPTIONS) -> list[dict[str, Any]] | str:
    """The rows of *row*, or why there are none."""
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    sample = block(json.dumps(good).encode() + b"\n" + json.dumps(row).encode() + b"\n")
    encoded = decide(sample, TARGET, options).line_encoder().encode(sample)
    if encoded.rejects:
        (reject,) = encoded.rejects
        assert (reject.line, reject.part, reject.row) == (1, None, json.dumps(row).encode())
        return reject.reason
    assert (encoded.rows, encoded.made) == (4, 2)
    rows: list[dict[str, Any]] = json.loads(b"[" + encoded.body + b"]")[2:]
    return rows


def sides(before: list[Any], chosen: str, rejected: str, **more: Any) -> list[dict[str, Any]]:
    answers = ((said(chosen), 1), (said(rejected), 0))
    return [{"conv_prefix": before, "response": one, "ground_truth": label, **more} for one, label in answers]


@pytest.mark.parametrize(
    ("row", "rows"),
    [
        ({"prompt": "q", "chosen": "x", "rejected": "y"}, sides([user("q")], "x", "y")),
        ({"prompt": "q", "chosen": 42, "rejected": True}, sides([user("q")], "42", "true")),
        ({"prompt": [user("q")], "chosen": [said("x")], "rejected": "y"}, sides([user("q")], "x", "y")),
        ({"prompt": "q", "chosen": [user("q"), said("x")], "rejected": [user("q"), said("y")]}, sides([user("q")], "x", "y")),
        ({"chosen": [user("q"), said("x")], "rejected": [user("q"), said("y")]}, sides([user("q")], "x", "y")),
        ({"prompt": "q", "chosen": "x", "rejected": "y", "context": "c"}, sides([user("q")], "x", "y", context="c")),
        ({"prompt": "q", "chosen": "x", "rejected": "y", "context": None}, sides([user("q")], "x", "y")),
    ],
)  # fmt: skip
def test_a_preference_becomes_a_row_a_side(row: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    assert made(row) == rows


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "q", "chosen": "x"}, "rejected: rejected absent"),
        ({"prompt": "q", "chosen": "x", "rejected": None}, "rejected: expected a string"),
        ({"chosen": "x", "rejected": "y"}, "chosen: an answer without a prompt"),
        (
            {"prompt": "q", "chosen": [user("other"), said("x")], "rejected": "y"},
            "the prompt is not what it begins with",
        ),
        ({"prompt": "q", "chosen": "x", "rejected": [user("q"), said("y"), user("z")]}, "turns after the assistant's"),
        ({"prompt": "q", "chosen": "x", "rejected": "y", "ground_truth": 1}, "a label of the row's own"),
        ({"prompt": "q", "chosen": "x", "rejected": "y", "s": 1, "t": 2}, "--drop 's' --drop 't'"),
        ({"prompt": "q", "chosen": [{**said("x"), "n": 1}], "rejected": "y"}, "--drop 'chosen[].n'"),
        ({"prompt": [said("q")], "chosen": "x", "rejected": "y"}, "the last turn must be the user's"),
    ],
)
def test_a_row_of_which_one_side_will_not_do_is_rejected_whole(row: dict[str, Any], words: str) -> None:
    reason = made(row)
    assert isinstance(reason, str)
    assert words in reason


def test_what_is_dropped_is_dropped_first() -> None:
    options = RowOptions(both_sides=True, drop=("score", "chosen[].name", "prompt.x"))
    row = {"prompt": "q", "chosen": [{**said("x"), "name": "n"}], "rejected": "y", "score": 1.50}
    assert made(row, options) == sides([user("q")], "x", "y")


def test_the_plan_is_kept() -> None:
    sample = block(b'{"prompt":"q","chosen":"x","rejected":1}\n')
    plan = decide(sample, TARGET, RowOptions(both_sides=True, preset="preference", drop=("score",)))
    kept = RowPlan.from_json(json.loads(json.dumps(plan.to_json())), TARGET)
    assert kept == plan
    assert dict(kept.line_encoder().encode(sample).changes) == {'42 -> "42"': 1}
    assert "two rows of each preference" in plan.describe()


def test_it_is_for_preferences() -> None:
    with pytest.raises(UsageProblem, match="--both-sides is for preferences"):
        decide(block(b'{"a":1}\n'), TARGET, RowOptions(both_sides=True, preset="chat"))
    with pytest.raises(UsageProblem, match="The first: chosen: chosen and rejected absent"):
        decide(block(b'{"a":1}\n'), TARGET, OPTIONS)
    with pytest.raises(UsageProblem, match="--both-sides makes two rows of each"):
        decide(block(b'{"prompt":"q","chosen":"x","rejected":"y"}\n'), TARGET, RowOptions())
