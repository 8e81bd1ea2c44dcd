"""Where rows of separated text end, for many at once: by an automaton that takes rows which have all of their fields, else by
arithmetic on the places of quotes, separators and line breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from bulkup.encoding.language import Form, Lines, exactly
from bulkup.encoding.lines import line_count
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.columnar.loading import polars
from bulkup.sources.separated.records import opens_quotes

__all__ = ["EvenRows", "Structure", "structure_of"]

_QUOTE, _RETURN, _NEWLINE = b'"\r\n'
_LEAST_BYTES = 64 * 1024
"""For less no automaton is made: that takes as long as arithmetic on some megabytes."""


@dataclass(frozen=True, slots=True)
class Structure:
    """The places where rows begin, in ascending order, and the number of all *breaks*. *is_even*: each row has as many fields as it
    should."""

    begins: Sequence[int]
    breaks: int
    is_even: bool


class EvenRows:
    """Says at once of rows that each has so many *fields*, quotes stand at the ends of fields alone, and returns before newlines.
    What it does not take may be such rows all the same. For one thread at a time."""

    def __init__(self, delimiter: bytes, line_break: bytes, fields: int) -> None:
        self._delimiter = delimiter
        self._break = line_break
        self._fields = fields
        self._lines: dict[bool, Lines | Refusal] = {}

    def structure(self, data: bytes, start: int) -> Structure | None:
        """The structure of *data*, whole rows, if they are such."""
        if self._break != b"\n" or len(data) < _LEAST_BYTES:
            return None
        is_quoted = opens_quotes(data, self._delimiter, self._break)
        lines = self._lines.get(is_quoted)
        if lines is None:
            lines = self._lines[is_quoted] = attempt(Lines, self._row(is_quoted=is_quoted))
        if isinstance(lines, Refusal) or not lines.are_in(data):
            return None
        return Structure(_Begins(data, start, is_quoted=is_quoted), line_count(data), is_even=True)

    def _row(self, *, is_quoted: bool) -> Form:
        """A row of the fields; where none begins with a quote, a quote is a character like others."""
        delimiter = exactly(self._delimiter)
        field = rb"[^%b\r\n\x00]*" % delimiter
        if is_quoted:
            field = rb"(?:\x22(?:[^\x22\x00]|\x22\x22)*\x22|[^%b\x22\r\n\x00]*)" % delimiter
        return Form(field + (rb"(?:%b%b){%d}" % (delimiter, field, self._fields - 1)) * (self._fields > 1) + rb"\r?")


class _Begins(Sequence[int]):
    """Where the rows of *data* begin, counted from *start*; found when somebody asks for it."""

    def __init__(self, data: bytes, start: int, *, is_quoted: bool) -> None:
        self._data: bytes | None = data
        self._start = start
        self._is_quoted = is_quoted
        self._places: list[int] = []

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        return self._found()[place]

    def __len__(self) -> int:
        return len(self._found())

    def _found(self) -> list[int]:
        if self._data is not None:
            octets = _octets(self._data)
            quotes = _places(octets, _QUOTE) if self._is_quoted else None
            self._places = _behind(_outside(_places(octets, _NEWLINE), quotes), self._start)
            self._data = None
        return self._places


def structure_of(data: bytes, delimiter: bytes, line_break: bytes, fields: int, start: int = 0) -> Structure | None:
    """Where the rows of *data* begin, counted from *start*; it ends with a break and has an even number of quotes where they
    open fields. None where it is not sure: a quote stands within a field, or a return within a row."""
    octets = _octets(data)
    separator, break_ = delimiter[0], line_break[0]
    quotes = None
    if opens_quotes(data, delimiter, line_break):
        quotes = _places(octets, _QUOTE)
        if not _are_ends(octets, quotes, (separator, break_, _QUOTE)):
            return None
    all_breaks = _places(octets, break_)
    if break_ == _NEWLINE and b"\r" in data and not _are_with_newlines(octets, all_breaks, quotes):
        return None
    breaks = _outside(all_breaks, quotes)
    separators = _outside(_places(octets, separator), quotes)
    return Structure(_behind(breaks, start), len(all_breaks), _have(breaks, separators, fields - 1))


def _octets(data: bytes) -> Any:
    return polars().Series([data]).cast(polars().List(polars().UInt8)).explode()


def _behind(breaks: Any, start: int) -> list[int]:
    """Where rows begin, of which each ends with one of the *breaks*, counted from *start*."""
    begins = (breaks + 1).shift(1, fill_value=0)
    if start:
        begins = begins.cast(polars().Int64) + start
    return list(begins.to_list())


def _places(octets: Any, octet: int) -> Any:
    return (octets == octet).arg_true()


def _outside(places: Any, quotes: Any) -> Any:
    """Those before which an even number of *quotes* stands."""
    return places if quotes is None else places.filter(quotes.search_sorted(places) % 2 == 0)


def _are_ends(octets: Any, quotes: Any, may_open: tuple[int, int, int]) -> bool:
    """Whether each quoted text begins behind a field and ends before one. Two quotes side by side within one are a quote."""
    opened, closed = quotes.gather_every(2), quotes.gather_every(2, offset=1)
    if len(opened) != len(closed):
        return False
    if opened[0] == 0:
        opened = opened.slice(1)
    may_close = (*may_open, _RETURN) if _NEWLINE in may_open else may_open
    return _are_of(octets.gather(opened - 1), may_open) and _are_of(octets.gather(closed + 1), may_close)


def _are_of(octets: Any, allowed: tuple[int, ...]) -> bool:
    found = octets == allowed[0]
    for octet in allowed[1:]:
        found |= octets == octet
    return bool(found.all())


def _are_with_newlines(octets: Any, newlines: Any, quotes: Any) -> bool:
    """Whether each return outside of quotes stands before a newline."""
    behind = newlines.slice(1) if newlines[0] == 0 else newlines
    returns = octets == _RETURN
    if (octets.gather(behind - 1) == _RETURN).sum() == returns.sum():
        return True
    return bool((octets.gather(_outside(returns.arg_true(), quotes) + 1) == _NEWLINE).all())


def _have(breaks: Any, separators: Any, count: int) -> bool:
    """Whether between two breaks there are *count* separators each."""
    if len(separators) != count * len(breaks):
        return False
    if not count:
        return True
    first, last = separators.gather_every(count), separators.gather_every(count, offset=count - 1)
    return bool((last < breaks).all() and (first.slice(1) > breaks.slice(0, len(breaks) - 1)).all())
