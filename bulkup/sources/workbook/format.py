"""The format: one sheet of a workbook (`.xlsx`, `.xlsm`)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncGenerator, Sequence
from typing import Any, BinaryIO, cast

import anyio.to_thread

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, LongRow
from bulkup.refusal import Refusal, attempt
from bulkup.sources.format import Format, Item, Reader, SourceFile, Unit
from bulkup.sources.head import Head
from bulkup.sources.inputs import open_file
from bulkup.sources.places.extent import Extent
from bulkup.sources.reading import Reading
from bulkup.sources.separated.dialect import names_of
from bulkup.sources.separated.header import trouble_with_header
from bulkup.sources.workbook.child import NO_COLUMN

__all__ = ["WORKBOOK", "is_named_workbook", "is_workbook", "may_be_workbook"]

MOST_UNPACKED_BYTES = 256 * 1024 * 1024
_MAGIC = b"PK\x03\x04"
_SUFFIXES = (".xlsx", ".xlsm")
_BATCH_BYTES = 256 * 1024
_LOOKED_AT_ROWS = 200


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is read of a workbook: *sheet*, whose header stands in row *header_row*, *rows* lines below it, and the keys."""

    sheet: str
    header_row: int | None
    has_header: bool
    names: tuple[str, ...]
    rows: int
    step: int
    note: str

    @property
    def length(self) -> int:
        """How many positions it takes."""
        return self.rows * self.step


def is_named_workbook(name: str) -> bool:
    """Whether a file's *name* says that it is a workbook."""
    return name.lower().endswith(_SUFFIXES)


def may_be_workbook(start: bytes) -> bool:
    """Whether the zip file that begins with *start* has a workbook's first member."""
    return start[30:].startswith((b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/"))


def is_workbook(path: str) -> bool:
    """Whether the zip file at *path* is one. Raises `UsageProblem` where it is of a kind that is not read."""
    names = attempt(_names_in, path)
    if isinstance(names, Refusal):
        return False
    if "xl/workbook.bin" in names:
        raise UsageProblem(f"{path}: a binary Excel workbook (.xlsb) is not read; save it as .xlsx")
    return "xl/workbook.xml" in names


def _names_in(path: str) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def _child(path: str, options: dict[str, Any]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "bulkup.sources.workbook.child", path, json.dumps(options)]
    return subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=_BATCH_BYTES
    )


def _checked(uri: str, line: bytes) -> bytes:
    """*line* of the child, if it does not say that the workbook cannot be read."""
    if line.startswith(b"??"):
        raise UsageProblem(f"{uri}: {line[2:].decode().strip()}")
    if line.startswith(b"?") or not line:
        why = line[1:].decode().strip() or "the process that read it ended"
        raise SourceUnreadable(f"{uri}: damaged workbook ({why})")
    return line


def _examined(_: Head, uri: str, reading: Reading, part: object) -> Sheet:
    path = part.path if isinstance(part, Extent) else uri
    if importlib.util.find_spec("openpyxl") is None:
        raise UsageProblem(f"{uri}: is an Excel workbook; to read it: pip install 'bulkup[xlsx]'")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > MOST_UNPACKED_BYTES:
        raise UsageProblem(
            f"{uri}: the workbook unpacks to {unpacked // 2**20:,} MiB, the limit is {MOST_UNPACKED_BYTES // 2**20} MiB; save its "
            "sheets as CSV"
        )
    options = {
        "sheet": reading.sheet,
        "header_row": reading.header_row,
        "has_header": reading.has_header,
        "names": None,
    }
    with _child(path, options) as child:
        out = cast("BinaryIO", child.stdout)
        told = json.loads(_checked(uri, out.readline()))
        rows = size = 0
        looked_at: list[bytes] = []
        for line in out:
            if line.startswith(b"?"):
                _checked(uri, line)
            if len(looked_at) < _LOOKED_AT_ROWS and line.strip():
                looked_at.append(line)
            rows += 1
            size += len(line)
    if reading.has_header and reading.header_row is None:
        _check_header(uri, told["header"], looked_at)
    header = told["header"] if reading.has_header else [None] * len(told["header"])
    names, said = names_of(header, reading)
    if not reading.has_header:
        said = []
    others = len(told["sheets"]) - 1
    about = [f"sheet {told['sheet']!r}" + (f" of {others + 1} (--sheet takes another)" if others else "")]
    about += [f"the header is row {told['row']}"] if told["row"] > 1 and reading.has_header else []
    about += [f"{len(names):,} column{'s' * (len(names) != 1)}", *said]
    return Sheet(
        sheet=told["sheet"],
        header_row=told["row"] or None,
        has_header=reading.has_header,
        names=names,
        rows=rows,
        step=max(size // rows + sum(map(len, names)), 1) if rows else 1,
        note="; ".join(about),
    )


def _check_header(uri: str, header: Sequence[str | None], lines: Sequence[bytes]) -> None:
    """Raise UsageProblem if the first row is a row or a title, to judge by the child's *lines* below it."""
    found = [list(json.loads(line).values()) for line in lines if not line.startswith(b"!")]
    texts = [[None if value is None else str(value) for value in row] for row in found]
    why = trouble_with_header(header, texts) if header else None
    if why is not None:
        raise UsageProblem(f"{uri}: {why}; give --no-header if it is data, or --header-row N with the row of the names")
    wide = sum(line.startswith(b"!") and NO_COLUMN.encode() in line for line in lines)
    if wide > 1 and wide * 2 > len(lines):
        raise UsageProblem(
            f"{uri}: its first row names {len(header):,} column{'s' * (len(header) != 1)}, and {wide:,} of the next {len(lines):,} "
            "rows have values to the right of it: it is not their header; give --header-row N with the row of the names, as Excel "
            "counts, or --no-header"
        )


class _WorkbookReader:
    """Reads the sheet from its first row on, each time by a process of its own."""

    def __init__(self, file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> None:
        os.close(open_file(file))  # it is there, and as long as it was
        self._file = file
        self._sheet: Sheet = file.detail
        self._base = base
        self._block_bytes = block_bytes
        self._child: subprocess.Popen[bytes] | None = None

    async def rows(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        step = self._sheet.step
        first, last = -(-start // step), min(-(-stop // step), self._sheet.rows)
        self._begin()
        row = 0
        while row < last:
            lines = await anyio.to_thread.run_sync(self._lines, min(self._block_bytes, _BATCH_BYTES))
            if not lines:
                raise SourceUnreadable(f"{self._file.uri}: has fewer rows than when it was looked at")
            for item in self._items(lines[max(first - row, 0) : last - row], max(row, first)):
                yield item
            row += len(lines)

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        raise ValueError("its bytes are no lines")

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            cast("BinaryIO", self._child.stdout).close()
            self._child.wait()

    def _begin(self) -> None:
        self.close()
        sheet = self._sheet
        options = {
            "sheet": sheet.sheet,
            "header_row": sheet.header_row,
            "has_header": sheet.has_header,
            "names": sheet.names,
        }
        self._child = _child(self._file.path, options)

    def _lines(self, size: int) -> list[bytes]:
        assert self._child is not None
        out = cast("BinaryIO", self._child.stdout)
        lines = out.readlines(size)
        if lines and lines[0].startswith(b'{"sheets"'):
            del lines[0]
            lines = lines or out.readlines(size)
        for line in lines:
            if line.startswith(b"?"):
                _checked(self._file.uri, line)
        return lines

    def _items(self, lines: list[bytes], row: int) -> list[Item]:
        """*lines* from row number *row* on, those that cannot be sent by themselves."""
        step, made, held = self._sheet.step, list[Item](), list[bytes]()
        at = begin = self._base + row * step
        for line in lines:
            if line.startswith(b"!"):
                if held:
                    made.append(Block(b"".join(held), begin, at, range(begin, at, step)))
                made.append(LongRow(b"", at, at + step, line[1:].decode().strip()))
                held, begin = [], at + step
            else:
                held.append(line)
            at += step
        if held:
            made.append(Block(b"".join(held), begin, at, range(begin, at, step)))
        return made


def _reader(file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> Reader:
    return _WorkbookReader(file, base, block_bytes=block_bytes, max_row_bytes=max_row_bytes)


WORKBOOK = Format(
    name="workbook",
    title="an Excel workbook",
    unit=Unit.ROW,
    magic=(_MAGIC,),
    suffixes=_SUFFIXES,
    recognise=lambda head: head.starts_with(_MAGIC),
    reader=_reader,
    is_unpacked=True,
    length=lambda file: file.detail.length,
    examine=_examined,
    detail=lambda: Sheet,
    note=lambda file: file.detail.note,
    columns=lambda file: file.detail.names,
)
