"""Separated text of random cells, by several writers and dialects: every cell comes to what `docs/values.md` says."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import LongRow
from bulkup.sources import Reading, open_source
from tests.examples import examples
from tests.sources import reading
from tests.sources.random_tables import Number, read

WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

ODD = [
    "", " ", " a ", "a,b", "a;b", "a\tb", "a|b", 'a"b', '"', '""', "a\nb", "\n", "a\r\nb", "é" * 9, "\u2028", "\ufeff",
    "null", "NaN", "02", "+1", "1,5", "#N/A", r"\N", "True", "true", "-0", "1.50", "1e5", "1_000", "0x1", "９",
]  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(ODD)
DIGITS = st.integers(-(2**70), 2**70) | st.integers(-9, 9) | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-9, 9) | st.floats(width=32)
KINDS: list[st.SearchStrategy[Any]] = [
    TEXT,
    DIGITS,
    st.integers(-9, 9),
    FLOATS,
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.sampled_from(["x", "y"]),
    st.none(),
    st.integers(-9, 9) | st.sampled_from(["1.5", "-0", "2e3"]),
    st.sampled_from(["true", "false", "TRUE"]),
]
NAMES = st.sampled_from(["a", "b", "ключ", 'q"q', "x y", "a.b", "c;d", "e,f"])


@dataclass(frozen=True)
class Cells:
    """A table of what a program has in hand: texts, numbers, truths, dates, and None."""

    names: list[str]
    rows: list[list[Any]]


@st.composite
def cells(draw: st.DrawFn, least: int = 1) -> Cells:
    names = draw(st.lists(NAMES, min_size=least, max_size=4, unique=True))
    kinds = [draw(st.sampled_from(KINDS)) for _ in names]
    count = draw(st.integers(0, 12))
    columns = [draw(st.lists(st.none() | kind, min_size=count, max_size=count)) for kind in kinds]
    return Cells(names, [list(row) for row in zip(*columns, strict=True)])


Field = str | None
"""What stands in a file: nothing, or a text."""


def as_said(columns: Sequence[Sequence[Field]]) -> list[list[Any]]:
    """What each column is sent as, by the page."""
    return [_column(column) for column in columns]


def _column(fields: Sequence[Field]) -> list[Any]:
    there = [field for field in fields if field is not None]
    if not there:
        return list(fields)
    if all(map(_is_whole, there)) or all(map(_is_number, there)):
        return [None if field is None else Number(field) for field in fields]
    for truths in (("true", "false"), ("True", "False"), ("TRUE", "FALSE")):
        if set(there) <= set(truths):
            return [None if field is None else field == truths[0] for field in fields]
    return list(fields)


def _is_whole(text: str) -> bool:
    return text != "-0" and WHOLE.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63


def _is_number(text: str) -> bool:
    if WHOLE.fullmatch(text):
        return text == "-0" or _is_whole(text)
    found = NUMBER.fullmatch(text)
    return found is not None and len(re.split(r"[.eE]", text.lstrip("-"))[0]) <= 18 and abs(float(text)) < 1e289


def of_file(path: Path, **how: Any) -> list[dict[str, Any]]:
    source = open_source([str(path)], max_row_bytes=100_000, reading=Reading(**how))
    items = asyncio.run(reading.read_items(source, [0, reading.FAR]))[0]
    found = []
    for item in items:
        assert not isinstance(item, LongRow), item
        found += [read(line) for line in item.data.decode().removesuffix("\n").split("\n") if line]
    return found


@dataclass(frozen=True)
class Dialect:
    """How the `csv` module is told to write. *unquoted*: what it writes of a value that it does not quote."""

    delimiter: str = ","
    lineterminator: str = "\r\n"
    quoting: Any = csv.QUOTE_MINIMAL

    def written(self, made: Cells) -> bytes:
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self.delimiter, lineterminator=self.lineterminator, quoting=self.quoting)
        writer.writerow(made.names)
        writer.writerows(made.rows)
        return out.getvalue().encode()

    def reads_back(self, made: Cells, content: bytes) -> bool:
        """Whether the module itself reads what it wrote: a `\\r` in a field is not always quoted."""
        found = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=self.delimiter))
        return found == [made.names, *(["" if value is None else str(value) for value in row] for row in made.rows)]

    def field(self, value: Any, *, is_alone: bool) -> Field:
        """What the module makes of *value*."""
        text = "" if value is None else str(value)
        is_quoted = is_alone or self.quoting == csv.QUOTE_ALL
        is_quoted = is_quoted or (self.quoting == csv.QUOTE_NONNUMERIC and not isinstance(value, int | float))
        return text if text or is_quoted else None


DIALECTS = st.builds(
    Dialect,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    lineterminator=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)


def check(made: Cells, content: bytes, fields: list[list[Field]], packed: bool, **how: Any) -> None:
    """That *content* comes to what the page says of the *fields* in it."""
    columns = zip(*as_said(list(zip(*fields, strict=True))), strict=True)
    wanted = [dict(zip(made.names, row, strict=True)) for row in columns]
    if len(made.names) == 1:  # a line without anything in it is blank
        text = content.decode()
        blank = [field is None or (field.strip(" \t") == "" and f'"{field}"' not in text) for (field,) in fields]
        wanted = [row for row, is_blank in zip(wanted, blank, strict=True) if not is_blank]
    with reading.scratch() as folder:
        path = Path(folder) / ("a.csv.gz" if packed else "a.csv")
        path.write_bytes(gzip.compress(content) if packed else content)
        assert of_file(path, **how) == wanted


def check_csv(made: Cells, dialect: Dialect, packed: bool) -> None:
    content = dialect.written(made)
    if not dialect.reads_back(made, content):
        return
    is_alone = len(made.names) == 1
    fields = [[dialect.field(value, is_alone=is_alone) for value in row] for row in made.rows]
    check(made, content, fields, packed, delimiter=dialect.delimiter.encode())


@examples(40, derandomize=True)
@given(cells(), DIALECTS, st.booleans())
def test_what_the_csv_module_writes_comes_to_what_the_page_says(made: Cells, dialect: Dialect, packed: bool) -> None:
    check_csv(made, dialect, packed)


@dataclass(frozen=True)
class ByPolars:
    """How polars is told to write."""

    separator: str = ","
    line_terminator: str = "\n"
    quote_style: Any = "necessary"
    include_bom: bool = False

    def written(self, frame: pl.DataFrame) -> bytes:
        out = io.BytesIO()
        frame.write_csv(
            out,
            separator=self.separator,
            line_terminator=self.line_terminator,
            quote_style=self.quote_style,
            include_bom=self.include_bom,
        )
        return out.getvalue()


BY_POLARS = st.builds(
    ByPolars,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    line_terminator=st.sampled_from(["\n", "\r\n", "\r"]),
    quote_style=st.sampled_from(["necessary", "always", "non_numeric"]),
    include_bom=st.booleans(),
)


def check_polars(made: Cells, how: ByPolars, packed: bool) -> None:
    frame = frame_of(made)
    as_text = frame.select(pl.all().cast(pl.String)) if made.names else frame
    dates = [name for name in made.names if isinstance(frame[name].dtype, pl.Datetime)]
    as_text = as_text.with_columns(frame[name].dt.to_string("%Y-%m-%dT%H:%M:%S%.6f") for name in dates)
    content = how.written(frame)
    is_quoted = how.quote_style == "always"
    fields = [["" if field is None and is_quoted else field for field in row] for row in as_text.rows()]
    check(made, content, fields, packed, delimiter=how.separator.encode())


def frame_of(made: Cells) -> pl.DataFrame:
    """A column of several kinds of values has their texts."""
    columns = {}
    for name, column in zip(
        made.names, zip(*made.rows, strict=True) if made.rows else [[] for _ in made.names], strict=True
    ):
        kinds = {type(value) for value in column if value is not None}
        is_text = len(kinds) > 1 or (
            kinds == {int} and any(value is not None and abs(value) >= 2**63 for value in column)
        )
        columns[name] = pl.Series(
            name, [None if value is None else str(value) for value in column] if is_text else column
        )
    return pl.DataFrame(columns)


@examples(40, derandomize=True)
@given(cells(), BY_POLARS, st.booleans())
def test_what_polars_writes_as_csv_comes_to_what_the_page_says(made: Cells, how: ByPolars, packed: bool) -> None:
    check_polars(made, how, packed)


@examples(40, derandomize=True)
@given(cells(least=2), DIALECTS)
def test_the_dialect_is_found(made: Cells, dialect: Dialect) -> None:
    check_found(made, dialect)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(300)
@given(cells(), DIALECTS, st.booleans())
def test_thousands_by_the_csv_module(made: Cells, dialect: Dialect, packed: bool) -> None:
    check_csv(made, dialect, packed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(300)
@given(cells(), BY_POLARS, st.booleans())
def test_thousands_by_polars(made: Cells, how: ByPolars, packed: bool) -> None:
    check_polars(made, how, packed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(300)
@given(cells(least=2), DIALECTS)
def test_thousands_of_dialects_are_found(made: Cells, dialect: Dialect) -> None:
    check_found(made, dialect)


def check_found(made: Cells, dialect: Dialect) -> None:
    content = dialect.written(made)
    if not dialect.reads_back(made, content) or not made.rows:
        return
    fields = [[dialect.field(value, is_alone=False) for value in row] for row in made.rows]
    check(made, content, fields, False)
