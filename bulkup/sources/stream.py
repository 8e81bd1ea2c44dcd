"""One file decoded and cut from its beginning to its end, in a worker thread, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from bulkup.array_lines import ArrayCutter
from bulkup.errors import BulkupError, SourceUnreadable
from bulkup.model import Block
from bulkup.sources.decompress import DamagedError, decoder_for
from bulkup.sources.files import BOM, STDIN, Format, SourceFile
from bulkup.sources.inputs import Input
from bulkup.sources.lines import LineCutter
from bulkup.sources.source import Item

__all__ = ["Batch", "FileStream"]

_BATCH_BYTES = 1024 * 1024
"""How much is decoded in one hop into a thread."""

_PIECE_BYTES = 256 * 1024
_RAW_BYTES = 64 * 1024

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


class FileStream:
    """The rows of *file*, whose first decoded byte has the position *base*."""

    def __init__(self, file: SourceFile, source: Input, base: int, *, block_bytes: int, max_row_bytes: int) -> None:
        self.input = source
        self.base = base
        self.decoded = 0
        self._name = "standard input" if file.uri == STDIN else file.uri
        self._decoder = decoder_for(file.compression)
        self._skip = len(BOM) if file.bom else 0
        cutter = ArrayCutter if file.format is Format.ARRAY else LineCutter
        self._cutter = cutter(base + self._skip, block_bytes=block_bytes, max_row_bytes=max_row_bytes)
        self._last_row = 0, 0  # decoded bytes, and bytes on disk, up to the last row

    def advance(self) -> Batch:
        """Decode and cut about a megabyte, or what there is now. Blocking; for a worker thread."""
        batch = Batch()
        try:
            self._advance(batch)
        except DamagedError as error:
            self._end(batch, f"{error} after {self.decoded} decoded bytes")
        except BulkupError as error:
            batch.error = error
        return batch

    def _advance(self, batch: Batch) -> None:
        goal = self.decoded + _BATCH_BYTES
        while self.decoded < goal:
            piece = self._decoder.pull(_PIECE_BYTES)
            if piece:
                self._take(piece, batch)
                if self._cutter.trouble is not None:
                    return self._end(batch, None)
                continue
            raw = self.input.read(_RAW_BYTES)
            if raw is None:
                return None
            if not raw:
                return self._end(batch, None if self._decoder.whole else f"cut off after {self.decoded} decoded bytes")
            self._decoder.push(raw)
        return None

    def _take(self, piece: bytes, batch: Batch) -> None:
        self.decoded += len(piece)
        if self._skip:
            piece, self._skip = piece[self._skip :], self._skip - min(self._skip, len(piece))
        items = self._cutter.feed(piece)
        batch.items += items
        if not all(isinstance(item, Block) and item.data.isspace() for item in items):
            self._last_row = self.decoded, self.input.consumed
        elif self.decoded - self._last_row[0] > (MOST_BLANK_BYTES if items else MOST_BYTES_OF_A_ROW):
            self._refuse_bomb()

    def _refuse_bomb(self) -> None:
        decoded, on_disk = self.decoded - self._last_row[0], self.input.consumed - self._last_row[1]
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
