"""Random tables, by several writers, through the whole path: what is stored is what the file's rows mean.

That these come to what `docs/values.md` says is held by the tests of `tests/sources` that share the tables and the writers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import LongRow
from bulkup.sources import open_source
from tests.examples import examples
from tests.fuzz.runs import sends
from tests.sources import reading
from tests.sources import test_cells_at_random as cells
from tests.sources import test_columns_at_random as columns
from tests.sources import test_json_at_random as values
from tests.sources import test_workbooks_at_random as workbooks
from tests.sources.random_tables import tables

Write = Callable[[Path], Any]


def files() -> st.SearchStrategy[tuple[str, Write]]:
    """What a file is called, and what writes it."""
    return st.one_of(
        st.builds(
            lambda made, how: ("a", lambda path: columns.BY_PYARROW[how](made.table, path)),
            tables(),
            st.sampled_from(sorted(columns.BY_PYARROW)),
        ),
        st.builds(
            lambda made, how: ("a", lambda path: columns.BY_POLARS[how](made.table, path)),
            tables(columns.OF_POLARS),
            st.sampled_from(sorted(columns.BY_POLARS)),
        ),
        st.builds(
            lambda made, how: ("a.csv", lambda path: path.write_bytes(how.written(made))),
            cells.cells(2),
            cells.DIALECTS,
        ),
        st.builds(
            lambda made, how: ("a.csv", lambda path: path.write_bytes(how.written(cells.frame_of(made)))),
            cells.cells(2),
            cells.BY_POLARS,
        ),
        st.builds(
            lambda rows, how: ("a.json", lambda path: path.write_bytes(values.ORJSON[how](rows))),
            values.ROWS,
            st.sampled_from(sorted(values.ORJSON)),
        ),
        st.builds(
            lambda made, how: ("a.xlsx", lambda path: workbooks.WRITERS[how](made, path)),
            workbooks.sheets(),
            st.sampled_from(sorted(workbooks.WRITERS)),
        ),
    )


def check(name: str, write: Write, size: int) -> None:
    with reading.scratch() as folder:
        path = Path(folder) / name
        try:
            write(path)
        except columns.CANNOT_WRITE:
            return
        lines = as_read(path)
        if any(line.strip() for line in lines):
            sends(path, lines, Path(folder), size=size)


def as_read(path: Path) -> list[bytes]:
    source = open_source([str(path)], max_row_bytes=100_000)
    items = asyncio.run(reading.read_items(source, [0, reading.FAR]))[0]
    return [
        line
        for item in items
        for line in ([b"no row"] if isinstance(item, LongRow) else item.data.removesuffix(b"\n").split(b"\n"))
    ]


@examples(6, derandomize=True)
@given(files(), st.sampled_from([4096, 1_000_000]))
def test_what_is_stored_is_what_stands_in_the_file(file: tuple[str, Write], size: int) -> None:
    check(*file, size)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@examples(100)
@given(files(), st.sampled_from([4096, 1_000_000]))
def test_a_thousand_files(file: tuple[str, Write], size: int) -> None:
    check(*file, size)
