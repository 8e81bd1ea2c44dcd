"""Rows decoded as one type and encoded as another, values that need no look inside going over as the tokens they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from bulkup.encoding.carried import MinusZero
from bulkup.encoding.row_types import RowType, line_decoder
from bulkup.encoding.shortcuts import Shortcut
from bulkup.encoding.splice import QUOTE
from bulkup.encoding.target import Irregular
from bulkup.encoding.utf8 import Utf8

__all__ = ["Recast", "are_strings"]


class Recast:
    """Takes rows that decode as *row_type* (which must forbid unknown fields). *made* gives what is to be encoded for them all,
    in the destination's shape, or raises `Irregular`. *of_tokens* is the same row with its *integer* field as a token: for rows in
    which one may be `-0`, of which a decoder makes 0."""

    is_verbatim = False
    shortcuts: Sequence[Shortcut] = ()

    def __init__(
        self,
        row_type: RowType,
        made: Callable[[list[Any]], list[Any]],
        of_tokens: RowType | None = None,
        integer: str = "",
    ) -> None:
        self._utf8 = Utf8()
        self._decode = line_decoder(row_type)
        self._decode_tokens = None if of_tokens is None else line_decoder(of_tokens)
        self._integer = attrgetter(integer)
        self._minus_zero = MinusZero()
        self._encode = msgspec.json.Encoder().encode
        self._made = made

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`; *data* is lines of the source."""
        self._utf8.check(data)
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        if self._decode_tokens is not None and 0 in map(self._integer, decoded) and self._minus_zero.may_be_in(data):
            decoded = self._decode_tokens(data)
        return self._encode(self._made(decoded))[1:-1]


def are_strings(tokens: Iterable[msgspec.Raw]) -> bool:
    """Whether each of *tokens* is a string's; none of them may be empty."""
    views: Iterable[memoryview[int]] = map(memoryview, tokens)
    return set(map(itemgetter(0), views)) <= QUOTE
