"""Workbooks of random cells, by several writers: every cell comes to what `docs/values.md` says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from bulkup.sources.workbook import child
from tests.examples import examples
from tests.sources import reading
from tests.sources.random_tables import Number, read
from tests.sources.test_cells_at_random import Cells, of_file

ALLOWED = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n")
TEXT = st.text(ALLOWED, max_size=8).filter(lambda it: not it.startswith("=")) | st.sampled_from(
    [
        "",
        " ",
        " a ",
        "02",
        "1.5",
        "TRUE",
        "\n",
        "a\nb",
        "<&>\"'",
        "\u2028",
        "é" * 40,
        "_x0041_",
        "_x000D_",
        "'a",
        "-1",
        "\ufeff",
    ]
)
MILLISECOND = timedelta(milliseconds=1)
DATES = st.dates(date(1900, 3, 1), date(9999, 12, 31))
TIMES = st.times().map(lambda it: it.replace(microsecond=it.microsecond // 1000 * 1000))
MOMENTS = st.builds(datetime.combine, st.dates(date(1900, 3, 1), date(9999, 12, 30)), TIMES)
SPANS = st.integers(0, 10**11).map(lambda milliseconds: milliseconds * MILLISECOND)
KINDS: list[st.SearchStrategy[Any]] = [
    TEXT,
    st.integers(-(2**53), 2**53),
    st.integers(-9, 9),
    st.floats(-1e307, 1e307),
    st.floats(-9, 9),
    st.booleans(),
    DATES,
    MOMENTS,
    TIMES,
    SPANS,
]
NAMES = st.sampled_from(["a", "b", "ключ", 'q"q', "x y", "a.b", "<&>"])


@st.composite
def sheets(draw: st.DrawFn) -> Cells:
    """Each cell is of any kind, or each column of one."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    kinds = [draw(st.sampled_from(KINDS) | st.just(st.one_of(KINDS))) for _ in names]
    count = draw(st.integers(0, 8))
    columns = [draw(st.lists(st.none() | kind, min_size=count, max_size=count)) for kind in kinds]
    return Cells(names, [list(row) for row in zip(*columns, strict=True)])


def by_openpyxl(made: Cells, path: Path) -> None:
    _append(made, path, openpyxl.Workbook())


def by_openpyxl_row_by_row(made: Cells, path: Path) -> None:
    _append(made, path, openpyxl.Workbook(write_only=True))


def _append(made: Cells, path: Path, book: openpyxl.Workbook) -> None:
    sheet = book.create_sheet("rows", 0)
    for row in [made.names, *made.rows]:
        sheet.append(row)
    book.save(path)


FORMATS = {date: "yyyy-mm-dd", datetime: "yyyy-mm-dd hh:mm:ss.000", time: "hh:mm:ss.000", timedelta: "[h]:mm:ss.000"}


def by_xlsxwriter(made: Cells, path: Path, **options: Any) -> None:
    book = xlsxwriter.Workbook(path, options)
    forms = {kind: book.add_format({"num_format": form}) for kind, form in FORMATS.items()}
    sheet = book.add_worksheet()
    for number, row in enumerate([made.names, *made.rows]):
        for column, value in enumerate(row):
            if isinstance(value, str):
                sheet.write_string(number, column, value)
            elif type(value) in forms:
                sheet.write_datetime(number, column, value, forms[type(value)])
            elif value is not None:
                sheet.write(number, column, value)
    book.close()


def by_xlsxwriter_row_by_row(made: Cells, path: Path) -> None:
    by_xlsxwriter(made, path, constant_memory=True)


WRITERS: dict[str, Callable[[Cells, Path], None]] = {
    "openpyxl": by_openpyxl,
    "openpyxl, row by row": by_openpyxl_row_by_row,
    "xlsxwriter": by_xlsxwriter,
    "xlsxwriter, row by row": by_xlsxwriter_row_by_row,
}


def is_said(value: Any, got: Any, how: str) -> bool:
    """Whether *got* is what the page says of a cell with that *value*."""
    match value:
        case None:
            return got is None
        case bool():
            return got is value
        case int() | float():
            number = float(f"{value:.16g}")  # so many digits all of them write
            if number == int(number) and abs(number) <= 2**53:
                return isinstance(got, Number) and got == str(int(number))
            return isinstance(got, Number) and float(got) == number
        case datetime():
            return isinstance(got, str) and "T" in got and datetime.fromisoformat(got) == value
        case date() | time():
            return bool(got == value.isoformat()) or (
                isinstance(value, time) and isinstance(got, str) and time.fromisoformat(got) == value
            )
        case timedelta():
            return isinstance(got, str) and span(got) == value
        case _:
            return not isinstance(got, Number) and (got or "") in (value, as_excel_shows(value))


def as_excel_shows(text: str) -> str:
    """A text that looks like the code of a character is that character, where its writer did not care."""
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda code: chr(int(code[1], 16)), text)


def span(text: str) -> timedelta:
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", text)
    assert found is not None, text
    days, hours, minutes = (int(part or 0) for part in found.groups()[:3])
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=float(found[4] or 0))


def check(made: Cells, how: str, read_rows: Callable[[Path], list[dict[str, Any]]]) -> None:
    with reading.scratch() as folder:
        path = Path(folder) / "a.xlsx"
        WRITERS[how](made, path)
        found = [row for row in read_rows(path) if any(value not in (None, "") for value in row.values())]
    rows = [row for row in made.rows if any(value not in (None, "") for value in row)]
    assert len(found) == len(rows)
    for row, got in zip(rows, found, strict=True):
        assert list(got) == made.names
        for value, one in zip(row, got.values(), strict=True):
            assert is_said(value, one, how), (value, one)


def in_this_process(path: Path) -> list[dict[str, Any]]:
    """The rows as the process reads them that reads workbooks; to start one for each takes most of the time."""
    first, *_ = child.written(str(path), sheet=None, header_row=None, has_header=True, names=None)
    names = json.loads(first)["header"]
    _, *found = child.written(str(path), sheet=None, header_row=None, has_header=True, names=names)
    return [read(line.decode()) for line in found if line]


@examples(3, derandomize=True)
@given(sheets(), st.sampled_from(sorted(WRITERS)))
def test_what_is_in_the_cells_comes_to_what_the_page_says(made: Cells, how: str) -> None:
    check(made, how, of_file)


@examples(25, derandomize=True)
@given(sheets(), st.sampled_from(sorted(WRITERS)))
def test_many_workbooks(made: Cells, how: str) -> None:
    check(made, how, in_this_process)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(300)
@given(sheets(), st.sampled_from(sorted(WRITERS)))
def test_thousands_of_workbooks(made: Cells, how: str) -> None:
    check(made, how, in_this_process)
