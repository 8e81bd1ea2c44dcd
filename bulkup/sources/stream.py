"""One file of the source from its beginning to its end, a batch at a time: decoded and cut, or read by its format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import field
from typing import Protocol

from bulkup.errors import BulkupError, SourceUnreadable
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.sources.decoder import DamagedError
from bulkup.sources.format import Item, Reader, SourceFile
from bulkup.sources.head import BOM
from bulkup.sources.inputs import Input
from bulkup.sources.locators import STDIN

__all__ = ["Batch", "DecodedStream", "ReaderStream", "Stream"]

_BATCH_BYTES = 1024 * 1024
"""How much comes at once: decoded in one hop into a thread."""

_PIECE_BYTES = 1024 * 1024
_RAW_BYTES = 256 * 1024

MOST_BLANK_BYTES = 64 * 1024 * 1024
MOST_BYTES_OF_A_ROW = 256 * 1024 * 1024
BOMB_RATIO = 200
"""How many decoded bytes may pass without a row's end, blank ones and those of one row, where each byte on disk stands for more
than the ratio: that is no data but a bomb, of which a few kilobytes make hours of work."""


@dataclass(slots=True)
class Batch:
    """What one hop gave. *error* is what must be raised once *items* have been handed out; nothing follows it."""

    items: list[Item] = field(default_factory=list)
    ended: bool = False
    error: BulkupError | None = None


class Stream(Protocol):
    """One file. Its batches come one after the other; between two of them it may have to wait for its input."""

    @property
    def end(self) -> int:
        """The position behind what has come so far."""

    @property
    def consumed(self) -> int:
        """How many bytes on disk have been read."""

    def ready(self) -> bool:
        """Whether `begin` has something to give now."""

    async def wait(self) -> None:
        """Return when `ready`."""

    def begin(self) -> asyncio.Future[Batch]:
        """Have the next batch made. It is never cancelled: what it takes from the input would be lost."""

    def close(self) -> None:
        """Let go of the file. Not while a batch is being made."""


class DecodedStream:
    """The rows that its format cuts out of the decoded bytes of *file*, whose first one has the position *base*."""

    def __init__(self, file: SourceFile, source: Input, base: int, *, block_bytes: int, max_row_bytes: int) -> None:
        self._input = source
        self._base = base
        self._decoded = 0
        self._name = "standard input" if file.uri == STDIN else file.uri
        self._decoder = file.decoder()
        self._skip = len(BOM) if file.bom else 0
        self._cutter = file.cutter(base + self._skip, block_bytes=block_bytes, max_row_bytes=max_row_bytes)
        self._last_row = 0, 0  # decoded bytes, and bytes on disk, up to the last row

    @property
    def end(self) -> int:
        return self._base + self._decoded

    @property
    def consumed(self) -> int:
        return self._input.consumed

    def ready(self) -> bool:
        return self._input.ready()

    async def wait(self) -> None:
        await self._input.wait()

    def begin(self) -> asyncio.Future[Batch]:
        return asyncio.get_running_loop().run_in_executor(None, self._batch)

    def close(self) -> None:
        self._input.close()

    def _batch(self) -> Batch:
        """Decode and cut about a megabyte, or what there is now. Blocking; for a worker thread."""
        batch = Batch()
        try:
            self._advance(batch)
        except DamagedError as error:
            self._end(batch, f"{error} after {self._decoded} decoded bytes")
        except BulkupError as error:
            batch.error = error
        return batch

    def _advance(self, batch: Batch) -> None:
        goal = self._decoded + _BATCH_BYTES
        while self._decoded < goal:
            piece = self._decoder.pull(_PIECE_BYTES)
            if piece:
                self._take(piece, batch)
                if self._cutter.trouble is not None:
                    return self._end(batch, None)
                continue
            raw = self._input.read(_RAW_BYTES)
            if raw is None:
                return None
            if not raw:
                return self._end(batch, None if self._decoder.whole else f"cut off after {self._decoded} decoded bytes")
            self._decoder.push(raw)
        return None

    def _take(self, piece: bytes, batch: Batch) -> None:
        self._decoded += len(piece)
        if self._skip:
            piece, self._skip = piece[self._skip :], self._skip - min(self._skip, len(piece))
        items = self._cutter.feed(piece)
        batch.items += items
        if not all(isinstance(item, Block) and item.data.isspace() for item in items):
            self._last_row = self._decoded, self._input.consumed
        elif self._decoded - self._last_row[0] > (MOST_BLANK_BYTES if items else MOST_BYTES_OF_A_ROW):
            self._refuse_bomb()

    def _refuse_bomb(self) -> None:
        decoded, on_disk = self._decoded - self._last_row[0], self._input.consumed - self._last_row[1]
        if decoded > BOMB_RATIO * on_disk:
            raise DamagedError(f"a decompression bomb: {decoded:,} bytes without the end of a row")

    def _end(self, batch: Batch, trouble: str | None) -> None:
        if self._cutter.trouble is None:
            batch.items += self._cutter.finish()
        trouble = trouble or self._cutter.trouble
        if trouble is None:
            batch.ended = True
        else:
            batch.error = SourceUnreadable(f"{self._name}: {trouble}; what came before has been read")


class ReaderStream:
    """The rows that its format's reader finds in *file*, which begins at *base*, from the first to the last."""

    def __init__(self, file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> None:
        self.end = base
        self._file = file
        self._base = base
        self._block_bytes = block_bytes
        self._max_row_bytes = max_row_bytes
        self._reader: Reader | None = None
        self._rows: AsyncGenerator[Item, None] | None = None

    @property
    def consumed(self) -> int:
        """By the part of its positions that has come: where on disk a reader is, only its format knows."""
        length, size = self._file.length, self._file.size
        return (self.end - self._base) * size // length if length and size else 0

    def ready(self) -> bool:
        return True

    async def wait(self) -> None:
        """A file never keeps anyone waiting for a writer."""

    def begin(self) -> asyncio.Future[Batch]:
        return asyncio.ensure_future(self._batch())

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    async def _batch(self) -> Batch:
        batch = Batch()
        try:
            rows, size = self._opened(), 0
            while size < _BATCH_BYTES and not batch.ended:
                item = await anext(rows, None)
                if item is None:
                    batch.ended, self.end = True, self._base + (self._file.length or 0)
                else:
                    batch.items.append(item)
                    size += len(item.data if isinstance(item, Block) else item.head)
                    self.end = item.end
        except BulkupError as error:
            batch.error = error
        return batch

    def _opened(self) -> AsyncGenerator[Item, None]:
        if self._rows is None:
            self._reader = self._file.reader(
                self._base, block_bytes=self._block_bytes, max_row_bytes=self._max_row_bytes
            )
            self._rows = self._reader.rows(0, self._file.length or 0)
        return self._rows
