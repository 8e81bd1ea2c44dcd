"""The rows that a service streams back, read in bounded memory: their ids are kept, the rest is dropped."""

from __future__ import annotations

import re

import msgspec

from bulkup.array_lines import ArrayCutter
from bulkup.destinations.http import CODEC_ERRORS, RowId
from bulkup.model import Block, LongRow

__all__ = ["BadEcho", "EchoReader"]

WINDOW_BYTES = 256 * 1024
MAX_ELEMENT_BYTES = 64 * 1024 * 1024

ESCAPED_TIMES = 6
"""A row may come back with every character as `\\uXXXX`: so many times as long at most."""

SPACED_TIMES = 16
"""So many times the body an echo may be in all (escapes, and spaces to indent it), beside `ROW_BYTES` for what each row gets."""

ROW_BYTES = 16 * 1024
SLACK_BYTES = 64 * 1024


class BadEcho(Exception):
    """The echo does not prove that the rows were stored. Its text says why."""


class _Row(msgspec.Struct, gc=False):
    id: RowId


_ROWS = msgspec.json.Decoder(list[_Row])
_LINES = msgspec.json.Decoder(_Row)
_FIRST_KEY = re.compile(rb'\[(\{"[^"\\]*":)')


class EchoReader:
    """Takes an answer's bytes as they come and gives the rows' ids. Raises `BadEcho`.

    A window is decoded up to the last place where a row seems to begin, by the key that the first one begins with; that it
    decodes proves it. An answer of which that is not true is cut row by row from there on.
    """

    def __init__(self, rows: int | None = None, body_bytes: int = MAX_ELEMENT_BYTES) -> None:
        """*rows* rows of *body_bytes* bytes in all were sent: an echo of more ends as soon as that shows. None: of any number."""
        self._held = bytearray()  # the array's `[`, and what is not decoded yet
        self._between = b""
        self._cutter: ArrayCutter | None = None
        self._ids: list[str | int] = []
        self._rows = rows
        self._max_element_bytes = min(MAX_ELEMENT_BYTES, ESCAPED_TIMES * body_bytes + SLACK_BYTES)
        self._left = None if rows is None else SPACED_TIMES * body_bytes + ROW_BYTES * rows + SLACK_BYTES

    def feed(self, data: bytes) -> None:
        """The next bytes of the answer."""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise BadEcho(f"the answer does not end where an echo of the {self._rows:,} rows would have ended")
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
            self._take_items(self._cut_last())
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
            ids = [row.id for row in _ROWS.decode(array)]
        except CODEC_ERRORS:
            return False
        self._keep(ids)
        return True

    def _keep(self, ids: list[str | int]) -> None:
        self._ids += ids
        if self._rows is not None and len(self._ids) > self._rows:
            raise BadEcho(f"the answer holds {len(self._ids):,} rows or more where {self._rows:,} were sent")

    def _begin_cutting(self) -> bytes:
        """From here on the answer is cut row by row; what is held is the first to be cut."""
        self._cutter = ArrayCutter(0, block_bytes=WINDOW_BYTES, max_row_bytes=self._max_element_bytes)
        held, self._held = bytes(self._held), bytearray()
        return held

    def _cut(self, data: bytes) -> None:
        assert self._cutter is not None
        try:
            items = self._cutter.feed(data)
        except CODEC_ERRORS:
            raise BadEcho("the answer is not an array of rows") from None
        self._take_items(items)
        if self._cutter.trouble is not None:
            raise BadEcho(f"the answer is not an array of rows: {self._cutter.trouble}")

    def _cut_last(self) -> list[Block | LongRow]:
        assert self._cutter is not None
        try:
            return self._cutter.finish()
        except CODEC_ERRORS:
            raise BadEcho("the answer is not a whole array of rows") from None

    def _take_items(self, items: list[Block | LongRow]) -> None:
        for item in items:
            if isinstance(item, LongRow):
                raise BadEcho("the answer holds an element too large to be read")
            try:
                ids = [row.id for row in _LINES.decode_lines(item.data)]
            except CODEC_ERRORS:
                raise BadEcho("the answer holds a row without an id that can be kept") from None
            self._keep(ids)
