"""The rows that a service streams back, read in bounded memory: their ids are kept, the rest is dropped."""

from __future__ import annotations

import re

import msgspec

from bulkup.array_lines import ArrayCutter
from bulkup.model import Block, LongRow

__all__ = ["BadEcho", "EchoReader"]

WINDOW_BYTES = 256 * 1024
MAX_ELEMENT_BYTES = 64 * 1024 * 1024


class BadEcho(Exception):
    """The echo does not prove that the rows were stored. Its text says why."""


class _Row(msgspec.Struct, gc=False):
    id: str | int


_ROWS = msgspec.json.Decoder(list[_Row])
_LINES = msgspec.json.Decoder(_Row)
_FIRST_KEY = re.compile(rb'\[(\{"[^"\\]*":)')


class EchoReader:
    """Takes an answer's bytes as they come and gives the rows' ids. Raises `BadEcho`.

    A window is decoded up to the last place where a row seems to begin, by the key that the first one begins with; that it
    decodes proves it. An answer of which that is not true is cut row by row from there on.
    """

    def __init__(self) -> None:
        self._held = bytearray()  # the array's `[`, and what is not decoded yet
        self._between = b""
        self._cutter: ArrayCutter | None = None
        self._ids: list[str | int] = []

    def feed(self, data: bytes) -> None:
        """The next bytes of the answer."""
        if self._cutter is None:
            self._held += data
            if len(self._held) < WINDOW_BYTES or self._take_window():
                return
            data = self._begin_cutting()
        self._cut(data)

    def ids(self, rows: int) -> tuple[str | int, ...]:
        """The ids of all *rows* rows, once the whole answer was fed."""
        if self._cutter is None and not self._take(bytes(self._held)):
            self._cut(self._begin_cutting())  # which says what is wrong
        if self._cutter is not None:
            self._take_items(self._cutter.finish())
            if self._cutter.trouble is not None:
                raise BadEcho(f"the answer is not a whole array of rows: {self._cutter.trouble}")
        if len(self._ids) != rows:
            raise BadEcho(f"the answer holds {len(self._ids):,} rows where {rows:,} were sent")
        if len(set(self._ids)) != rows:
            raise BadEcho("the answer repeats a row's id")
        return tuple(self._ids)

    def _take_window(self) -> bool:
        held = self._held
        if not self._between and (key := _FIRST_KEY.match(held)) is not None:
            self._between = b"}," + key.group(1)
        end = held.rfind(self._between) + 1 if self._between else 0
        if not end or not self._take(bytes(held[:end]) + b"]"):
            return False
        del held[1 : end + 1]
        return True

    def _take(self, array: bytes) -> bool:
        try:
            self._ids += [row.id for row in _ROWS.decode(array)]
        except (msgspec.MsgspecError, RecursionError):
            return False
        return True

    def _begin_cutting(self) -> bytes:
        """From here on the answer is cut row by row; what is held is the first to be cut."""
        self._cutter = ArrayCutter(0, block_bytes=WINDOW_BYTES, max_row_bytes=MAX_ELEMENT_BYTES)
        held, self._held = bytes(self._held), bytearray()
        return held

    def _cut(self, data: bytes) -> None:
        assert self._cutter is not None
        self._take_items(self._cutter.feed(data))
        if self._cutter.trouble is not None:
            raise BadEcho(f"the answer is not an array of rows: {self._cutter.trouble}")

    def _take_items(self, items: list[Block | LongRow]) -> None:
        for item in items:
            if isinstance(item, LongRow):
                raise BadEcho("the answer holds an element too large to be read")
            try:
                self._ids += [row.id for row in _LINES.decode_lines(item.data)]
            except msgspec.MsgspecError:
                raise BadEcho("the answer holds a row without an id") from None
