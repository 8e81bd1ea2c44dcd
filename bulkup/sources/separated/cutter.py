"""Separated text cut into whole rows: by arithmetic on quotes where that is sure, else row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, pairwise, repeat

from bulkup.light_dataclass import dataclass
from bulkup.model import HEAD_BYTES
from bulkup.sources.separated.records import QUOTE, RowEnd, opens_quotes, rows_in

__all__ = ["LongRecord", "RecordCutter", "Records"]

_MISSING = -1


@dataclass(frozen=True, slots=True)
class Records:
    """Whole rows. *data* ends with a break; the break of the last row may not stand in the file.

    *lengths* are the rows', breaks included. *counts* are how often a delimiter stands in each, outside of quotes, where that is
    known: then quotes stand at the ends of fields alone, and no return within a row. *line* is the number of the first one's line
    in the file.
    """

    data: bytes
    start: int
    end: int
    line: int
    lengths: Sequence[int]
    counts: Sequence[int] | None

    def rows(self) -> Iterator[bytes]:
        """Each row with its break."""
        at = 0
        for length in self.lengths:
            yield self.data[at : at + length]
            at += length

    @property
    def offsets(self) -> list[int]:
        """Where each row begins."""
        return list(accumulate(self.lengths, initial=self.start))[:-1]


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
    piece. *start* is the position of the first byte fed, and *line* its line's number. Where it is not to be *is_exact*,
    records are what stands between breaks with even quotes before them, and nothing is known of their rows."""

    def __init__(
        self,
        start: int,
        *,
        delimiter: bytes,
        line_break: bytes,
        line: int,
        size: int,
        max_row_bytes: int,
        is_exact: bool = True,
    ) -> None:
        self._delimiter = delimiter
        self._break = line_break
        self._size = size
        self._max_row_bytes = max(max_row_bytes, HEAD_BYTES)
        self._is_exact = is_exact
        self._held = bytearray()
        self._start = start
        self._line = line
        self._scanner: RowEnd | None = None  # within a row that is larger than *size*
        self._head: bytes | None = None  # of one that is too long to be held
        self._head_at = (start, line)
        self._lacks_break = False

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
            end = self._boundary(len(self._held))
            records = (self._sure(end) if end else None) or self._slow(len(self._held))
            made.append(records or self._open_to_the_end())
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
        end = self._boundary(self._size)
        records = (self._sure(end) if end else None) or self._slow(self._size)
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
        return self._taken(end, [end], None)

    def _end_long(self, end: int) -> LongRecord:
        assert self._head is not None
        (start, line), head = self._head_at, self._head
        is_open = self._scanner is not None and self._scanner.is_in_quotes
        self._scanner = self._head = None
        self._drop(end)
        return LongRecord(head, start, self._start, line, is_open)

    def _boundary(self, end: int) -> int:
        """The last break among the first *end* bytes before which quotes are even, and the place behind it; 0 if there is none."""
        held = self._held
        quotes = held.count(QUOTE, 0, end)
        while True:
            at = held.rfind(self._break, 0, end) + 1
            if not at:
                return 0
            quotes -= held.count(QUOTE, at, end)
            if quotes % 2 == 0:
                return at
            end = held.rfind(QUOTE, 0, at)
            quotes -= 1

    def _sure(self, end: int) -> Records | None:
        """The first *end* bytes, if every quote in them stands where a field begins or ends, and every return before a newline."""
        if not self._is_exact:
            return self._taken(end, (), None)
        data = bytes(self._held[:end])
        if not opens_quotes(data, self._delimiter, self._break):
            outside = data
            lengths = [length + 1 for length in map(len, data.split(self._break)[:-1])]
        else:
            parts = data.split(QUOTE)
            bare = parts[0::2]
            outside = QUOTE.join(bare)
            if not self._are_ends(outside):
                return None
            lengths = self._lengths(parts, bare, outside.count(self._break))
        if self._break == b"\n" and outside.count(b"\r") != outside.count(b"\r\n"):
            return None
        lines = outside.split(self._break)
        lines.pop()
        return self._taken(end, lengths, list(map(bytes.count, lines, repeat(self._delimiter))))

    def _are_ends(self, outside: bytes) -> bool:
        """Whether each quoted text, which is one quote in *outside*, begins behind a field and ends before one. Several quotes
        side by side are one text with quotes in it."""
        while QUOTE + QUOTE in outside:
            outside = outside.replace(QUOTE + QUOTE, QUOTE)
        opened = (outside.count(self._delimiter + QUOTE), outside.count(self._break + QUOTE), outside.startswith(QUOTE))
        closed = [outside.count(QUOTE + self._delimiter), outside.count(QUOTE + self._break)]  # it ends with a break
        if self._break == b"\n":
            closed.append(outside.count(QUOTE + b"\r\n"))
        return outside.count(QUOTE) == sum(opened) == sum(closed)

    def _lengths(self, parts: list[bytes], bare: list[bytes], rows: int) -> list[int]:
        """How long each of the *rows* is. Every second one of *parts*, which quotes separate, stands outside of quotes: these are
        *bare*. Texts have many quotes, rows few breaks."""
        begins = list(accumulate(map(len, parts), initial=0))  # without the quotes between
        first = list(map(bytes.find, bare, repeat(self._break)))
        with_break = list(compress(range(len(bare)), map(_MISSING.__lt__, first)))
        ends = [begins[2 * number] + 2 * number + first[number] + 1 for number in with_break]
        if len(ends) != rows:  # rows without quotes between others
            ends = [
                begins[2 * number] + 2 * number + at
                for number in with_break
                for at in accumulate(len(line) + 1 for line in bare[number].split(self._break)[:-1])
            ]
        return [end - begin for begin, end in pairwise([0, *ends])]

    def _slow(self, stop: int) -> Records | None:
        """The rows that end within the first *stop* bytes, one by one; None where none does."""
        data = bytes(self._held[:stop])
        lengths = [end - begin for begin, end in rows_in(data, self._delimiter, self._break)]
        return self._taken(sum(lengths), lengths, None) if lengths else None

    def _taken(self, end: int, lengths: Sequence[int], counts: Sequence[int] | None) -> Records:
        records = Records(bytes(self._held[:end]), self._start, self._end_of(end), self._line, lengths, counts)
        self._drop(end)
        return records

    def _end_of(self, count: int) -> int:
        """The position behind the first *count* bytes."""
        return self._start + count - (self._lacks_break and count == len(self._held))

    def _drop(self, count: int) -> None:
        self._line += self._held.count(self._break, 0, count)
        del self._held[:count]
        self._start += count
