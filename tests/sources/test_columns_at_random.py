"""Tables of random types, by several writers: every value comes to what `docs/values.md` says, in whatever ranges it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.sources import reading
from tests.sources.random_tables import LEAVES, Leaf, Made, tables
from tests.sources.test_columnar import lines


def ipc(opened: Any, **how: Any) -> Callable[[pa.Table, Path], None]:
    def write(table: pa.Table, path: Path) -> None:
        with (
            pa.OSFile(str(path), "wb") as file,
            opened(file, table.schema, options=pa.ipc.IpcWriteOptions(**how)) as out,
        ):
            out.write_table(table, max_chunksize=4)

    return write


def parquet(**how: Any) -> Callable[[pa.Table, Path], None]:
    return lambda table, path: pq.write_table(table, path, row_group_size=4, store_schema=True, **how)


Writer = Callable[[pa.Table, Path], None]
BY_PYARROW: dict[str, Writer] = {
    "Parquet": parquet(),
    "Parquet, v2 pages, zstd": parquet(data_page_version="2.0", compression="zstd"),
    "Parquet, lz4, no dictionaries": parquet(compression="lz4", use_dictionary=False),
    "Parquet, brotli": parquet(
        compression="brotli"
    ),  # with pages of some bytes pyarrow writes files that it cannot read
    "Parquet, gzip, statistics and index": parquet(compression="gzip", write_page_index=True, write_page_checksum=True),
    "stream": ipc(pa.ipc.new_stream, emit_dictionary_deltas=True),
    "stream, zstd": ipc(pa.ipc.new_stream, compression="zstd"),
    "file": ipc(pa.ipc.new_file, unify_dictionaries=True),
    "file, lz4": ipc(pa.ipc.new_file, compression="lz4", unify_dictionaries=True),
}


def polars(write: Callable[[pl.DataFrame, Path], Any]) -> Writer:
    return lambda table, path: write(pl.DataFrame(pl.from_arrow(table)), path)


BY_POLARS: dict[str, Writer] = {
    "Parquet": polars(lambda frame, path: frame.write_parquet(path, row_group_size=4)),
    "Parquet, small pages, statistics": polars(
        lambda frame, path: frame.write_parquet(
            path, row_group_size=4, data_page_size=8, statistics="full", compression="snappy"
        )
    ),
    "Parquet, streamed": polars(lambda frame, path: frame.lazy().sink_parquet(path, compression="lz4")),
    "file": polars(lambda frame, path: frame.write_ipc(path, compression="uncompressed")),
    "file, zstd, oldest": polars(
        lambda frame, path: frame.write_ipc(path, compression="zstd", compat_level=pl.CompatLevel.oldest())
    ),
    "file, lz4": polars(lambda frame, path: frame.write_ipc(path, compression="lz4", record_batch_size=4)),
    "stream": polars(lambda frame, path: frame.write_ipc_stream(path)),
    "stream, zstd, oldest": polars(
        lambda frame, path: frame.write_ipc_stream(path, compression="zstd", compat_level=pl.CompatLevel.oldest())
    ),
}


def _is_of_polars(leaf: Leaf) -> bool:
    """Whether polars has the type, or one of the same values."""
    kind = leaf[0]
    is_offset = pa.types.is_timestamp(kind) and kind.tz is not None and kind.tz[0] in "+-"
    return not (is_offset or pa.types.is_date64(kind) or pa.types.is_decimal256(kind))


OF_POLARS = [leaf for leaf in LEAVES if _is_of_polars(leaf)]
CUTS = st.lists(st.integers(0, 500), max_size=3)


CANNOT_WRITE = (
    pa.ArrowNotImplementedError,
    pa.ArrowIndexError,
    pl.exceptions.PanicException,
    pl.exceptions.OutOfBoundsError,
)
"""What the writers raise for types that they do not write in a format, or not within one another."""


PYARROWS = tables(), st.sampled_from(sorted(BY_PYARROW)), CUTS
POLARS = tables(OF_POLARS), st.sampled_from(sorted(BY_POLARS)), CUTS


@examples(40, derandomize=True)
@given(*PYARROWS)
def test_what_pyarrow_writes_comes_to_what_the_page_says(made: Made, how: str, cuts: list[int]) -> None:
    _check(made, BY_PYARROW[how], cuts)


@examples(40, derandomize=True)
@given(*POLARS)
def test_what_polars_writes_comes_to_what_the_page_says(made: Made, how: str, cuts: list[int]) -> None:
    _check(made, BY_POLARS[how], cuts)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(400)
@given(*PYARROWS)
def test_thousands_by_pyarrow(made: Made, how: str, cuts: list[int]) -> None:
    _check(made, BY_PYARROW[how], cuts)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(400)
@given(*POLARS)
def test_thousands_by_polars(made: Made, how: str, cuts: list[int]) -> None:
    _check(made, BY_POLARS[how], cuts)


def _check(made: Made, write: Writer, cuts: list[int]) -> None:
    with reading.scratch() as folder:
        path = Path(folder) / "a"
        try:
            write(made.table, path)
        except CANNOT_WRITE:
            return
        found = [line for line in lines(path) if line]
        assert [line for line in lines(path, sorted(cuts)) if line] == found
    made.check(found)
