"""From the source to planned chunks: read, encode, cut, plan. One task a lane.

Tiles are planned in order; where that helps, some are read ahead. A tile of a plain file is first read without being
held: if it is clean and fits into one request, its chunk is sent straight from the file later. Otherwise the tile is read once
more into memory, in as many even chunks as it needs. What cannot be read twice is held as it was read until its chunks are
planned and sent. A tile of many small files is held at once where there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from bulkup.chunk import WHOLE, Chunk, ChunkId, ChunkState, TileSpan
from bulkup.doubt.naming import widest_name
from bulkup.errors import SourceUnreadable
from bulkup.flow.bases import BasesKept
from bulkup.flow.chunker import MAX_REJECT_BYTES, is_one_chunk
from bulkup.flow.context import PlannedLane, SendingRound
from bulkup.flow.draft import Drafted
from bulkup.flow.halt import Halted
from bulkup.flow.orders import SourceRange
from bulkup.flow.prepared import Items, Prepared, listed
from bulkup.flow.reject_lines import reject_lines
from bulkup.flow.tiling import Limits
from bulkup.light_dataclass import dataclass
from bulkup.model import BLOCK_BYTES, Block, LongRow
from bulkup.settings.config import OnDoubt
from bulkup.sources import Source

__all__ = ["Preparer"]

_MANY = 16

UNPLANNED = 64
"""How many drafts and tiles may wait for a second chunk before the source is taken to need several."""


@dataclass(frozen=True, slots=True)
class _Tile:
    """A tile, or what is not planned of it: then *child* is None, since its chunk is not the whole tile."""

    number: int
    span: SourceRange
    child: int | None


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a tile, and the budget that is held for it."""

    of: _Tile
    drafted: Drafted
    held_bytes: int


@dataclass(frozen=True, slots=True)
class _Made:
    """A draft with its place, and the budget that is held for it."""

    draft: Drafted
    id: ChunkId
    held_bytes: int


class Preparer:
    """Plans one lane's chunks and hands them on, those that an earlier process had planned first.

    What is held in memory is counted in *budget*. Tiles that are read ahead of the one that is wanted next need a budget of their
    own (*reading*; else it is the same): what they hold is given back only once that one is planned, which may itself have to
    wait for memory.
    """

    def __init__(self, planned: PlannedLane, sending: SendingRound) -> None:
        self._lane = lane = planned.lane
        self._round = sending
        self._plan = planned.plan
        self._source = source = lane.source
        self._destination = destination = lane.destination
        self._journal = lane.journal
        self._halt = lane.halt
        self._cursor = sending.cursor
        self._executors = sending.executors
        self._budget = sending.budget
        self._reading = sending.reading
        doubts = (ChunkState.IN_DOUBT,) if lane.chosen.run.on_doubt is OnDoubt.RESEND else ()
        self._states = (ChunkState.PLANNED, ChunkState.ANSWERED, *doubts)
        self._envelope_bytes = planned.envelope_bytes(widest_name(destination.dataset_name))
        self._unplanned: list[_Made | TileSpan] = []
        self._planning: asyncio.Future[None] | None = None
        self._names_are_settled = not destination.policy.has_dataset_per_chunk
        self._is_family = False
        self._expect_clean = source.verbatim
        self._opens_much = _opens_much(source)
        self._bases = BasesKept(source, lane.journal, lane.clock.monotonic)
        self.unreadable: SourceUnreadable | None = None

    async def run(self, out: MemoryObjectSendStream[Prepared]) -> None:
        """Hand on every chunk that is to be sent, in order. Ends at the source's end, or where it cannot be read further."""
        async with out:
            self._round.rules.check_rejects()  # a lane that was stopped by it does not go on a little with each invocation
            self._halt.check()
            for chunk in await self._journal.open_chunks(*self._states):
                await self._hand_on(await self._again(chunk), out)
            tile, planned_to = await self._journal.frontier()
            if self._lane.tally.totals.chunks:
                self._names_are_settled = self._is_family = True
            if planned_to is not None and planned_to >= self._plan.span(tile)[1]:
                # All of its rows are planned, its end is not: there is nothing to read, and a sequential cursor must not pass
                # the next tile's first byte.
                self._unplanned.append(TileSpan(tile, *self._plan.span(tile)))
                tile, planned_to = tile + 1, None
            async with aclosing(self._reads(tile, planned_to, out)) as reads:
                async for read in reads:
                    await self._tile(read, out)
            await self._flush(out, family=False)
            if self._planning is not None:
                await self._planning

    async def _reads(
        self, tile: int, planned_to: int | None, out: MemoryObjectSendStream[Prepared]
    ) -> AsyncGenerator[_Read, None]:
        """The tiles as they were read, in order, some of them ahead where that helps."""
        ahead: deque[asyncio.Task[_Read]] = deque()
        turn = anyio.Event()
        turn.set()
        fault: SourceUnreadable | None = None
        is_over = False
        try:
            while True:
                while not is_over and len(ahead) <= self._executors.ahead:
                    self._halt.check()
                    if not self._source.any_range:
                        await _either(turn, ahead)
                        if ahead and not (turn.is_set() and self._reading.has_room(self._tile_holds)):
                            break  # room is made by planning what was read
                    start, stop = self._first_byte(tile, planned_to), self._plan.span(tile)[1]
                    try:
                        if not await self._cursor.more(start):
                            is_over = True
                            break
                    except SourceUnreadable as error:
                        fault, is_over = error, True
                        break
                    wanted = _Tile(tile, SourceRange(start, stop), WHOLE if planned_to is None else None)
                    mine, turn = turn, anyio.Event()
                    ahead.append(asyncio.create_task(self._read_tile(wanted, out, mine, turn)))
                    tile, planned_to = tile + 1, None
                if not ahead:
                    break
                read = await ahead[0]
                ahead.popleft()
                if self._reading is not self._budget:
                    try:
                        await self._make_room(read.held_bytes, out)
                    finally:
                        self._reading.give(read.held_bytes)
                yield read
                if read.drafted.broke_off is not None:
                    fault = read.drafted.broke_off
                    break
        finally:
            await self._drop(ahead)
        self.unreadable = fault

    @property
    def _tile_holds(self) -> int:
        """How many bytes of the budget the reading of a tile takes."""
        if self._source.any_range:
            return self._limits.body_bytes
        return self._plan.tile_bytes + self._limits.body_bytes  # as it was read, and encoded

    async def _drop(self, ahead: Iterable[asyncio.Task[_Read]]) -> None:
        """What was read ahead and is not wanted any more."""
        tasks = list(ahead)
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            for done in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(done, _Read):
                    self._reading.give(done.held_bytes)
                    self._executors.forget(done.drafted.hold)

    def _first_byte(self, tile: int, planned_to: int | None) -> int:
        return self._plan.span(tile)[0] if planned_to is None else planned_to

    @property
    def _limits(self) -> Limits:
        return self._plan.limits(envelope_bytes=self._envelope_bytes, max_body_bytes=self._lane.limit.bytes)

    async def _tile(self, read: _Read, out: MemoryObjectSendStream[Prepared]) -> None:
        """Plan what was read of one tile."""
        tile, drafted = read.of.number, read.drafted
        self._cursor.reached(read.of.span.stop)  # it may have been a worker that read it
        if drafted.is_empty:
            self._budget.give(read.held_bytes)
        elif is_one_chunk(drafted, self._limits):
            child = await self._round.numbers.take(tile) if read.of.child is None else read.of.child
            await self._emit(_Made(drafted, ChunkId(self._lane.name, tile, child), read.held_bytes), out)
        else:
            self._budget.give(read.held_bytes)
            self._executors.forget(drafted.hold)
            await self._emit_parts(read, out)
        self._unplanned.append(TileSpan(tile, read.of.span.start, read.of.span.stop))
        if len(self._unplanned) > UNPLANNED:
            await self._flush(out, family=True)

    async def _read_tile(
        self, tile: _Tile, out: MemoryObjectSendStream[Prepared], turn: anyio.Event, next_turn: anyio.Event
    ) -> _Read:
        """One tile: not held if its own bytes can be sent, else held if it fits into one request. One of very many files is held
        where there is room: to open them once more for the sending would take longer.

        Memory is taken by the tiles in turn, since a later one must not wait for an earlier one with what that one needs; and a
        source that is only read forwards is read by them in turn.
        """
        try:
            if self._expect_clean and not (self._opens_much and self._reading.has_room(self._tile_holds)):
                drafted = await self._executors.clean(tile.span)
                if drafted is not None:
                    await turn.wait()
                    return _Read(tile, drafted, 0)
            await turn.wait()
            held = await self._take_for_reading(out)
            return await self._read_held(tile, held, next_turn.set)
        finally:
            next_turn.set()

    async def _take_for_reading(self, out: MemoryObjectSendStream[Prepared]) -> int:
        held = self._tile_holds
        if self._reading is self._budget:
            await self._make_room(held, out)
        else:
            await self._halt.unless_halted(lambda: self._reading.take(held))
        return held

    async def _make_room(self, size: int, out: MemoryObjectSendStream[Prepared]) -> None:
        if not self._budget.has_room(size) and any(isinstance(m, _Made) and m.held_bytes for m in self._unplanned):
            await self._flush(out, family=True)  # it holds, waiting for a second chunk, what the second one waits for
        await self._take(size)

    async def _read_held(self, tile: _Tile, held: int, has_read: Callable[[], None]) -> _Read:
        """A tile in memory under *held* bytes of the budget, given back as far as they turn out not to be needed.

        What passes the limits keeps no encoded rows: its parts are made in a second pass.
        """
        try:
            drafted = await self._executors.draft(tile.span, self._limits, has_read)
        except BaseException:
            self._reading.give(held)
            raise
        self._expect_clean = drafted.verbatim and self._source.verbatim
        kept = (drafted.body_bytes if drafted.is_held else 0) + sum(item.held_bytes for item in drafted.raw)
        self._reading.give(held - kept)
        return _Read(tile, drafted, kept)

    async def _emit_parts(self, read: _Read, out: MemoryObjectSendStream[Prepared]) -> None:
        """Several even chunks for one tile, each planned as it closes. That makes a family: nothing is held back any more."""
        await self._flush(out, family=True)
        self._names_are_settled = self._is_family = True
        tile, whole, limits = read.of.number, read.drafted, self._limits
        room = min(limits.body_bytes, whole.body_bytes) * (1 if self._source.any_range else 2)
        async with aclosing(self._executors.parts(whole, limits)) as parts:
            while True:
                await self._take(room)
                part = await anext(parts, None)
                if part is None:
                    self._budget.give(room)
                    return
                child = await self._round.numbers.take(tile)
                await self._emit(_Made(part, ChunkId(self._lane.name, tile, child), room), out)

    async def _emit(self, made: _Made, out: MemoryObjectSendStream[Prepared]) -> None:
        self._unplanned.append(made)
        reject_bytes = sum(m.draft.reject_bytes for m in self._unplanned if isinstance(m, _Made))
        full = [m for m in self._unplanned if isinstance(m, _Made) and m.draft.rows]
        if self._names_are_settled or len(full) > 1 or reject_bytes > MAX_REJECT_BYTES:
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
        rejects = b"".join(reject_lines(self._lane, m.draft.rejects) for m in made)
        if self._planning is not None:
            await self._planning
        await self._bases.keep()
        self._planning = self._journal.plan(
            chunks, rejects=rejects, tiles=[span for span in unplanned if isinstance(span, TileSpan)]
        )
        for chunk in chunks:
            self._lane.tally.totals.move(chunk, None, chunk.state)
        self._round.rules.check_rejects()
        for m, chunk in zip(made, chunks, strict=True):
            if chunk.rows:
                await self._hand_on(self._prepared(chunk, m.draft, m.held_bytes), out)
            elif m.held_bytes:
                self._budget.give(m.held_bytes)

    def _name(self, made: _Made) -> str:
        return self._destination.policy.chunk_name(
            self._destination.dataset_name, made.id, made.draft.rows_hash, is_family=self._is_family
        )

    def _prepared(self, chunk: Chunk, drafted: Drafted, held: int) -> Prepared:
        return Prepared(chunk, self._items(chunk, drafted.raw), held, drafted.hold, drafted.raw)

    def _items(self, chunk: Chunk, raw: list[Block | LongRow]) -> Items:
        if self._source.any_range:
            return lambda: self._cursor.read(chunk.start, chunk.stop)
        return listed(raw)

    async def _again(self, chunk: Chunk) -> Prepared:
        """A chunk that is in the journal already, read again. Raises `SourceChanged` where it is not what was planned."""
        if chunk.verbatim and self._source.verbatim:
            return Prepared(chunk, self._items(chunk, []), 0)
        held = chunk.body_bytes * (1 if self._source.any_range else 2)
        await self._take(held)
        return self._prepared(chunk, await self._executors.draft_again(chunk, ()), held)

    async def _hand_on(self, prepared: Prepared, out: MemoryObjectSendStream[Prepared]) -> None:
        try:
            await self._halt.unless_halted(lambda: out.send(prepared))
        except anyio.BrokenResourceError:
            raise Halted from None

    async def _take(self, size: int) -> None:
        await self._halt.unless_halted(lambda: self._budget.take(size))


async def _either(turn: anyio.Event, ahead: Sequence[asyncio.Task[_Read]]) -> None:
    """Wait for the turn, or for the first tile that was read ahead: it may hold the memory that whoever has the turn waits for."""
    if not turn.is_set() and ahead:
        waiting = asyncio.create_task(turn.wait())
        try:
            await asyncio.wait({waiting, ahead[0]}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()


def _opens_much(source: Source) -> bool:
    """Whether its files are so many and so small that to open one takes about as long as to read it."""
    count, size = len(source.files), source.size
    return source.verbatim and count >= _MANY and size is not None and size < count * BLOCK_BYTES
