"""Where rows of separated text end, for many at once: by arithmetic on the places of quotes, separators and line breaks."""

from __future__ import annotations

from typing import Any

from bulkup.light_dataclass import dataclass
from bulkup.sources.columnar.loading import polars
from bulkup.sources.separated.records import opens_quotes

__all__ = ["Structure", "structure_of"]

_QUOTE, _RETURN, _NEWLINE = b'"\r\n'


@dataclass(frozen=True, slots=True)
class Structure:
    """The places where rows begin, in ascending order, and the number of all *breaks*. *is_even*: each row has as many fields as it
    should."""

    begins: list[int]
    breaks: int
    is_even: bool


def structure_of(data: bytes, delimiter: bytes, line_break: bytes, fields: int, start: int = 0) -> Structure | None:
    """Where the rows of *data* begin, counted from *start*; it ends with a break and has an even number of quotes where they
    open fields. None where it is not sure: a quote stands within a field, or a return within a row."""
    octets = polars().Series([data]).cast(polars().List(polars().UInt8)).explode()
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
    begins = (breaks + 1).shift(1, fill_value=0)
    if start:
        begins = begins.cast(polars().Int64) + start
    return Structure(begins.to_list(), len(all_breaks), _have(breaks, separators, fields - 1))


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
