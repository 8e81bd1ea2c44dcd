"""Where rows of separated text end, for many at once: by an automaton that takes rows which have all of their fields, else by
arithmetic on the places of quotes, separators and line breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from bulkup.encoding.language import Form, Lines, exactly
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.columnar.loading import polars
from bulkup.sources.separated.kinds import NOTHING, usual
from bulkup.sources.separated.octets import Octets
from bulkup.sources.separated.records import opens_quotes

__all__ = ["EvenRows", "Forms", "Structure", "structure_of"]

_QUOTE, _RETURN, _NEWLINE = b'"\r\n'
Forms = tuple[str | None, ...]

_LEAST_BYTES = 64 * 1024
"""For less no automaton is made: that takes as long as arithmetic on some megabytes."""


@dataclass(frozen=True, slots=True)
class Structure:
    """The places where rows begin, in ascending order, and the number of all *breaks*. *is_even*: each row has as many fields as it
    should. *forms*: patterns that the values of the columns are known to have, None for those of which nothing is known."""

    begins: Sequence[int]
    breaks: int
    is_even: bool
    forms: Forms | None = None


_LEAST_BYTES_OF_FORMS = 4 * 1024 * 1024
"""Of so much text nobody asks for the columns' forms: their automaton takes longer to make, some 30 ms for ten columns."""

_MOST_MISSES = 3


class EvenRows:
    """Says at once of rows that each has so many *fields*, quotes stand at the ends of fields alone, and returns before newlines.
    What it does not take may be such rows all the same. For one thread at a time. *forms*: what else is asked of the values."""

    forms: Forms | None = None

    def __init__(self, delimiter: bytes, line_break: bytes, fields: int) -> None:
        self._delimiter = delimiter
        self._break = line_break
        self._fields = fields
        self._lines: dict[tuple[bool, Forms | None], Lines | Refusal] = {}
        self._seen = 0
        self._misses: dict[Forms, int] = {}

    def structure(self, data: bytes, octets: Octets, start: int) -> Structure | None:
        """The structure of *data*, whole rows, if they are such. *octets* are its bytes."""
        if self._break != b"\n" or len(data) < _LEAST_BYTES:
            return None
        is_quoted = opens_quotes(data, self._delimiter, self._break)
        forms = self._forms_in(data, is_quoted=is_quoted)
        if forms is None and not self._takes(data, None, is_quoted=is_quoted):
            return None
        begins = _Begins(octets, start, is_quoted=is_quoted)
        return Structure(begins, octets.count(_NEWLINE), is_even=True, forms=forms)

    def _forms_in(self, data: bytes, *, is_quoted: bool) -> Forms | None:
        """The forms that are asked for, if the values have them."""
        self._seen += len(data)
        forms = self.forms
        if forms is None or not any(forms) or self._seen <= _LEAST_BYTES_OF_FORMS:
            return None
        if self._misses.get(forms, 0) == _MOST_MISSES:
            return None
        if self._takes(data, forms, is_quoted=is_quoted):
            return forms
        self._misses[forms] = self._misses.get(forms, 0) + 1
        return None

    def _takes(self, data: bytes, forms: Forms | None, *, is_quoted: bool) -> bool:
        lines = self._lines.get((is_quoted, forms))
        if lines is None:
            row = self._row(is_quoted=is_quoted) if forms is None else self._row_of(forms, is_quoted=is_quoted)
            lines = self._lines[is_quoted, forms] = attempt(Lines, row)
        return not isinstance(lines, Refusal) and lines.are_in(data)

    def _row(self, *, is_quoted: bool) -> Form:
        """A row of the fields; where none begins with a quote, a quote is a character like others."""
        delimiter, field = exactly(self._delimiter), self._field(is_quoted=is_quoted)
        return Form(field + (rb"(?:%b%b){%d}" % (delimiter, field, self._fields - 1)) * (self._fields > 1) + rb"\r?")

    def _row_of(self, forms: Forms, *, is_quoted: bool) -> Form:
        """Such a row whose values have these *forms*. Where nothing stands, not even quotes, there is no value."""
        fields = []
        for form in forms:
            if form is None:
                fields.append(self._field(is_quoted=is_quoted))
            elif form == NOTHING:
                fields.append(b"")
            else:
                fields.append(self._value(usual(form), is_quoted=is_quoted))
        return Form(exactly(self._delimiter).join(fields) + rb"\r?")

    def _value(self, form: bytes, *, is_quoted: bool) -> bytes:
        """Something of that form, or nothing; quotes around it do not count."""
        return rb"(?:%b|\x22%b\x22)?" % (form, form) if is_quoted else b"(?:%b)?" % form

    def _field(self, *, is_quoted: bool) -> bytes:
        delimiter = exactly(self._delimiter)
        field = rb"[^%b\r\n\x00]*" % delimiter
        if is_quoted:
            field = rb"(?:\x22(?:[^\x22\x00]|\x22\x22)*\x22|[^%b\x22\r\n\x00]*)" % delimiter
        return field


class _Begins(Sequence[int]):
    """Where rows begin, counted from *start*; found when somebody asks for it."""

    def __init__(self, octets: Octets, start: int, *, is_quoted: bool) -> None:
        self._octets: Octets | None = octets
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
        if self._octets is not None:
            self._places = _behind(_breaks(self._octets, _NEWLINE, is_quoted=self._is_quoted), self._start)
            self._octets = None
        return self._places


def structure_of(
    data: bytes, octets: Octets, delimiter: bytes, line_break: bytes, fields: int, start: int = 0
) -> Structure | None:
    """Where the rows of *data* begin, counted from *start*; it ends with a break and has an even number of quotes where they
    open fields. None where it is not sure: a quote stands within a field, or a return within a row. *octets* are its bytes."""
    separator, break_ = delimiter[0], line_break[0]
    is_quoted = opens_quotes(data, delimiter, line_break)
    if is_quoted and not _are_ends(octets, octets.places(_QUOTE), (separator, break_, _QUOTE)):
        return None
    if break_ == _NEWLINE and b"\r" in data and not _are_with_newlines(octets, is_quoted=is_quoted):
        return None
    breaks = _breaks(octets, break_, is_quoted=is_quoted)
    separators = _breaks(octets, separator, is_quoted=is_quoted)
    return Structure(_behind(breaks, start), octets.count(break_), _have(breaks, separators, fields - 1))


def _behind(breaks: Any, start: int) -> list[int]:
    """Where rows begin, of which each ends with one of the *breaks*, counted from *start*."""
    ends = (breaks.cast(polars().Int64) + (start + 1)).to_list()
    return [start, *ends[:-1]]


def _breaks(octets: Octets, octet: int, *, is_quoted: bool) -> Any:
    return octets.outside(octet, _QUOTE) if is_quoted else octets.places(octet)


def _are_ends(octets: Octets, quotes: Any, may_open: tuple[int, int, int]) -> bool:
    """Whether each quoted text begins behind a field and ends before one. Two quotes side by side within one are a quote."""
    opened, closed = quotes.gather_every(2), quotes.gather_every(2, offset=1)
    if len(opened) != len(closed):
        return False
    if opened[0] == 0:
        opened = opened.slice(1)
    may_close = (*may_open, _RETURN) if _NEWLINE in may_open else may_open
    return _are_of(octets.at(opened - 1), may_open) and _are_of(octets.at(closed + 1), may_close)


def _are_of(octets: Any, allowed: tuple[int, ...]) -> bool:
    found = octets == allowed[0]
    for octet in allowed[1:]:
        found |= octets == octet
    return bool(found.all())


def _are_with_newlines(octets: Octets, *, is_quoted: bool) -> bool:
    """Whether each return outside of quotes stands before a newline."""
    newlines = octets.places(_NEWLINE)
    behind = newlines.slice(1) if newlines[0] == 0 else newlines
    if (octets.at(behind - 1) == _RETURN).sum() == octets.count(_RETURN):
        return True
    return bool((octets.at(_breaks(octets, _RETURN, is_quoted=is_quoted) + 1) == _NEWLINE).all())


def _have(breaks: Any, separators: Any, count: int) -> bool:
    """Whether between two breaks there are *count* separators each."""
    if len(separators) != count * len(breaks):
        return False
    if not count:
        return True
    first, last = separators.gather_every(count), separators.gather_every(count, offset=count - 1)
    return bool((last < breaks).all() and (first.slice(1) > breaks.slice(0, len(breaks) - 1)).all())
