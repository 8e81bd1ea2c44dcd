"""One lane's work in a worker process: it drafts and sends what it is asked to, and decides nothing."""

from __future__ import annotations

import itertools
import time
from contextlib import aclosing
from dataclasses import dataclass, replace

from bulkup.destinations.base import Destination, Payload
from bulkup.flow.chunker import Chunker
from bulkup.flow.draft import Drafted, Hold, Keep
from bulkup.flow.drafter import OwnDrafter
from bulkup.flow.halt import Halt
from bulkup.flow.orders import (
    DraftClean,
    DraftHeld,
    DraftParts,
    Forget,
    LastWord,
    Lines,
    SendChunk,
    Sent,
    Ship,
    Shipped,
    Span,
    Unship,
)
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepared import from_file, from_memory
from bulkup.flow.sender import sent
from bulkup.model import Block, LongRow
from bulkup.secret import Token, remember_secret
from bulkup.sources import Source
from bulkup.workers import Tell

__all__ = ["Hands", "LaneOrder"]

LaneOrder = DraftClean | DraftHeld | DraftParts | SendChunk | Ship | Unship | Forget

WORD_EVERY_S = 0.1
"""How often a worker says how much of a body it has sent."""

_HOLD = Keep(encoded=True, raw=False)


@dataclass(slots=True)
class FarLayout:
    """Where the files begin in a source that another process reads, as far as known there."""

    bases: tuple[int, ...] = (0,)


class Hands:
    """Carries one lane's orders out. *source* is None where the lines come with the orders."""

    def __init__(self, destination: Destination, plan: LanePlan, source: Source | None) -> None:
        halt = Halt()  # nothing stops a worker's work but the order to
        self._destination = destination
        self._plan = plan
        self._far = FarLayout()
        self._shipped: dict[int, list[Block | LongRow]] = {}
        self._cursor = source.cursor() if source is not None else None
        self._chunker = Chunker(source or self._far, plan.rows.encoder(), halt)
        self._drafter = OwnDrafter(self._chunker, self._cursor, halt)
        self._holds: dict[int, list[bytes]] = {}
        self._keys = itertools.count()

    async def carry_out(self, order: LaneOrder, tell: Tell) -> object:
        """The answer to *order*."""
        match order:
            case DraftClean(_, span):
                return await self._drafter.clean(span)
            case Ship(_, key, items, bases):
                self._far.bases = max(self._far.bases, bases, key=len)
                self._shipped.setdefault(key, []).extend(items)
                return None
            case DraftHeld(_, Span() as span, limits):
                return self._held(await self._drafter.held(span, _HOLD, limits))
            case DraftHeld(_, Shipped(key, count), limits):
                items = self._shipped.pop(key, [])
                assert len(items) == count, "lines are drafted once all of them are here"
                return self._held(await self._drafter.held(Lines(items), _HOLD, limits))
            case Unship(_, key):
                self._shipped.pop(key, None)
                return None
            case DraftParts():
                return await self._parts(order)
            case SendChunk():
                return await self._send(order, tell)
            case Forget(_, key):
                self._holds.pop(key, None)
                return None
            case _:
                raise TypeError(f"a lane knows no order {type(order).__name__}")

    async def _parts(self, order: DraftParts) -> list[Drafted]:
        assert self._cursor is not None
        span, cursor, found = order.span, self._cursor, []
        parts = self._chunker.parts(
            lambda: cursor.read(span.start, span.stop), order.keep, order.limits,
            body_bytes=order.body_bytes, rows=order.rows,
        )  # fmt: skip
        try:
            async with aclosing(parts):
                async for drafted in parts:
                    found.append(self._held(drafted))  # noqa: PERF401 - what is found so far is let go of below
        except BaseException:
            for drafted in found:
                if drafted.hold is not None:
                    del self._holds[drafted.hold.key]
            raise
        return found

    def _held(self, drafted: Drafted) -> Drafted:
        if not drafted.encoded:
            return replace(drafted, raw=[])
        key = next(self._keys)
        self._holds[key] = drafted.encoded
        return replace(drafted, encoded=[], raw=[], hold=Hold(-1, key))

    async def _send(self, order: SendChunk, tell: Tell) -> Sent:
        chunk = order.chunk
        if order.key is not None:
            row_blocks = from_memory(self._holds[order.key])
        else:
            assert self._cursor is not None
            row_blocks = from_file(self._cursor, chunk)
        payload = Payload(
            name=chunk.name,
            rows=chunk.rows,
            body_bytes=chunk.body_bytes,
            envelope=self._destination.envelope(chunk.name, self._plan.rows),
            row_blocks=row_blocks,
        )
        words = _Words(tell, payload.content_length)
        for secret in order.secrets:
            remember_secret(secret)
        self._destination.token.current = Token.of_header(order.authorization)
        try:
            return sent(chunk, await self._destination.send(payload, words.add))
        finally:
            tell(LastWord(words.rest))


class _Words:
    """Tells how many bytes were sent: the first at once, then every tenth of a second, and when all *total* are."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell = tell
        self._left = total
        self._next = 0.0
        self.rest = 0

    def add(self, count: int) -> None:
        self.rest += count
        self._left -= count
        now = time.monotonic()
        if now >= self._next or self._left <= 0:
            self._next = now + WORD_EVERY_S
            self._tell(self.rest)
            self.rest = 0
