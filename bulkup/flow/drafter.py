"""Who makes drafts of what is read: this process, or (`bulkup.flow.helped`) worker processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from anyio.lowlevel import checkpoint

from bulkup.errors import SourceUnreadable
from bulkup.flow.chunker import MAX_REJECT_BYTES, Chunker
from bulkup.flow.draft import Draft, Drafted, Keep
from bulkup.flow.halt import Halt
from bulkup.flow.orders import Lines, Span
from bulkup.flow.prepared import Items, listed, used_up
from bulkup.sources import Cursor
from bulkup.tiling import Limits

__all__ = ["Drafter", "OwnDrafter", "is_one_chunk"]


def is_one_chunk(draft: Draft | Drafted, limits: Limits) -> bool:
    """Whether a draft fits into one request, and what was rejected on the way may be held until it is planned."""
    fits = limits.allow(body_bytes=draft.body_bytes, rows=draft.rows)
    return fits and draft.reject_bytes <= MAX_REJECT_BYTES


class Drafter(Protocol):
    """Makes drafts of one lane's tiles."""

    @property
    def ahead(self) -> int:
        """How many tiles it can work on besides the one that is wanted next."""
        ...

    async def fetch(self, span: Span) -> Span | Lines:
        """What `held` takes: the lines themselves where they must be read in order, and the drafting need not be."""
        ...

    async def clean(self, span: Span) -> Drafted | None:
        """A draft of rows that are sent as their own bytes, holding nothing; None where one is not, or cannot be read."""
        ...

    async def held(self, lines: Span | Lines, keep: Keep, limits: Limits | None) -> Drafted:
        """A draft with its encoded rows, if it comes to one chunk within *limits* (None: whatever it comes to). Where the
        source cannot be read further it says so, and is of what came before. Lines that are not kept as they were read are let
        go of one by one."""
        ...

    def parts(
        self, span: Span, items: Items, keep: Keep, limits: Limits, whole: Drafted
    ) -> AsyncGenerator[Drafted, None]:
        """Even drafts within *limits* of what came to *whole* in all, each with its encoded rows."""
        ...

    def holds_parts_at_once(self, keep: Keep, limits: Limits, whole: Drafted) -> bool:
        """Whether `parts` holds all of them before it gives the first."""
        ...

    def forget(self, drafted: Drafted) -> None:
        """Let go of rows that are kept elsewhere."""
        ...


class OwnDrafter:
    """Drafts made in this process, one at a time. Without a *cursor* only of lines that were read already."""

    ahead = 0

    def __init__(self, chunker: Chunker, cursor: Cursor | None, halt: Halt) -> None:
        self._chunker = chunker
        self._cursor = cursor
        self._halt = halt

    async def fetch(self, span: Span) -> Span | Lines:
        return span

    async def clean(self, span: Span) -> Drafted | None:
        try:
            return await self._chunker.verbatim(self._read(span))
        except SourceUnreadable:  # the second reading keeps what comes before the fault
            return None

    async def held(self, lines: Span | Lines, keep: Keep, limits: Limits | None) -> Drafted:
        draft = Draft(keep)
        broke_off = None
        try:
            async with aclosing(self._items(lines, keep)()) as stream:
                async for item in stream:
                    self._halt.check()
                    self._chunker.add(draft, item)
                    if limits is not None and not is_one_chunk(draft, limits):  # its parts are made in a second pass
                        draft.keep = Keep(encoded=False, raw=keep.raw, rejects=False)
                        draft.encoded, draft.rejects = [], []
                    await checkpoint()
        except SourceUnreadable as error:
            broke_off = error
        return replace(draft.done(), broke_off=broke_off)

    def parts(
        self, span: Span, items: Items, keep: Keep, limits: Limits, whole: Drafted
    ) -> AsyncGenerator[Drafted, None]:
        return self._chunker.parts(items, keep, limits, body_bytes=whole.body_bytes, rows=whole.rows)

    def holds_parts_at_once(self, keep: Keep, limits: Limits, whole: Drafted) -> bool:
        return False

    def forget(self, drafted: Drafted) -> None:
        pass

    def _items(self, lines: Span | Lines, keep: Keep) -> Items:
        if isinstance(lines, Span):
            return self._read(lines)
        return listed(lines.items) if keep.raw else used_up(lines.items)

    def _read(self, span: Span) -> Items:
        cursor = self._cursor
        assert cursor is not None, "there is nothing to read from"
        return lambda: cursor.read(span.start, span.stop)
