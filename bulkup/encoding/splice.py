"""Source values put into a template as the tokens they are: the fastest mapping there is.

A value is neither unescaped nor escaped again. msgspec has checked each token's grammar, but not its UTF-8. Where every
value is a string or a label, what is left to check is checked here, and the splice is *sure*; else whatever must hold is
checked on what comes out, by the codec behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import Annotated, Any

import msgspec

from bulkup.encoding.target import INT64, Irregular

__all__ = ["INTEGER_LABEL", "STRING", "STRING_LABEL", "NullIs", "Splice", "checked_utf8"]

STRING = "string"
"""The type of a required key whose value must be a string."""

INTEGER_LABEL = "integer"
STRING_LABEL = "string"
"""The types of optional keys."""

_ABSENT = msgspec.Raw(b"")
_QUOTE = {ord('"')}


class NullIs:
    """What a `null` in an optional source key means."""

    ABSENT = frozenset((b"", b"null"))
    A_VALUE = frozenset((b"",))


def checked_utf8(data: bytes) -> None:
    """Raises `UnicodeDecodeError` unless *data* is UTF-8: needed wherever a decoder skips what it is not asked for."""
    if not data.isascii():
        data.decode()


class Splice:
    """Takes rows with just the keys of *required* and, maybe, of *optional* and *dropped*.

    *required* maps each key to the type as which it is decoded: `STRING`, `Raw`, or a list of it. *arrange* makes of
    their columns the columns for the places of *template*; each optional key (with its type) stands behind them as
    `,"key":value`, or nothing.
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
            *((f"r{i}", msgspec.Raw if kind == STRING else kind) for i, kind in enumerate(required.values())),
            *((f"o{i}", msgspec.Raw, _ABSENT) for i in range(len(kept))),
            *((f"d{i}", msgspec.Raw, _ABSENT) for i in range(len(gone))),
        ]
        names = {field[0]: key for field, key in zip(fields, (*required, *kept, *gone), strict=True)}
        row = msgspec.defstruct("SourceRow", fields, gc=False, forbid_unknown_fields=True, rename=names)
        self._decode = msgspec.json.Decoder(row).decode_lines
        self._skips = bool(gone)
        self._required = [attrgetter(f"r{i}") for i in range(len(required))]
        self._optional = [
            (attrgetter(f"o{i}"), b"," + msgspec.json.encode(key) + b":", kind)
            for i, (key, kind) in enumerate(kept.items())
        ]
        self._integers = msgspec.json.Decoder(list[Annotated[int, INT64]])
        self._fill = (template[:-1] + b"%b" * len(kept) + b"}").__mod__
        self._arrange = arrange
        self._null_is = null_is

    def lines(self, data: bytes, rows: int) -> bytes:
        """As `Rewriter.lines`."""
        if self.sure or self._skips:
            checked_utf8(data)
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        columns: Iterable[Iterable[Any]] = (map(column, decoded) for column in self._required)
        if self.sure:
            columns = list(map(_strings, columns))
        if self._arrange is not None:
            columns = self._arrange(*columns)
        tails = (self._tail(key, kind, map(column, decoded)) for column, key, kind in self._optional)
        return b"\n".join(map(self._fill, zip(*columns, *tails, strict=False)))

    def _tail(self, key: bytes, kind: str, column: Iterable[msgspec.Raw]) -> Iterable[bytes]:
        values = list(map(bytes, column))
        if not any(values):
            return repeat(b"")
        if self.sure:
            held = [value for value in values if value not in self._null_is]
            if kind == INTEGER_LABEL:
                self._integers.decode(b"[" + b",".join(held) + b"]")
            else:
                _strings(held)
        return [b"" if value in self._null_is else key + value for value in values]


def _strings(column: Iterable[bytes | msgspec.Raw]) -> list[bytes]:
    tokens = list(map(bytes, column))
    if not set(map(itemgetter(0), tokens)) <= _QUOTE:
        raise Irregular
    return tokens
