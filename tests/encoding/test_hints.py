"""What is advised where Collinear has no place for a key: nobody is told to drop what a row needs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bulkup.destinations.collinear.rows import TARGET
from bulkup.encoding import RowOptions, decide
from bulkup.encoding.choosing import what_is_missing
from bulkup.errors import UsageProblem
from bulkup.model import Block


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def advice(preset: str, *rows: dict[str, Any]) -> tuple[str, RowOptions]:
    """All that is said of *rows*, and the options that follow what is said of `--drop`."""
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    block, words = Block(data, 0, len(data)), ""
    options = RowOptions(preset=preset)
    try:
        words = "; ".join(reject.reason for reject in decide(block, TARGET, options).encoder().encode(block).rejects)
    except UsageProblem as problem:
        words = str(problem)
    return words, RowOptions(preset=preset, drop=tuple(re.findall("--drop '([^']*)'", words)))


BESIDE = [
    ("auto", {"conv_prefix": [user("q")], "response": said("a"), "id": 1}),
    ("auto", {"conv_prefix": [user("q", at=1)], "response": said("a", at=2)}),
    ("chat", {"messages": [user("q", name="n"), said("a")], "n": 1}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "q", "w": 1}, {"from": "gpt", "value": "a"}], "id": 1}),
    ("auto", {"prompt": "q", "completion": "a", "score": 1.5}),
    ("prompt-completion", {"prompt": [user("q", n=1)], "completion": [said("a", n=2)]}),
    ("auto", {"instruction": "q", "output": "a", "text": "both"}),
    ("auto", {"question": "q", "answer": "a", "source": {"a": 1}}),
]


@pytest.mark.parametrize(("preset", "row"), BESIDE)
def test_what_may_be_dropped_leaves_a_row(preset: str, row: dict[str, Any]) -> None:
    words, options = advice(preset, row)
    assert options.drop, words
    data = json.dumps(row).encode()
    assert decide(Block(data, 0, len(data)), TARGET, options).encoder().encode(Block(data, 0, len(data))).rows == 1


NEEDED = [
    ("identity", {"a": 1, "b": 2}),
    ("identity", {"conv_prefix": [user("q")], "answer": "x"}),
    ("auto", {"conv_prefix": [user("q")], "answer": "x"}),
    ("auto", {"conv_prefix": [user("q")], "response": {"text": "x"}}),
    ("identity", {"conv_prefix": [{"who": "user", "text": "q"}], "response": said("a")}),
    ("chat", {"messages": [{"speaker": "user", "text": "q"}, {"speaker": "bot", "text": "a"}]}),
    ("chat", {"messages": [{"role": "user", "text": "q"}, {"role": "assistant", "text": "a"}]}),
    ("chat", {"messages": [user("q"), {"role": "assistant", "content": None, "tool_calls": [1]}]}),
    ("chat", {"messages": [user("q"), {"role": "assistant", "tool_calls": [1]}]}),
    ("auto", {"messages": [user("q"), said("a")], "tools": []}),
    ("prompt-completion", {"prompt": "q", "completion": [{"type": "text", "text": "a"}]}),
    ("sharegpt", {"conversations": [{"role": "human", "content": "q"}, {"role": "gpt", "content": "a"}]}),
    ("auto", {"question": "q", "response": "a"}),
    ("auto", {"system": "s", "messages": [user("q"), said("a")], "id": 1}),
    ("auto", {"prompt": "q", "completion": "a", "label": False}),
    ("auto", {"instruction": "q", "output": "a", "history": [["b", "c"]]}),
    ("auto", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "image": "a.png"}),
    ("auto", {"text": "a"}),
    ("auto", {"chosen": "a", "rejected": "b", "score": 1}),
]


@pytest.mark.parametrize(("preset", "row"), NEEDED)
def test_nobody_is_told_to_drop_what_a_row_needs(preset: str, row: dict[str, Any]) -> None:
    words, options = advice(preset, row)
    assert words
    assert not options.drop, words


def test_nulls_are_no_keys_to_find_a_place_for() -> None:
    """Rows of a table have every key that any of them has, in every turn."""
    nulls = {"name": None, "tool_calls": None}
    part = {"type": "text", "text": "a", "image_url": None}
    rows = [
        ("chat", {"messages": [user("q", **nulls), said("a", **nulls)], "tools": None, "id": None}),
        ("chat", {"messages": [user("q", **nulls), said([part], **nulls)]}),  # type: ignore[arg-type]
        ("chat", {"messages": json.dumps([user("q", **nulls), said("a", **nulls)])}),
        ("sharegpt", {"conversations": [{"from": "human", "value": "q", **nulls}, {"from": "gpt", "value": "a"}]}),
        ("prompt-completion", {"prompt": [user("q", **nulls)], "completion": [said("a", **nulls)], "x": None}),
        ("alpaca", {"instruction": "q", "input": None, "output": "a", "history": None}),
    ]
    for preset, row in rows:
        data = json.dumps(row).encode()
        block = Block(data, 0, len(data))
        (made,) = decide(block, TARGET, RowOptions(preset=preset)).encoder().encode_rows(block)
        assert made.body is not None, (preset, made)
        assert json.loads(made.body) == {"conv_prefix": [user("q")], "response": said("a")}


def test_of_many_keys_some_are_named() -> None:
    words, options = advice("auto", {"question": "q", "answer": "a"} | {f"k{n}": n for n in range(1000)})
    assert "k10, k11 and 988 more; a function or a mapping makes rows without them" in words
    assert not options.drop
    assert len(words) < 300


def test_rows_in_another_shape_say_nothing_about_what_may_be_dropped() -> None:
    words, options = advice("chat", {"messages": [user("q"), said("a")]}, {"prompt": "q", "score": 1})
    assert not options.drop, words


def test_a_row_that_is_rejected_anyway_says_nothing_about_what_may_be_dropped() -> None:
    good = json.dumps({"question": "q", "answer": "a"}).encode()
    data = good + b'\n{"question":"q","answer":"a","answer":"b","odd":1}\n'
    block = Block(data, 0, len(data))
    encoded = decide(block, TARGET, RowOptions(preset="question-answer")).encoder().encode(block)
    assert (encoded.rows, len(encoded.rejects)) == (1, 1)
    assert "--repair duplicate-keys=last" in encoded.rejects[0].reason


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"dialog": [user("q"), said("a")]}, "under the key dialog: --preset chat --turns dialog takes them"),
        ({"my turns": [user("q"), said("a")], "n": 1}, "--preset chat --turns 'my turns' takes them"),
        ({"log": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "--preset sharegpt --turns log"),
        ({"Question": "q", "ANSWER": "a"}, "--rename Question=question --rename ANSWER=answer takes them"),
        ({"prompt": "q", "Response": "a"}, "called otherwise: --rename Response=response takes them"),
        ({"Model answer": "a"}, "The first has the keys Model answer"),
        ({"context": [user("q"), said("a")]}, "The first has the keys context"),
    ],
)
def test_keys_that_are_only_called_otherwise_are_told(row: dict[str, Any], words: str) -> None:
    assert words in what_is_missing([row], TARGET)
