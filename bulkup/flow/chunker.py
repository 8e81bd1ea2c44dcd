"""The one way from lines to chunks: for planning, for cutting what was refused, and for resuming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Protocol

from bulkup.encoding import LineEncoder
from bulkup.encoding.lines import line_count
from bulkup.errors import SourceUnreadable
from bulkup.flow.draft import Draft, Drafted, Keep
from bulkup.flow.halt import Halt
from bulkup.flow.prepared import Items
from bulkup.flow.tiling import Limits, Portion, cut, even_part, lines_that_fit
from bulkup.flow.user_code import in_user_thread
from bulkup.light_dataclass import replace
from bulkup.model import BLOCK_BYTES, Block, EncodedBlock, EncodedLine, LongRow
from bulkup.sources.positions import file_at, is_of_several, line_counts

__all__ = ["MAX_REJECT_BYTES", "Chunker", "Layout", "is_one_chunk"]

MAX_REJECT_BYTES = 4 * 1024 * 1024
"""How much of rejected rows one chunk may come with: they are held in memory until it is planned."""


_STEP_BYTES, _CLEAN_STEP_BYTES = BLOCK_BYTES * 3 // 2, BLOCK_BYTES * 7 // 2
"""So much is worked on before others may run: two blocks, which take half a millisecond to two; four where each is only checked."""

PIECE_LINES = 64
"""So many lines at a time are given to a function that may make several rows of each."""


def is_one_chunk(draft: Draft | Drafted, limits: Limits) -> bool:
    """Whether a draft fits into one request, and what was rejected on the way may be held until it is planned."""
    fits = limits.allow(body_bytes=draft.body_bytes, rows=draft.rows)
    return fits and draft.reject_bytes <= MAX_REJECT_BYTES


class Layout(Protocol):
    """Where a source's files begin. A `Source` is one."""

    @property
    def bases(self) -> tuple[int, ...]:
        """The positions at which the files begin, as far as known."""
        ...


class Chunker:
    """Makes drafts of what is read: the one way from lines to chunks, for planning, for splitting and for resuming."""

    def __init__(self, layout: Layout, encoder: LineEncoder, halt: Halt) -> None:
        self._layout = layout
        self._encoder = encoder
        self._halt = halt
        encoder.between = halt.check

    def place(self, position: int) -> tuple[int, int]:
        """The number of the file that holds *position*, and the byte offset in it."""
        return file_at(position, self._layout.bases)

    def add(self, draft: Draft, item: Block | LongRow, made: EncodedBlock) -> None:
        """Take *item*, of which *made* was made, into *draft*."""
        file, byte_offset = self.place(item.start)
        bases = self._layout.bases
        if is_of_several(item, file, bases):
            assert isinstance(item, Block), "a long row is of one file"
            draft.add_several(item, made, line_counts(item, bases), byte_offset=byte_offset)
        else:
            draft.add(item, made, file=file, byte_offset=byte_offset)

    async def encode(self, item: Block | LongRow) -> EncodedBlock:
        """*item* made ready to send."""
        if isinstance(item, LongRow):
            return EncodedBlock(b"", 0, 0, (self._encoder.reject_long(item),), verbatim=False)
        if self._encoder.runs_user_code:
            return await in_user_thread(partial(self._encoder.encode, item))
        return self._encoder.encode(item)

    async def encode_lines(self, block: Block) -> list[EncodedLine]:
        """*block* line by line."""
        if self._encoder.runs_user_code:
            return await in_user_thread(partial(self._encoder.encode_lines, block))
        return self._encoder.encode_lines(block)

    async def cuts(self, items: Items, rows: int) -> Sequence[int]:
        """Before which of the *rows* good rows (numbers from 0) that *items* gives a chunk may be cut: rows that were made of one
        row of the source stay together."""
        if not self._encoder.makes_several:
            return range(rows)
        found: list[int] = []
        count = 0
        async with aclosing(self._stepping(items)) as stream:
            async for item in stream:
                for line in await self.encode_lines(item) if isinstance(item, Block) else ():
                    if line.bodies:
                        found.append(count)
                        count += len(line.bodies)
        return found

    async def whole(self, items: Items, keep: Keep) -> Drafted:
        """Everything that *items* gives in one draft, whatever its size."""
        draft = Draft(keep)
        async with aclosing(self._stepping(items)) as stream:
            async for item in stream:
                self.add(draft, item, await self.encode(item))
        return draft.done()

    async def within(self, items: Items, keep: Keep, limits: Limits | None) -> Drafted:
        """As `whole`; but what turns out to be more than one chunk within *limits* (None: any) keeps no rows and no rejects, since
        its parts are made in a second pass, and where *items* cannot be read further that is of what came before."""
        draft, broke_off = Draft(keep), None
        try:
            async with aclosing(self._stepping(items)) as stream:
                async for item in stream:
                    self.add(draft, item, await self.encode(item))
                    if limits is not None and not is_one_chunk(draft, limits):
                        draft.keep = Keep(encoded=False, raw=keep.raw, rejects=False)
                        draft.encoded, draft.rejects = [], []
        except SourceUnreadable as error:
            broke_off = error
        return replace(draft.done(), broke_off=broke_off)

    async def verbatim(self, items: Items) -> Drafted | None:
        """As `whole`, holding nothing, or None as soon as a block turns out not to be sent as its own bytes."""
        draft = Draft(Keep(encoded=False, raw=False))
        async with aclosing(self._stepping(items, _CLEAN_STEP_BYTES)) as stream:
            async for item in stream:
                self.add(draft, item, await self.encode(item))
                if not draft.verbatim:
                    return None
        return draft.done()

    async def parts(
        self, items: Items, keep: Keep, limits: Limits, *, body_bytes: int, rows: int
    ) -> AsyncGenerator[Drafted, None]:
        """What *items* gives (*body_bytes* in *rows* rows) in even drafts within *limits*, in order, cut between rows."""
        part = even_part(limits, body_bytes=body_bytes, rows=rows)
        draft = Draft(keep)
        async for item in self._stepping(items):
            rest: Block | LongRow | None = item
            while rest is not None:
                made = await self.encode(rest)
                if draft.reject_bytes > MAX_REJECT_BYTES:
                    yield draft.done()
                    draft = Draft(keep)
                if draft.body_bytes + len(made.body) < part.body_bytes and draft.rows + made.rows < part.rows:
                    self.add(draft, rest, made)
                    rest = None
                    continue
                head, rest = await self._cut(draft, rest, part, limits)
                if head is not None:
                    self.add(draft, head, await self.encode(head))
                if rest is not None:
                    yield draft.done()
                    draft = Draft(keep)
        if not draft.is_empty:
            yield draft.done()

    async def cut_before(self, items: Items, keep: Keep, rows: Sequence[int]) -> AsyncGenerator[Drafted, None]:
        """What *items* gives, cut before each of the good *rows* (numbers from 0, ascending, none of them 0)."""
        draft = Draft(keep)
        edges = list(rows)
        before = 0  # good rows in the drafts that are closed
        async with aclosing(self._stepping(items)) as stream:
            async for item in stream:
                rest: Block | LongRow | None = item
                while rest is not None:
                    made = await self.encode(rest)
                    if isinstance(rest, LongRow) or not edges or before + draft.rows + made.rows <= edges[0]:
                        self.add(draft, rest, made)
                        break
                    lines = await self.encode_lines(rest)
                    count = _line_of_row(lines, edges[0] - before - draft.rows)
                    if count:
                        head, rest = cut(rest, lines, count)
                        self.add(draft, head, await self.encode(head))
                    yield draft.done()
                    before, draft = before + draft.rows, Draft(keep)
                    edges.pop(0)
        if not draft.is_empty:
            yield draft.done()

    async def _cut(
        self, draft: Draft, item: Block | LongRow, part: Portion, limits: Limits
    ) -> tuple[Block | LongRow | None, Block | LongRow | None]:
        """What of *item* still goes into *draft*, and the rest."""
        if isinstance(item, LongRow):
            return item, None
        lines = await self.encode_lines(item)
        count = lines_that_fit(lines, part, limits, body_bytes=draft.body_bytes, rows=draft.rows)
        if count == len(lines):
            return item, None
        if count == 0:
            return None, item
        return cut(item, lines, count)

    async def _stepping(self, items: Items, step_bytes: int = _STEP_BYTES) -> AsyncGenerator[Block | LongRow, None]:
        """*items*, letting others run in between, until the lane stops."""
        unstepped = 0
        async with aclosing(items()) as stream:
            async for item in stream:
                self._halt.check()
                yield item
                unstepped += item.end - item.start
                if unstepped >= step_bytes:
                    # Not for each of many small files: a turn of the loop costs more than their rows.
                    unstepped = 0
                    await asyncio.sleep(0)


def _line_of_row(lines: Sequence[EncodedLine], row: int) -> int:
    """The number of the line that holds the good row number *row* (from 0) of *lines*."""
    for number, line in enumerate(lines):
        row -= len(line.bodies)
        if row < 0:
            return number
    raise IndexError(row)


def pieces(item: Block | LongRow) -> Iterator[Block | LongRow]:
    """*item* in blocks of few lines."""
    if isinstance(item, LongRow):
        yield item
        return
    begin = at = first = 0
    count = line_count(item.data)
    while first < count:
        last = min(count, first + PIECE_LINES)
        for _ in range(first, last):
            at = item.data.find(b"\n", at) + 1 or len(item.data)
        if item.offsets is None:
            start, end, offsets = item.start + begin, item.start + at, None
        else:
            start, end = item.offsets[first], item.offsets[last] if last < count else item.end
            offsets = item.offsets[first:last]
        yield Block(
            item.data[begin:at], item.start if first == 0 else start, item.end if last == count else end, offsets
        )
        begin, first = at, last
