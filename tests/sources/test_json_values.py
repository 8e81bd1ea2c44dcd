"""Values one after the other, and rows under keys: the same rows as a plain reader finds, however the text is laid out or comes."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import LongRow
from bulkup.sources import Item
from bulkup.sources.json_path import path_of, path_text
from bulkup.sources.json_values import ValuesCutter
from tests.examples import examples
from tests.sources.reading import rows_of

_KEYS = ["data", "rows", "a.b", 'q"', "x\\y", "ä", "", "paragraphs"]
_keys = st.sampled_from(_KEYS)
_scalars = st.one_of(
    st.integers(-9, 9), st.none(), st.booleans(), st.sampled_from(["", "}{", "],[", "\\", '"', "\n", "ü", "x" * 70])
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=3)),
    max_leaves=6,
)
_rows = st.dictionaries(_keys, _values, max_size=3)


@st.composite
def _holders(draw: st.DrawFn, path: Sequence[str]) -> Any:
    """A value in which rows stand at *path*, with other things beside them, and steps through arrays."""
    if not path:
        return draw(st.one_of(_rows, st.lists(_rows, max_size=6), st.none()))
    if draw(st.integers(0, 4)) == 0:
        return [draw(_holders(path)) for _ in range(draw(st.integers(0, 3)))]
    beside = draw(st.dictionaries(_keys.filter(lambda key: key != path[0]), _values, max_size=2))
    members = list(beside.items())
    if draw(st.integers(0, 5)):
        members.insert(draw(st.integers(0, len(members))), (path[0], draw(_holders(path[1:]))))
    return dict(members)


def _found(value: Any, path: Sequence[str]) -> list[Any]:
    """The rows at *path* in *value*, by the plainest of readers."""
    if not path:
        return value if isinstance(value, list) else [] if value is None else [value]
    if isinstance(value, list):
        return [row for member in value for row in _found(member, path)]
    return _found(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else []


def _cut(text: bytes, pieces: Sequence[int], path: Sequence[str], block_bytes: int) -> tuple[list[Item], str | None]:
    """What comes of *text* in pieces of these sizes, over and over."""
    cutter = ValuesCutter(100, block_bytes=block_bytes, max_row_bytes=100_000, rows_at=path)
    items, at, turn = [], 0, 0
    while at < len(text):
        size = pieces[turn % len(pieces)]
        items += cutter.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    return items + cutter.finish(), cutter.trouble


_layouts = st.tuples(
    st.sampled_from([None, None, 0, 1, 3, "\t"]), st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")])
)


@examples(150)
@given(st.data())
def test_rows_are_those_that_stand_at_the_path(data: st.DataObject) -> None:
    path = data.draw(st.lists(_keys, max_size=3))
    values = data.draw(st.lists(_holders(path).filter(lambda value: value is not None), min_size=1, max_size=4))
    values = [value for value in values if isinstance(value, dict | list)]
    text = b""
    for value in values:
        indent, separators = data.draw(_layouts)
        text += json.dumps(value, indent=indent, separators=separators, ensure_ascii=data.draw(st.booleans())).encode()
        text += data.draw(st.sampled_from([b"", b"\n", b" \r\n", b",\n", b"\r"]))
    expected = [row for value in values for row in _found(value, path)]
    block_bytes = data.draw(st.integers(1, 400))
    items, trouble = _cut(text, [len(text) + 1], path, block_bytes)
    rows = [row for item in items for row in rows_of(item)]
    assert [json.loads(row.data) for row in rows] == expected
    is_there = trouble is None or (not expected and trouble.startswith("nothing stands at"))
    assert is_there, trouble
    for row in rows:
        assert text[row.start - 100 :].replace(b"\n", b" ").startswith(row.data)
    pieces = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=4))
    assert _cut(text, pieces, path, block_bytes) == (items, trouble)


@examples(60)
@given(st.lists(_rows, min_size=1, max_size=8), _layouts, st.data())
def test_what_came_before_a_cut_is_there(rows: list[Any], layout: tuple[Any, Any], data: st.DataObject) -> None:
    texts = [json.dumps(row, indent=layout[0], separators=layout[1]).encode() for row in rows]
    text = b"\n".join(texts)
    cut = data.draw(st.integers(1, len(text)))
    items, trouble = _cut(text[:cut], [7], (), data.draw(st.integers(1, 200)))
    found = [row.data for item in items for row in rows_of(item)]
    whole = found if trouble is None else found[:-1]
    assert [json.loads(row) for row in whole] == rows[: len(whole)]
    assert trouble in (None, "ends inside an object")
    assert trouble is not None or text[:cut].rstrip() == b"\n".join(texts[: len(whole)])


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (b'{"data": "x"}', ["data"], "neither an object nor an array stands at data"),
        (b'{"data" 1}', ["data"], "ends inside a JSON value"),
        (b'{"x": 1} nonsense', ["data"], "begins neither an object nor an array"),
        (b'{"x": 1}', ["data"], "nothing stands at data, where --rows-at looks"),
        (b'{"a": {"data": [{}', ["a", "data"], "before its closing ]"),
        (b'{"a": {"b": 1}', ["data"], "ends inside a JSON value"),
        (b'{"a": [1}', ["a", "b"], "a comma or a bracket should stand"),
        (b"[" * 5000, ["data"], "nested too deeply"),
        (b'{"' + b"x" * 70_000, ["data"], "where a key should stand"),
        (b'{"a": 1}\n12', [], "neither an object nor an array stands at ."),
    ],
)
def test_what_is_wrong_is_said(text: bytes, path: list[str], why: str) -> None:
    _, trouble = _cut(text, [max(3, len(text) // 500)], path, 1000)
    assert trouble is not None
    assert why in trouble


def test_a_large_document_is_never_held() -> None:
    row = b'{"text": "' + b"x" * 500 + b'"}'
    piece = b",".join([row] * 500)
    cutter = ValuesCutter(0, block_bytes=128 * 1024, max_row_bytes=1 << 20, rows_at=["data", "rows"])
    tracemalloc.start()
    rows = 0
    cutter.feed(b'{"skipped": [' + piece)
    for _ in range(30):
        assert not cutter.feed(b"," + piece)
    cutter.feed(b'], "text": "')
    for _ in range(30):
        assert not cutter.feed(b"x" * 250_000)
    cutter.feed(b'", "data": [{"rows": [' + piece)
    for _ in range(30):
        rows += sum(len(rows_of(item)) for item in cutter.feed(b"," + piece))
    rows += sum(len(rows_of(item)) for item in cutter.feed(b"]}]}") + cutter.finish())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows >= 30 * 500
    assert peak < 4 << 20
    assert cutter.trouble is None


def test_a_row_that_is_too_long_is_told_by_its_length() -> None:
    text = b'{"data": [{"a": "' + b"x" * 5000 + b'"}, {"b": 1}]}'
    cutter = ValuesCutter(0, block_bytes=512, max_row_bytes=2000, rows_at=["data"])
    items = [item for at in range(0, len(text), 11) for item in cutter.feed(text[at : at + 11])] + cutter.finish()
    long, other = items
    assert isinstance(long, LongRow)
    assert long.end - long.start == 5009
    assert rows_of(other)[0].data == b'{"b": 1}'


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_a_path_is_read_as_it_is_written(keys: list[str]) -> None:
    assert path_of(path_text(keys)) == tuple(keys)


@pytest.mark.parametrize("text", ["", "..", "a..b", ".a", "a.", "a\\"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"data\.paragraphs"):
        path_of(text)
