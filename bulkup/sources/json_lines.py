"""JSON lines: cut out of bytes that come in pieces of any size, or found in a file from any byte on."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from bulkup.model import HEAD_BYTES, Block, LongRow
from bulkup.sources.format import Access, Format, Item, SourceFile
from bulkup.sources.head import BOM
from bulkup.sources.inputs import open_file
from bulkup.sources.pages import Pages
from bulkup.sources.places.fetching import AHEAD, WINDOW_BYTES, Windows
from bulkup.sources.places.reading import RemotePages

__all__ = ["JSON_LINES", "RETURN_LINES", "LineCutter", "content_length"]

_BREAK = ord("\n")

_SOON_BYTES = 1024 * 1024
"""So much of a range that is read soon is asked of the disk."""

_FIRST_LOOK_BYTES = 4096
"""How far to look for a row's beginning at first: most rows are shorter."""


def content_length(line: bytes | bytearray | memoryview) -> int:
    """The length of *line* without its line break, of which there may be half (`\\r`) at the input's end."""
    size = len(line)
    for end in b"\n\r":
        size -= size > 0 and line[size - 1] == end
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


class LinesInFile:
    """The lines of one file, by ranges of its byte offsets.

    Each range under way holds *block_bytes*, and a megabyte where the page cache lacks the bytes.
    """

    def __init__(self, file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> None:
        self._fd = open_file(file) if file.remote is None else None
        self._file = file
        self._base = base
        self._block_bytes = block_bytes
        self._max_row_bytes = max_row_bytes
        self._capacity = max(min(block_bytes, file.size or 0), HEAD_BYTES)
        self._next: Windows | None = None
        self._behind: int | None = 0

    def rows(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        if self._fd is None:
            return self._fetched(start, stop)
        return self._finder(Pages(self._fd, self._file.uri, capacity=self._capacity)).between(start, stop)

    def prepare(self, start: int, stop: int) -> None:
        """Have the beginning of a range fetched that will be read soon."""
        if self._fd is None:
            if self._next is None:
                self._next = self._windows(start, stop)
                self._next.begin()
        elif hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, start, min(stop - start, _SOON_BYTES), os.POSIX_FADV_WILLNEED)

    async def _fetched(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        """As `rows`, of a file in another place. Where ranges come one behind the other, the next one is fetched meanwhile."""
        windows, self._next = self._next, None
        if windows is None or windows.start != max(start - 1, 0):
            windows = self._windows(start, stop)
        windows.stop_at(stop)
        has_follower = self._behind == start and stop < (self._file.size or 0)
        self._behind = stop
        try:
            finder = self._finder(RemotePages(windows, capacity=self._capacity))
            async with aclosing(finder.between(start, stop)) as items:
                async for item in items:
                    if has_follower and self._next is None and windows.is_all_asked_for:
                        self._next = self._windows(stop, stop + WINDOW_BYTES * AHEAD)
                        self._next.ahead(self._next.start)
                    yield item
        finally:
            windows.close()

    def _windows(self, start: int, stop: int) -> Windows:
        assert self._file.remote is not None
        return Windows(self._file.uri, self._file.remote, max(start - 1, 0), stop, self._file.size or 0)

    def _finder(self, pages: Pages | RemotePages) -> _LineFinder:
        return _LineFinder(
            pages, self._file, self._base, block_bytes=self._block_bytes, max_row_bytes=self._max_row_bytes
        )

    async def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        assert self._fd is not None, "what stands in another place is not verbatim"
        begin = max(start, len(BOM) if self._file.bom else 0)
        if begin >= stop:
            return
        pages = Pages(self._fd, self._file.uri, capacity=min(self._block_bytes, self._capacity))
        for at in range(begin, stop, self._block_bytes):
            count = min(self._block_bytes, stop - at)
            await pages.fill(at, count)
            yield pages.buffer if count == len(pages.buffer) else pages.copy(count)
        if pages.buffer[count - 1] != _BREAK:
            yield b"\n"

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        if self._next is not None:
            self._next.close()


class _LineFinder:
    """Whole lines among the bytes that *pages* reads."""

    def __init__(
        self, pages: Pages | RemotePages, file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int
    ) -> None:
        self._size = file.size or 0
        self._body = len(BOM) if file.bom else 0
        self._base = base
        self._block_bytes = block_bytes
        self._max_row_bytes = max_row_bytes
        self._pages = pages

    async def between(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        """The rows whose first byte lies in [start, stop), where 0 <= start < stop <= size."""
        pages, buffer, size = self._pages, self._pages.buffer, self._size
        at = await self._first_row(start, stop)
        while at < stop:
            count = min(self._block_bytes, size - at)
            await pages.fill(at, count)
            last = stop - 1 - at  # the last place in the buffer at which a row of the range may begin
            end = buffer.find(b"\n", last, count) + 1 if last < count else 0
            if not end:
                end = count if at + count == size else buffer.rfind(b"\n", 0, count) + 1
            if end:
                yield Block(pages.copy(end), self._base + at, self._base + at + end)
                at += end
            else:
                item = await self._large_row(at, at + count)
                yield item
                at = item.end - self._base

    async def _first_row(self, start: int, stop: int) -> int:
        """Where the first row of the range begins; *stop* where none does."""
        if start <= self._body:
            return self._body
        return await self._behind_newline(start - 1, stop - 1, _FIRST_LOOK_BYTES) or stop

    async def _large_row(self, at: int, searched: int) -> Item:
        """The row at *at*, which does not end before *searched*: its end is looked for before it is held."""
        end = await self._behind_newline(searched, self._size, self._block_bytes) or self._size
        start, stop = self._base + at, self._base + end
        if end - at > self._max_row_bytes:
            await self._pages.fill(end - 2, 2)
            length = end - at - 2 + content_length(self._pages.copy(2))
            if length > self._max_row_bytes:
                kept = min(length, HEAD_BYTES)
                await self._pages.fill(at, kept)
                return LongRow(self._pages.copy(kept), start, stop)
        return Block(await self._pages.whole(at, end - at), start, stop)

    async def _behind_newline(self, at: int, stop: int, look: int) -> int | None:
        """The offset behind the first newline in [at, stop), looked for piece by piece; None where there is none."""
        while at < stop:
            count = min(look, stop - at, self._block_bytes)
            await self._pages.fill(at, count)
            found = self._pages.buffer.find(b"\n", 0, count) + 1
            if found:
                return at + found
            at += count
            look = self._block_bytes
        return None


JSON_LINES = Format(
    name="jsonl",
    title="JSON lines",
    access=Access.ANY_RANGE,
    verbatim=True,
    reads_remote=True,
    cutter=LineCutter,
    reader=LinesInFile,
)


class ReturnCutter(LineCutter):
    """Lines that end in `\\r` alone."""

    def feed(self, piece: bytes) -> list[Item]:
        return super().feed(piece.replace(b"\r", b"\n"))


RETURN_LINES = Format(name="jsonl-cr", title="JSON lines", cutter=ReturnCutter)
"""JSON lines that end in `\\r` alone."""
