"""The shapes that people have: every way of a preset makes what a plain reference does, `verify` agrees, changes are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, Target, decide
from bulkup.encoding.choosing import Choice, choose_preset, fitting
from bulkup.encoding.lines import lines_of
from bulkup.encoding.meaning import as_meant
from bulkup.errors import UsageProblem
from bulkup.model import EncodedBlock
from tests.encoding import lines as ln
from tests.encoding.agreement import assert_agrees
from tests.encoding.reference import by_preset
from tests.examples import examples

scalar = ln.text | st.integers(-(2**70), 2**70) | st.booleans() | st.none() | st.sampled_from([1.5, 2.0, -0.0, 1e30])
parts = st.lists(ln.text, min_size=1, max_size=3).map(lambda texts: [{"type": "text", "text": text} for text in texts])
odd_parts: st.SearchStrategy[Any] = (
    st.just([{"type": "image_url", "image_url": {"url": "x"}}]) | st.just([{"type": "text"}]) | st.just([])
)
content = st.one_of(ln.text, ln.text, parts, scalar, odd_parts)


def turns(who: str, what: str, asking: tuple[str, ...], answering: tuple[str, ...]) -> st.SearchStrategy[list[Any]]:
    def one(roles: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({who: st.sampled_from(roles), what: content})

    return st.builds(
        lambda before, asked, answered: [*before, asked, answered],
        st.lists(one((*asking, *answering)), max_size=1),
        one(asking),
        one(answering),
    )


def in_string(shape: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[Any]:
    return st.one_of(shape, shape, shape.map(json.dumps), ln.odd)


ours = in_string(turns("role", "content", ("user", "user", "system"), ("assistant",)))
shared = in_string(turns("from", "value", ("human", "user", "system"), ("gpt", "chatgpt")))
labels = {
    "ground_truth": st.none() | ln.integer | st.sampled_from([1.0, 2.5, -3.0, 1e40, "1"]),
    "context": ln.text | st.none() | ln.odd,
}


def rows(keys: dict[str, st.SearchStrategy[Any]], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    fine = st.fixed_dictionaries(keys, optional={**labels, **more})
    return ln.soup(
        ln.spelled(fine), ln.spelled(fine), ln.spelled(st.fixed_dictionaries({}, optional={**keys, "x": ln.value}))
    )


SHAPES: dict[str, tuple[str, str | None, st.SearchStrategy[bytes]]] = {
    "chat": ("chat", None, rows({"messages": ours})),
    "chat elsewhere": ("chat", "dialog", rows({"dialog": ours})),
    "chat at an odd key": ("chat", 'q"k', rows({'q"k': ours})),
    "sharegpt": ("sharegpt", None, rows({"conversations": shared})),
    "sharegpt elsewhere": ("sharegpt", "turns", rows({"turns": shared})),
    "alpaca": ("alpaca", None, rows({"instruction": scalar, "output": scalar}, input=scalar)),
    "question-answer": ("question-answer", None, rows({"question": scalar, "answer": scalar})),
    "prompt-completion": ("prompt-completion", None, rows({"prompt": scalar, "completion": scalar})),
    "prompt, response": ("prompt-completion", None, rows({"prompt": scalar, "response": scalar})),
    "input, output": ("prompt-completion", None, rows({"input": scalar, "output": scalar})),
}


def ways(name: str) -> list[RowPlan]:
    preset, key, _ = SHAPES[name]
    plan = RowPlan(target=COLLINEAR, preset=preset, turns=key)
    return [replace(plan, variant=variant) for variant in range(len(plan.pipelines()))]


@pytest.mark.parametrize("name", SHAPES)
@examples(60)
@given(st.data())
def test_every_way_makes_what_the_reference_makes_and_verify_agrees(name: str, data: st.DataObject) -> None:
    preset, key, soup = SHAPES[name]
    plan, lines = data.draw(st.sampled_from(ways(name))), data.draw(soup)
    assert_agrees(plan, lines, partial(by_preset, preset, key=key))
    block = ln.block(lines)
    for line, row in zip(lines_of(block), plan.encoder().encode_rows(block), strict=True):
        if row.body is not None:
            assert as_meant(plan, line.row, row.body) == row.body


# --- what is changed is counted -------------------------------------------------------------------------------------

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
QA = {"question": "q", "answer": "a"}
PARTS = [{"type": "text", "text": "on"}, {"type": "text", "text": "e"}]


def made(target: Target, *given_rows: Any, **options: Any) -> tuple[RowPlan, EncodedBlock]:
    block = ln.block(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in given_rows))
    plan = decide(block, target, RowOptions(**options))
    return plan, plan.encoder().encode(block)


@pytest.mark.parametrize(
    ("odd", "changes", "said"),
    [
        (
            {"messages": [USER | {"content": PARTS}, ANSWER]},
            {"joined": 1},
            {"conv_prefix": [USER | {"content": "one"}]},
        ),
        ({"messages": json.dumps([USER, ANSWER])}, {"parsed": 1}, {"conv_prefix": [USER]}),
        ({"messages": [USER, ANSWER], "ground_truth": 2.0}, {"1.0 -> 1": 1}, {"ground_truth": 2}),
        ({"messages": [USER, ANSWER | {"content": 42}]}, {'42 -> "42"': 1}, {"response": ANSWER | {"content": "42"}}),
        ({"messages": [USER, ANSWER], "ground_truth": None}, {}, {}),
    ],
)
@pytest.mark.parametrize("others", [0, 3])
def test_each_kind_of_change_is_counted_in_rows(
    odd: dict[str, Any], changes: dict[str, int], said: dict[str, Any], others: int
) -> None:
    """In a block that goes the slow way whole as in one whose rows go one by one."""
    usual = {"messages": [USER, ANSWER]}
    _, block = made(COLLINEAR, *[usual] * others, odd, odd, preset="chat")
    assert dict(block.changes) == {kind: 2 * count for kind, count in changes.items()}
    assert block.rows == others + 2
    rows_made = json.loads(b"[" + block.body + b"]")
    assert rows_made[-1] == {"conv_prefix": [USER], "response": ANSWER} | said


@pytest.mark.parametrize(
    ("below", "asked"),
    [('"x"', "q\n\nx"), ('""', "q"), ("null", "q"), (None, "q"), ('" "', "q\n\n "), ('"\\u00e9\\n"', "q\n\né\n")],
)
@pytest.mark.parametrize("variant", [0, 1])
def test_an_input_stands_below_its_instruction_where_there_is_one(below: str | None, asked: str, variant: int) -> None:
    line = f'{{"instruction":"q",{"" if below is None else f"{chr(34)}input{chr(34)}:{below},"}"output":"a"}}'.encode()
    plan = RowPlan(target=COLLINEAR, preset="alpaca", variant=variant)
    (row,) = plan.encoder().encode_rows(ln.block(line))
    assert row.body is not None
    assert json.loads(row.body)["conv_prefix"] == [{"role": "user", "content": asked}]


def test_rows_as_they_are_count_nothing() -> None:
    assert made(COLLINEAR, QA)[1].changes == ()
    assert made(NEBIUS, QA)[1].changes == ()


@pytest.mark.parametrize("number", ["1.10", "-0", "123456789.123456789123", "12345678901234567890123", "1E5", "1e-400"])
def test_a_number_that_goes_along_keeps_its_characters(number: str) -> None:
    """Beside turns that a preset makes anew."""
    line = f'{{"conversations":[{{"from":"human","value":"q"}},{{"from":"gpt","value":"a"}}],"n":{number}}}'.encode()
    plan, block = made(NEBIUS, line, preset="sharegpt", nested="as-is")
    assert block.body.endswith(f',"n":{number}}}'.encode())
    assert as_meant(plan, line, block.body) == block.body


@pytest.mark.parametrize("digits", ["-0", "7", "12345678901234567890123"])
def test_an_integer_answer_keeps_its_digits(digits: str) -> None:
    line = f'{{"question":"q","answer":{digits}}}'.encode()
    for target in (COLLINEAR, NEBIUS):
        plan, block = made(target, line, preset="question-answer")
        assert f'"{digits}"'.encode() in block.body
        assert dict(block.changes) == {'42 -> "42"': 1}
        assert as_meant(plan, line, block.body) == block.body
        assert as_meant(plan, line, block.body.replace(digits.encode(), b"8")) != block.body.replace(
            digits.encode(), b"8"
        )


# --- Nebius: what is named is checked -------------------------------------------------------------------------------

SHAREGPT = {"id": 7, "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}


@pytest.mark.parametrize(
    ("row", "preset"),
    [
        (SHAREGPT, "sharegpt"),
        ({"id": 7, "instruction": "q", "input": "", "output": "a"}, "alpaca"),
        ({"id": 7, "instruction": "q", "output": "a"}, "alpaca"),
    ],
)
def test_nebius_gets_chat_rows_of_other_shapes_where_these_are_named(row: dict[str, Any], preset: str) -> None:
    plan, block = made(NEBIUS, row, preset=preset)
    assert json.loads(block.body) == {"messages": json.dumps([USER, ANSWER], separators=(",", ":")), "id": 7}
    assert as_meant(plan, json.dumps(row).encode(), block.body) == block.body
    assert json.loads(made(NEBIUS, row)[1].body).keys() == row.keys()  # nobody asked for it


@pytest.mark.parametrize("number", ["1e999", "-0", "1.10", "12345678901234567890123"])
@pytest.mark.parametrize("more", [{}, {"nested": "as-is"}])
def test_any_number_may_stand_beside_an_answer(number: str, more: dict[str, str]) -> None:
    """In the first block too, which is looked at by a decoder of its own."""
    line = f'{{"question":"q","answer":7,"more":{{"n":{number}}}}}'.encode()
    _, block = made(NEBIUS, b'{"question":"q","answer":"a","more":{}}', line, preset="question-answer", **more)
    if "nested" in more and number == "1e999":
        assert [reject.line for reject in block.rejects] == [1]
    else:
        assert number.encode() in block.body


def test_what_else_stands_in_a_turn_goes_along() -> None:
    """For Collinear there is no place for it, which is said; for Nebius there is."""
    turns = [{"from": "human", "value": "q", "weight": 0}, {"from": "gpt", "value": "a", "weight": 1.50}]
    line = json.dumps({"conversations": turns}).replace("1.5", "1.50").encode()
    plan, block = made(NEBIUS, line, preset="sharegpt", nested="as-is")
    assert b'"content":"a","weight":1.50}' in block.body
    assert as_meant(plan, line, block.body) == block.body
    assert as_meant(plan, line, block.body.replace(b"1.50", b"1.5")) == block.body.replace(b"1.50", b"1.5")
    assert as_meant(plan, line, block.body.replace(b"1.50", b"2")) != block.body.replace(b"1.50", b"2")
    twice = {"conversations": [{"from": "human", "value": "q", "role": "system"}, {"from": "gpt", "value": "a"}]}
    (reject,) = made(NEBIUS, twice, preset="sharegpt")[1].rejects
    assert "the turn has a role of its own" in reject.reason


TOOLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}


@pytest.mark.parametrize(
    ("preset", "good", "bad", "reason"),
    [
        ("chat", {"messages": [USER, ANSWER]}, {"messages": []}, "messages: there is no turn in it"),
        ("chat", {"messages": [USER, TOOLS, {"role": "tool", "content": "x"}, ANSWER]}, {"messages": [USER]}, "the assistant's"),
        ("chat", {"messages": json.dumps([USER, ANSWER])}, {"messages": "hi"}, "expected chat turns, got the string 'hi'"),
        ("chat", {"messages": [USER | {"content": PARTS}, ANSWER]}, {"messages": [{"role": "bot"}, ANSWER]}, "string 'bot'"),
        ("chat", {"messages": [USER, ANSWER]}, {"messages": [USER, ANSWER | {"content": None}]}, "got null"),
        ("prompt-completion", {"prompt": "p", "completion": "c"}, {"prompt": "p", "completion": None}, "got null"),
        ("question-answer", QA, QA | {"answer": [1]}, "expected a string, got an array of 1"),
        ("text", {"text": "t"}, {"text": None}, "expected a string, got null"),
        ("preference", {"chosen": "a", "rejected": "b"}, {"chosen": [USER], "rejected": "b"}, "the assistant's"),
        ("sharegpt", SHAREGPT, SHAREGPT | {"conversations": []}, "expected chat turns, got an array of 0"),
    ],
)  # fmt: skip
def test_nebius_rows_are_checked_against_the_shape_that_was_named(
    preset: str, good: dict[str, Any], bad: dict[str, Any], reason: str
) -> None:
    _, block = made(NEBIUS, *[good] * 30, bad, preset=preset)
    assert block.rows == 30
    (reject,) = block.rejects
    assert reason in reject.reason
    _, unnamed = made(NEBIUS, *[good] * 30, bad)
    assert unnamed.rows == 31  # what nobody has named is not checked


def test_a_check_leaves_the_bytes_alone() -> None:
    line = json.dumps({"prompt": "p", "completion": "c", "n": 1}).encode()
    block = made(NEBIUS, line, line, preset="prompt-completion")[1]
    assert (block.body, block.verbatim) == (line + b"," + line, True)


# --- auto -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "rows_seen", "preset"),
    [
        ({"chat": 95}, 100, "chat"),
        ({"chat": 94}, 100, None),
        ({"chat": 949}, 1000, None),
        ({"chat": 950, "sharegpt": 1000}, 1000, "chat"),
        ({"sharegpt": 100}, 100, "sharegpt"),
        ({"identity": 95, "chat": 100}, 100, "identity"),
        ({"chat": 50, "question-answer": 50}, 100, None),
        ({}, 100, None),
        ({}, 0, "identity"),
    ],
)
def test_auto_takes_a_preset_that_95_percent_fit(counts: dict[str, int], rows_seen: int, preset: str | None) -> None:
    if preset is None:
        with pytest.raises(UsageProblem, match=r"no preset fits 95 % of the rows looked at") as caught:
            choose_preset(COLLINEAR, counts, rows_seen)
        assert all(f"{name} {count:,}" in str(caught.value) for name, count in counts.items())
        assert choose_preset(NEBIUS, counts, rows_seen).preset == "identity"
    else:
        assert choose_preset(COLLINEAR, counts, rows_seen).preset == preset


def test_nebius_is_told_what_fits_and_gets_the_rows_as_they_are() -> None:
    assert choose_preset(NEBIUS, {"identity": 100, "chat": 96}, 100) == Choice("chat", (96, 100))
    assert choose_preset(NEBIUS, {"identity": 100, "sharegpt": 100}, 100) == Choice("identity")
    chat = [{"messages": [USER, ANSWER]}] * 30
    plan, block = made(NEBIUS, *chat, {"messages": []})
    assert plan.describe().endswith("30 of 31 rows looked at fit chat")
    assert (block.rows, block.rejects) == (31, ())


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"messages": [USER | {"name": "x"}, ANSWER], "id": 1}, ("chat",)),
        ({"messages": [USER, TOOLS, ANSWER]}, ()),
        (SHAREGPT, ("sharegpt",)),
        ({"instruction": "i", "input": "x", "output": "o"}, ("alpaca", "prompt-completion")),
        ({"prompt": "p", "response": 4}, ("prompt-completion",)),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, ()),
    ],
)
def test_a_row_fits_whatever_other_keys_it_has(row: dict[str, Any], names: tuple[str, ...]) -> None:
    assert fitting(row, COLLINEAR) == names


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [USER, TOOLS, ANSWER], "tools": []}, "The first that is not chat: messages[1]: the turn is a tool call ("),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "score": 1}, "they are preferences"),
        ({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: b"}, "a mapping takes one side"),
        ({"instruction": "i", "output": None}, "The first that is not alpaca: output: expected a string, got null"),
        ({"id": 1, "body": "x"}, "The first has the keys id, body; make other rows of them: --map"),
        ({"conv_prefix": [USER], "id": 1}, "The first has the keys conv_prefix, id"),
    ],
)  # fmt: skip
def test_what_fits_nothing_is_refused_with_what_is_missing_and_no_hint_to_drop(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        made(COLLINEAR, row, row)
    assert said in str(caught.value)
    assert "--drop" not in str(caught.value)


def test_a_named_preset_takes_what_auto_leaves_to_a_person() -> None:
    rows_given = [QA, QA, {"question": "q"}]
    with pytest.raises(
        UsageProblem, match=r"in the shape of question-answer 2.*--preset question-answer, which rejects"
    ):
        made(COLLINEAR, *rows_given)
    _, block = made(COLLINEAR, *rows_given, preset="question-answer")
    assert (block.rows, len(block.rejects)) == (2, 1)


def test_a_tool_call_is_never_hinted_away() -> None:
    row = {"messages": [USER, ANSWER | {"tool_calls": [{"id": "c"}]}]}
    with pytest.raises(
        UsageProblem, match=r"no place for the key messages\[\].tool_calls; it holds no tool calls"
    ) as caught:
        made(COLLINEAR, row)
    assert "--drop" not in str(caught.value)
    _, block = made(COLLINEAR, {"messages": [USER, ANSWER]}, preset="chat")
    assert block.rows == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"preset": "question-answer", "turns": "m"},
            "--turns is for the presets chat and sharegpt, not question-answer",
        ),
        ({"preset": "chat", "turns": "context"}, "that key holds a label"),
        ({"preset": "chat", "turns": "dialog"}, "the preset chat needs dialog; no row of the first block has dialog"),
        ({"preset": "preference"}, "Collinear has no place for preference rows"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        made(COLLINEAR, QA, **options)
    assert said in str(caught.value)


# --- runs that began earlier ----------------------------------------------------------------------------------------


def test_a_run_of_an_earlier_edition_goes_on_by_its_rules() -> None:
    plan, _ = made(COLLINEAR, {"messages": [USER, ANSWER]}, preset="chat")
    record = plan.to_json()
    for later in ("turns", "repairs", "is_checked", "fit", "edition"):
        del record[later]
    old = RowPlan.from_json(record, COLLINEAR)
    assert (old.edition, old.repairs, old.is_checked) == (1, (), False)
    whole = json.dumps({"messages": [USER, ANSWER], "ground_truth": 1.0}).encode()
    doubled = json.dumps({"messages": [USER, ANSWER]})[:-1].encode() + b',"ground_truth":1,"ground_truth":2}'
    first, second = old.encoder().encode_rows(ln.block(whole + b"\n" + doubled))
    assert first.body is None
    assert second.body is not None
    assert json.loads(second.body)["ground_truth"] == 2
    new_first, new_second = plan.encoder().encode_rows(ln.block(whole + b"\n" + doubled))
    assert new_first.body is not None
    assert new_second.body is None
