"""Rows of a JSON array: a row is taken exactly where its element is a JSON object. Nothing that the cutter did not understand is
made into something that a decoder takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowPlan
from bulkup.model import Block, Validation
from bulkup.rows.schema import Column, Holds
from bulkup.sources.json_array import ArrayCutter, json_line
from tests.examples import examples

PLAN = RowPlan(
    target=NEBIUS, preset="identity", columns=(Column("a", Holds.TEXT, "string", nullable=True),), rewrite=True
)
TRUSTED = RowPlan(
    target=NEBIUS, preset="identity", columns=(Column("a", Holds.AS_IS, "json"),), validation=Validation.TRUST
)
CONTROLS = ["\n", "\r", "\r\n", "\t", "\0", "\x1f", "\\\n", "\n\n", "}\n{", '\\"\n']
words = st.sampled_from(["x", "é", '\\"', "\\\\", "\\n", "},{", "[", "]", ",", " "])
strings = st.lists(words | st.sampled_from(CONTROLS), max_size=4).map("".join)
gaps = st.sampled_from(["", " ", "\n", "\r\n\t", "\n\n"])
elements = st.one_of(
    st.builds('{{{0}"a"{1}:{2}"{3}"{0}}}'.format, gaps, gaps, gaps, strings),
    st.builds('{{"a":{0}["{1}",{0}1.50,{{"{2}":{0}-0}}]}}'.format, gaps, strings, strings),
    st.sampled_from(
        [
            '{"a":1}{"a":2}',
            '{"a":1}\n{"a":2}',
            "7",
            "[{}]",
            "null",
            '{"a":1} // x',
            '{"a":1}x',
            "{}",
            "\ufeff{}",
            '{"a" 1}',
            '"\n"',
            "\x0b{}",
        ]
    ),
)


def is_object(element: str) -> bool:
    try:
        return isinstance(json.loads(element), dict)
    except ValueError:
        return False


def cut(content: bytes, block_bytes: int, sizes: int) -> list[Block]:
    cutter = ArrayCutter(0, block_bytes=block_bytes, max_row_bytes=100_000)
    items: list[Any] = []
    for at in range(0, len(content), sizes):
        items += cutter.feed(content[at : at + sizes])
    items += cutter.finish()
    assert all(isinstance(item, Block) for item in items)
    return items


@examples(150)
@given(st.lists(elements, min_size=1, max_size=8), gaps, st.integers(1, 200), st.integers(1, 50))
@example(['{"a":"x\ny"}'], "", 100, 50)
@example(['{"a":"x"}', '{"a":"x\ny"}', '{"a":"z"}'], "\n", 10, 50)
def test_a_row_is_taken_exactly_where_its_element_is_an_object(
    given_elements: list[str], gap: str, block_bytes: int, sizes: int
) -> None:
    content = ("[" + gap + f"{gap},{gap}".join(given_elements) + gap + "]").encode()
    full, trusting = PLAN.encoder(), TRUSTED.encoder()
    rows = [row for block in cut(content, block_bytes, sizes) for row in full.encode_rows(block)]
    assert [row.body is not None for row in rows] == list(map(is_object, given_elements))
    for element, row in zip(given_elements, rows, strict=True):
        begin = content[row.position :]
        assert begin.startswith(element.strip(" \t\r\n").encode())
        if row.body is not None:
            text = json.loads(row.body)["a"]
            value = json.loads(element, parse_float=str, parse_int=str).get("a")
            assert (None if text is None else json.loads(text, parse_float=str, parse_int=str)) == value
    for block in cut(content, block_bytes, sizes):
        by_row = trusting.encode_rows(block)
        assert trusting.encode(block).body == b",".join(row.body for row in by_row if row.body is not None)
        for row in by_row:
            assert row.body is None or b"\0" not in row.body
    trusted = [
        row.body is not None for block in cut(content, block_bytes, sizes) for row in trusting.encode_rows(block)
    ]
    for element, is_taken in zip(given_elements, trusted, strict=True):
        assert is_taken or not is_object(element)
        assert not (is_taken and _has_break_in_a_string(element))


def _has_break_in_a_string(element: str) -> bool:
    """By hand, so that it holds for what is no JSON, too."""
    inside = escaped = False
    for character in element:
        if inside and character == "\n":
            return True
        if escaped:
            escaped = False
        elif character == "\\" and inside:
            escaped = True
        elif character == '"':
            inside = not inside
    return False


@pytest.mark.parametrize("control", CONTROLS)
def test_the_reason_names_the_control_character(control: str) -> None:
    (block,) = cut(b'[{"a":"x%by"}]' % control.encode(), 1000, 1000)
    (row,) = PLAN.encoder().encode_rows(block)
    assert row.reject is not None
    assert "control character" in row.reject.reason or "\\" in control
    assert row.reject.length == len(f'{{"a":"x{control}y"}}')


@given(st.binary(max_size=30) | strings.map(str.encode))
def test_a_line_has_the_length_it_had(text: bytes) -> None:
    line = json_line(text)
    assert len(line) == len(text)
    assert b"\n" not in line
