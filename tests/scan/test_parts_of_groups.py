"""Parquet and Arrow begin to be read at row groups and batches: a scan's parts begin there, so no row is decoded twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions
from bulkup.scan import spread
from bulkup.scan.spread import END, Part, spread_over, whole_in_parts
from bulkup.sources import Source, open_source
from bulkup.sources.columnar.parquet import _ParquetWalk
from bulkup.sources.format import SourceFile
from tests.scan.whole import found_in

MIB = 1024 * 1024
ROWS = 4000


def table() -> pa.Table:
    return pa.table({"n": list(range(ROWS)), "text": [f"row {n} {'x' * (n % 50)}" for n in range(ROWS)]})


def written(path: Path, groups: Sequence[int]) -> Source:
    rest = table()
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, rest.schema) as writer:
            for rows in groups:
                writer.write_table(rest.slice(0, rows))
                rest = rest.slice(rows)
    else:
        with pa.ipc.new_file(path, rest.schema) as writer:
            for rows in groups:
                writer.write_table(rest.slice(0, rows).combine_chunks())
                rest = rest.slice(rows)
    return open_source([str(path)], max_row_bytes=MIB)


def firsts_of(parts: Sequence[Part], source: Source) -> list[int]:
    step = (source.files[0].length or 0) // ROWS
    assert all(part.start % step == 0 for part in parts)
    return [part.start // step for part in parts]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "LEAST_BYTES", 1)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    ("groups", "firsts"),
    [
        ((ROWS,), [0]),
        ((100, ROWS - 100), [0, 100]),
        ((1500, 1500, 1000), [0, 1500, 3000]),
        ((1000, 0, 3000), [0, 1000]),
        ((500,) * 8, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]),
    ],
)
def test_parts_begin_where_groups_begin(
    tmp_path: Path, suffix: str, groups: tuple[int, ...], firsts: list[int]
) -> None:
    source = written(tmp_path / f"rows{suffix}", groups)
    parts = whole_in_parts(source.files)
    assert firsts_of(parts, source) == firsts
    assert [part.stop for part in parts[:-1]] == [part.start for part in parts[1:]]
    assert parts[-1].stop == END
    found = found_in(source, NEBIUS, RowOptions(), parts)
    assert (found.rows, found.key("n").present) == (ROWS, ROWS)


def test_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "rows.parquet", (3000, 1000))
    asked: list[tuple[int, int]] = []
    inner = _ParquetWalk.__init__

    def opened(self: _ParquetWalk, file: SourceFile, row: int, batch_rows: int) -> None:
        inner(self, file, row, batch_rows)
        asked.append((row, max(first for first in self.firsts if first <= row)))

    monkeypatch.setattr(_ParquetWalk, "__init__", opened)
    found = found_in(source, NEBIUS, RowOptions(), whole_in_parts(source.files))
    assert found.rows == ROWS
    assert {row for row, _ in asked} == {0, 3000}
    assert all(row == first for row, first in asked)


@pytest.mark.parametrize(("groups", "firsts"), [((ROWS,), [0]), ((1000, 3000), [0, 1000]), ((1,) * ROWS, None)])
def test_a_look_at_some_rows_begins_there_too(
    tmp_path: Path, groups: tuple[int, ...], firsts: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(spread, "_LEAST_OF_A_FILE", 1)
    source = written(tmp_path / "rows.parquet", groups)
    size = source.files[0].size or 0
    parts = spread_over(source.files, size // 4)
    assert parts is not None
    if firsts is None:
        assert len(parts) > 4, "groups that are small are no matter"
    else:
        assert firsts_of(parts, source) == firsts
    looked_at = sum(part.stop - part.start for part in parts)
    assert 0.2 < looked_at / (source.files[0].length or 0) < 0.3
    assert all(part.stop <= behind.start for part, behind in pairwise(parts))
