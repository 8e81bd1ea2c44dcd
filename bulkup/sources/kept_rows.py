"""Rows that were read once and are wanted again, kept on the disk: what is slow to read is read once."""

from __future__ import annotations

import os
import tempfile
import threading
from array import array
from bisect import bisect_right, insort
from collections.abc import AsyncGenerator, Sequence
from dataclasses import field
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import IO

from bulkup.light_dataclass import dataclass
from bulkup.model import Block, LongRow
from bulkup.sources.format import Item
from bulkup.sources.pages import Pages
from bulkup.sources.positions import cut_at

__all__ = ["MOST_BYTES", "KeptRows"]

MOST_BYTES = 4 * 1024**3
"""So much is kept, and not more than an eighth of the space that is free when it begins."""

_SHARE_OF_FREE = 8
_MOST_BLOCKS = 65_536
"""What is known of each stands in memory: 300 bytes or so. A row that is too long stands there itself."""

_WRITE_BYTES = 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
"""A block that takes more is read in a thread."""

_OFFSET_BYTES = 8


@dataclass(frozen=True, slots=True)
class _Kept:
    """An item from *start* to *end*. Of a block the spool holds *size* bytes at *at*, and behind them where its *lines* lines
    begin, if that does not follow from its place (None) or from *steps*. A long *row* is held as it is."""

    start: int
    end: int
    at: int = 0
    size: int = 0
    lines: int | None = None
    steps: range | None = None
    row: LongRow | None = None

    @property
    def stored_bytes(self) -> int:
        """What it takes in the spool."""
        return self.size + _OFFSET_BYTES * (self.lines or 0)


_start = attrgetter("start")


@dataclass(slots=True)
class _File:
    """Of one file: its *blocks* by their places; the *spans* of which they are all rows; where it ends, once that is known. *lost*:
    where the first row begins that could not be kept."""

    blocks: list[_Kept] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    end: int | None = None
    lost: float = inf


class KeptRows:
    """Items of the files of a source, in a spool: a file without a name in *directory*, gone with the process and for nobody else
    to read. Places are offsets in the source's files, counted in positions.

    What has no room there, or cannot be written, is not kept: whoever wants it reads it where it stands. With *whole_files* a file
    of which not all can be kept has nothing kept. One thread at a time keeps; of what `covers` has told, any may read.
    """

    def __init__(self, directory: Path, *, whole_files: bool, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._whole_files = whole_files
        self._most_bytes = most_bytes
        self._files: dict[int, _File] = {}
        self._spool: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._takes_more = True
        self.is_readable = True
        self._pending: list[bytes] = []
        self._written = self._end = self._count = 0

    def close(self) -> None:
        """Let go of all of it. Who still keeps rows keeps none from now on."""
        with self._lock:
            self._takes_more = False
            if self._spool is not None:
                self._spool.close()

    # --- keeping: it blocks -------------------------------------------------------------------------------------------

    def keep(self, number: int, item: Item, base: int) -> None:
        """Keep *item*, of file *number*, whose first position is *base* for it; unless it is kept already."""
        file, start = self._files.setdefault(number, _File()), item.start - base
        if start >= file.lost or self.covered_to(number, start) > start:
            return
        with self._lock:
            if not self._has_room(item):
                self._lose(file, start)
            elif isinstance(item, LongRow):
                self._add(file, _Kept(start, item.end - base, row=item))
            else:
                self._add(file, self._stored(item, base))
                if self._end - self._written >= _WRITE_BYTES and not self._flush():
                    self._lose(file, start)

    def covers(self, number: int, start: int, stop: int, *, is_end: bool) -> None:
        """What was kept are all rows of file *number* that begin in [*start*, *stop*), but for what was lost. *is_end*: it ends
        there."""
        file = self._files.setdefault(number, _File())
        with self._lock:
            if not self._flush():
                self._lose(file, start)
            if self._whole_files and not (start == 0 and is_end):
                self._lose(file, 0)
            stop, is_end = (stop, is_end) if file.lost == inf else (min(stop, int(file.lost)), False)
            if start < stop:
                file.spans = _joined([*file.spans, (start, stop)])
            if is_end:
                file.end = stop

    def _has_room(self, item: Item) -> bool:
        if not self._takes_more or self._count >= _MOST_BLOCKS or (self._spool is None and not self._open()):
            return False
        lines = 0 if isinstance(item, LongRow) or item.offsets is None else len(item.offsets)
        return self._end + item.held_bytes + _OFFSET_BYTES * lines <= self._most_bytes

    def _open(self) -> bool:
        try:
            self._spool = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - lives as long as we do
            room = os.fstatvfs(self._spool.fileno())
        except OSError:
            self._takes_more = False
            return False
        self._most_bytes = min(self._most_bytes, room.f_bavail * room.f_frsize // _SHARE_OF_FREE)
        return True

    def _stored(self, block: Block, base: int) -> _Kept:
        offsets, lines, steps = block.offsets, None, None
        at = self._end
        self._pending.append(block.data)
        if isinstance(offsets, range):
            steps = range(offsets.start - base, offsets.stop - base, offsets.step)
        elif offsets is not None:
            lines = len(offsets)
            self._pending.append(array("q", _moved(offsets, -base)).tobytes())
        kept = _Kept(block.start - base, block.end - base, at, len(block.data), lines, steps)
        self._end += kept.stored_bytes
        return kept

    def _add(self, file: _File, kept: _Kept) -> None:
        insort(file.blocks, kept, key=_start)
        self._count += 1

    def _flush(self) -> bool:
        """Write what is pending; False where it cannot be written, which ends the keeping."""
        pending, self._pending = self._pending, []
        if self._spool is None or not pending:
            return True
        try:
            data = memoryview(b"".join(pending))
            while data:
                count = os.pwrite(self._spool.fileno(), data, self._written)
                self._written, data = self._written + count, data[count:]
        except (OSError, ValueError):  # closed: whoever wanted the rows has gone
            self._takes_more = False
            self._lose_unwritten()
            return False
        return True

    def _lose_unwritten(self) -> None:
        for file in self._files.values():
            unwritten = next((b.start for b in file.blocks if b.at + b.stored_bytes > self._written), None)
            if unwritten is not None:
                self._lose(file, unwritten)

    def _lose(self, file: _File, start: int) -> None:
        """No row of *file* from *start* on is kept."""
        if not self._whole_files:
            file.lost = min(file.lost, start)
            return
        if file.lost == inf and self._spool is not None and self._flush() and self._takes_more:
            self._end = self._written = min((b.at for b in file.blocks if b.row is None), default=self._end)
            os.ftruncate(self._spool.fileno(), self._end)
        self._count -= len(file.blocks)
        file.blocks, file.spans, file.end, file.lost = [], [], None, 0

    # --- reading ------------------------------------------------------------------------------------------------------

    def covered_to(self, number: int, place: int) -> int:
        """Up to where all rows of file *number* are kept from *place* on; *place* where they are not."""
        spans = self._files[number].spans if number in self._files else []
        index = bisect_right(spans, (place, inf)) - 1
        return max(place, spans[index][1]) if index >= 0 else place

    def kept_next(self, number: int, place: int) -> tuple[int, int] | None:
        """The file, and the place in it, from which rows are kept next behind *place* of file *number*; None where none are."""
        for other in sorted(self._files):
            starts = [start for start, _ in self._files[other].spans if other > number or start > place]
            if other >= number and starts:
                return other, starts[0]
        return None

    def end_of(self, number: int) -> int | None:
        """Where file *number* ends; None where its end is not covered."""
        return self._files[number].end if number in self._files else None

    def reaches_behind(self, number: int, place: int) -> bool:
        """Whether something that is kept of file *number* ends behind *place*."""
        blocks = self._files[number].blocks if number in self._files else []
        return bool(blocks) and blocks[-1].end > place

    def give_up(self) -> None:
        """Nothing that is kept can be read any more."""
        self.is_readable, self._takes_more = False, False
        self._files = {}

    async def rows(self, number: int, start: int, stop: int, base: int) -> AsyncGenerator[Item, None]:
        """The rows of file *number* that begin in [*start*, *stop*), all of which are kept, as items of a file whose first position
        is *base*. Never blocks the event loop. Raises `SourceUnreadable` or `SourceChanged` where the spool cannot be read."""
        blocks = self._files[number].blocks
        pages: Pages | None = None
        for kept in blocks[max(bisect_right(blocks, start, key=_start) - 1, 0) :]:
            if kept.start >= stop:
                return
            if kept.end <= start:
                continue
            if kept.row is None and pages is None:
                assert self._spool is not None, "what is kept stands there"
                pages = Pages(self._spool.fileno(), "the rows that were kept", capacity=_BUFFER_BYTES)
            _, item = cut_at(await _item(pages, kept, base), base + start)
            wanted, _ = cut_at(item, base + stop) if item is not None else (None, None)
            if wanted is not None:
                yield wanted


async def _item(pages: Pages | None, kept: _Kept, base: int) -> Item:
    if kept.row is not None:
        return LongRow(kept.row.head, kept.start + base, kept.end + base, kept.row.reason)
    assert pages is not None
    count = kept.stored_bytes
    if count > _BUFFER_BYTES:
        data = await pages.whole(kept.at, count)
    else:
        await pages.fill(kept.at, count)
        data = pages.copy(count)
    if kept.steps is not None:
        steps = range(kept.steps.start + base, kept.steps.stop + base, kept.steps.step)
        return Block(data, kept.start + base, kept.end + base, steps)
    if kept.lines is None:
        return Block(data, kept.start + base, kept.end + base)
    offsets = array("q")
    offsets.frombytes(data[kept.size :])
    return Block(data[: kept.size], kept.start + base, kept.end + base, _moved(offsets.tolist(), base))


def _moved(offsets: Sequence[int], by: int) -> Sequence[int]:
    return [offset + by for offset in offsets] if by else offsets


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """*spans* in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found
