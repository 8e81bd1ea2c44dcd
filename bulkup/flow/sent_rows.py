"""The rows that were sent, read from the source again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress

import xxhash
from anyio.lowlevel import checkpoint

from bulkup.chunk import Chunk
from bulkup.encoding import RowPlan
from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.flow.chunker import Chunker
from bulkup.flow.draft import hash_raw
from bulkup.flow.prepared import changed
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, EncodedLine
from bulkup.sources import Cursor, Item, Source

__all__ = ["RowLocation", "RowsHash", "SentRows"]


class RowsHash:
    """The hash of encoded rows as a chunk has it (`Chunk.rows_hash`): what a function makes now may be something else."""

    def __init__(self) -> None:
        self._hasher = xxhash.xxh3_128()
        self._is_first = True

    def add(self, lines: Sequence[EncodedLine]) -> None:
        """Take in the good rows of *lines*."""
        for line in lines:
            for body in line.bodies:
                self._hasher.update(body if self._is_first else b"," + body)
                self._is_first = False

    def digest(self) -> bytes:
        """Of all that was taken in."""
        return self._hasher.digest()


@dataclass(frozen=True, slots=True)
class RowLocation:
    """Where a row stands in the source: a file, the row's number in it (from 1, blank lines counted) and its first byte (None
    where the file's positions are not bytes)."""

    file: str
    row_number: int
    byte_offset: int | None


class SentRows:
    """Chunks' rows as the source means them. Goes through the source forwards; what must be looked at again is read anew."""

    def __init__(self, source: Source, chunker: Chunker, plan: RowPlan, row_key: Callable[[bytes], bytes]) -> None:
        self._source = source
        self._chunker = chunker
        self._plan = plan.of_made_rows()
        self._function = plan.function
        self._row_key = row_key
        self._cursor = source.cursor()

    async def aclose(self) -> None:
        """Close the files."""
        await self._cursor.aclose()

    async def keys(self, chunk: Chunk) -> bytes:
        """The keys of the rows of *chunk*, in order: of what was sent, where that is what the source means, else of its meaning.

        Chunks are asked for by position, ascending. Raises `SourceChanged`, and `SourceUnreadable` where its rows cannot be read.
        """
        from bulkup.encoding.meaning import as_meant  # what most uploads need nothing of

        keys = bytearray()
        hasher, made = xxhash.xxh3_128(), RowsHash()
        fault: SourceUnreadable | None = None
        try:
            async for item, lines in self._lines(self._cursor, chunk, hasher):
                if isinstance(item, Block):
                    if self._function is not None:
                        made.add(lines)
                    sent = ((row.row, row.body) for line in lines for row in line.rows if row.body is not None)
                    keys += b"".join(self._row_key(as_meant(self._plan, source, body)) for source, body in sent)
        except SourceUnreadable as error:
            fault = error  # behind the rows of this chunk, if these are all there: what came before it has landed
        if hasher.digest() != chunk.raw_hash:
            raise fault or SourceChanged(
                f"the source has changed since it was uploaded: bytes {chunk.start:,} to {chunk.stop:,} are not what they were, "
                "so it cannot be compared with what landed; restore it"
            )
        if self._function is not None and made.digest() != chunk.rows_hash:
            raise changed(chunk, function=self._function)
        return bytes(keys)

    async def locations(self, chunk: Chunk, rows: Collection[int], first: Mapping[int, int]) -> dict[int, RowLocation]:
        """Where those *rows* of *chunk* (numbers from 0) stand. *first* is the number of its first line in each file."""
        found: dict[int, RowLocation] = {}
        lines: dict[int, int] = {}
        number = 0
        cursor = self._source.cursor(reads_ahead=False)
        try:
            with suppress(SourceUnreadable):  # it stands behind the rows: `keys` has seen them all
                async for _, encoded in self._lines(cursor, chunk, xxhash.xxh3_128()):
                    for line in encoded:
                        file, _ = self._chunker.place(line.position)
                        place = lines[file] = lines.get(file, -1) + 1
                        for _ in line.bodies:
                            if number in rows:
                                uri, byte_offset = self._source.locate(line.position)
                                found[number] = RowLocation(uri, first.get(file, 1) + place, byte_offset)
                            number += 1
        finally:
            await cursor.aclose()
        return found

    async def _lines(
        self, cursor: Cursor, chunk: Chunk, hasher: xxhash.xxh3_128
    ) -> AsyncIterator[tuple[Item, list[EncodedLine]]]:
        """What *chunk* is read as, and its lines, block by block; a line that is too long has no body."""
        async with aclosing(cursor.read(chunk.start, chunk.stop)) as items:
            async for item in items:
                hash_raw(hasher, item)
                if isinstance(item, Block):
                    yield item, await self._chunker.encode_lines(item)
                else:
                    yield item, [EncodedLine(item.start, ())]
                await checkpoint()
