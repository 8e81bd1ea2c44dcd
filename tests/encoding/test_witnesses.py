"""A codec that says of itself that it has lost no member never says so where a key stands twice."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, decide
from bulkup.encoding.doubled_keys import Witness
from bulkup.refusal import Refusal, attempt
from bulkup.rows.mapping import parse_mapping
from tests.encoding.lines import block
from tests.encoding.test_doubled_keys import doubled_somewhere, spelled
from tests.examples import examples

TEXTS = st.sampled_from(["", ":", "a: b", '"k":1', "\\u003a", "é🙂", "\n", "/", "x" * 9, "0"])
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": TEXTS})
LABELS = {"ground_truth": st.none() | st.integers(-3, 3), "context": st.none() | TEXTS}
OBJECTS = st.fixed_dictionaries({"k": st.integers(0, 9)}, optional={"of": st.fixed_dictionaries({"k": TEXTS})})

ROWS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "chat": st.fixed_dictionaries(
        {
            "messages": st.lists(TURN, max_size=2).map(
                lambda turns: [*turns, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
            )
        },
        optional=LABELS,
    ),
    "sharegpt": st.fixed_dictionaries(
        {"conversations": TEXTS.map(lambda text: [{"from": "human", "value": text}, {"from": "gpt", "value": ""}])},
        optional=LABELS,
    ),
    "mapping": st.fixed_dictionaries({"question": TEXTS, "answer": TEXTS}, optional={"id": st.integers(0, 9)}),
    "columns": st.fixed_dictionaries(
        {"n": st.integers(-1, 9), "m": OBJECTS | st.lists(OBJECTS, max_size=2), "s": TEXTS},
        optional={"x": st.none() | OBJECTS},
    ),
}
USUAL: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "q: é"}, {"role": "assistant", "content": "a"}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "mapping": {"question": "q: é", "answer": "a"},
    "columns": {"n": 1, "m": {"k": 1, "of": {"k": "t"}}, "s": "é", "x": None},
}
MAPPING = {
    "conv_prefix": [{"role": {"const": "user"}, "content": "question"}],
    "response": {"role": {"const": "assistant"}, "content": "answer"},
}
OPTIONS: dict[str, tuple[Any, RowOptions]] = {
    "chat": (COLLINEAR, RowOptions(preset="chat")),
    "sharegpt": (COLLINEAR, RowOptions(preset="sharegpt")),
    "mapping": (COLLINEAR, RowOptions(mapping=parse_mapping(MAPPING))),
    "columns": (NEBIUS, RowOptions(columns={"n": "integer", "m": "text", "s": "string", "x": "as-is?"})),
}


@cache
def codec_of(way: str) -> Any:
    target, options = OPTIONS[way]
    codec = decide(block(json.dumps(USUAL[way]).encode()), target, options).pipelines()[0].codec
    assert isinstance(codec, Witness)
    return codec


def sure(way: str, lines: list[bytes]) -> bool:
    """Whether the codec takes *lines* and has seen each key once."""
    codec, data = codec_of(way), b"\n".join(lines)
    body = attempt(codec.body, data, len(lines))
    return not isinstance(body, Refusal) and bool(codec.saw_each_key_once(data, len(lines), body))


@pytest.mark.parametrize("way", ROWS)
@examples(150)
@given(data=st.data(), escape=st.booleans(), space=st.sampled_from(["", " "]))
def test_a_doubled_key_is_never_sworn_away(way: str, data: st.DataObject, escape: bool, space: str) -> None:
    """Whatever else stands in the block: labels that are null, columns that are absent, escapes, white space."""
    rows = data.draw(st.lists(ROWS[way], min_size=1, max_size=4))
    chosen = data.draw(st.integers(0, len(rows) - 1))
    twice = doubled_somewhere(data, rows[chosen], escape, space)
    lines = [spelled(row, data.draw(st.booleans()), data.draw(st.sampled_from(["", " "]))).encode() for row in rows]
    assert not sure(way, [*lines[:chosen], twice, *lines[chosen + 1 :]])


@pytest.mark.parametrize(
    ("way", "separators"),
    [
        *((way, (",", ":")) for way in ("chat", "sharegpt", "mapping")),
        *((way, (", ", ": ")) for way in ("chat", "sharegpt")),
    ],
)
def test_usual_rows_are_sworn_to(way: str, separators: tuple[str, str]) -> None:
    """Else each block would be looked through once more."""
    row = json.dumps(USUAL[way], separators=separators, ensure_ascii=False).encode()
    assert sure(way, [row] * 3)


def test_usual_rows_with_columns_are_sworn_to() -> None:
    """simdjson counts their members."""
    pytest.importorskip("simdjson")
    rows = [{**USUAL["columns"], "x": {"k": n}} for n in range(40)]
    assert sure("columns", [json.dumps(row).encode() for row in rows])


def test_what_makes_a_body_longer_does_not_make_up_for_what_was_lost() -> None:
    """A colon that stood in an escape; a key that is absent, whose place has a shorter name."""
    twice = (
        b'{"messages":[{"role":"user","role":"user","content":"q"},{"role":"assistant","content":"a"}],"context":"%b"}'
    )
    assert not sure("chat", [twice % b"x\\u003ay"])

    plain = parse_mapping({**MAPPING, "context": "a key of twenty-one c"})
    row = b'{"question":"q","answer":"a","a key of twenty-one c":"x"}'
    codec = decide(block(row), COLLINEAR, RowOptions(mapping=plain)).pipelines()[0].codec
    assert isinstance(codec, Witness)
    lines = b'{"question":"q","answer":"a"}\n{"question":"","question":"q","answer":"a","a key of twenty-one c":"x"}'
    body = attempt(codec.body, lines, 2)
    assert isinstance(body, bytes)
    assert not codec.saw_each_key_once(lines, 2, body)
