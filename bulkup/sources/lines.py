"""Bytes that come in pieces of any size, cut into blocks of whole lines."""

from __future__ import annotations

from bulkup.model import HEAD_BYTES, Block, LongRow
from bulkup.sources.source import Item

__all__ = ["LineCutter", "content_length"]


def content_length(line: bytes | bytearray | memoryview) -> int:
    """The length of *line* without its line break."""
    size = len(line)
    if size and line[size - 1] == 0x0A:
        size -= 2 if size > 1 and line[size - 2] == 0x0D else 1
    return size


class LineCutter:
    """Cuts what it is fed at the same places however it comes: they depend on the content and *block_bytes* alone.

    A block is as many whole lines as fit into *block_bytes*, or one line that is longer. Holds at most
    *max_row_bytes* and a piece. *start* is the position of the first byte fed.
    """

    trouble: None = None
    """Lines cannot be wrong as a whole."""

    def __init__(self, start: int, *, block_bytes: int, max_row_bytes: int) -> None:
        self._held = bytearray()
        self._start = start
        self._searched = 0
        self._head: bytes | None = None  # of the row in which we are that is too long
        self._head_start = start
        # So that a row inside a block of several is never too long:
        self._block_bytes = min(block_bytes, max_row_bytes)
        self._max_row_bytes = max_row_bytes

    def feed(self, piece: bytes) -> list[Item]:
        """Take *piece*; what is complete now."""
        self._held += piece
        items = []
        while (item := self._cut()) is not None:
            items.append(item)
        return items

    def finish(self) -> list[Item]:
        """The rest: the input ends here, which is a row's end."""
        items: list[Item] = []
        if self._head is not None:
            items.append(self._end_long(0))
        elif self._held:
            items.append(self._take(len(self._held)))
        return items

    def _cut(self) -> Item | None:
        held = self._held
        if self._head is not None:
            end = held.find(b"\n") + 1
            if end:
                return self._end_long(end)
            self._drop(len(held))
            return None
        if len(held) < self._block_bytes:
            return None
        end = held.rfind(b"\n", 0, self._block_bytes) + 1
        if not end:
            end = held.find(b"\n", max(self._block_bytes, self._searched)) + 1
            self._searched = len(held)
        if end:
            return self._take(end)
        if len(held) >= max(self._max_row_bytes + 2, HEAD_BYTES + 1):  # too long even if it ends in `\r\n`
            self._head, self._head_start = bytes(held[:HEAD_BYTES]), self._start
            self._drop(len(held))
        return None

    def _take(self, end: int) -> Item:
        start = self._start
        with memoryview(self._held) as view, view[:end] as line:
            length = content_length(line) if end > self._block_bytes else 0
            if length > self._max_row_bytes:
                item: Item = LongRow(bytes(line[: min(length, HEAD_BYTES)]), start, start + end)
            else:
                item = Block(bytes(line), start, start + end)
        self._drop(end)
        return item

    def _end_long(self, end: int) -> LongRow:
        assert self._head is not None
        row = LongRow(self._head, self._head_start, self._start + end)
        self._head = None
        self._drop(end)
        return row

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._start += count
        self._searched = 0
