"""Uncompressed JSON lines in local files: any range, at any time, at the speed of the page cache."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import accumulate

from bulkup.model import BLOCK_BYTES, HEAD_BYTES, Block, LongRow
from bulkup.sources.descriptors import Descriptors
from bulkup.sources.files import BOM, SourceFile
from bulkup.sources.lines import content_length
from bulkup.sources.pages import Pages
from bulkup.sources.places import place_of
from bulkup.sources.source import Item

__all__ = ["PlainCursor", "PlainSource"]

_BREAK = ord("\n")

_FIRST_LOOK_BYTES = 4096
"""How far to look for a row's beginning at first: most rows are shorter."""


class PlainSource:
    """Files end to end; each one's end is a row's end. Positions are plain arithmetic."""

    splittable = True
    rereadable = True

    def __init__(self, files: tuple[SourceFile, ...], *, max_row_bytes: int, block_bytes: int = BLOCK_BYTES) -> None:
        assert all(file.splittable for file in files)
        self.files = files
        self.max_row_bytes = max_row_bytes
        self.block_bytes = min(block_bytes, max_row_bytes)  # so a row inside a block of several is never too long
        *bases, self.size = accumulate((file.size or 0 for file in files), initial=0)
        self.bases: tuple[int, ...] = tuple(bases)

    def cursor(self) -> PlainCursor:
        return PlainCursor(self)

    def locate(self, position: int) -> tuple[str, int]:
        index, offset = place_of(position, self.bases)
        return self.files[index].uri, offset

    def close(self) -> None:
        """Nothing is held."""


class PlainCursor:
    """Reads any range of a `PlainSource`; several tasks may read at once.

    Each `read` under way holds *block_bytes*, and a megabyte where the page cache lacks the bytes.
    """

    def __init__(self, source: PlainSource) -> None:
        self._source = source
        self._descriptors = Descriptors()
        self._progress = 0

    @property
    def progress(self) -> int:
        return self._progress

    async def peek(self) -> Item | None:
        async with aclosing(self.read(0, self._source.size)) as rows:
            return await anext(rows, None)

    async def more(self, position: int) -> bool:
        return position < self._source.size

    def reached(self, position: int) -> None:
        self._progress = max(self._progress, position)

    async def aclose(self) -> None:
        self._descriptors.close()

    async def read(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        for base, file, begin, end in self._ranges(start, stop):
            async with (
                self._descriptors.lend(file) as fd,
                aclosing(FileRows(file, fd, base, self._source).between(begin, end)) as rows,
            ):
                async for item in rows:
                    self.reached(item.end)
                    yield item

    async def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        for _, file, first, end in self._ranges(start, stop):
            begin = max(first, len(BOM) if file.bom else 0)
            if begin >= end:
                continue
            async with self._descriptors.lend(file) as fd:
                pages = Pages(fd, file.uri, capacity=self._source.block_bytes)
                for at in range(begin, end, self._source.block_bytes):
                    count = min(self._source.block_bytes, end - at)
                    await pages.fill(at, count)
                    yield pages.buffer if count == len(pages.buffer) else pages.copy(count)
                if pages.buffer[count - 1] != _BREAK:
                    yield b"\n"

    def _ranges(self, start: int, stop: int) -> Iterator[tuple[int, SourceFile, int, int]]:
        """The files that [start, stop) lies in: each one's base, itself, and the offsets in it."""
        bases = self._source.bases
        for index in range(max(bisect_right(bases, start) - 1, 0), len(bases)):
            base, file = bases[index], self._source.files[index]
            if base >= stop:
                return
            begin, end = max(start - base, 0), min(stop - base, file.size or 0)
            if begin < end:
                yield base, file, begin, end


class FileRows:
    """The rows of one file by ranges of its own byte offsets."""

    def __init__(self, file: SourceFile, fd: int, base: int, source: PlainSource) -> None:
        self._size = file.size or 0
        self._body = len(BOM) if file.bom else 0
        self._base = base
        self._block_bytes = source.block_bytes
        self._max_row_bytes = source.max_row_bytes
        self._pages = Pages(fd, file.uri, capacity=max(source.block_bytes, HEAD_BYTES))

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
