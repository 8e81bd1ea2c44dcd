"""A lane whose heavy work is done by worker processes: what is read and encoded, and what is sent.

Everything is still decided here: which tile, which chunk, when, and what follows from an answer. So a worker that dies takes no
knowledge with it: its drafts are made by another, and what it was sending is in doubt. Where no worker is there yet, or none is
left, this process does the work itself.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, cast

import anyio

from bulkup.destinations.seam import Destination, Payload
from bulkup.errors import SourceUnreadable
from bulkup.flow.draft import Drafted, Hold, Keep
from bulkup.flow.drafter import OwnDrafter
from bulkup.flow.orders import (
    DraftClean,
    DraftHeld,
    DraftParts,
    Forget,
    LastWord,
    Lines,
    OpenLane,
    SendChunk,
    Sent,
    Ship,
    Shipped,
    Span,
    Unship,
)
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepared import Items, Prepared
from bulkup.flow.sender import OwnSender
from bulkup.model import Block, LongRow
from bulkup.outcome import Accepted, InDoubt
from bulkup.secret import holds_secret, known_secrets, redact
from bulkup.sources import Cursor, Source
from bulkup.tiling import Limits
from bulkup.workers import Pool, WorkerLost

__all__ = ["LaneHelp", "PoolDrafter", "PoolSender"]

AHEAD_A_WORKER = 2

SHIP_BYTES = 1024 * 1024
"""How much of a source that is read here goes to a worker in one message."""


class LaneHelp:
    """The pool as one lane sees it. *opening* is what a worker makes the lane's destination of."""

    def __init__(self, pool: Pool, lane: str, opening: object) -> None:
        self.pool = pool
        self.lane = lane
        self._opening = opening
        self._opened: set[int] = set()

    @property
    def ready(self) -> tuple[int, ...]:
        """The workers that are there and know the lane, by number."""
        return tuple(worker for worker in self.pool.numbers if worker in self._opened)

    def least_asked(self) -> int:
        """The one of them that has the fewest orders under way. Raises `WorkerLost` where there is none."""
        return self.pool.least_asked(self.ready)

    async def open(self, plan: LanePlan, source: Source) -> None:
        """Get every worker ready for the lane. One that cannot be is no help, and no harm."""
        order = OpenLane(self.lane, self._opening, source.files, plan.to_json())

        async def tell(worker: int) -> None:
            with suppress(WorkerLost):
                await self.pool.ask(worker, order)
                self._opened.add(worker)

        async with anyio.create_task_group() as tasks:
            for worker in self.pool.numbers:
                tasks.start_soon(tell, worker)


class PoolDrafter:
    """Drafts made by whichever worker has the least to do."""

    def __init__(self, help_: LaneHelp, own: OwnDrafter, source: Source, cursor: Cursor) -> None:
        self._help = help_
        self._pool = help_.pool
        self._own = own
        self._source = source
        self._cursor = cursor
        self._keys = itertools.count()

    @property
    def ahead(self) -> int:
        return AHEAD_A_WORKER * len(self._help.ready)

    async def fetch(self, span: Span) -> Span | Lines:
        if self._source.splittable:
            return span
        items: list[Block | LongRow] = []
        broke_off = None
        try:
            async with aclosing(self._cursor.read(span.start, span.stop)) as stream:
                async for item in stream:
                    items.append(item)  # noqa: PERF401 - what came before a fault counts
        except SourceUnreadable as error:
            broke_off = error
        return Lines(items, broke_off)

    async def clean(self, span: Span) -> Drafted | None:
        try:
            _, found = await self._ask(DraftClean(self._help.lane, span))
        except WorkerLost:
            return await self._own.clean(span)
        return cast("Drafted | None", found)

    async def held(self, lines: Span | Lines, keep: Keep, limits: Limits | None) -> Drafted:
        try:
            if isinstance(lines, Span):
                worker, found = await self._ask(DraftHeld(self._help.lane, lines, limits))
                return _at(worker, cast("Drafted", found))
            worker, key = self._help.least_asked(), next(self._keys)
            try:
                shipped = await self._ship(worker, key, lines.items)
                found = await self._pool.ask(worker, DraftHeld(self._help.lane, shipped, limits))
            except BaseException:
                self._pool.tell(worker, Unship(self._help.lane, key))
                raise
            return replace(_at(worker, cast("Drafted", found)), raw=lines.items, broke_off=lines.broke_off)
        except WorkerLost:
            return await self._own.held(lines, keep, limits)

    async def _ship(self, worker: int, key: int, items: list[Block | LongRow]) -> Shipped:
        """Send lines to a worker piece by piece: neither end holds a large message beside what is in it."""
        piece: list[Block | LongRow] = []
        size = 0
        for item in items:
            piece.append(item)
            size += item.end - item.start
            if size >= SHIP_BYTES:
                await self._pool.send(worker, Ship(self._help.lane, key, piece, self._source.bases))
                piece, size = [], 0
        await self._pool.send(worker, Ship(self._help.lane, key, piece, self._source.bases))
        return Shipped(key, len(items))

    async def parts(
        self, span: Span, items: Items, keep: Keep, limits: Limits, whole: Drafted
    ) -> AsyncGenerator[Drafted, None]:
        if self.holds_parts_at_once(keep, limits, whole):
            try:
                order = DraftParts(self._help.lane, span, keep, limits, whole.body_bytes, whole.rows)
                worker, found = await self._ask(order)
            except WorkerLost:
                pass
            else:
                for drafted in cast("list[Drafted]", found):
                    yield _at(worker, drafted)
                return
        async with aclosing(self._own.parts(span, items, keep, limits, whole)) as parts:
            async for drafted in parts:
                yield drafted

    def holds_parts_at_once(self, keep: Keep, limits: Limits, whole: Drafted) -> bool:
        return not keep.raw and whole.body_bytes <= 2 * limits.body_bytes and bool(self._help.ready)

    def forget(self, drafted: Drafted) -> None:
        if drafted.hold is not None:
            self._pool.tell(drafted.hold.worker, Forget(self._help.lane, drafted.hold.key))

    async def _ask(self, order: object) -> tuple[int, object]:
        """Some worker's answer, and which one it was. Raises `WorkerLost` where none is left."""
        while True:
            worker = self._help.least_asked()
            try:
                return worker, await self._pool.ask(worker, order)
            except WorkerLost:
                continue


class PoolSender:
    """Attempts made by the worker that holds the rows, or for a range of a plain file by whichever has the least to do."""

    def __init__(self, help_: LaneHelp, destination: Destination) -> None:
        self._help = help_
        self._pool = help_.pool
        self._destination = destination
        self._own = OwnSender(destination)

    async def send(self, prepared: Prepared, payload: Payload, on_bytes: Callable[[int], None]) -> Sent:
        worker = self._worker_for(prepared)
        if worker is None:
            return await self._own.send(prepared, payload, on_bytes)
        key = prepared.hold.key if prepared.hold is not None else None
        token = self._destination.token.current
        order = SendChunk(self._help.lane, prepared.chunk, key, token.header(), known_secrets())
        is_over = False

        def told(word: Any) -> None:
            nonlocal is_over
            is_over |= isinstance(word, LastWord)
            count: int = word.bytes if isinstance(word, LastWord) else word
            if count:
                on_bytes(count)

        try:
            came = cast("Sent", await self._pool.ask(worker, order, told=told))
        except WorkerLost:
            on_bytes(0)
            return Sent(InDoubt("the worker process that was sending it has ended"))
        except anyio.get_cancelled_exc_class():
            if not is_over:  # nobody knows what has left, nor what still would
                self._pool.kill(worker)
                on_bytes(0)
            raise
        return came if known_secrets() == order.secrets else _kept_quiet(came)

    def _worker_for(self, prepared: Prepared) -> int | None:
        if prepared.hold is not None:
            return prepared.hold.worker if self._pool.is_alive(prepared.hold.worker) else None
        if prepared.is_in_file and self._help.ready:
            return self._help.least_asked()
        return None


def _at(worker: int, drafted: Drafted) -> Drafted:
    return drafted if drafted.hold is None else replace(drafted, hold=Hold(worker, drafted.hold.key))


def _kept_quiet(came: Sent) -> Sent:
    """*came*, where a token was renewed while a worker was sending: the worker knew only the secrets of before."""
    outcome = came.outcome
    if isinstance(outcome, Accepted) and holds_secret([outcome.remote_id, outcome.remote_name, came.ids.decode()]):
        return Sent(InDoubt("the answer has a token in an id or a name"))
    return replace(came, outcome=replace(outcome, reason=redact(outcome.reason)))
