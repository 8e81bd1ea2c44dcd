"""The rows of a file of JSON lines in another kind of file: `python -m benchmarks.kinds rows.jsonl rows.parquet`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.rows import pack

__all__ = ["Kind", "write"]

_GROUP_ROWS = 1000
_LARGE_GROUP_ROWS = 1_000_000


class Kind(StrEnum):
    """A kind of file, by the ending of its name."""

    JSON_LINES = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    """In groups of 1,000 rows, as the hub's are."""

    LARGE_GROUPS = "large.parquet"
    """In groups of a million rows, as pandas writes them."""

    ARROW = "arrow"

    GZ = "jsonl.gz"
    ZST = "jsonl.zst"


def write(rows: Path, path: Path, kind: Kind) -> None:
    """Write the *rows*, which are JSON lines, to *path*."""
    _WRITERS[kind](rows, path)


def _batches(rows: Path, count: int) -> Iterator[list[dict[str, Any]]]:
    import orjson

    with rows.open("rb") as lines:
        while batch := [orjson.loads(line) for line in islice(lines, count)]:
            yield batch


def _csv(rows: Path, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = None
        for batch in _batches(rows, _GROUP_ROWS):
            writer = writer or csv.DictWriter(out, list(batch[0]))
            if out.tell() == 0:
                writer.writeheader()
            writer.writerows(batch)


def _parquet(group_rows: int) -> Callable[[Path, Path], None]:
    def made(rows: Path, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        writer = None
        for batch in _batches(rows, group_rows):
            table = pa.Table.from_pylist(batch)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table, row_group_size=group_rows)
        assert writer is not None
        writer.close()

    return made


def _arrow(rows: Path, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import ipc

    writer = None
    with pa.OSFile(str(path), "wb") as file:
        for batch in _batches(rows, _GROUP_ROWS):
            table = pa.Table.from_pylist(batch)
            writer = writer or ipc.new_stream(file, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()


def _gz(rows: Path, path: Path) -> None:
    pack(rows, path)


def _zst(rows: Path, path: Path) -> None:
    import zstandard

    with rows.open("rb") as lines, path.open("wb") as out:
        zstandard.ZstdCompressor().copy_stream(lines, out)


_WRITERS: dict[Kind, Callable[[Path, Path], None]] = {
    Kind.CSV: _csv,
    Kind.PARQUET: _parquet(_GROUP_ROWS),
    Kind.LARGE_GROUPS: _parquet(_LARGE_GROUP_ROWS),
    Kind.ARROW: _arrow,
    Kind.GZ: _gz,
    Kind.ZST: _zst,
}


if __name__ == "__main__":
    _rows, _path, _kind = sys.argv[1:]
    write(Path(_rows), Path(_path), Kind(_kind))
