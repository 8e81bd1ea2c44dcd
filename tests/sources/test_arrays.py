"""JSON arrays: each element is one line at its position, however it was written and whatever is wrong inside."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import HEAD_BYTES, Block, LongRow
from bulkup.sources import Item, open_source
from bulkup.sources.json_array import JSON_ARRAY, ArrayCutter
from tests.examples import examples
from tests.sources import reading
from tests.sources.reading import FAR, Row, packed, read_all, read_items, read_ranges, rows_of, tiles, written
from tests.sources.test_sequential import rows_until_error

_space = st.sampled_from(["", "", " ", "\n", "\r\n  ", "\t\n\n"])
_tricky = st.sampled_from(["},{", '"', "\\", '\\"', "]", "[", "{", "},\n  {", "a", "ä", "\n", "x" * 60, "\\\\"])
_strings = st.lists(_tricky, max_size=5).map("".join)
_values = st.recursive(
    st.one_of(_strings, st.integers(), st.none(), st.booleans(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_strings, inner, max_size=3)),
    max_leaves=8,
)
_objects = st.dictionaries(st.sampled_from(["id", "messages", "},{"]), _values, max_size=3)
_elements = st.one_of(
    st.tuples(_objects, st.sampled_from([None, None, 2])).map(lambda made: json.dumps(made[0], indent=made[1])),
    _objects.map(lambda value: json.dumps(value, ensure_ascii=False)),
    _values.map(json.dumps),
    st.sampled_from(['{"a": nope}', '{"a": 1}{"b": 2}', '{"a"; [1, {"b": "},{"}]}', "{'a': 1}", "nul", '{"a": 01}']),
)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[bytes, list[Row]]:
    """An array as written, and its elements with their offsets."""
    same = draw(st.one_of(st.none(), st.tuples(_space, _space)))
    text = (draw(st.sampled_from(["", "\ufeff"])) + draw(_space) + "[" + draw(_space)).encode()
    rows: list[Row] = []
    for element in draw(st.lists(_elements, max_size=15)):
        if rows:
            before, after = same or (draw(_space), draw(_space))
            text += f"{before},{after}".encode()
        rows.append(Row(len(text), element.encode().replace(b"\n", b" ")))
        text += element.encode()
    return text + (draw(_space) + "]" + draw(_space)).encode(), rows


@examples(60)
@given(arrays(), st.integers(1, 200), st.integers(1, 200), st.sampled_from(["plain", "gzip"]))
def test_every_element_is_one_line_at_its_position(
    array: tuple[bytes, list[Row]], tile: int, block_bytes: int, how: str
) -> None:
    content, expected = array
    with reading.scratch() as directory:
        paths = written(directory, [packed(content, how), packed(content, how)])
        source = open_source(paths, max_row_bytes=100_000, block_bytes=block_bytes)
        assert {file.format for file in source.files} == {JSON_ARRAY}
        cuts = tiles(2 * len(content), tile)
        ranges = read_ranges(source, cuts)
        second = [Row(len(content) + row.start, row.data) for row in expected]
        assert [row for rows in ranges for row in rows] == expected + second
        for start, stop, rows in zip(cuts, cuts[1:], ranges, strict=False):
            assert all(start <= row.start < stop for row in rows)


@examples(40)
@given(arrays(), st.integers(1, 100), st.integers(1, 100), st.integers(0, 2**32))
def test_blocks_do_not_depend_on_how_the_bytes_come(
    array: tuple[bytes, list[Row]], block_bytes: int, max_row_bytes: int, seed: int
) -> None:
    def cut(sizes: random.Random | None) -> list[Item]:
        cutter = ArrayCutter(7, block_bytes=block_bytes, max_row_bytes=max_row_bytes)
        items, at = [], 0
        while at < len(content):
            size = sizes.randint(1, 30) if sizes else len(content)
            items += cutter.feed(content[at : at + size])
            at += size
        items += cutter.finish()
        assert cutter.trouble is None
        return items

    content = array[0].removeprefix(b"\xef\xbb\xbf")
    assert cut(random.Random(seed)) == cut(None)


@examples(40)
@given(arrays(), st.integers(1, 100), st.floats(0, 1))
def test_an_array_cut_off_gives_what_came_before(array: tuple[bytes, list[Row]], block_bytes: int, part: float) -> None:
    content, expected = array
    first = content.index(b"[") + 1
    cut = first + int((content.rindex(b"]") - first) * part)
    with reading.scratch() as directory:
        source = open_source(written(directory, [content[:cut]]), max_row_bytes=100_000, block_bytes=block_bytes)
        rows, error = rows_until_error(source)
    whole = [row for row in expected if row.start + len(row.data) <= cut]
    assert rows[: len(whole)] == whole
    assert len(rows) <= len(whole) + 1
    assert all(content[row.start : cut].replace(b"\n", b" ").startswith(row.data) for row in rows)
    assert "the array ends before its closing ]; what came before has been read" in str(error)


@pytest.mark.parametrize("cut", [1, 40, 2_000])
def test_a_long_row_of_an_array_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    """It is told with its place, as in a whole one; *cut*: how many bytes are missing."""
    long = b'{"a": "' + b"x" * 3000 + b'"}'
    content = b'[{"a": 1}, ' + long + b', {"a": "' + b"y" * 900 + b'"}]'
    rows, error = rows_until_error(open_source(written(tmp_path, [content[:-cut]]), max_row_bytes=1000))
    assert rows[0] == Row(1, b'{"a": 1}')
    assert rows[1] == Row(content.index(long), long[:HEAD_BYTES], long=True)
    assert len(rows) == (3 if cut == 1 else 2 + (cut < 900))
    assert "the array ends before its closing ]" in str(error)


@pytest.mark.parametrize("tail", [b"x", b"]", b"\n{1}", b"{}" * 200_000])
def test_bytes_behind_the_array_are_told_after_its_rows(tmp_path: Path, tail: bytes) -> None:
    content = b"[" + b",".join(b'{"a": %d}' % number for number in range(50_000)) + b"] \n"
    rows, error = rows_until_error(open_source(written(tmp_path, [content + tail]), max_row_bytes=1000))
    assert len(rows) == 50_000
    assert "bytes other than white space behind the closing ]" in str(error)


def test_commas_without_an_element_are_passed_over(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, [b'[,{"a": 1},, {"a": 2} ,\n]\n']), max_row_bytes=1000)
    assert [row.data for row in read_all(source)] == [b'{"a": 1}', b'{"a": 2}']


def test_an_element_too_long_is_passed_in_bounded_memory(tmp_path: Path) -> None:
    long = b'{"a": [{"b": "' + b'\\"},{' * 8_000_000 + b'"}]}'
    content = b'[{"a": 1}, ' + long + b', {"a": 2}]'
    source = open_source(written(tmp_path, [content]), max_row_bytes=1_000_000)
    tracemalloc.start()
    try:
        (items,) = asyncio.run(read_items(source, [0, FAR]))
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    assert [type(item) for item in items] == [Block, LongRow, Block]
    assert (items[1].start, items[1].end) == (11, 11 + len(long))
    assert isinstance(items[1], LongRow)
    assert items[1].head == long[:1024]


def test_the_fast_way_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one kind, nested separators in them, pretty or not: counting brackets finds the first window only."""
    exact, calls = ArrayCutter._exact, 0

    def counting(self: ArrayCutter) -> Block | None:
        nonlocal calls
        calls += 1
        return exact(self)

    monkeypatch.setattr(ArrayCutter, "_exact", counting)
    rows = [{"id": number, "messages": [{"role": "user"}, {"role": "x"}]} for number in range(20_000)]
    for indent in (None, 2):
        content = json.dumps(rows, indent=indent).encode()
        calls = 0
        source = open_source(written(tmp_path, [content]), max_row_bytes=1_000_000)
        assert [json.loads(row.data) for row in read_all(source)] == rows
        assert calls == 1


async def test_a_block_of_elements_is_cut_at_a_range(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, [b'[{"a": 1}, {"a": 2}, {"a": 3}]']), max_row_bytes=1000)
    cursor = source.cursor()
    got = []
    for start, stop in ((0, 12), (12, 100)):
        async with aclosing(cursor.read(start, stop)) as items:
            got.append([row.start async for item in items for row in rows_of(item)])
    assert got == [[1, 11], [21]]
    await cursor.aclose()
