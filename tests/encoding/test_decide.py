"""What is decided on the first block, and what is refused there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, Target, decide
from bulkup.errors import JournalUnusable, UsageProblem
from bulkup.model import Validation
from bulkup.rows.mapping import parse_mapping
from tests.encoding.lines import block

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SHAPED = {"conv_prefix": [USER], "response": ANSWER}
QA = {"question": "q", "answer": "a"}


def decided(target: Target, *rows: object, **options: Any) -> RowPlan:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return decide(block(b"\n".join(lines)), target, RowOptions(**options))


@pytest.mark.parametrize(
    ("row", "preset", "said"),
    [
        (SHAPED, "identity", "identity: rows as they are"),
        ({"messages": [USER, ANSWER]}, "chat", "chat → conv_prefix, response; 1 of 1 rows looked at fit chat"),
        (
            {"prompt": "p", "completion": "c"},
            "prompt-completion",
            "prompt-completion → conv_prefix, response; 1 of 1 rows looked at fit prompt-completion",
        ),
        (QA, "question-answer", "question-answer → conv_prefix, response; 1 of 1 rows looked at fit question-answer"),
        (QA | {"messages": [USER, ANSWER], "ground_truth": 1}, None, "question, answer"),
        (
            {"text": "t"},
            None,
            "none is in the shape of any. The first has the keys text; make other rows of them: --map",
        ),
    ],
)
def test_auto_takes_the_first_preset_whose_every_key_is_there(row: object, preset: str | None, said: str) -> None:
    if preset is None:
        with pytest.raises(UsageProblem, match=said):
            decided(COLLINEAR, row)
    else:
        plan = decided(COLLINEAR, b"junk", row, b"[1]")
        assert (plan.preset, plan.describe()) == (preset, said)


def test_auto_needs_every_key_in_every_row() -> None:
    assert decided(NEBIUS, QA, {"question": "q"}).preset == "identity"
    assert decided(NEBIUS, QA, {"text": "t", "question": "q", "answer": "a"}).preset == "question-answer"
    assert decide(None, COLLINEAR, RowOptions()).preset == "identity"


def test_rows_already_in_shape_are_identity_even_with_a_presets_keys_beside() -> None:
    plan = decided(COLLINEAR, SHAPED | {"text": "t"}, drop=("text",))
    assert plan.describe() == "identity: rows as they are; without text"
    assert json.loads(plan.encoder().encode(block(json.dumps(SHAPED | {"text": "t"}).encode())).body) == SHAPED


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        (
            SHAPED | {"id": 1, "split": "x"},
            {},
            "no place for the keys id, split; leave out with --drop 'id' --drop 'split'",
        ),
        ({"conv_prefix": [USER | {"name": "x"}], "response": ANSWER | {"w": 1}}, {}, "conv_prefix[].name, response.w"),
        (QA | {"id": 1}, {}, "the key id; leave out with --drop 'id'"),
        ({"messages": [USER | {"name": "x"}, ANSWER]}, {}, "the key messages[].name"),
        ({"text": "t"}, {"preset": "text"}, "Collinear has no place for text rows"),
        (QA, {"preset": "qa"}, "there is no preset 'qa'; choose from auto, identity, chat"),
        (QA, {"preset": "chat"}, "the preset chat needs messages; no row of the first block has messages (they have q"),
        (
            QA,
            {"preset": "chat", "mapping": parse_mapping({"a": "b"})},
            "the preset chat and a mapping exclude each other",
        ),
        (QA, {"mapping": parse_mapping({"label": "question"})}, "the key label; take it out of the mapping"),
    ],
)
def test_what_collinear_has_no_place_for_is_refused_at_once(row: object, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        decided(COLLINEAR, row, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize("validation", list(Validation))
def test_where_no_row_can_be_read_the_first_fault_is_said(validation: Validation) -> None:
    """Also under `trust`, where such rows are sent as they are once the columns are known."""
    with pytest.raises(UsageProblem, match=r"none of the first rows can be sent, .* NaN is not a JSON value"):
        decided(NEBIUS, b'{"a":NaN}', b'{"a":Infinity}', validation=validation)


def test_nebius_checks_a_presets_keys_and_leaves_the_rows_alone() -> None:
    plan = decided(NEBIUS, QA, preset="question-answer")
    assert plan.describe() == "columns: question string, answer string"
    line = json.dumps(QA).encode()
    assert plan.encoder().encode(block(line)).body == line
    with pytest.raises(UsageProblem, match="needs text"):
        decided(NEBIUS, QA, preset="text")


def test_a_drop_names_a_key_first_and_a_place_within_a_row_second() -> None:
    plan = decided(NEBIUS, {"a.b": 1, "c": {"d": 1, "e": 2}, "x": 1}, drop=("a.b", "c.d"))
    assert (plan.drop, plan.drop_nested) == (("a.b",), ("c.d",))
    made = plan.encoder().encode(block(b'{"a.b":1,"c":{"d":1,"e":2},"x":5}'))
    assert json.loads(made.body) == {"c": '{"e":2}', "x": 5}


def test_the_form_of_prompts_is_found_in_the_first_block() -> None:
    turns = {"prompt": [USER], "completion": [ANSWER]}
    plan = decided(COLLINEAR, turns)
    assert plan.variant
    whole = plan.encoder().encode(block(json.dumps(turns).encode()))
    assert json.loads(whole.body) == SHAPED


def test_a_plan_belongs_to_its_target() -> None:
    with pytest.raises(JournalUnusable):
        RowPlan.from_json(decided(NEBIUS, QA).to_json(), COLLINEAR)


def test_mapped_rows_follow_a_schema_of_their_own() -> None:
    plan = decided(NEBIUS, QA | {"n": 1}, mapping=parse_mapping({"q": "question", "n": {"path": "n"}}))
    assert plan.describe() == "mapping → q, n; columns: q string, n integer"
    assert plan.encoder().encode(block(json.dumps(QA | {"n": 2}).encode())).body == b'{"q":"q","n":2}'
