"""Where rows of separated text end, and what stands in one: exactly, byte by byte, for rows that the fast way does not take.

A field that begins with `"` goes to the closing one; `""` in it is one `"`. Elsewhere a `"` is a character like others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

__all__ = ["QUOTE", "RowEnd", "fields_of", "opens_quotes", "rows_in"]

QUOTE = b'"'
_QUOTE = ord(QUOTE)


class _At(Enum):
    FIELD = auto()
    BARE = auto()
    QUOTED = auto()
    BEHIND_QUOTE = auto()


class RowEnd:
    """Finds where a row ends. Asked again once more bytes have come, it goes on from where it stood."""

    def __init__(self, delimiter: bytes, line_break: bytes) -> None:
        self.position = 0
        self._break = line_break
        self._stops = re.compile(b"[" + re.escape(delimiter) + re.escape(line_break) + b"]")
        self._at = _At.FIELD

    @property
    def is_in_quotes(self) -> bool:
        """Whether a quote is open."""
        return self._at is _At.QUOTED

    def find(self, data: bytes | bytearray, stop: int) -> int | None:
        """The place behind the row's break in the first *stop* of *data*; None where that has not come yet."""
        while self.position < stop:
            match self._at:
                case _At.FIELD:
                    is_quoted = data[self.position] == _QUOTE
                    self._at = _At.QUOTED if is_quoted else _At.BARE
                    self.position += is_quoted
                case _At.BARE:
                    found = self._stops.search(data, self.position, stop)
                    self.position = stop if found is None else found.end()
                    if found is not None:
                        self._at = _At.FIELD
                        if found[0] == self._break:
                            return self.position
                case _At.QUOTED:
                    closing = data.find(QUOTE, self.position, stop)
                    self.position = stop if closing < 0 else closing + 1
                    if closing >= 0:
                        self._at = _At.BEHIND_QUOTE
                case _At.BEHIND_QUOTE:
                    is_doubled = data[self.position] == _QUOTE
                    self._at = _At.QUOTED if is_doubled else _At.BARE
                    self.position += is_doubled
        return None

    def moved(self, count: int) -> None:
        """So many bytes were taken away at the beginning."""
        self.position -= count


def opens_quotes(rows: bytes, delimiter: bytes, line_break: bytes) -> bool:
    """Whether a field of *rows*, which are whole, begins with a quote. If none does, quotes are characters like others."""
    return QUOTE in rows and (rows.startswith(QUOTE) or delimiter + QUOTE in rows or line_break + QUOTE in rows)


def rows_in(data: bytes, delimiter: bytes, line_break: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """Where the rows from *start* on that are there whole begin and end, breaks included."""
    scanner = RowEnd(delimiter, line_break)
    scanner.position = start
    while (end := scanner.find(data, len(data))) is not None:
        yield start, end
        start = end


def fields_of(row: bytes, delimiter: bytes) -> list[bytes | None] | str:
    """The fields of one *row* without its break, None where nothing stands; or what is wrong with it."""
    fields: list[bytes | None] = []
    at = 0
    while True:
        if row[at : at + 1] != QUOTE:
            end = row.find(delimiter, at)
            field = row[at:] if end < 0 else row[at:end]
            fields.append(field or None)
        else:
            closing = at
            while True:
                closing = row.find(QUOTE, closing + 1)
                if closing < 0:
                    return "a quote is opened and not closed"
                if row[closing + 1 : closing + 2] != QUOTE:
                    break
                closing += 1
            fields.append(row[at + 1 : closing].replace(b'""', QUOTE))
            if row[closing + 1 : closing + 2] not in (b"", delimiter):
                return f"something stands behind the closing quote of field {len(fields)}"
            end = closing + 1 if closing + 1 < len(row) else -1
        if end < 0:
            return fields
        at = end + 1
