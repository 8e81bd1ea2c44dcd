"""Rows decoded as one type and encoded as another, values that need no look inside going over as the tokens they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from bulkup.encoding.carried import MinusZero
from bulkup.encoding.doubled_keys import colons, escapes_a_colon
from bulkup.encoding.row_types import ArrayWriter, RowType, line_decoder
from bulkup.encoding.shortcuts import Shortcut
from bulkup.encoding.splice import QUOTE
from bulkup.encoding.target import Irregular
from bulkup.encoding.utf8 import Utf8

__all__ = ["Recast", "are_strings"]


class Recast:
    """Takes rows that decode as *row_type* (which must forbid unknown fields). *made* gives what is to be encoded for them all,
    in the destination's shape, or raises `Irregular`. *of_tokens* is the same row with its *integer* field as a token: for rows in
    which one may be `-0`, of which a decoder makes 0.

    *usual* is a row, written without white space. The body of any row whose members all come over holds as many colons more than
    the row as *usual*'s does, and if *keeps_length* as many bytes more. None holds more of them than that: what is lost, left out
    or written shorter makes it less. But for *text*, a field that is written anew, and may have held colons in escapes."""

    is_verbatim = False
    shortcuts: Sequence[Shortcut] = ()

    def __init__(
        self,
        row_type: RowType,
        made: Callable[[list[Any]], list[Any]],
        of_tokens: RowType | None = None,
        integer: str = "",
        *,
        usual: bytes = b"",
        keeps_length: bool = False,
        text: str = "",
    ) -> None:
        self._utf8 = Utf8()
        self._decode = line_decoder(row_type)
        self._decode_tokens = None if of_tokens is None else line_decoder(of_tokens)
        self._integer = attrgetter(integer)
        self._minus_zero = MinusZero()
        self._array_of = ArrayWriter().written
        self._made = made
        self._text = attrgetter(text) if text else None
        self._last: list[Any] = []
        body = self.body(usual, 1) if usual else b""
        self._colons_more = colons(body) - colons(usual) if usual else None
        self._bytes_more = len(body) - len(usual) if usual and keeps_length else None

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`; *data* is lines of the source."""
        self._utf8.check(data)
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        if self._decode_tokens is not None and 0 in map(self._integer, decoded) and self._minus_zero.may_be_in(data):
            decoded = self._decode_tokens(data)
        self._last = self._made(decoded)
        return self._array_of(self._last)

    def saw_each_key_once(self, data: bytes, rows: int, body: bytes) -> bool:
        """As `Witness`: what was lost is missing in the body."""
        made, self._last = self._last, []
        if self._bytes_more is not None and len(body) == len(data) + rows * self._bytes_more:
            return True
        wrote_text = self._text is not None and set(map(self._text, made)) != {None}
        if self._colons_more is None or (wrote_text and escapes_a_colon(data)):
            return False
        return colons(body) == colons(data) + rows * self._colons_more


def are_strings(tokens: Iterable[msgspec.Raw]) -> bool:
    """Whether each of *tokens* is a string's; none of them may be empty."""
    views: Iterable[memoryview[int]] = map(memoryview, tokens)
    return set(map(itemgetter(0), views)) <= QUOTE
