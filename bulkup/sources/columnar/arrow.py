"""Arrow's IPC files and streams, such as Feather and what the hub's `save_to_disk` writes. Batches are found by their headers."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from io import RawIOBase
from itertools import accumulate
from struct import Struct
from typing import Any

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.refusal import Refusal, attempt
from bulkup.sources.format import Access, Format, Reader, SourceFile, Unit
from bulkup.sources.head import Head
from bulkup.sources.places.file import Bytes, bytes_of, where_in
from bulkup.sources.places.place import Entry
from bulkup.sources.reading import Reading

__all__ = ["ARROW"]

_FILE = b"ARROW1\0\0"
_STREAM = b"\xff\xff\xff\xff"
_LONGEST_SCHEMA = 64 * 1024 * 1024
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_LARGEST_BATCH = 512 * 1024 * 1024
"""A batch is in memory whole. Not mapped: a mapped file that becomes shorter kills the process."""

_int32, _int64, _uint16 = Struct("<i"), Struct("<q"), Struct("<H")


class _CutOffError(Exception):
    pass


class _Fields:
    """A table of a flatbuffer, with its fields by number (https://flatbuffers.dev/internals, Arrow's `Message.fbs`)."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._offsets = at - _int32.unpack_from(data, at)[0]
        self._size = _uint16.unpack_from(data, self._offsets)[0]

    def place(self, number: int) -> int | None:
        """Where the field stands, None where it has its default."""
        at = 4 + 2 * number
        offset = _uint16.unpack_from(self._data, self._offsets + at)[0] if at < self._size else 0
        return self._at + offset if offset else None

    def whole(self, number: int, kind: Struct = _int64) -> int:
        """A whole number."""
        place = self.place(number)
        return 0 if place is None else int(kind.unpack_from(self._data, place)[0])

    def table(self, number: int) -> _Fields | None:
        """A table within this one."""
        place = self.place(number)
        return None if place is None else _Fields(self._data, place + _int32.unpack_from(self._data, place)[0])

    def pairs(self, number: int) -> list[tuple[int, int]]:
        """A vector of pairs of whole numbers."""
        place = self.place(number)
        if place is None:
            return []
        at = place + _int32.unpack_from(self._data, place)[0]
        count = _int32.unpack_from(self._data, at)[0]
        return [
            (_int64.unpack_from(self._data, at + 4 + 16 * n)[0], _int64.unpack_from(self._data, at + 12 + 16 * n)[0])
            for n in range(count)
        ]


@dataclass(frozen=True, slots=True)
class _Message:
    """What stands in [start, stop) of the file; *rows* and *unpacked* bytes, where it is a batch that is packed."""

    kind: int
    start: int
    stop: int
    rows: int
    unpacked: int


def _messages(file: Bytes) -> list[_Message]:
    """The messages of the open file, in order. Raises `_CutOffError`, and what a damaged header makes `struct` raise."""
    size = file.size
    is_file = file.read(len(_FILE), 0) == _FILE
    if is_file and file.read(6, size - 6) != _FILE[:6]:
        raise _CutOffError
    at, found = len(_FILE) if is_file else 0, []
    while at < size:
        head = file.read(8, at)
        begins = 8 if head.startswith(_STREAM) else 4  # before Arrow 0.15 the length alone stood there
        if len(head) < begins:
            raise _CutOffError
        length = _int32.unpack_from(head, begins - 4)[0]
        if length == 0:
            break
        header = file.read(length, at + begins)
        if len(header) < length:
            raise _CutOffError
        fields = _Fields(header, _int32.unpack_from(header, 0)[0])
        kind = header[place] if (place := fields.place(1)) is not None else 0
        body = at + begins + length
        stop = body + fields.whole(3)
        if stop > size:
            raise _CutOffError
        batch = fields.table(2) if kind == _BATCH else None
        rows = batch.whole(0) if batch is not None else 0
        unpacked = _unpacked(file, body, batch) if batch is not None and batch.place(3) is not None else 0
        found.append(_Message(kind, at, stop, rows, unpacked))
        at = stop
    if not found or found[0].kind != _SCHEMA:
        raise _CutOffError
    return found


def _unpacked(file: Bytes, body: int, batch: _Fields) -> int:
    """How many bytes the packed buffers of a batch come to: each begins with that."""
    starts = (file.read(8, body + offset) for offset, length in batch.pairs(2) if length >= 8)
    return sum(max(_int64.unpack(start)[0], 0) for start in starts if len(start) == 8)


class _Parts(RawIOBase):
    """Ranges of an open file, one behind the other."""

    def __init__(self, file: Bytes, parts: list[tuple[int, int]]) -> None:
        self._file = file
        self._parts = parts

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        made = b""
        while self._parts and len(made) < size:
            start, stop = self._parts[0]
            data = self._file.read(min(size - len(made), stop - start), start)
            if not data:
                break
            made += data
            self._parts[:1] = [(start + len(data), stop)] if start + len(data) < stop else []
        return made


class _ArrowWalk:
    def __init__(self, file: SourceFile, row: int, batch_rows: int) -> None:
        from bulkup.sources.columnar.loading import pyarrow

        pa = pyarrow()
        self._batch_rows = batch_rows
        self._file = bytes_of(file.path, file.remote, file.size)
        messages = _messages(self._file)
        batches = [message for message in messages if message.kind == _BATCH]
        firsts = list(accumulate((batch.rows for batch in batches), initial=0))
        first = min(bisect_right(firsts, row) - 1, len(batches) - 1)
        self.row = firsts[first]
        self._batches = batches[first:]
        self._schema = pa.ipc.read_schema(pa.py_buffer(_read(self._file, messages[0])))
        self._stream = None
        if any(message.kind == _DICTIONARY for message in messages):
            kept = (m for m in messages if m.kind != _BATCH or m.start >= batches[first].start)
            self._stream = pa.ipc.open_stream(_Parts(self._file, [(m.start, m.stop) for m in kept]))
        self._rest: Any = None
        while self.row < row:
            self.next(row - self.row)

    def __del__(self) -> None:
        self._file.close()

    def next(self, count: int) -> Any:
        while self._rest is None or not self._rest.num_rows:
            self._rest = self._whole()
        count = min(count, self._batch_rows)
        batch, self._rest = self._rest.slice(0, count), self._rest.slice(count)
        self.row += batch.num_rows
        return batch

    def _whole(self) -> Any:
        from bulkup.sources.columnar.loading import pyarrow

        if self._stream is not None:
            return self._stream.read_next_batch()
        pa = pyarrow()
        return pa.ipc.read_record_batch(pa.py_buffer(_read(self._file, self._batches.pop(0))), self._schema)


def _examined(_: Head, uri: str, reading: Reading, entry: Entry | None) -> Any:
    from bulkup.sources.columnar.loading import pyarrow
    from bulkup.sources.columnar.table import described, readable

    file = bytes_of(uri, *where_in(entry))
    try:
        found = attempt(_messages, file)
        head = b"" if isinstance(found, Refusal) else _read(file, found[0])
    finally:
        file.close()
    if isinstance(found, Refusal):
        is_cut = isinstance(found.why, _CutOffError)
        raise SourceUnreadable(f"{uri}: damaged Arrow ({'its end is missing' if is_cut else found})")
    largest = max(max(message.unpacked, message.stop - message.start) for message in found)
    if largest > _LARGEST_BATCH:
        raise UsageProblem(
            f"{uri}: holds a batch of {largest // 2**20:,} MiB, which has to be in memory whole; "
            f"write it in batches of at most {_LARGEST_BATCH // 2**20} MiB, or as Parquet"
        )
    schema = readable(uri, "Arrow", lambda: pyarrow().ipc.read_schema(pyarrow().py_buffer(head)))
    batches = [message for message in found if message.kind == _BATCH]
    size = sum(message.unpacked or message.stop - message.start for message in batches)
    return described(schema, sum(batch.rows for batch in batches), size, reading)


def _read(file: Bytes, message: _Message) -> bytes:
    """The bytes of *message*. Raises `EOFError` where the file has become shorter."""
    data = file.read(message.stop - message.start, message.start)
    while len(data) < message.stop - message.start:
        more = file.read(message.stop - message.start - len(data), message.start + len(data))
        if not more:
            raise EOFError("it has become shorter")
        data += more
    return data


def _reader(file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> Reader:
    from bulkup.sources.columnar.table import TableReader

    return TableReader(file, base, block_bytes=block_bytes, walk=_ArrowWalk)


def _is_arrow(head: Head) -> bool:
    if head.starts_with(_FILE):
        return True
    start = head.start(8) if head.starts_with(_STREAM) else b""
    return len(start) == 8 and 0 < _int32.unpack(start[4:])[0] < _LONGEST_SCHEMA


ARROW = Format(
    name="arrow",
    title="Arrow",
    unit=Unit.ROW,
    access=Access.ANY_RANGE,
    magic=(_FILE, _STREAM),
    suffixes=(".arrow", ".feather", ".ipc"),
    recognise=_is_arrow,
    reader=_reader,
    reads_remote=True,
    length=lambda file: file.detail.length,
    examine=_examined,
    note=lambda file: file.detail.note,
    columns=lambda file: file.detail.names,
)
