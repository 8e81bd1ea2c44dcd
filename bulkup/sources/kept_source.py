"""A source of which some rows are kept: these are taken from there, the others are read where they stand."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import accumulate
from typing import NamedTuple

from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.sources.decompress import Compression
from bulkup.sources.format import SourceFile
from bulkup.sources.inputs import open_file
from bulkup.sources.kept_rows import KeptRows
from bulkup.sources.locators import STDIN
from bulkup.sources.positions import file_at
from bulkup.sources.source import Cursor, FirstRows, Item, Source

__all__ = ["KeptSource", "is_worth_keeping"]


_QUICK = (Compression.NONE, Compression.GZIP, Compression.ZSTD)
"""To unpack a gigabyte again takes about as long as to write it."""


def is_worth_keeping(file: SourceFile) -> bool:
    """Whether the rows of *file* cost more to read again than to keep: all but lines on a local disk do, plain or packed in a way
    that is quickly undone."""
    is_local = file.remote is None and file.member is None
    is_quick = file.compression in _QUICK and file.inner is Compression.NONE and file.encoding is None
    return not (is_local and is_quick and file.format.verbatim and not file.renames)


_BEHIND = 2**62
"""A position behind every source."""


class KeptSource:
    """*source*, some of whose rows are in *kept*, where its first file has the number *first*."""

    def __init__(self, source: Source, kept: KeptRows, *, first: int = 0) -> None:
        self.any_range = source.any_range
        self.verbatim = source.verbatim
        self.rereadable = source.rereadable
        self._source = source
        self._kept = kept
        self._first = first

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return self._source.files

    @property
    def beginning(self) -> FirstRows | None:
        return self._source.beginning

    @property
    def size(self) -> int | None:
        return self._source.size

    @property
    def notes(self) -> tuple[str, ...]:
        return self._source.notes

    @property
    def bases(self) -> tuple[int, ...]:
        return self._source.bases

    @property
    def end(self) -> int | None:
        return self._source.end

    def learn(self, bases: Sequence[int]) -> None:
        self._source.learn(bases)

    def cursor(self, *, reads_ahead: bool = True) -> KeptCursor:
        return KeptCursor(self._source, self._kept, self._first, reads_ahead=reads_ahead)

    def locate(self, position: int) -> tuple[str, int | None]:
        return self._source.locate(position)

    def close(self) -> None:
        self._source.close()


class _Place(NamedTuple):
    """Where a position is: in the file of that *number*, *offset* behind its *base*. *to*: up to which offset its rows are kept;
    the *offset* itself where they are not. *is_end*: nothing comes there any more."""

    number: int
    offset: int
    base: int
    to: int
    is_end: bool


class KeptCursor:
    """Reads a range where it is kept, and has the source's own cursor, opened once it is needed, read what is not."""

    def __init__(self, source: Source, kept: KeptRows, first: int, *, reads_ahead: bool = True) -> None:
        self._source = source
        self._kept = kept
        self._first = first
        self._reads_ahead = reads_ahead
        self._opened: Cursor | None = None
        self._progress = 0
        self._checked = -1
        self._disk_bytes: Sequence[int] = ()

    @property
    def progress(self) -> int:
        return max(self._progress, self._opened.progress if self._opened is not None else 0)

    async def peek(self) -> Item | None:
        place = self._at(0)
        while self._is_kept(place):
            async with aclosing(self._from_kept(place, place.base + place.to)) as items:
                if (item := await anext(items, None)) is not None:
                    return item
            place = self._at(place.base + place.to)
        return await self._own.peek()

    async def more(self, position: int) -> bool:
        if self._source.any_range:
            return await self._own.more(position)
        place = self._at(position)
        while self._is_kept(place):
            if self._kept.reaches_behind(self._first + place.number, place.offset):
                return True
            position = place.base + place.to
            place = self._at(position)
        return not place.is_end and await self._own.more(position)

    async def read(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        async with aclosing(self._items(start, stop, are_together=False)) as items:
            async for item in items:
                yield item

    def together(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        return self._items(start, stop, are_together=True)

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        return self._own.raw(start, stop)

    def reached(self, position: int) -> None:
        if self._source.any_range:
            self._progress = max(self._progress, position)

    async def aclose(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    @property
    def _own(self) -> Cursor:
        if self._opened is None:
            self._opened = self._source.cursor(reads_ahead=self._reads_ahead)
        return self._opened

    async def _items(self, start: int, stop: int, *, are_together: bool) -> AsyncGenerator[Item, None]:
        while start < stop:
            place = self._at(start)
            if place.is_end:
                return
            if self._is_kept(place):
                until = min(stop, place.base + place.to)
                async with aclosing(self._from_kept(place, until)) as items:
                    async for item in items:
                        start = item.end
                        yield item
                if self._kept.is_readable:
                    start = until
                continue
            until = min(stop, self._kept_from(place))
            own = self._own.together(start, until) if are_together else self._own.read(start, until)
            async with aclosing(own) as items:
                async for item in items:
                    yield item
            start = until

    async def _from_kept(self, place: _Place, until: int) -> AsyncGenerator[Item, None]:
        """The rows that are kept from *place* on, up to *until*; fewer where they turn out not to be readable any more."""
        self._check(place.number)
        base = place.base
        async with aclosing(self._kept.rows(self._first + place.number, place.offset, until - base, base)) as items:
            while True:
                try:
                    item = await anext(items, None)
                except (SourceChanged, SourceUnreadable):
                    self._kept.give_up()
                    return
                if item is None:
                    return
                self._has_come(place, item.end)
                yield item

    def _at(self, position: int) -> _Place:
        """The place of *position*. Where files begin is learned of what is kept."""
        count = len(self._source.files)
        while True:
            bases = self._source.bases
            index, offset = file_at(position, bases)
            end = self._kept.end_of(self._first + index)
            if end is None or offset < end or index + 1 == count or len(bases) > index + 1:
                break
            self._source.learn((*bases, bases[index] + end))
        is_end = end is not None and offset >= end and index + 1 == count
        return _Place(index, offset, bases[index], self._kept.covered_to(self._first + index, offset), is_end)

    def _is_kept(self, place: _Place) -> bool:
        return place.to > place.offset

    def _kept_from(self, place: _Place) -> int:
        """The first position behind *place* from which rows are kept, as far as it is known where files begin."""
        found = self._kept.kept_next(self._first + place.number, place.offset)
        bases = self._source.bases
        if found is None or found[0] - self._first >= len(bases):
            return _BEHIND
        return bases[found[0] - self._first] + found[1]

    def _check(self, index: int) -> None:
        """As opening the file would: raise `SourceChanged` where it is gone or has become shorter, `SourceUnreadable`."""
        file = self._source.files[index]
        if index != self._checked and file.remote is None and file.uri != STDIN:
            os.close(open_file(file))
        self._checked = index

    def _has_come(self, place: _Place, end: int) -> None:
        if self._source.any_range:
            self._progress = max(self._progress, end)
            return
        file, length = self._source.files[place.number], self._kept.end_of(self._first + place.number)
        if length:
            self._disk_bytes = self._disk_bytes or [0, *accumulate(file.size or 0 for file in self._source.files)]
            self._progress = self._disk_bytes[place.number] + (end - place.base) * (file.size or 0) // length
