"""What carries a lane's orders out: the same in the run's own process and in a worker's. It decides nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import assert_never

import anyio

from bulkup.chunk import Chunk
from bulkup.destinations.base import Destination, Payload
from bulkup.encoding import RowPlan
from bulkup.errors import SourceUnreadable
from bulkup.flow.chunker import Chunker
from bulkup.flow.draft import Drafted, Keep
from bulkup.flow.orders import (
    AddLines,
    CloseParts,
    DraftAll,
    DraftClean,
    Forget,
    LaneOrder,
    LastWord,
    NextPart,
    OpenParts,
    SendChunk,
    Sent,
    Shipped,
    SourceRange,
)
from bulkup.flow.prepared import Items, from_file, from_memory, used_up
from bulkup.journal.sidecars import ids_line
from bulkup.light_dataclass import dataclass, replace
from bulkup.model import Block, LongRow
from bulkup.outcome import Accepted, Outcome
from bulkup.sources import Cursor
from bulkup.tokens.secret import Token, remember_secret
from bulkup.workers import Tell

__all__ = ["LaneWorker", "ToldLayout"]

WORD_EVERY_S = 0.1
"""How often it is said how much of a body was sent."""


@dataclass(slots=True)
class ToldLayout:
    """Where the files begin in a source that another process reads, as far as it was told."""

    bases: tuple[int, ...] = (0,)

    def told(self, bases: tuple[int, ...]) -> None:
        """What is known of it by now."""
        self.bases = max(self.bases, bases, key=len)


class LaneWorker:
    """Carries one lane's orders out.

    *cursor* is None where the lines come with the orders; then *layout*, which the *chunker* uses, learns of the source from them.
    """

    def __init__(
        self,
        destination: Destination,
        plan: RowPlan,
        chunker: Chunker,
        cursor: Cursor | None,
        layout: ToldLayout | None = None,
    ) -> None:
        self._destination = destination
        self._plan = plan
        self._chunker = chunker
        self._cursor = cursor
        self._layout = layout
        self._shipped: dict[int, list[Block | LongRow]] = {}
        self._parts: dict[int, AsyncGenerator[Drafted, None]] = {}
        self._cutting = anyio.Lock()  # a part whose making was cancelled may still be ending
        self._held: dict[int, list[bytes]] = {}

    async def carry_out(self, order: LaneOrder, tell: Tell) -> object:
        """The answer to *order*; *tell* gets the words before it."""
        match order:
            case AddLines(_, key, items, bases):
                self._shipped.setdefault(key, []).extend(items)
                if self._layout is not None:
                    self._layout.told(bases)
                return None
            case DraftClean(_, span):
                return await self._clean(span)
            case DraftAll():
                keep = Keep(encoded=True, raw=order.keep_raw)
                drafted = await self._chunker.within(self._items(order.lines), keep, order.limits)
                return self._hold(order.key, drafted)
            case OpenParts():
                keep = Keep(encoded=True, raw=order.keep_raw)
                self._parts[order.key] = self._chunker.parts(
                    self._items(order.lines), keep, order.limits, body_bytes=order.body_bytes, rows=order.rows
                )
                return None
            case NextPart(_, parts, key):
                async with self._cutting:
                    part = await anext(self._parts[parts], None)
                return None if part is None else self._hold(key, part)
            case CloseParts(_, parts):
                async with self._cutting:
                    await self._parts.pop(parts).aclose()
                return None
            case SendChunk():
                return await self._send(order, tell)
            case Forget(_, key):
                self.forget(key)
                return None
            case _:
                assert_never(order)

    def hold(self, key: int, encoded: list[bytes]) -> None:
        """Keep encoded rows under *key*, as if they had been drafted so."""
        self._held[key] = encoded

    def forget(self, key: int) -> None:
        """As the order to."""
        self._held.pop(key, None)
        self._shipped.pop(key, None)

    def _hold(self, key: int, drafted: Drafted) -> Drafted:
        if not drafted.encoded:
            return drafted
        self.hold(key, drafted.encoded)
        return replace(drafted, encoded=[], is_held=True)

    def _items(self, lines: SourceRange | Shipped) -> Items:
        if isinstance(lines, SourceRange):
            return self._read(lines)
        items = self._shipped.pop(lines.key, [])
        assert len(items) == lines.count, "lines are drafted once all of them are here"
        return used_up(items)

    def _read(self, span: SourceRange) -> Items:
        cursor = self._cursor
        assert cursor is not None, "there is nothing to read from"
        return lambda: cursor.together(span.start, span.stop)

    async def _clean(self, span: SourceRange) -> Drafted | None:
        try:
            return await self._chunker.verbatim(self._read(span))
        except SourceUnreadable:  # the second reading keeps what comes before the fault
            return None

    async def _send(self, order: SendChunk, tell: Tell) -> Sent:
        chunk = order.chunk
        if order.key is not None:
            row_blocks = from_memory(self._held[order.key])
        else:
            assert self._cursor is not None
            row_blocks = from_file(self._cursor, chunk)
        payload = Payload(
            name=chunk.name,
            rows=chunk.rows,
            body_bytes=chunk.body_bytes,
            envelope=self._destination.envelope(chunk.name, self._plan),
            row_blocks=row_blocks,
        )
        words = _Words(tell, payload.content_length)
        for secret in order.secrets:
            remember_secret(secret)
        self._destination.token.current = Token.of_header(order.authorization)
        try:
            return _sent(chunk, await self._destination.send(payload, words.add))
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


def _sent(chunk: Chunk, outcome: Outcome) -> Sent:
    """*outcome* with the row ids taken out of it, as the line for `ids.jsonl`."""
    if not isinstance(outcome, Accepted) or not outcome.ids:
        return Sent(outcome)
    return Sent(replace(outcome, ids=None), ids_line(chunk, outcome.remote_id, outcome.ids))
