"""Separated text cut into whole rows: many at once where that is sure, else row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from bulkup.light_dataclass import dataclass
from bulkup.model import HEAD_BYTES
from bulkup.refusal import Refusal
from bulkup.sources.columnar.loading import tried
from bulkup.sources.separated.octets import Octets
from bulkup.sources.separated.records import QUOTE, RowEnd, rows_in
from bulkup.sources.separated.structure import EvenRows, Forms, Structure, structure_of

__all__ = ["LongRecord", "RecordCutter", "Records"]


@dataclass(frozen=True, slots=True)
class Records:
    """Whole rows. *data* ends with a break; the break of the last row may not stand in the file.

    *offsets* are where each row begins. *are_even*: it is known that each has all fields, that quotes stand at the ends of fields
    alone, and that no return stands within a row. *line* is the number of the first one's line in the file. *forms*: those that
    were asked for, if it is known that all values have them.
    """

    data: bytes
    start: int
    end: int
    line: int
    offsets: Sequence[int]
    are_even: bool
    forms: Forms | None = None

    def rows(self) -> Iterator[bytes]:
        """Each row with its break."""
        for begin, end in pairwise([*self.offsets, self.start + len(self.data)]):
            yield self.data[begin - self.start : end - self.start]


@dataclass(frozen=True, slots=True)
class LongRecord:
    """A row over the limit, or one whose quote is never closed: its beginning."""

    head: bytes
    start: int
    end: int
    line: int
    is_open: bool


class RecordCutter:
    """Cuts what it is fed into `Records` of about *size* bytes, which depend on the content alone. Holds *max_row_bytes* and a
    piece. *start* is the position of the first byte fed, and *line* its line's number. Rows should have so many *fields*."""

    def __init__(
        self,
        start: int,
        *,
        delimiter: bytes,
        line_break: bytes,
        line: int,
        size: int,
        max_row_bytes: int,
        fields: int,
    ) -> None:
        self._delimiter = delimiter
        self._break = line_break
        self._size = size
        self._max_row_bytes = max(max_row_bytes, HEAD_BYTES)
        self._fields = fields
        self._even = EvenRows(delimiter, line_break, fields)
        self._held = bytearray()
        self._start = start
        self._line = line
        self._scanner: RowEnd | None = None  # within a row that is larger than *size*
        self._head: bytes | None = None  # of one that is too long to be held
        self._head_at = (start, line)
        self._lacks_break = False

    def ask(self, forms: Forms) -> None:
        """Find out from now on whether the values of the columns have these *forms*: patterns, None where any will do."""
        self._even.forms = forms

    def feed(self, piece: bytes) -> list[Records | LongRecord]:
        """What is complete now."""
        self._held += piece
        made = []
        while (one := self._cut()) is not None:
            made.append(one)
        return made

    def finish(self) -> list[Records | LongRecord]:
        """The rest: the input ends here."""
        made: list[Records | LongRecord] = []
        if self._head is not None:
            made.append(self._end_long(len(self._held)))
        self._scanner = None
        self._lacks_break = bool(self._held) and not self._held.endswith(self._break)
        self._held += self._break * self._lacks_break
        while self._held:
            stop = len(self._held)
            made.append(self._sure(stop) or self._slow(stop) or self._open_to_the_end())
        return made

    def _open_to_the_end(self) -> LongRecord:
        """A row whose quote is not closed: all that is left."""
        head, start, line = bytes(self._held[:HEAD_BYTES]), self._start, self._line
        end = self._end_of(len(self._held))
        self._drop(len(self._held))
        return LongRecord(head, start, end, line, is_open=True)

    def _cut(self) -> Records | LongRecord | None:
        if self._scanner is not None:
            return self._go_on(self._scanner)
        if len(self._held) < self._size:
            return None
        records = self._sure(self._size) or self._slow(self._size)
        if records is not None:
            return records
        self._scanner = RowEnd(self._delimiter, self._break)
        return self._go_on(self._scanner)

    def _go_on(self, scanner: RowEnd) -> Records | LongRecord | None:
        """The end of a large row."""
        end = scanner.find(self._held, len(self._held))
        if end is None:
            if self._head is not None or len(self._held) > self._max_row_bytes + 2:
                if self._head is None:
                    self._head, self._head_at = bytes(self._held[:HEAD_BYTES]), (self._start, self._line)
                count = len(self._held)
                self._drop(count)
                scanner.moved(count)
            return None
        self._scanner = None
        if self._head is not None:
            return self._end_long(end)
        return self._one_by_one(self._first(end), [self._start])

    def _end_long(self, end: int) -> LongRecord:
        assert self._head is not None
        (start, line), head = self._head_at, self._head
        is_open = self._scanner is not None and self._scanner.is_in_quotes
        self._scanner = self._head = None
        self._drop(end)
        return LongRecord(head, start, self._start, line, is_open)

    def _sure(self, stop: int) -> Records | None:
        """The rows that end within the first *stop* bytes, if every quote in them stands where a field begins or ends, and every
        return before a newline."""
        if stop > self._size:  # the end of the input, in a large row
            return None
        made = tried(self._structure, self._first(stop))
        if made is None or isinstance(made, Refusal):
            return None
        data, found = made
        return self._taken(data, found)

    def _structure(self, text: bytes) -> tuple[bytes, Structure] | None:
        octets = Octets(text)
        end = self._boundary(text, octets)
        if not end:
            return None
        data, octets = text[:end], octets.upto(end)
        found = self._even.structure(data, octets, self._start)
        if found is None:
            found = structure_of(data, octets, self._delimiter, self._break, self._fields, self._start)
        return None if found is None else (data, found)

    def _boundary(self, text: bytes, octets: Octets) -> int:
        """The place behind the last break of *text* before which quotes are even; 0 if there is none."""
        end = len(text)
        quotes = octets.count(QUOTE[0]) if QUOTE in text else 0
        while True:
            at = text.rfind(self._break, 0, end) + 1
            if not at:
                return 0
            quotes -= text.count(QUOTE, at, end)
            if quotes % 2 == 0:
                return at
            end = text.rfind(QUOTE, 0, at)
            quotes -= 1

    def _slow(self, stop: int) -> Records | None:
        """The rows that end within the first *stop* bytes, one by one; None where none does."""
        data = self._first(stop)
        places = list(rows_in(data, self._delimiter, self._break))
        if not places:
            return None
        return self._one_by_one(data[: places[-1][1]], [self._start + begin for begin, _ in places])

    def _first(self, count: int) -> bytes:
        with memoryview(self._held) as held:
            return bytes(held[:count])

    def _one_by_one(self, data: bytes, offsets: Sequence[int]) -> Records:
        return self._taken(data, Structure(offsets, data.count(self._break), is_even=False))

    def _taken(self, data: bytes, found: Structure) -> Records:
        end = self._end_of(len(data))
        records = Records(data, self._start, end, self._line, found.begins, found.is_even, found.forms)
        self._drop(len(data), found.breaks)
        return records

    def _end_of(self, count: int) -> int:
        """The position behind the first *count* bytes."""
        return self._start + count - (self._lacks_break and count == len(self._held))

    def _drop(self, count: int, breaks: int | None = None) -> None:
        """The first *count* bytes, in which so many *breaks* stand."""
        self._line += self._held.count(self._break, 0, count) if breaks is None else breaks
        del self._held[:count]
        self._start += count
