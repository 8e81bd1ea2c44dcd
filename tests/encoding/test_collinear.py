"""Rows for Collinear: the fast way, the slow way and an independent judge agree on every soup of lines."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.encoding import RowPlan
from tests.encoding import lines as ln
from tests.encoding.agreement import assert_agrees
from tests.encoding.reference import by_preset

good = st.fixed_dictionaries({"conv_prefix": ln.turns, "response": ln.answer}, optional=ln.labels)
off = st.fixed_dictionaries(
    {"conv_prefix": ln.turns | ln.odd, "response": ln.answer | ln.odd},
    optional={"ground_truth": ln.odd, "context": ln.odd, "extra": ln.value},
)
identity = ln.soup(ln.spelled(good), ln.spelled(good), ln.spelled(off))
optional: dict[str, st.SearchStrategy[Any]] = {key: ln.labels[key] | st.none() for key in ln.labels}
off_optional: dict[str, st.SearchStrategy[Any]] = {
    **optional,
    "ground_truth": ln.odd,
    "extra": ln.value,
    "context": ln.odd,
}


def sources(keys: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[bytes]:
    fine = ln.spelled(st.fixed_dictionaries(keys, optional=optional))
    bad = ln.spelled(st.fixed_dictionaries({key: kind | ln.odd for key, kind in keys.items()}, optional=off_optional))
    bare = ln.spelled(st.fixed_dictionaries(keys))
    return ln.soup(bare, fine, bad)


qa = sources({"question": ln.text, "answer": ln.text})
chat = sources({"messages": st.builds(lambda a, b: [*a, b], ln.turns, ln.answer) | st.lists(ln.turn, max_size=4)})
turn_list = st.lists(ln.answer, min_size=1, max_size=2)
prompts = sources({"prompt": ln.text | ln.turns, "completion": ln.text | turn_list})


def in_shape(row: dict[str, Any]) -> dict[str, Any] | None:
    return row if ln.is_collinear(row) else None


def turn(role: str, content: object) -> dict[str, Any]:
    return {"role": role, "content": content}


def plan(preset: str, **more: Any) -> RowPlan:
    return RowPlan(target=COLLINEAR, preset=preset, **more)


@given(identity)
def test_identity_sends_the_rows_in_shape_as_their_own_bytes(data: bytes) -> None:
    assert_agrees(plan("identity"), data, in_shape)
    for row, line in zip(plan("identity").encoder().encode_rows(ln.block(data)), ln.split(data), strict=True):
        assert row.body is None or row.body == line.strip(b" \t\r")


@given(qa)
def test_question_answer_makes_one_turn_and_a_response(data: bytes) -> None:
    assert_agrees(plan("question-answer"), data, partial(by_preset, "question-answer"))


@given(chat)
def test_chat_makes_the_last_turn_the_response(data: bytes) -> None:
    assert_agrees(plan("chat"), data, partial(by_preset, "chat"))


@given(prompts, st.integers(0, 6))
def test_prompt_completion_takes_strings_and_turns_whichever_it_expects(data: bytes, variant: int) -> None:
    assert_agrees(plan("prompt-completion", variant=variant), data, partial(by_preset, "prompt-completion"))


@given(identity)
def test_a_dropped_key_is_as_if_it_had_never_been_there(data: bytes) -> None:
    def judge(row: dict[str, Any]) -> dict[str, Any] | None:
        return reordered(in_shape({key: value for key, value in row.items() if key != "extra"}))

    assert_agrees(plan("identity", drop=("extra",)), data, judge)


@given(qa)
def test_a_dropped_key_before_a_preset(data: bytes) -> None:
    def judge(row: dict[str, Any]) -> dict[str, Any] | None:
        return by_preset(
            "question-answer", {key: value for key, value in row.items() if key not in ("extra", "ground_truth")}
        )

    assert_agrees(plan("question-answer", drop=("extra", "ground_truth")), data, judge)


def reordered(row: dict[str, Any] | None) -> dict[str, Any] | None:
    keys = ("conv_prefix", "response", "ground_truth", "context")
    return None if row is None else {key: row[key] for key in keys if key in row}


def test_a_nested_drop_reaches_into_turns() -> None:
    row = {
        "messages": [{"role": "user", "content": "q", "name": "Al"}, {"role": "assistant", "content": "a", "weight": 1}]
    }
    made = (
        plan("chat", drop_nested=("messages[].name", "messages[].weight"))
        .encoder()
        .encode(ln.block(json.dumps(row).encode()))
    )
    assert json.loads(made.body) == {"conv_prefix": [turn("user", "q")], "response": turn("assistant", "a")}


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ({"ground_truth": "5"}, "ground_truth: expected an integer, got the string '5'"),
        ({"ground_truth": 2**63}, "ground_truth: expected an integer of 64 bits"),
        ({"ground_truth": 1.5}, "ground_truth: expected an integer, got the number 1.5"),
        ({"context": 5}, "context: expected a string, got the integer 5"),
    ],
)
def test_a_spliced_label_is_checked_like_any_other(label: dict[str, Any], reason: str) -> None:
    rows = [{"question": "q", "answer": "a"}, {"question": "q", "answer": "a"} | label]
    made = plan("question-answer").encoder().encode(ln.block(b"\n".join(json.dumps(row).encode() for row in rows)))
    assert made.rows == 1
    assert made.rejects[0].reason.startswith(reason)


USER, ANSWER = turn("user", "q"), turn("assistant", "a")


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"ground_truth": "x"}, "ground_truth", "ground_truth: expected an integer, got the string 'x'"),
        ({"ground_truth": True}, "ground_truth", "ground_truth: expected an integer, got true"),
        ({"ground_truth": 1.0}, "ground_truth", "ground_truth: expected an integer, got the number 1.0"),
        (
            {"ground_truth": 2**63},
            "ground_truth",
            f"ground_truth: expected an integer of 64 bits, got the integer {2**63}",
        ),
        ({"ground_truth": None}, "ground_truth", "leave the key out"),
        ({"context": None}, "context", "leave the key out"),
        ({"context": 5}, "context", "context: expected a string, got the integer 5"),
        ({"conv_prefix": []}, "conv_prefix", "there is no turn in it"),
        ({"conv_prefix": "hi"}, "conv_prefix", "expected chat turns, got the string 'hi'"),
        ({"conv_prefix": [turn("usr", "q")]}, "conv_prefix[0].role", "got the string 'usr'"),
        ({"conv_prefix": [turn("user", None)]}, "conv_prefix[0].content", "expected a string, got null"),
        ({"conv_prefix": [USER, ANSWER]}, "conv_prefix[1].role", "the last turn must be the user's, it is 'assistant'"),
        ({"conv_prefix": [USER | {"name": "Al"}]}, "conv_prefix[].name", "--drop 'conv_prefix[].name'"),
        ({"response": "a"}, "response", "expected a turn (role and content), got the string 'a'"),
        ({"response": USER}, "response.role", "expected 'assistant', got the string 'user'"),
        ({"response": None}, "response", "got null"),
        ({"extra": 1}, "extra", "not a key of Collinear's rows; --drop 'extra'"),
        ({"response": {"role": "assistant"}}, "response.content", "got nothing (the key is absent)"),
    ],
)
def test_a_reason_names_the_field_what_was_expected_and_what_stands_there(
    row: dict[str, Any], field: str, reason: str
) -> None:
    line = json.dumps({"conv_prefix": [USER], "response": ANSWER} | row).encode()
    (reject,) = plan("identity").encoder().encode(ln.block(line)).rejects
    assert (reject.stage, reject.field) == ("validate", field)
    assert reason in reject.reason


@pytest.mark.parametrize(
    ("preset", "row", "field", "reason"),
    [
        ("question-answer", {"question": "q", "answer": 5.5}, "answer", "expected a string, got the number 5.5"),
        ("question-answer", {"question": "q"}, "answer", "got nothing (the key is absent)"),
        ("question-answer", {"question": "q", "answer": "a", "id": 1}, "id", "--drop 'id'"),
        (
            "chat",
            {"messages": [USER, ANSWER, USER]},
            "messages",
            "turns after the assistant's last one (1) would be lost",
        ),
        ("chat", {"messages": [USER]}, "messages", "no turn is the assistant's"),
        ("chat", {"messages": [ANSWER]}, "messages", "nothing stands before"),
        ("chat", {"messages": [USER | {"name": "x"}, ANSWER]}, "messages[].name", "--drop 'messages[].name'"),
        ("prompt-completion", {"prompt": "p", "completion": [ANSWER, ANSWER]}, "completion", "it has 2 turns"),
        ("prompt-completion", {"prompt": 1, "completion": "c"}, "prompt", "expected a string or chat turns"),
    ],
)
def test_a_preset_names_what_it_could_not_map(preset: str, row: dict[str, Any], field: str, reason: str) -> None:
    (reject,) = plan(preset).encoder().encode(ln.block(json.dumps(row).encode())).rejects
    assert (reject.stage, reject.field) == ("map", field)
    assert reason in reject.reason


@pytest.mark.parametrize("length", [1, 1000])
@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\x01"])
def test_a_chat_row_whose_content_no_server_could_read_is_set_aside(bad: bytes, length: int) -> None:
    row = json.dumps({"messages": [USER | {"content": "?" * length}, ANSWER]}).encode()
    made = plan("chat").encoder().encode(ln.block(row + b"\n" + row.replace(b"?", bad, 1) + b"\n" + row))
    assert (made.rows, len(made.rejects), made.rejects[0].stage) == (2, 1, "read")
    json.loads(b"[" + made.body + b"]")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("5", "conv_prefix[0].content"),
        ("null", "conv_prefix[0].content"),
        ("[]", "conv_prefix[0].content"),
        ('["q"]', "messages[0].content[0]"),
    ],
)
def test_a_chat_turn_that_says_no_string_is_set_aside(content: str, field: str) -> None:
    row = json.dumps({"messages": [USER, ANSWER]})
    odd = row.replace('"q"', content)
    made = plan("chat").encoder().encode(ln.block(f"{row}\n{odd}\n".encode()))
    assert (made.rows, [reject.field for reject in made.rejects]) == (1, [field])
