"""From the source to planned chunks: read, encode, cut, plan. One task a lane.

Tiles are read in order. A tile of a plain file is first read without being held: if it is clean and fits into one request, its
chunk is sent straight from the file later. Otherwise the tile is read once more into memory, in as many even chunks as it
needs. What cannot be read twice is held as it was read until its chunks are planned and sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

import anyio
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectSendStream

from bulkup.chunk import WHOLE, Chunk, ChunkId, ChunkState, TileSpan, Totals
from bulkup.config import OnDoubt, RejectLimit
from bulkup.dead_letter import dead_letter
from bulkup.destinations.seam import Creates, Destination
from bulkup.errors import ExitCode, SourceUnreadable
from bulkup.flow.children import ChildNumbers
from bulkup.flow.chunker import MAX_REJECT_BYTES, Chunker
from bulkup.flow.draft import Draft, Keep
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.flow.limit import BodyLimit
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepared import Items, Prepared, changed, from_file, from_memory, listed
from bulkup.journal import LaneJournal
from bulkup.model import Block, LongRow
from bulkup.naming import family_name, widest_name
from bulkup.pacing import ByteBudget
from bulkup.sources import Cursor, Source
from bulkup.tiling import Limits

__all__ = ["Preparer"]

UNPLANNED = 64
"""How many drafts and tiles may wait for a second chunk before the source is taken to need several."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A draft with its place, and the budget that is held for it."""

    draft: Draft
    id: ChunkId
    held_bytes: int


class Preparer:
    """Plans one lane's chunks and hands them on, those that an earlier process had planned first."""

    def __init__(
        self,
        *,
        lane: str,
        source: Source,
        cursor: Cursor,
        chunker: Chunker,
        plan: LanePlan,
        destination: Destination,
        journal: LaneJournal,
        budget: ByteBudget,
        halt: Halt,
        numbers: ChildNumbers,
        totals: Totals,
        limit: BodyLimit,
        max_rejects: RejectLimit | None,
        on_doubt: OnDoubt,
        with_rejected_rows: bool,
    ) -> None:
        self._lane = lane
        self._source = source
        self._cursor = cursor
        self._chunker = chunker
        self._plan = plan
        self._destination = destination
        self._journal = journal
        self._budget = budget
        self._halt = halt
        self._numbers = numbers
        self._totals = totals
        self._limit = limit
        self._max_rejects = max_rejects
        doubts = (ChunkState.IN_DOUBT,) if on_doubt is OnDoubt.RESEND else ()
        self._states = (ChunkState.PLANNED, ChunkState.ANSWERED, *doubts)
        self._with_rejected_rows = with_rejected_rows
        self._envelope_bytes = destination.envelope(widest_name(destination.dataset_name), plan.rows).size
        self._unplanned: list[_Made | TileSpan] = []
        self._planning: asyncio.Future[None] | None = None
        self._names_are_settled = destination.capabilities.creates is Creates.FIRST_CHUNK
        self._is_family = False
        self._expect_clean = True
        self.unreadable: SourceUnreadable | None = None

    async def run(self, out: MemoryObjectSendStream[Prepared]) -> None:
        """Hand on every chunk that is to be sent, in order. Ends at the source's end, or where it cannot be read further."""
        async with out:
            for chunk in await self._journal.open_chunks(*self._states):
                await self._hand_on(await self._again(chunk), out)
            tile, planned_to = await self._journal.frontier()
            if self._totals.chunks:
                self._names_are_settled = self._is_family = True
            if planned_to is not None and planned_to >= (tile + 1) * self._plan.tile_bytes:
                # All of its rows are planned, its end is not: there is nothing to read, and a sequential cursor must not pass
                # the next tile's first byte.
                self._unplanned.append(TileSpan(tile, tile * self._plan.tile_bytes, (tile + 1) * self._plan.tile_bytes))
                tile, planned_to = tile + 1, None
            while self.unreadable is None and await self._more(self._first_byte(tile, planned_to)):
                await self._tile(tile, planned_to, out)
                tile, planned_to = tile + 1, None
            await self._flush(out, family=False)
            if self._planning is not None:
                await self._planning

    async def _more(self, position: int) -> bool:
        self._halt.check()
        try:
            return await self._cursor.more(position)
        except SourceUnreadable as error:
            self.unreadable = error
            return False

    def _first_byte(self, tile: int, planned_to: int | None) -> int:
        return tile * self._plan.tile_bytes if planned_to is None else planned_to

    @property
    def _limits(self) -> Limits:
        return self._plan.limits(envelope_bytes=self._envelope_bytes, max_body_bytes=self._limit.bytes)

    async def _tile(self, tile: int, planned_to: int | None, out: MemoryObjectSendStream[Prepared]) -> None:
        start, stop = self._first_byte(tile, planned_to), (tile + 1) * self._plan.tile_bytes
        if self._source.splittable:

            def items() -> AsyncGenerator[Block | LongRow, None]:
                return self._cursor.read(start, stop)

            draft, held = await self._read_splittable(items, out)
        else:
            size = min(self._plan.tile_bytes, self._limits.body_bytes)
            draft, held = await self._read_held(
                lambda: self._cursor.read(start, stop), Keep(encoded=True, raw=True), out, held=2 * size
            )

            items = listed(draft.raw)

        if draft.is_empty:
            self._budget.give(held)
        elif self._is_one_chunk(draft):
            child = WHOLE if planned_to is None else await self._numbers.take(tile)
            await self._emit(_Made(draft, ChunkId(self._lane, tile, child), held), out)
        else:
            self._budget.give(held)
            await self._emit_parts(draft, items, tile, out)
        self._unplanned.append(TileSpan(tile, start, stop))
        if len(self._unplanned) > UNPLANNED:
            await self._flush(out, family=True)

    def _is_one_chunk(self, draft: Draft) -> bool:
        fits = self._limits.allow(body_bytes=draft.body_bytes, rows=draft.rows)
        return fits and draft.reject_bytes <= MAX_REJECT_BYTES

    async def _read_splittable(self, items: Items, out: MemoryObjectSendStream[Prepared]) -> tuple[Draft, int]:
        """One tile of a plain file: not held if it turns out to be clean, else held if it fits into one request."""
        if self._expect_clean:
            with suppress(SourceUnreadable):  # the second reading keeps what comes before the fault
                if (draft := await self._chunker.verbatim(items)) is not None:
                    return draft, 0
        return await self._read_held(items, Keep(encoded=True, raw=False), out, held=self._limits.body_bytes)

    async def _read_held(
        self, items: Items, keep: Keep, out: MemoryObjectSendStream[Prepared], *, held: int
    ) -> tuple[Draft, int]:
        """A tile in memory under *held* bytes of the budget, given back as far as they turn out not to be needed.

        What passes the limits keeps no encoded rows: its parts are made in a second pass.
        """
        if not self._budget.has_room(held) and any(isinstance(m, _Made) and m.held_bytes for m in self._unplanned):
            await self._flush(out, family=True)  # it holds, waiting for a second chunk, what the second one waits for
        await self._take(held)
        draft = Draft(keep)
        try:
            async with aclosing(items()) as stream:
                async for item in stream:
                    self._halt.check()
                    self._chunker.add(draft, item)
                    if not self._is_one_chunk(draft):
                        draft.keep = Keep(encoded=False, raw=keep.raw, rejects=False)
                        draft.encoded, draft.rejects = [], []
                    await checkpoint()
        except SourceUnreadable as error:
            self.unreadable = error
        except BaseException:
            self._budget.give(held)
            raise
        self._expect_clean = draft.verbatim
        kept = (draft.body_bytes if draft.encoded else 0) + sum(item.end - item.start for item in draft.raw)
        self._budget.give(held - kept)
        return draft, kept

    async def _emit_parts(self, whole: Draft, items: Items, tile: int, out: MemoryObjectSendStream[Prepared]) -> None:
        """Several even chunks for one tile, each planned as it closes. That makes a family: nothing is held back any more."""
        await self._flush(out, family=True)
        self._names_are_settled = self._is_family = True
        limits = self._limits
        keep = Keep(encoded=True, raw=not self._source.splittable)
        room = min(limits.body_bytes, whole.body_bytes) * (2 if keep.raw else 1)
        parts = self._chunker.parts(items, keep, limits, body_bytes=whole.body_bytes, rows=whole.rows)
        async with aclosing(parts):
            while True:
                await self._take(room)
                draft = await anext(parts, None)
                if draft is None:
                    self._budget.give(room)
                    return
                child = await self._numbers.take(tile)
                await self._emit(_Made(draft, ChunkId(self._lane, tile, child), room), out)

    async def _emit(self, made: _Made, out: MemoryObjectSendStream[Prepared]) -> None:
        self._unplanned.append(made)
        letters = sum(m.draft.reject_bytes for m in self._unplanned if isinstance(m, _Made))
        full = [m for m in self._unplanned if isinstance(m, _Made) and m.draft.rows]
        if self._names_are_settled or len(full) > 1 or letters > MAX_REJECT_BYTES:
            await self._flush(out, family=True)

    async def _flush(self, out: MemoryObjectSendStream[Prepared], *, family: bool) -> None:
        """Plan what waits, and hand on what is to be sent."""
        unplanned, self._unplanned = self._unplanned, []
        if not unplanned:
            return
        self._is_family |= family
        self._names_are_settled |= family
        made = [m for m in unplanned if isinstance(m, _Made)]
        chunks = [m.draft.chunk(m.id, self._name(m)) for m in made]
        rejects = b"".join(self._dead_letters(m.draft) for m in made)
        if self._planning is not None:
            await self._planning
        self._planning = self._journal.plan(
            chunks, rejects=rejects, tiles=[span for span in unplanned if isinstance(span, TileSpan)]
        )
        for chunk in chunks:
            self._totals.move(chunk, None, chunk.state)
        self._check_rejects()
        for m, chunk in zip(made, chunks, strict=True):
            if chunk.rows:
                await self._hand_on(self._prepared(m, chunk), out)
            elif m.held_bytes:
                self._budget.give(m.held_bytes)

    def _check_rejects(self) -> None:
        totals = self._totals
        if self._max_rejects and self._max_rejects.is_passed(rejected=totals.rows_rejected, read=totals.rows_read):
            text = (
                f"{totals.rows_rejected:,} of {totals.rows_read:,} rows were rejected, more than --max-rejects allows"
            )
            self._halt.set(Reason(text + "; `bulkup rejects` shows them", ExitCode.STOPPED_BY_LIMIT))

    def _name(self, made: _Made) -> str:
        if self._destination.capabilities.creates is Creates.FIRST_CHUNK or not self._is_family:
            return self._destination.dataset_name
        return family_name(self._destination.dataset_name, made.id, made.draft.rows_hash)

    def _dead_letters(self, draft: Draft) -> bytes:
        return b"".join(
            dead_letter(
                self._lane,
                placed.reject,
                file=self._source.files[placed.file].uri,
                byte_offset=self._source.locate(placed.reject.position)[1],
                line_in_chunk=placed.line,
                with_row=self._with_rejected_rows,
            )
            for placed in draft.rejects
        )

    def _prepared(self, made: _Made, chunk: Chunk) -> Prepared:
        draft = made.draft
        items = self._items(chunk, draft.raw)
        if draft.encoded:
            return Prepared(chunk, from_memory(draft.encoded), items, made.held_bytes)
        return Prepared(chunk, from_file(self._cursor, chunk), items, made.held_bytes)

    def _items(self, chunk: Chunk, raw: list[Block | LongRow]) -> Items:
        if self._source.splittable:
            return lambda: self._cursor.read(chunk.start, chunk.stop)
        return listed(raw)

    async def _again(self, chunk: Chunk) -> Prepared:
        """A chunk that is in the journal already, read again. Raises `SourceChanged` where it is not what was planned."""
        if chunk.verbatim and self._source.splittable:
            return Prepared(chunk, from_file(self._cursor, chunk), self._items(chunk, []), 0)
        keep = Keep(encoded=True, raw=not self._source.splittable)
        held = chunk.body_bytes * (2 if keep.raw else 1)
        await self._take(held)
        draft = await self._chunker.whole(lambda: self._cursor.read(chunk.start, chunk.stop), keep)
        now = draft.chunk(chunk.id, chunk.name)
        if (now.raw_hash, now.rows_hash, now.rows) != (chunk.raw_hash, chunk.rows_hash, chunk.rows):
            raise changed(chunk)
        return Prepared(chunk, from_memory(draft.encoded), self._items(chunk, draft.raw), held)

    async def _hand_on(self, prepared: Prepared, out: MemoryObjectSendStream[Prepared]) -> None:
        try:
            await self._halt.unless_halted(lambda: out.send(prepared))
        except anyio.BrokenResourceError:
            raise Halted from None

    async def _take(self, size: int) -> None:
        await self._halt.unless_halted(lambda: self._budget.take(size))
