"""A planned chunk, and the ways to its rows, as often as a send needs them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

import xxhash

from bulkup.chunk import Chunk
from bulkup.errors import SourceChanged
from bulkup.flow.draft import with_commas
from bulkup.flow.executor import Hold
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, LongRow
from bulkup.rows.function import Function
from bulkup.sources import Cursor

__all__ = [
    "CommasForBreaks",
    "Items",
    "Prepared",
    "changed",
    "from_file",
    "from_memory",
    "listed",
    "used_up",
]

Items = Callable[[], AsyncGenerator[Block | LongRow, None]]
RowBlocks = Callable[[], AsyncIterator[bytes | bytearray]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A planned chunk, whose encoded rows are held by an executor (*hold*), or where that is None read from the source's file as
    they are sent. *items* gives the lines as read, from *raw* where the source is only read forwards; *held_bytes* of the lane's
    budget are held for it."""

    chunk: Chunk
    items: Items
    held_bytes: int
    hold: Hold | None = None
    raw: Sequence[Block | LongRow] = ()


def from_memory(pieces: list[bytes]) -> RowBlocks:
    """Rows that are held in memory."""

    async def row_blocks() -> AsyncIterator[bytes]:
        for piece in with_commas(pieces):
            yield piece

    return row_blocks


def from_file(cursor: Cursor, chunk: Chunk) -> RowBlocks:
    """Rows that are read again from a plain file and checked on the way.

    The last piece is handed out only when the hash of all that was read agrees with the plan's: a file that changed in between
    never completes a request. Raises `SourceChanged`.
    """

    async def row_blocks() -> AsyncIterator[bytes | bytearray]:
        hasher = xxhash.xxh3_128()
        size = given = 0
        last: bytes | bytearray = b""
        commas = CommasForBreaks()
        async with aclosing(cursor.raw(chunk.start, chunk.stop)) as pieces:
            async for piece in pieces:
                hasher.update(piece)
                made = commas.next(piece)
                size += len(made)
                if len(made) > 1:
                    given += len(last)
                    if given >= chunk.body_bytes:  # there is more of it now: it must not be taken for whole
                        raise changed(chunk)
                    if last:
                        yield last
                    last = made
                else:  # by itself it would leave nothing to withhold
                    last += made
        if size - 1 != chunk.body_bytes or hasher.digest() != chunk.raw_hash:
            raise changed(chunk)
        yield last[:-1]

    return row_blocks


def listed(items: list[Block | LongRow]) -> Items:
    """Lines that are held in memory."""

    async def stream() -> AsyncGenerator[Block | LongRow, None]:
        for item in items:
            yield item

    return stream


def used_up(items: list[Block | LongRow]) -> Items:
    """As `listed`, once: each is let go of as it is given, so that what they become does not stand beside all of them."""

    async def stream() -> AsyncGenerator[Block | LongRow, None]:
        items.reverse()
        while items:
            yield items.pop()

    return stream


class CommasForBreaks:
    """Makes a comma of each line break in data that comes piece by piece, cut anywhere. The pieces stay as they are."""

    def __init__(self) -> None:
        self._held = b""

    def next(self, piece: bytes | bytearray) -> bytes | bytearray:
        """What *piece* comes to. A `\\r` at its end is kept for the next, since it may be half a break."""
        if self._held or b"\r" in piece:
            whole = self._held + piece
            self._held = b"\r" if whole.endswith(b"\r") else b""
            piece = whole.removesuffix(b"\r").replace(b"\r\n", b"\n")
        return piece.replace(b"\n", b",")


def changed(chunk: Chunk, raw_hash: bytes | None = None, function: Function | None = None) -> SourceChanged:
    """The error for a range that no longer comes to what was planned. *raw_hash*: of its lines as they read now, where known.
    *function*: the user's, where there is one."""
    where = f"bytes {chunk.start:,} to {chunk.stop:,}"
    if function is not None and raw_hash in (chunk.raw_hash, None):
        return SourceChanged(
            f"{where} are what they were, but --map {function.title} made other rows of them this time: it is not deterministic. "
            "bulkup sends nothing of that range. Write the function so that it always makes the same of a row (no random "
            "numbers, no clock), and begin a new run"
        )
    if raw_hash is not None and raw_hash == chunk.raw_hash:
        return SourceChanged(
            f"{where} are what they were, but this version of bulkup makes other rows of them than the one that began the run "
            "(since 0.1.0 numbers keep their characters). It sends nothing of that range. To go on, run the same bulkup upload "
            "command with the version that began the run"
        )
    return SourceChanged(
        f"the source changed while it was being read: {where} are not what was planned. "
        "Nothing of that range was sent after the change; restore the file and run the same command"
    )
