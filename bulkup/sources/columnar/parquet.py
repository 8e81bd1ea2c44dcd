"""Parquet: pyarrow reads it page by page, so that a row group of any size takes little memory."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from bulkup.errors import UsageProblem
from bulkup.refusal import Refusal
from bulkup.sources.columnar.batches import FIRST_ROWS, TOO_MANY, rows_of
from bulkup.sources.format import Access, Format, Reader, SourceFile, Unit
from bulkup.sources.head import Head
from bulkup.sources.places.address import Remote
from bulkup.sources.places.extent import Extent
from bulkup.sources.places.file import AsFile, Bytes, bytes_of, where_in
from bulkup.sources.places.place import Entry
from bulkup.sources.reading import Reading

__all__ = ["PARQUET"]

_BUFFER_BYTES = 256 * 1024
_ALL_BUFFERS_BYTES = 32 * 1024 * 1024
_SMALL_GROUP_BYTES = 8 * 1024 * 1024
"""Unpacked. Of a group up to that a column is read at once: piece by piece takes a tenth longer."""

_MAGIC = b"PAR1"
_TAIL_BYTES = 4 + len(_MAGIC)
"""Behind the footer: its length, and the mark."""

_MOST_FOOTER_BYTES = 64 * 1024 * 1024
_MOST_INDEX_BYTES = 4 * 1024 * 1024
"""Indexes and Bloom filters that stand between a file's data and its footer are seldom larger."""


def _opened(
    path: str, where: Remote | Extent | None, size: int | None, metadata: Any = None, *, in_pieces: bool = True
) -> Any:
    from bulkup.sources.columnar.loading import pyarrow

    columns = 1 if metadata is None else max(metadata.num_columns, 1)
    return pyarrow().parquet.ParquetFile(
        path if where is None else AsFile(bytes_of(path, where, size)),
        metadata=metadata,
        pre_buffer=False,
        buffer_size=max(min(_BUFFER_BYTES, _ALL_BUFFERS_BYTES // columns), 4096) if in_pieces else 0,
    )


def _batches(opened: Callable[[bool], Any], metadata: Any, groups: Iterable[int], rows: int) -> Iterator[Any]:
    """*opened* gives the file, to be read in pieces or not. Not over several groups at once: pyarrow cannot make one batch of two
    nested dictionaries. No part of the walk, which would refer to itself: what it knows of a large file, 12 MB and more, would
    stay until garbage is collected."""
    files: dict[bool, Any] = {}
    for number in groups:
        in_pieces = metadata.row_group(number).total_byte_size > _SMALL_GROUP_BYTES
        if in_pieces not in files:
            files[in_pieces] = opened(in_pieces)
        yield from files[in_pieces].iter_batches(batch_size=rows, row_groups=[number], use_threads=False)


class _ParquetWalk:
    """How large a batch is, the first rows tell: where many rows share a value, the file has it once, and its size says little."""

    def __init__(self, file: SourceFile, row: int, batch_rows: int) -> None:
        with _opened(file.path, file.where, file.size) as whole:
            metadata = whole.metadata
        groups = range(metadata.num_row_groups)
        self.firsts: list[int] = list(accumulate((metadata.row_group(number).num_rows for number in groups), initial=0))

        def from_group(first: int, rows: int) -> Iterator[Any]:
            return _batches(
                lambda in_pieces: _opened(file.path, file.where, file.size, metadata, in_pieces=in_pieces),
                metadata, groups[first:], rows,
            )  # fmt: skip

        self._from_group = from_group
        self._last = len(groups) - 1
        self._most_rows = batch_rows
        self._is_sure = batch_rows <= FIRST_ROWS
        self._begin(row, min(batch_rows, FIRST_ROWS))

    def _begin(self, row: int, batch_rows: int) -> None:
        """At *row*, with batches of so many rows. What stands before it in its row group is passed over."""
        first = min(bisect_right(self.firsts, row) - 1, self._last)
        self.row = self.firsts[first]
        self._batch_rows = batch_rows
        self._batches = self._from_group(first, batch_rows)
        self._rest: Any = None
        while self.row < row:
            self.next(row - self.row)

    def next(self, count: int) -> Any:
        batch = self._rest
        while batch is None or not batch.num_rows:
            batch = next(self._batches, None)
            if batch is None:
                raise EOFError("it holds fewer rows than its footer says")
            if batch.num_rows and self._begun_anew(batch.nbytes // batch.num_rows):
                batch = self._rest
        self._rest = batch.slice(count) if batch.num_rows > count else None
        batch = batch.slice(0, count)
        self.row += batch.num_rows
        return batch

    def _begun_anew(self, row_bytes: int) -> bool:
        """Whether rows of so many bytes want other batches, and these have begun. More rows at once only behind the first batch."""
        wanted = min(rows_of(row_bytes), self._most_rows)
        is_first, self._is_sure = not self._is_sure, True
        if self._batch_rows <= TOO_MANY * wanted and not (is_first and wanted > self._batch_rows):
            return False
        self._begin(self.row, wanted)
        return True


def _examined(_: Head, uri: str, reading: Reading, entry: Entry | Extent | None) -> Any:
    from bulkup.sources.columnar.table import described, readable

    def look() -> Any:
        with _opened(uri, *where_in(entry)) as file:
            return file.schema_arrow, file.metadata

    schema, metadata = readable(uri, "Parquet", look)
    _refuse_several(uri, bytes_of(uri, *where_in(entry)), metadata)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    return described(uri, schema, [group.num_rows for group in groups], size, reading)


def _refuse_several(uri: str, file: Bytes, metadata: Any) -> None:
    """Raise `UsageProblem` where another file stands before the one whose footer is read, as `cat` leaves them: the footer counts
    from the beginning of its own file, so rows would be read out of the other one."""
    try:
        begins = _begin_of_last(file, metadata)
    finally:
        file.close()
    if begins is not None:
        raise UsageProblem(
            f"{uri}: is several Parquet files one behind the other (the last begins at byte {begins:,}), which cannot be read as "
            "one; name the files separately"
        )


def _begin_of_last(file: Bytes, metadata: Any) -> int | None:
    """Where the last of several files begins; None where there is one. Between the data and the footer there is room for indexes
    alone: where there is more, files may stand before, and then the marks of an end and of a beginning are side by side."""
    footer = file.size - _TAIL_BYTES - metadata.serialized_size
    most = footer - _data_end(metadata)
    if most < len(_MAGIC) + _TAIL_BYTES:
        return None
    start = max(most - len(_MAGIC) - _MOST_INDEX_BYTES, 0)
    window = file.read(most + len(_MAGIC) - start, start)
    at = window.rfind(_MAGIC + _MAGIC)
    while at >= 0 and not _ends_at(file, start + at + len(_MAGIC)):
        at = window.rfind(_MAGIC + _MAGIC, 0, at + len(_MAGIC))
    return None if at < 0 else start + at + len(_MAGIC)


def _ends_at(file: Bytes, at: int) -> bool:
    """Whether what stands before *at* is the end of a file, with its footer: the marks may be a value's."""
    from bulkup.sources.columnar.loading import pyarrow, tried

    count = int.from_bytes(file.read(4, at - _TAIL_BYTES), "little")
    begin = at - _TAIL_BYTES - count
    if begin < len(_MAGIC) or count > _MOST_FOOTER_BYTES:
        return False
    tail = io.BytesIO(_MAGIC + file.read(at - begin, begin))
    return not isinstance(tried(pyarrow().parquet.read_metadata, tail), Refusal)


def _data_end(metadata: Any) -> int:
    """Behind the last row group's data, by the footer; where there is none, behind the mark."""
    if not metadata.num_row_groups:
        return len(_MAGIC)
    last = metadata.row_group(metadata.num_row_groups - 1)
    chunks = (last.column(number) for number in range(last.num_columns))
    ends = (
        min(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset)
        + chunk.total_compressed_size
        for chunk in chunks
    )
    return int(max(ends, default=len(_MAGIC)))


def _reader(file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> Reader:
    from bulkup.sources.columnar.table import TableReader

    return TableReader(file, base, block_bytes=block_bytes, walk=_ParquetWalk)


def _detail() -> type[Any]:
    from bulkup.sources.columnar.table import Table

    return Table


PARQUET = Format(
    name="parquet",
    title="Parquet",
    unit=Unit.ROW,
    access=Access.ANY_RANGE,
    magic=(_MAGIC,),
    suffixes=(".parquet", ".pq"),
    recognise=lambda head: head.starts_with(_MAGIC),
    reader=_reader,
    reads_remote=True,
    is_unpacked=True,
    length=lambda file: file.detail.length,
    starts=lambda file: file.detail.starts,
    examine=_examined,
    detail=_detail,
    note=lambda file: file.detail.note,
    columns=lambda file: file.detail.names,
)
