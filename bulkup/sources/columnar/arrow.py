"""Arrow's IPC files and streams, such as Feather and what the hub's `save_to_disk` writes. Batches are found by their headers."""

from __future__ import annotations

from bisect import bisect_right
from io import RawIOBase
from itertools import accumulate
from struct import Struct
from typing import Any

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.format import Access, Format, Reader, SourceFile, Unit
from bulkup.sources.head import Head
from bulkup.sources.places.extent import Extent
from bulkup.sources.places.file import AsFile, Bytes, bytes_of, where_in
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
_PAIR, _BLOCK = Struct("<qq"), Struct("<qi4xq")
_TAIL = Struct("<i6s")
"""Behind a file's footer: its length, and the mark again."""


class _CutOffError(Exception):
    pass


class _MoreError(Exception):
    """A stream behind whose end, *at* this byte, more stands."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


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
        return [_PAIR.unpack_from(self._data, at) for at in self._items(number, _PAIR.size)]

    def blocks(self, number: int) -> list[tuple[int, int]]:
        """A vector of a footer's blocks: where each begins, and how long its header is."""
        return [_BLOCK.unpack_from(self._data, at)[:2] for at in self._items(number, _BLOCK.size)]

    def _items(self, number: int, size: int) -> range:
        place = self.place(number)
        if place is None:
            return range(0)
        at = place + _int32.unpack_from(self._data, place)[0]
        return range(at + 4, at + 4 + size * _int32.unpack_from(self._data, at)[0], size)


@dataclass(frozen=True, slots=True)
class _Message:
    """What stands in [start, stop) of the file; *rows* and *unpacked* bytes, where it is a batch that is packed."""

    kind: int
    start: int
    stop: int
    rows: int
    unpacked: int


def _messages(file: Bytes) -> list[_Message]:
    """The batches of a file, as its footer has them, or all messages of a stream, in order. Raises `_CutOffError`,
    `_MoreError`, and what a damaged header makes `struct` raise."""
    return _in_file(file) if _is_file(file) else _in_stream(file)


def _is_file(file: Bytes) -> bool:
    return file.read(len(_FILE), 0) == _FILE


def _in_file(file: Bytes) -> list[_Message]:
    end = file.size - _TAIL.size
    length, mark = _TAIL.unpack(file.read(_TAIL.size, end)) if end > len(_FILE) else (0, b"")
    if mark != _FILE[: len(mark)] or not mark or not 0 < length <= end:
        raise _CutOffError
    footer = file.read(length, end - length)
    fields = _Fields(footer, _int32.unpack_from(footer, 0)[0])
    return [_message(file, at, header) for at, header in fields.blocks(3)]


def _in_stream(file: Bytes) -> list[_Message]:
    at, found = 0, list[_Message]()
    while at < file.size:
        head = file.read(8, at)
        begins = _prefix(head)
        if len(head) < begins:
            raise _CutOffError
        length = _int32.unpack_from(head, begins - 4)[0]
        if length == 0:
            more = file.read(8, at + begins)
            if more.strip(b"\0"):
                raise _MoreError(at + begins)
            break
        found.append(_message(file, at, begins + length))
        at = found[-1].stop
    if not found or found[0].kind != _SCHEMA:
        raise _CutOffError
    again = next((message for message in found[1:] if message.kind == _SCHEMA), None)
    if again is not None:
        raise _MoreError(again.start)
    return found


def _prefix(head: bytes) -> int:
    """How many bytes stand before a header: a mark and its length, and before Arrow 0.15 the length alone."""
    return 8 if head.startswith(_STREAM) else 4


def _message(file: Bytes, at: int, length: int) -> _Message:
    """The message at *at*, whose header, and what stands before it, have *length* bytes."""
    header = file.read(length, at)
    if len(header) < length:
        raise _CutOffError
    begins = _prefix(header)
    fields = _Fields(header, begins + _int32.unpack_from(header, begins)[0])
    kind = header[place] if (place := fields.place(1)) is not None else 0
    stop = at + length + fields.whole(3)
    if stop > file.size:
        raise _CutOffError
    batch = fields.table(2) if kind == _BATCH else None
    rows = batch.whole(0) if batch is not None else 0
    unpacked = _unpacked(file, at + length, batch) if batch is not None and batch.place(3) is not None else 0
    return _Message(kind, at, stop, rows, unpacked)


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
        self._file = bytes_of(file.path, file.where, file.size)
        messages = _messages(self._file)
        batches = [message for message in messages if message.kind == _BATCH]
        firsts = list(accumulate((batch.rows for batch in batches), initial=0))
        first = min(bisect_right(firsts, row) - 1, len(batches) - 1)
        self.row = firsts[first]
        self.firsts = firsts
        self._batches = batches[first:]
        self._number = first
        self._whole_file = None
        if _is_file(self._file):
            self._whole_file = pa.ipc.open_file(AsFile(bytes_of(file.path, file.where, file.size)))
        self._stream = None
        if self._whole_file is None:
            self._schema = pa.ipc.read_schema(pa.py_buffer(_read(self._file, messages[0])))
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

        if self._whole_file is not None:
            self._number += 1
            return self._whole_file.get_batch(self._number - 1)
        if self._stream is not None:
            return self._stream.read_next_batch()
        pa = pyarrow()
        return pa.ipc.read_record_batch(pa.py_buffer(_read(self._file, self._batches.pop(0))), self._schema)


def _examined(_: Head, uri: str, reading: Reading, entry: Entry | Extent | None) -> Any:
    from bulkup.sources.columnar.table import described, readable

    file = bytes_of(uri, *where_in(entry))
    try:
        found = attempt(_messages, file)
        schema = (
            None if isinstance(found, Refusal) else readable(uri, "Arrow", lambda: _schema(file, found, uri, entry))
        )
    finally:
        file.close()
    if isinstance(found, Refusal):
        if isinstance(found.why, _MoreError):
            raise UsageProblem(
                f"{uri}: is an Arrow stream that ends at byte {found.why.at:,}, and more stands behind it, such as another stream, "
                "whose rows would not be read; write each stream into a file of its own"
            )
        is_cut = isinstance(found.why, _CutOffError)
        raise SourceUnreadable(f"{uri}: damaged Arrow ({'its end is missing' if is_cut else found})")
    largest = max((max(message.unpacked, message.stop - message.start) for message in found), default=0)
    if largest > _LARGEST_BATCH:
        raise UsageProblem(
            f"{uri}: holds a batch of {largest // 2**20:,} MiB, which has to be in memory whole; "
            f"write it in batches of at most {_LARGEST_BATCH // 2**20} MiB, or as Parquet"
        )
    batches = [message for message in found if message.kind == _BATCH]
    size = sum(message.unpacked or message.stop - message.start for message in batches)
    return described(uri, schema, [batch.rows for batch in batches], size, reading)


def _schema(file: Bytes, messages: list[_Message], uri: str, entry: Entry | Extent | None) -> Any:
    from bulkup.sources.columnar.loading import pyarrow

    pa = pyarrow()
    if _is_file(file):
        return pa.ipc.open_file(AsFile(bytes_of(uri, *where_in(entry)))).schema
    return pa.ipc.read_schema(pa.py_buffer(_read(file, messages[0])))


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


def _detail() -> type[Any]:
    from bulkup.sources.columnar.table import Table

    return Table


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
    is_unpacked=True,
    length=lambda file: file.detail.length,
    starts=lambda file: file.detail.starts,
    examine=_examined,
    detail=_detail,
    note=lambda file: file.detail.note,
    columns=lambda file: file.detail.names,
)
