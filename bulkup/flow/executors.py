"""One lane's executors as one: who of them does what.

Worker processes do the heavy work where there are any that are ready, else this process does. Which tile, which chunk, when, and
what follows from an answer is decided elsewhere, and does not depend on who works.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TypeVar, cast

import anyio

from bulkup.chunk import Chunk, ChunkId
from bulkup.errors import SourceUnreadable
from bulkup.flow.draft import Drafted
from bulkup.flow.executor import Executor, Hold
from bulkup.flow.orders import (
    AddLines,
    CloseParts,
    DraftAll,
    DraftClean,
    LastWord,
    NextPart,
    OpenParts,
    SendChunk,
    Sent,
    Shipped,
    SourceRange,
)
from bulkup.flow.prepared import Prepared, changed
from bulkup.flow.processes import LaneWorkers, ThisProcess, WorkerProcess
from bulkup.flow.tiling import Limits
from bulkup.light_dataclass import replace
from bulkup.model import Block, LongRow
from bulkup.outcome import Accepted, InDoubt
from bulkup.rows.function import Function
from bulkup.sources import Cursor, Source
from bulkup.tokens.secret import holds_secret, known_secrets, redact
from bulkup.tokens.token_source import TokenSource
from bulkup.workers import WorkerLost

__all__ = ["Executors"]

AHEAD_A_WORKER = 2

BUSIER = 4
"""A chunk of a plain file goes to the far worker that has read it, unless that one has so many orders more than the least busy."""

DRAFTERS = 4096
"""Of so many chunks it is known which far worker has read them."""

SHIP_BYTES = 1024 * 1024
"""How much of a source that is read here goes to an executor in one message."""

T = TypeVar("T")


class Executors:
    """Whoever drafts and sends for one lane: *workers*, and *here*, which reads by *cursor*, where none of them is ready."""

    def __init__(
        self,
        lane: str,
        here: ThisProcess,
        workers: LaneWorkers,
        source: Source,
        cursor: Cursor,
        token: TokenSource,
        function: Function | None = None,
    ) -> None:
        """*function*: the user's that makes the rows, where there is one."""
        self._function = function
        self._lane = lane
        self._here = here
        self._workers = workers
        self._source = source
        self._cursor = cursor
        self._token = token
        self._keys = itertools.count()
        self._drafters: dict[int, WorkerProcess] = {}
        self._senders: dict[ChunkId, Executor] = {}

    @property
    def ahead(self) -> int:
        """How many tiles can be worked on besides the one that is wanted next."""
        return AHEAD_A_WORKER * len(self._workers.ready)

    async def clean(self, span: SourceRange) -> Drafted | None:
        """A draft of rows that are sent as their own bytes, holding nothing; None where one is not, or cannot be read."""
        order = DraftClean(self._lane, span)

        async def asked(executor: Executor) -> Drafted | None:
            drafted = cast("Drafted | None", await executor.ask(order))
            if drafted is not None and isinstance(executor, WorkerProcess) and executor.is_far:
                self._drafters[drafted.start] = executor
                if len(self._drafters) > DRAFTERS:
                    del self._drafters[next(iter(self._drafters))]
            return drafted

        return await self._by_any(asked)

    async def draft(
        self, span: SourceRange, limits: Limits | None, has_read: Callable[[], None] = lambda: None
    ) -> Drafted:
        """A draft of everything in *span*, whose rows are held if they come to one chunk within *limits* (None: whatever they come
        to). Of a source that is only read forwards it has the lines as read, and *has_read* is called once they are.

        Where the source cannot be read further it says so, and is of what came before.
        """
        if self._source.any_range:
            has_read()
            return await self._by_any(lambda executor: self._drafted(executor, span, limits))
        if not self._workers.ready:
            drafted = await self._drafted(self._here, span, limits, keep_raw=True)
            has_read()
            return drafted
        items, broke_off = await self._read(span)
        has_read()
        return replace(await self._draft_lines(items, limits), broke_off=broke_off)

    async def draft_again(self, chunk: Chunk, raw: Sequence[Block | LongRow]) -> Drafted:
        """The draft that *chunk* was planned by, from its range of the source, or where that is only read forwards from its lines,
        *raw*; from the source too where these are empty. Raises `SourceChanged` where it comes to something else now, and
        `SourceUnreadable`."""
        if raw:
            drafted = await self._draft_lines(list(raw), None)
        else:
            drafted = await self.draft(SourceRange(chunk.start, chunk.stop), None)
        if drafted.broke_off is not None:
            raise drafted.broke_off
        if (drafted.raw_hash, drafted.rows_hash, drafted.rows) != (chunk.raw_hash, chunk.rows_hash, chunk.rows):
            self.forget(drafted.hold)
            raise changed(chunk, drafted.raw_hash, self._function)
        return drafted

    async def parts(self, whole: Drafted, limits: Limits) -> AsyncGenerator[Drafted, None]:
        """Even drafts within *limits* of what came to *whole* in all, in order, each made when it is asked for and held.

        Where an executor is lost the next one goes on behind the last draft: the rest is cut evenly anew.
        """
        start, body_bytes, rows = whole.start, whole.body_bytes, whole.rows
        while True:
            # lines that are here already are cut here: each draft needs its own
            executor = self._somebody() if self._source.any_range else self._here
            try:
                lines = (
                    SourceRange(start, whole.stop) if self._source.any_range else await self._ship(executor, whole.raw)
                )
                async with aclosing(self._parts_by(executor, lines, limits, body_bytes, rows)) as parts:
                    async for part in parts:
                        start, body_bytes, rows = part.stop, body_bytes - part.body_bytes, rows - part.rows
                        yield part
                return
            except WorkerLost:
                continue

    async def send(self, prepared: Prepared, attempt: int, on_bytes: Callable[[int], None]) -> Sent:
        """One attempt, of that number. *on_bytes* has been called before this ends, or is cancelled, if a byte of the body may
        have left.

        Raises `SourceChanged` and `SourceUnreadable` where its rows cannot be read again as they were: then it was not sent whole.
        """
        executor, key = await self._rows_of(prepared)
        order = SendChunk(self._lane, prepared.chunk, attempt, key, self._token.current.header(), known_secrets())

        def told(word: object) -> None:
            count = word.bytes if isinstance(word, LastWord) else cast("int", word)
            if count or not isinstance(word, LastWord):
                on_bytes(count)

        try:
            came = cast("Sent", await executor.ask(order, told))
        except WorkerLost:
            on_bytes(0)
            return Sent(InDoubt("the worker that was sending it has ended, or does not answer any more"))
        if isinstance(came.outcome, Accepted):
            self._senders[prepared.chunk.id] = executor
        return came if known_secrets() == order.secrets else _kept_quiet(came)

    def recorded(self, chunk: ChunkId, attempt: int) -> None:
        """What came of that *attempt* at *chunk* is in the journal."""
        executor = self._senders.pop(chunk, None)
        if executor is not None:
            executor.recorded((self._lane, chunk.tile, chunk.child, attempt))

    def hold(self, encoded: list[bytes]) -> Hold:
        """Encoded rows that are here already, held here."""
        return self._here.hold(next(self._keys), encoded)

    def forget(self, hold: Hold | None) -> None:
        """Let go of rows that are held, if any are."""
        if hold is not None:
            hold.executor.forget(hold.key)

    def _somebody(self) -> Executor:
        """The worker that is asked least, else this process."""
        return self._workers.least_asked() or self._here

    def _reader_of(self, chunk: Chunk) -> Executor:
        """Who reads the rows of *chunk* from the file: its page cache may have them already."""
        least, drafter = self._somebody(), self._drafters.pop(chunk.start, None)
        if drafter is not None and drafter.is_there and isinstance(least, WorkerProcess):
            return drafter if drafter.asked <= least.asked + BUSIER else least
        return least

    async def _by_any(self, work: Callable[[Executor], Awaitable[T]]) -> T:
        """What *work* comes to with an executor that lives to see it."""
        while True:
            with suppress(WorkerLost):
                return await work(self._somebody())

    async def _drafted(
        self, executor: Executor, lines: SourceRange | Shipped, limits: Limits | None, *, keep_raw: bool = False
    ) -> Drafted:
        key = lines.key if isinstance(lines, Shipped) else next(self._keys)
        try:
            drafted = cast("Drafted", await executor.ask(DraftAll(self._lane, key, lines, limits, keep_raw)))
        except BaseException:
            executor.forget(key)
            raise
        return _held_by(executor, key, drafted)

    async def _draft_lines(self, items: list[Block | LongRow], limits: Limits | None) -> Drafted:
        """The draft of lines that were read here, which stay here too."""

        async def shipped(executor: Executor) -> Drafted:
            return await self._drafted(executor, await self._ship(executor, items), limits)

        return replace(await self._by_any(shipped), raw=items)

    async def _ship(self, executor: Executor, items: Sequence[Block | LongRow]) -> Shipped:
        """Hand lines over piece by piece: neither end holds a large message beside what is in it."""
        key = next(self._keys)
        piece: list[Block | LongRow] = []
        size = 0
        try:
            for item in items:
                piece.append(item)
                size += item.held_bytes
                if size >= SHIP_BYTES:
                    await executor.ship(AddLines(self._lane, key, piece, self._source.bases))
                    piece, size = [], 0
            await executor.ship(AddLines(self._lane, key, piece, self._source.bases))
        except BaseException:
            executor.forget(key)
            raise
        return Shipped(key, len(items))

    async def _read(self, span: SourceRange) -> tuple[list[Block | LongRow], SourceUnreadable | None]:
        items: list[Block | LongRow] = []
        try:
            async with aclosing(self._cursor.read(span.start, span.stop)) as stream:
                async for item in stream:
                    items.append(item)  # noqa: PERF401 - what came before a fault counts
        except SourceUnreadable as error:
            return items, error
        return items, None

    async def _parts_by(
        self, executor: Executor, lines: SourceRange | Shipped, limits: Limits, body_bytes: int, rows: int
    ) -> AsyncGenerator[Drafted, None]:
        parts = lines.key if isinstance(lines, Shipped) else next(self._keys)
        keep_raw = not self._source.any_range
        await executor.ask(OpenParts(self._lane, parts, lines, limits, body_bytes, rows, keep_raw))
        try:
            while True:
                key = next(self._keys)
                try:
                    part = cast("Drafted | None", await executor.ask(NextPart(self._lane, parts, key)))
                except BaseException:
                    executor.forget(key)
                    raise
                if part is None:
                    return
                yield _held_by(executor, key, part)
        finally:
            with anyio.CancelScope(shield=True), suppress(WorkerLost):
                await executor.ask(CloseParts(self._lane, parts))

    async def _rows_of(self, prepared: Prepared) -> tuple[Executor, int | None]:
        """Who can send the chunk, and under which key it holds the rows: None where they are read from the file."""
        hold = prepared.hold
        if hold is None:
            return self._reader_of(prepared.chunk), None
        if not hold.executor.is_there:  # its rows are made once more
            anew = (await self.draft_again(prepared.chunk, prepared.raw)).hold
            assert anew is not None, "a chunk that is sent has rows"
            hold.executor, hold.key = anew.executor, anew.key
        return hold.executor, hold.key


def _held_by(executor: Executor, key: int, drafted: Drafted) -> Drafted:
    return replace(drafted, hold=Hold(executor, key)) if drafted.is_held else drafted


def _kept_quiet(came: Sent) -> Sent:
    """*came*, where a token was renewed while a worker was sending: the worker knew only the secrets of before."""
    outcome = came.outcome
    if isinstance(outcome, Accepted) and holds_secret([outcome.remote_id, outcome.remote_name, came.ids.decode()]):
        return Sent(InDoubt("the answer has a token in an id or a name"))
    return replace(came, outcome=replace(outcome, reason=redact(outcome.reason)))
