"""Rows of a usual form come to the same bytes whether their values are moved as they stand or decoded and encoded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import BlockEncoder, RowOptions, RowPlan, Target, decide
from bulkup.encoding.language import automaton_of
from bulkup.encoding.shortcuts import STYLES, strings_moved
from bulkup.model import Block
from bulkup.rows.mapping import parse_mapping
from tests.encoding.test_language import PIECES

MAPPING = {
    "context": "note",
    "conv_prefix": [{"role": {"const": "user"}, "content": "question"}],
    "response": {"role": {"const": "assistant"}, "content": "answer"},
}
QUESTION = {"question": "q", "answer": "a"}
CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}

TRICKY = [
    '","answer":"',
    '"}\n{"question":"',
    "\\",
    '\\"',
    ']"},{"messages":"[',
    "\n",
    "}",
    "é",
    "語🙂",
    "\x7f",
    "\u2028",
    ",",
    ":",
    ", ",
    ": ",
    "},",
    ":[",
]
TEXTS = st.one_of(st.text(st.characters(codec="utf-8"), max_size=20), st.lists(st.sampled_from(TRICKY)).map("".join))


def row_of(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*[TEXTS] * len(keys)).map(lambda values: dict(zip(keys, values, strict=True)))


CHATS = st.lists(row_of(("role", "content")), min_size=1, max_size=4).map(lambda turns: {"messages": turns})


def written(rows: list[dict[str, Any]], *, spaced: bool, ascii_only: bool = False) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return "\n".join(json.dumps(row, separators=separators, ensure_ascii=ascii_only) for row in rows).encode()


def plan_for(target: Target, first: dict[str, Any], **options: Any) -> RowPlan:
    line = json.dumps(first).encode()
    return decide(Block(line, 0, len(line)), target, RowOptions(**options))


WAYS = {
    "question and answer": (plan_for(COLLINEAR, QUESTION, preset="question-answer"), row_of(("question", "answer"))),
    "prompt and completion": (
        plan_for(COLLINEAR, {"prompt": "p", "completion": "c"}, preset="prompt-completion"),
        row_of(("prompt", "completion")),
    ),
    "mapping": (
        plan_for(COLLINEAR, {"note": "n", **QUESTION}, mapping=parse_mapping(MAPPING)),
        row_of(("note", "question", "answer")),
    ),
    "chat as text": (plan_for(NEBIUS, CHAT), CHATS),
}


def quick(plan: RowPlan) -> BlockEncoder:
    """Whatever the clock says of it."""
    encoder = plan.encoder()
    for shortcut in encoder._shortcuts:
        encoder._races[shortcut.begins].is_over = True
    return encoder


def plain(plan: RowPlan) -> BlockEncoder:
    encoder = plan.encoder()
    encoder._shortcuts = ()
    return encoder


ENCODERS = {name: (quick(plan), plain(plan)) for name, (plan, _) in WAYS.items()}


@pytest.mark.parametrize("name", WAYS)
@given(st.data(), st.booleans(), st.booleans())
def test_usual_rows_come_to_the_same_bytes(name: str, data: st.DataObject, spaced: bool, ascii_only: bool) -> None:
    rows = data.draw(st.lists(WAYS[name][1], min_size=1, max_size=4))
    lines = written(rows, spaced=spaced, ascii_only=ascii_only) + data.draw(st.sampled_from([b"", b"\n"]))
    with_it, without = ENCODERS[name]
    assert with_it._shortcut(lines) is not None
    block = Block(lines, 7, 7 + len(lines))
    found = with_it.encode(block)
    assert found == without.encode(block)
    assert (found.rows, found.blank, found.rejects, found.verbatim) == (len(rows), 0, (), False)


@pytest.mark.parametrize("name", WAYS)
@given(st.data(), st.booleans())
def test_changed_rows_do_too(name: str, data: st.DataObject, spaced: bool) -> None:
    lines = bytearray(written(data.draw(st.lists(WAYS[name][1], min_size=1, max_size=3)), spaced=spaced))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(lines)))
        lines[start : start + data.draw(st.integers(0, 3))] = data.draw(PIECES)
    with_it, without = ENCODERS[name]
    block = Block(bytes(lines), 0, len(lines))
    assert with_it.encode(block) == without.encode(block)


KEYS = st.sampled_from(["a", "b", "c", '"', "\\", ",", ":", ", ", ": ", "},", ":[", '","b":"', "é", "}", "["])
TARGETS = st.lists(st.tuples(KEYS, st.one_of(st.none(), KEYS)), max_size=3)
"""Constants that a mapping puts between two values, each under a key; None: an array is begun and ended."""


def plain_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def literal(before: list[tuple[str, str | None]], *, is_first: bool) -> bytes:
    """What a template may hold in front of a value."""
    found = b"{" if is_first else b","
    for key, value in before:
        found += plain_json(key).encode() + b":" + (b"[]" if value is None else plain_json(value).encode()) + b","
    return found + b'"k":'


@given(st.lists(KEYS, min_size=1, max_size=4), st.data())
def test_strings_are_moved_into_any_template_or_not_at_all(keys: list[str], data: st.DataObject) -> None:
    literals = [literal(data.draw(TARGETS), is_first=place == 0) for place in range(len(keys))] + [b"}"]
    values = data.draw(st.lists(st.tuples(*[TEXTS] * len(keys)), min_size=1, max_size=3))
    for shortcut in strings_moved(keys, literals):
        comma, colon = (", ", ": ") if shortcut.begins.endswith(b' "') else (",", ":")
        pairs = [[f"{plain_json(k)}{colon}{plain_json(v)}" for k, v in zip(keys, row, strict=True)] for row in values]
        lines = "\n".join("{" + comma.join(row) + "}" for row in pairs).encode()
        wanted = [
            b"".join(text + plain_json(v).encode() for text, v in zip(literals, row, strict=False)) + b"}"
            for row in values
        ]
        automaton = automaton_of(shortcut.form)
        assert automaton is not None
        assert automaton.takes(lines)
        assert lines.startswith(shortcut.begins)
        assert shortcut.body(lines) == b",".join(wanted)


def test_keys_that_cannot_be_told_apart_are_left_to_the_decoder() -> None:
    assert strings_moved(("a", "a"), (b'{"x":', b',"y":', b"}")) == ()
    misleading = (b'{"x":', b',"c":"d","c":"","y":', b',"z":', b"}")
    assert [shortcut.begins for shortcut in strings_moved(("a", "b", "c"), misleading)] == [b'{"a": "']
    assert len(strings_moved(("a", "b", "c"), (b'{"x":', b',"y":', b',"z":', b"}"))) == len(STYLES)


PUNCTUATION = {
    "a value between keys": ({"x": '$[","]', "y": '$[":"]'}, [{",": ":", ":": "v"}], False),
    "a literal and a value": ({"x": "a", ":": "b", "z": '$[","]'}, [{"a": ",", "b": "1", ",": "2"}], False),
    "with spaces": ({"x": "a", ": ": "b", "z": '$[","]'}, [{"a": ", ", "b": "2", ",": "3"}], True),
}


@pytest.mark.parametrize("name", PUNCTUATION)
def test_keys_that_look_like_what_stands_between_strings(name: str) -> None:
    """A value and what stands behind it must not be taken for a key."""
    mapping, rows, spaced = PUNCTUATION[name]
    lines = written(rows, spaced=spaced)
    block = Block(lines, 0, len(lines))
    plan = decide(block, NEBIUS, RowOptions(mapping=parse_mapping(mapping)))
    assert quick(plan).encode(block) == plain(plan).encode(block)
    wanted = {key: rows[0][path.removeprefix('$["').removesuffix('"]')] for key, path in mapping.items()}
    assert json.loads(b"[" + quick(plan).encode(block).body + b"]") == [wanted]
