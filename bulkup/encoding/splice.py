"""Source values put into a template as the tokens they are: the fastest mapping there is.

A value is neither unescaped nor escaped again. msgspec has checked each token's grammar, but not its UTF-8. Where every
value is a string or a label, what is left to check is checked here, and the splice is *sure*: it is a codec. Else whatever
must hold is checked on what comes out, by the codec behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from operator import attrgetter, itemgetter
from typing import Annotated, Any

import msgspec

from bulkup.encoding.row_types import line_decoder, row_type
from bulkup.encoding.shortcuts import strings_moved
from bulkup.encoding.target import INT64, Irregular
from bulkup.encoding.utf8 import Utf8

__all__ = ["ARRAY", "INTEGER_LABEL", "QUOTE", "STRING", "STRING_LABEL", "NullIs", "Splice", "joined"]

STRING = "string"
ARRAY = "array"
"""The types of a required key whose value must be a string, or an array of whatever kind."""

INTEGER_LABEL = "integer"
STRING_LABEL = "string"
"""The types of optional keys."""

_ABSENT = msgspec.Raw(b"")
QUOTE = {ord('"')}
"""What a string's token begins with."""
_BEGINS = {STRING: QUOTE, ARRAY: {ord("[")}}


class NullIs:
    """What a `null` in an optional source key means."""

    ABSENT = frozenset((b"", b"null"))
    A_VALUE = frozenset((b"",))


def joined(columns: Sequence[Sequence[bytes]], end: bytes, by: bytes) -> bytes:
    """The rows of which *columns* are the pieces, *end* behind each, joined by *by*, with which the first column's begin."""
    width = len(columns) + 1
    pieces = [end] * (width * len(columns[0]))
    for i, column in enumerate(columns):
        pieces[i::width] = column
    pieces[0] = pieces[0][len(by) :]
    return b"".join(pieces)


class Splice:
    """Takes rows with just the keys of *required* and, maybe, of *optional* and *dropped*.

    *required* maps each key to the type as which it is decoded: `STRING`, `ARRAY`, `Raw`, or a list of it. *arrange* makes
    of their columns the columns for the places of *template*, leaving strings and arrays in their places; each optional key
    (with its type) stands behind them as `,"key":value`, or nothing.
    """

    def __init__(
        self,
        template: bytes,
        required: Mapping[str, Any],
        optional: Mapping[str, str],
        dropped: Iterable[str],
        *,
        arrange: Callable[..., Iterable[Iterable[Any]]] | None = None,
        null_is: frozenset[bytes] = NullIs.ABSENT,
    ) -> None:
        self.sure = all(kind == STRING for kind in required.values()) and null_is is NullIs.ABSENT
        kept = {key: kind for key, kind in optional.items() if key not in set(dropped)}
        gone = [key for key in dropped if key not in required]
        fields: list[Any] = [
            *((f"r{i}", msgspec.Raw if isinstance(kind, str) else kind) for i, kind in enumerate(required.values())),
            *((f"o{i}", msgspec.Raw, _ABSENT) for i in range(len(kept))),
            *((f"d{i}", msgspec.Raw, _ABSENT) for i in range(len(gone))),
        ]
        names = {field[0]: key for field, key in zip(fields, (*required, *kept, *gone), strict=True)}
        row = row_type("SourceRow", fields, forbid_unknown_fields=True, rename=names)
        self._utf8 = Utf8()
        self._decode = line_decoder(row)
        self._skips = bool(gone)
        self._required = [attrgetter(f"r{i}") for i in range(len(required))]
        self._optional = [
            (attrgetter(f"o{i}"), b"," + msgspec.json.encode(key) + b":", kind)
            for i, (key, kind) in enumerate(kept.items())
        ]
        self._integers = msgspec.json.Decoder(list[Annotated[int, INT64]])
        *before, self._end = template.split(b"%b")
        begins = [_BEGINS.get(kind) if isinstance(kind, str) else None for kind in required.values()]
        self._places = list(zip_longest(before, begins))
        self._arrange = arrange
        self._null_is = null_is
        self.shortcuts = strings_moved(tuple(required), (*before, self._end)) if self.sure and arrange is None else ()

    @property
    def is_verbatim(self) -> bool:
        """As `Codec.is_verbatim`."""
        return False

    def lines(self, data: bytes, rows: int) -> bytes:
        """As `Rewriter.lines`."""
        return self._spliced(data, rows, b"\n")

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`, where the splice is sure."""
        return self._spliced(data, rows, b",")

    def _spliced(self, data: bytes, rows: int, by: bytes) -> bytes:
        self._utf8.check(data)  # of a key that is there twice only one value is looked at again
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        columns: Iterable[Iterable[Any]] = (map(column, decoded) for column in self._required)
        if self._arrange is not None:
            columns = self._arrange(*columns)
        parts: list[list[bytes]] = []
        for (before, begin), column in zip(self._places, columns, strict=True):
            literal = before if parts else by + before
            values = list(map(literal.__add__, column))  # one copy: the value's token behind what stands before it
            if begin is not None and set(map(itemgetter(len(literal)), values)) != begin:
                raise Irregular
            parts.append(values)
        tails = [self._tail(key, kind, map(column, decoded)) for column, key, kind in self._optional]
        found = [tail for tail in tails if tail is not None]
        if not found:
            return joined(parts, self._end, by)
        return joined((*parts, [self._end[:-1]] * rows, *found), b"}", by)

    def _tail(self, key: bytes, kind: str, column: Iterable[msgspec.Raw]) -> list[bytes] | None:
        tokens = list(column)
        if tokens.count(_ABSENT) == len(tokens):  # the usual case: all are the default, found by identity
            return None
        values = list(map(bytes, tokens))
        if self.sure:
            held = [value for value in values if value not in self._null_is]
            if kind == INTEGER_LABEL:
                self._integers.decode(b"[" + b",".join(held) + b"]")
            else:
                _strings(held)
        return [b"" if value in self._null_is else key + value for value in values]


def _strings(tokens: list[bytes]) -> None:
    if not set(map(itemgetter(0), tokens)) <= QUOTE:
        raise Irregular
