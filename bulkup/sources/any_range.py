"""Files whose rows can be read in any order, by several readers at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import accumulate
from typing import NamedTuple, cast

from bulkup.errors import SourceUnreadable
from bulkup.model import BLOCK_BYTES, Block
from bulkup.sources.format import Reader, RemoteReader, SourceFile
from bulkup.sources.positions import before_the_rest, by_file, file_at
from bulkup.sources.readers import Readers
from bulkup.sources.small_files import SmallFiles
from bulkup.sources.source import Item

__all__ = ["AnyRangeCursor", "AnyRangeSource"]


_SOON = 8
"""So many ranges are on their way at once, where each would be waited for."""

_SHORT_BYTES = 1024 * 1024


class _Range(NamedTuple):
    """Offsets *begin* to *end* behind *base*, where *file* begins; or *small* files, all of which are read together."""

    base: int
    file: SourceFile
    begin: int
    end: int
    small: Sequence[SourceFile] = ()


def _is_waited_for(wanted: _Range) -> bool:
    """Whether reading it is mostly waiting: it is remote, or so short that the disk takes longer than the reading."""
    file = wanted.file
    return file.remote is not None or (wanted.end - wanted.begin < _SHORT_BYTES and file.format.reads_remote)


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
        are_verbatim = [file.verbatim for file in files]
        assert all(it or file.any_range for it, file in zip(are_verbatim, files, strict=True))
        self.files = files
        self.notes = notes
        self._close = close
        self.verbatim = all(are_verbatim)
        self.max_row_bytes = max_row_bytes
        self.block_bytes = min(block_bytes, max_row_bytes)  # so a row inside a block of several is never too long
        *bases, self.size = accumulate((file.length or 0 for file in files), initial=0)
        self.bases: tuple[int, ...] = tuple(bases)
        self._ends = (*bases[1:], self.size)
        self._large = [
            number
            for number, (it, file) in enumerate(zip(are_verbatim, files, strict=True))
            if not it or file.bom or (file.length or 0) > self.block_bytes
        ]
        self._large.append(len(files))

    def small_ones(self, index: int, stop: int) -> int:
        """How many files from number *index* on are read together: small ones that end before *stop*, up to a block in all."""
        most = min(stop, self.bases[index] + self.block_bytes)
        large = self._large[bisect_left(self._large, index)]  # the next one
        return max(min(bisect_right(self._ends, most, index), large) - index, 0)

    @property
    def end(self) -> int:
        """As the seam says."""
        return self.size

    def learn(self, bases: Sequence[int]) -> None:
        """They are arithmetic."""

    def cursor(self, *, reads_ahead: bool = True) -> AnyRangeCursor:
        """None of its cursors begins what lies behind the range that it reads."""
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
        self._small = SmallFiles()
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
        self._readers.close()

    async def read(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        async with aclosing(self.together(start, stop)) as items:
            async for item in items:
                for _, part in by_file(item, self._source.bases):
                    yield part

    async def together(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        soon: deque[tuple[_Range, Reader | None]] = deque()
        ranges = self._ranges(start, stop)
        try:
            while self._take_up(ranges, soon):
                wanted, reader = soon[0]
                if reader is None:
                    soon.popleft()
                    at = wanted.base
                    for data in await self._small.contents_of(wanted.small):
                        begin, at = at, at + len(data)
                        self.reached(at)
                        yield Block(data, begin, at)
                    continue
                try:
                    async with aclosing(reader.rows(wanted.begin, wanted.end)) as rows:
                        async for item in rows:
                            self.reached(item.end)
                            yield item
                except SourceUnreadable as error:
                    number, _ = file_at(wanted.base, self._source.bases)
                    before_the_rest(error, len(self._source.files) - 1 - number)
                    raise
                soon.popleft()
                self._readers.give_back(wanted.base)
        finally:
            for wanted, reader in soon:
                if reader is not None:
                    self._readers.give_back(wanted.base)

    def _take_up(self, ranges: Iterator[_Range], soon: deque[tuple[_Range, Reader | None]]) -> bool:
        """Have the next range in *soon*, and those behind it too where each would be waited for; False where none is left. Small
        files have no reader."""
        while not soon or (len(soon) < _SOON and soon[-1][1] is not None and _is_waited_for(soon[-1][0])):
            found = next(ranges, None)
            if found is None:
                break
            soon.append((found, None if found.small else self._taken(found)))
        return bool(soon)

    def _taken(self, wanted: _Range) -> Reader:
        reader = self._readers.take(wanted.file, wanted.base)
        if wanted.file.format.reads_remote:
            cast("RemoteReader", reader).prepare(wanted.begin, wanted.end)
        return reader

    async def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        if not self._source.verbatim:
            raise ValueError("the source's bytes are not its rows")
        held = bytearray()  # of small files, so that each is no piece of its own
        async with aclosing(self._raw(start, stop)) as pieces:
            async for piece in pieces:
                if held or len(piece) < self._source.block_bytes // 2:
                    held += piece
                    piece = held
                if len(piece) >= self._source.block_bytes // 2:
                    yield piece
                    held = bytearray()
        if held:
            yield held

    async def _raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        for wanted in self._ranges(start, stop):
            if wanted.small:
                for data in await self._small.contents_of(wanted.small):
                    yield data
                    if not data.endswith(b"\n"):
                        yield b"\n"
                continue
            reader = self._readers.take(wanted.file, wanted.base)
            try:
                async with aclosing(reader.raw(wanted.begin, wanted.end)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                self._readers.give_back(wanted.base)

    def _ranges(self, start: int, stop: int) -> Iterator[_Range]:
        """What [start, stop) lies in, file by file, but small ones together."""
        bases, files = self._source.bases, self._source.files
        index = max(bisect_right(bases, start) - 1, 0)
        while index < len(bases) and bases[index] < stop:
            base, file = bases[index], files[index]
            begin, end = max(start - base, 0), min(stop - base, file.length or 0)
            small = self._source.small_ones(index, stop) if begin == 0 else 0
            if small:
                yield _Range(base, file, 0, 0, files[index : index + small])
            elif begin < end:
                yield _Range(base, file, begin, end)
            index += small or 1
