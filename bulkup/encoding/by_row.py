"""Rows made one by one: the slower way, which takes all that a preset takes. Numbers keep their characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from bulkup.encoding.carried import CarryingDecoder
from bulkup.encoding.faults import Fault
from bulkup.encoding.shapes import ShapeRefused
from bulkup.encoding.shortcuts import Shortcut
from bulkup.refusal import Irregular, Refusal, attempt

__all__ = ["ByRow", "RewrittenRows"]

Made = Callable[[dict[str, Any], Counter[str]], dict[str, Any]]
"""What a row becomes; what is changed on the way is added. Raises `Irregular`, where its words are known `ShapeRefused`."""


class _Making:
    """*made* of every row without the keys *dropped*. *changes* are those of the rows that were made last."""

    def __init__(self, made: Made, dropped: Iterable[str] = ()) -> None:
        self.changes: Counter[str] = Counter()
        self._made = made
        self._dropped = tuple(dropped)
        self._decode = CarryingDecoder(dict[str, Any]).decode_lines
        self._encoder = msgspec.json.Encoder()

    def _rows(self, data: bytes, rows: int) -> list[dict[str, Any]]:
        self.changes.clear()
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        found: Counter[str] = Counter()
        made = [self._one(row, found) for row in decoded]
        self.changes.update(found)
        return made

    def _one(self, row: dict[str, Any], found: Counter[str]) -> dict[str, Any]:
        for key in self._dropped:
            row.pop(key, None)
        changes: Counter[str] = Counter()
        made = self._made(row, changes)
        found.update(dict.fromkeys(+changes, 1))  # rows are counted, not values
        return made


class ByRow(_Making):
    """A codec: what *made* gives is in the destination's shape."""

    is_verbatim = False
    shortcuts: Sequence[Shortcut] = ()

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`; *data* is lines of the source."""
        return self._encoder.encode(self._rows(data, rows))[1:-1]


class RewrittenRows(_Making):
    """A rewriter."""

    def lines(self, data: bytes, rows: int) -> bytes:
        """As `Rewriter.lines`."""
        return self._encoder.encode_lines(self._rows(data, rows))[:-1]

    def fault(self, row: bytes) -> Fault | None:
        """Why *row*, which reads well, is refused; None where it is not."""
        found = attempt(self.lines, row, 1)
        return found.why.fault if isinstance(found, Refusal) and isinstance(found.why, ShapeRefused) else None
