"""The rows that a service streams back, read in bounded memory: their ids are kept, the rest is dropped."""

from __future__ import annotations

import msgspec

from bulkup.array_lines import ArrayCutter
from bulkup.model import LongRow

__all__ = ["BadEcho", "EchoReader"]

WINDOW_BYTES = 256 * 1024
MAX_ELEMENT_BYTES = 64 * 1024 * 1024


class BadEcho(Exception):
    """The echo does not prove that the rows were stored. Its text says why."""


class _Row(msgspec.Struct, gc=False):
    id: str | int


_DECODER = msgspec.json.Decoder(_Row)


class EchoReader:
    """Takes an answer's bytes as they come and gives the rows' ids. Raises `BadEcho`."""

    def __init__(self) -> None:
        self._cutter = ArrayCutter(0, block_bytes=WINDOW_BYTES, max_row_bytes=MAX_ELEMENT_BYTES)
        self._ids: list[str | int] = []

    def feed(self, data: bytes) -> None:
        """The next bytes of the answer."""
        for item in self._cutter.feed(data):
            if isinstance(item, LongRow):
                raise BadEcho("the answer holds an element too large to be read")
            self._take(item.data)
        if self._cutter.trouble is not None:
            raise BadEcho(f"the answer is not an array of rows: {self._cutter.trouble}")

    def ids(self, rows: int) -> tuple[str | int, ...]:
        """The ids of all *rows* rows, once the whole answer was fed."""
        for item in self._cutter.finish():
            if isinstance(item, LongRow):
                raise BadEcho("the answer holds an element too large to be read")
            self._take(item.data)
        if self._cutter.trouble is not None:
            raise BadEcho(f"the answer is not a whole array of rows: {self._cutter.trouble}")
        if len(self._ids) != rows:
            raise BadEcho(f"the answer holds {len(self._ids):,} rows where {rows:,} were sent")
        if len(set(self._ids)) != rows:
            raise BadEcho("the answer repeats a row's id")
        return tuple(self._ids)

    def _take(self, lines: bytes) -> None:
        try:
            self._ids += [row.id for row in _DECODER.decode_lines(lines)]
        except msgspec.MsgspecError:
            raise BadEcho("the answer holds a row without an id") from None
