"""Files whose rows can be read in any order, by several readers at once."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import accumulate
from typing import cast

from bulkup.model import BLOCK_BYTES, Block
from bulkup.sources.format import Reader, RemoteReader, SourceFile
from bulkup.sources.json_lines import small_file
from bulkup.sources.positions import file_at
from bulkup.sources.readers import Readers
from bulkup.sources.source import Item

__all__ = ["AnyRangeCursor", "AnyRangeSource"]


_SOON = 8
"""So many ranges are on their way at once, where each would be waited for."""

_SHORT_BYTES = 1024 * 1024

_Range = tuple[int, SourceFile, int, int]
"""A file's base, itself, and the offsets in it."""


def _is_waited_for(wanted: _Range) -> bool:
    """Whether reading it is mostly waiting: it is remote, or so short that the disk takes longer than the reading."""
    _, file, begin, end = wanted
    return file.remote is not None or (end - begin < _SHORT_BYTES and file.format.reads_remote)


class AnyRangeSource:
    """Files end to end; each one's end is a row's end. Positions are plain arithmetic."""

    any_range = True
    rereadable = True
    beginning = None

    def __init__(
        self,
        files: tuple[SourceFile, ...],
        *,
        max_row_bytes: int,
        block_bytes: int = BLOCK_BYTES,
        notes: tuple[str, ...] = (),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        assert all(file.any_range for file in files)
        self.files = files
        self.notes = notes
        self._close = close
        self.verbatim = all(file.verbatim for file in files)
        self.max_row_bytes = max_row_bytes
        self.block_bytes = min(block_bytes, max_row_bytes)  # so a row inside a block of several is never too long
        *bases, self.size = accumulate((file.length or 0 for file in files), initial=0)
        self.bases: tuple[int, ...] = tuple(bases)

    @property
    def end(self) -> int:
        """As the seam says."""
        return self.size

    def learn(self, bases: Sequence[int]) -> None:
        """They are arithmetic."""

    def cursor(self) -> AnyRangeCursor:
        return AnyRangeCursor(self)

    def locate(self, position: int) -> tuple[str, int | None]:
        index, offset = file_at(position, self.bases)
        return self.files[index].uri, self.files[index].byte_offset(offset)

    def close(self) -> None:
        self._close()


class AnyRangeCursor:
    """Reads any range of an `AnyRangeSource`; several tasks may read at once. What a `read` under way holds is its format's."""

    def __init__(self, source: AnyRangeSource) -> None:
        self._source = source
        self._readers = Readers(block_bytes=source.block_bytes, max_row_bytes=source.max_row_bytes)
        self._progress = 0
        self._is_cold = not (hasattr(os, "RWF_NOWAIT") and hasattr(os, "preadv"))

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
        self._readers.close()

    async def read(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        ranges = self._ranges(start, stop)
        soon: deque[tuple[_Range, Reader | None]] = deque()
        try:
            while self._take_up(ranges, soon):
                (base, file, begin, end), reader = soon[0]
                if reader is None:
                    data = small_file(file)
                    if data is not None:
                        soon.popleft()
                        self.reached(base + end)
                        yield Block(data, base, base + end)
                        continue
                    reader = self._taken(base, file, begin, end)
                    soon[0] = (soon[0][0], reader)
                    self._is_cold = True
                async with aclosing(reader.rows(begin, end)) as rows:
                    async for item in rows:
                        self.reached(item.end)
                        yield item
                soon.popleft()
                self._readers.give_back(base)
        finally:
            for (base, *_), reader in soon:
                if reader is not None:
                    self._readers.give_back(base)

    def _take_up(self, ranges: Iterator[_Range], soon: deque[tuple[_Range, Reader | None]]) -> bool:
        """Have the next range in *soon*, and those behind it too where each would be waited for; False where none is left. A small
        file has no reader as long as the page cache has such files."""
        while not soon or (len(soon) < _SOON and soon[-1][1] is not None and _is_waited_for(soon[-1][0])):
            found = next(ranges, None)
            if found is None:
                break
            base, file, begin, end = found
            is_quick = not self._is_cold and begin == 0 and end == file.length and self._is_small(file, base)
            soon.append((found, None if is_quick else self._taken(base, file, begin, end)))
        return bool(soon)

    def _is_small(self, file: SourceFile, base: int) -> bool:
        return (
            file.verbatim
            and not file.bom
            and (file.length or 0) <= self._source.block_bytes
            and not self._readers.has(base)
        )

    def _taken(self, base: int, file: SourceFile, begin: int, end: int) -> Reader:
        reader = self._readers.take(file, base)
        if file.format.reads_remote:
            cast("RemoteReader", reader).prepare(begin, end)
        return reader

    async def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        if not self._source.verbatim:
            raise ValueError("the source's bytes are not its rows")
        held = bytearray()  # of small files, so that each is no piece of its own
        for base, file, begin, end in self._ranges(start, stop):
            if not self._is_cold and begin == 0 and end == file.length and self._is_small(file, base):
                data = small_file(file)
                if data is not None:
                    held += data if data.endswith(b"\n") else data + b"\n"
                    if len(held) >= self._source.block_bytes // 2:
                        yield held
                        held = bytearray()
                    continue
            reader = self._readers.take(file, base)
            try:
                async with aclosing(reader.raw(begin, end)) as pieces:
                    async for piece in pieces:
                        if held or len(piece) < self._source.block_bytes // 2:
                            held += piece
                            piece = held
                        if len(piece) >= self._source.block_bytes // 2:
                            yield piece
                            held = bytearray()
            finally:
                self._readers.give_back(base)
        if held:
            yield held

    def _ranges(self, start: int, stop: int) -> Iterator[_Range]:
        """The files that [start, stop) lies in: each one's base, itself, and the offsets in it."""
        bases = self._source.bases
        for index in range(max(bisect_right(bases, start) - 1, 0), len(bases)):
            base, file = bases[index], self._source.files[index]
            if base >= stop:
                return
            begin, end = max(start - base, 0), min(stop - base, file.length or 0)
            if begin < end:
                yield base, file, begin, end
