"""JSON of random values, by several writers: it is sent as it stands, in whatever shape it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import Block
from bulkup.sources import Reading, open_source
from tests.examples import examples
from tests.sources import reading
from tests.sources.random_tables import LEAVES, TEXT, Leaf, Made, read, tables

Rows = list[dict[str, Any]]

KEYS = st.sampled_from(["a", "b", "ключ", 'q"q', "", " ", "a.b", "id", "text", "messages"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | TEXT
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.times()
    | st.uuids()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
ROWS = st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=2, max_size=8)
"""Of a single object nobody knows whether it is a row: that is asked."""

ORJSON: dict[str, Callable[[Rows], bytes]] = {
    "lines": lambda rows: b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows),
    "lines, the last without an end": lambda rows: b"\n".join(map(orjson.dumps, rows)),
    "lines, sorted, naive times in UTC": lambda rows: b"".join(
        orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z) + b"\r\n"
        for row in rows
    ),
    "objects over several lines": lambda rows: b"\n".join(
        orjson.dumps(row, option=orjson.OPT_INDENT_2) for row in rows
    ),
    "an array": orjson.dumps,
    "an array over several lines": lambda rows: orjson.dumps(rows, option=orjson.OPT_INDENT_2),
}


def lines(content: bytes, name: str) -> list[Any]:
    with reading.scratch() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        source = open_source([str(path)], max_row_bytes=100_000, reading=Reading())
        items = asyncio.run(reading.read_items(source, [0, reading.FAR]))[0]
    assert all(isinstance(item, Block) for item in items)
    found = [line for item in items if isinstance(item, Block) for line in item.data.decode().split("\n")]
    return [read(line) for line in found if line.strip()]


def check_orjson(rows: Rows, how: str) -> None:
    content = ORJSON[how](rows)
    wanted = [read(orjson.dumps(value).decode()) for value in _plainly(rows, "UTC" in how)]
    assert lines(content, "a.json" if "array" in how else "a.jsonl") == wanted


def _plainly(rows: Rows, in_utc: bool) -> list[Any]:
    """*rows* as JSON has them."""
    option = orjson.OPT_SORT_KEYS | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z if in_utc else None
    return [orjson.loads(orjson.dumps(row, option=option)) for row in rows]


@examples(60, derandomize=True)
@given(ROWS, st.sampled_from(sorted(ORJSON)))
def test_what_orjson_writes_is_sent_as_it_is(rows: Rows, how: str) -> None:
    check_orjson(rows, how)


def _has_json(leaf: Leaf) -> bool:
    """Whether polars writes the type as JSON at all."""
    types, kind = pa.types, leaf[0]
    is_bytes = any(is_it(kind) for is_it in (types.is_binary, types.is_large_binary, types.is_binary_view))
    if types.is_dictionary(kind) or is_bytes or types.is_fixed_size_binary(kind) or types.is_decimal256(kind):
        return False
    return not (types.is_timestamp(kind) and kind.tz is not None and kind.tz[0] in "+-")


OF_POLARS = [leaf for leaf in LEAVES if _has_json(leaf)]


def check_polars(made: Made, as_lines: bool) -> None:
    try:
        frame = pl.DataFrame(pl.from_arrow(made.table))
        content = frame.write_ndjson() if as_lines else frame.write_json()
    except (pl.exceptions.PanicException, pl.exceptions.PolarsError):
        return
    wanted = [read(line) for line in content.split("\n") if line] if as_lines else read(content)
    if len(wanted) > 1:
        assert lines(content.encode(), "a.ndjson" if as_lines else "a.json") == wanted


@examples(40, derandomize=True)
@given(tables(OF_POLARS), st.booleans())
def test_what_polars_writes_as_json_is_sent_as_it_is(made: Made, as_lines: bool) -> None:
    check_polars(made, as_lines)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(300)
@given(ROWS, st.sampled_from(sorted(ORJSON)))
def test_thousands_by_orjson(rows: Rows, how: str) -> None:
    check_orjson(rows, how)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(300)
@given(tables(OF_POLARS), st.booleans())
def test_thousands_by_polars(made: Made, as_lines: bool) -> None:
    check_polars(made, as_lines)
