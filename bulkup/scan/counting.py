"""What is counted of every row that is looked at, and how the rows at fault are found in a block: by halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from bulkup.encoding.lines import Line, lines_of
from bulkup.model import Block, EncodedBlock, EncodedRow, Reject
from bulkup.scan.learned import FileCounts
from bulkup.scan.reasons import Rejects
from bulkup.scan.seen import Place

__all__ = [
    "SMALL_ROW",
    "Check",
    "Counts",
    "FileRows",
    "Taker",
    "alone",
    "largest_line",
    "line_behind",
    "look_by_halves",
]


class FileRows(Struct, frozen=True, gc=False):
    """Of one block, what is of file number *file*: so many *rows*, the *largest* of that many bytes, `SMALL_ROW` at least."""

    file: int
    rows: int
    largest: int


SMALL_ROW = 4096
"""Bytes. How long rows up to that are is not looked at: a search with small steps takes longer than a decoder."""


class _OfFile(Struct, gc=False):
    rows: int = 0
    blank: int = 0
    rejected: int = 0
    largest: int = SMALL_ROW


class Counts:
    """What is counted, file by file."""

    def __init__(self) -> None:
        self.rejects = Rejects()
        self._files: dict[int, _OfFile] = {}

    @property
    def files(self) -> tuple[FileCounts, ...]:
        """In the order in which they came."""
        return tuple(
            FileCounts(n, f.rows, f.blank, f.rejected, f.largest if f.largest > SMALL_ROW else 0)
            for n, f in self._files.items()
        )

    @property
    def rows(self) -> int:
        """Rows that would be sent."""
        return sum(file.rows for file in self._files.values())

    def block(self, block: Block, made: EncodedBlock, place: Place) -> int:
        """All of *block*, which begins at *place*, would be sent, as *made* has it; how many lines it has."""
        file = self._of(place.file)
        file.rows += made.rows
        file.blank += made.blank
        if made.rows:
            file.largest = largest_line(block.data, file.largest)
        return made.lines

    def several(self, files: Sequence[FileRows]) -> None:
        """All rows of *files* would be sent."""
        for one in files:
            file = self._files.get(one.file)
            if file is None:
                self._files[one.file] = _OfFile(one.rows, largest=one.largest)
            else:
                file.rows += one.rows
                file.largest = max(file.largest, one.largest)

    def row(self, line: Line, place: Place) -> None:
        """The row on *line*, at *place*, would be sent."""
        file = self._of(place.file)
        file.rows += 1
        file.largest = max(file.largest, len(line.row))

    def blank(self, count: int, place: Place) -> None:
        """There are *count* blank lines in the file of *place*."""
        self._of(place.file).blank += count

    def rejected(self, reject: Reject, place: Place) -> None:
        """The row at *place* would not be sent."""
        self._of(place.file).rejected += 1
        self.rejects.add(reject, place)

    def _of(self, number: int) -> _OfFile:
        file = self._files.get(number)
        if file is None:
            file = self._files[number] = _OfFile()
        return file


class Taker(Protocol):
    """Looks at a part of a block."""

    def fits(self, part: Block, place: Place) -> bool:
        """Whether all lines of *part*, which begins at *place*, are good, and nothing new; then they are counted."""

    def one(self, part: Block, line: Line, place: Place) -> None:
        """Take the only row of *part*, which stands on *line* of its block, whatever it is."""

    def goes_row_by_row(self) -> bool:
        """Whether the rest of the block is better taken row by row."""


Check = Callable[[], None]
"""Called now and then, since a single row may take half a second. What it raises ends the scan."""


def look_by_halves(block: Block, taker: Taker, place: Place, check: Check) -> tuple[int, int]:
    """Have *taker* look at all rows of *block*, which begins at *place*: halves of it, and halves of these, until one fits.

    How many lines it has, and how many of them are blank.
    """
    lines = list(lines_of(block))
    rows = [line for line in lines if line.row]
    parts = [rows] if rows else []
    while parts:
        part = parts.pop()
        check()
        if len(part) == 1 or taker.goes_row_by_row():
            for line in part:
                check()
                taker.one(_part(block, [line]), line, line_behind(block, place, line))
        elif not taker.fits(_part(block, part), line_behind(block, place, part[0])):
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]
    return len(lines), len(lines) - len(rows)


def line_behind(block: Block, place: Place, line: Line) -> Place:
    """The place of *line* of *block*, which begins at *place*."""
    number = None if place.line is None else place.line + line.number
    return Place(place.file, place.at + line.position - block.start, number)


def _part(block: Block, lines: Sequence[Line]) -> Block:
    data = b"".join([line.raw + b"\n" for line in lines])
    offsets = None if block.offsets is None else [line.position for line in lines]
    return Block(data, lines[0].position, lines[-1].position + len(lines[-1].raw) + 1, offsets)


def alone(rows: Sequence[EncodedRow]) -> EncodedRow:
    """What became of the one row of a part."""
    (row,) = rows
    return row


def largest_line(data: bytes, least: int) -> int:
    """The length of the longest line of *data*, without its break, or *least* where none is longer."""
    at, end = 0, len(data)
    while end - at > least:
        behind = data.rfind(b"\n", at, at + least + 1)
        if behind < 0:
            behind = data.find(b"\n", at)
            behind = end if behind < 0 else behind
            least = max(least, behind - at)
        at = behind + 1
    return least
