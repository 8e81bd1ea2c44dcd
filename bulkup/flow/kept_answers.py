"""Answers of a service that workers have kept for their run: what they had not told it, or not told it in time.

A worker that loses its run finishes what it is sending, as long as its lease goes on, and tells whoever has the run next. Such an
answer is true of one attempt at one chunk, so it settles a doubt about that attempt, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bulkup.chunk import Chunk, ChunkId, ChunkState
from bulkup.flow.orders import KeptAnswer

__all__ = ["KeptAnswers"]

Ack = Callable[[], None]


class KeptAnswers:
    """Those that have come for one lane, by chunk and attempt."""

    def __init__(self, *, may_come: bool = False) -> None:
        self._may_come = may_come
        self._came: dict[tuple[ChunkId, int], tuple[KeptAnswer, Ack]] = {}
        self._news = asyncio.Event()

    def put(self, answer: KeptAnswer, ack: Ack) -> None:
        """*answer* has come. *ack* tells its worker that it need not keep it any longer."""
        self._came[ChunkId(answer.lane, answer.tile, answer.child), answer.attempt] = answer, ack
        self._news.set()

    def of(self, chunk: Chunk) -> KeptAnswer | None:
        """What says that *chunk*, as the journal has it, is stored: it is in doubt, and this is the answer to its last attempt,
        with the very rows. No attempt was made after that one, so no other can have stored it again."""
        found = self._came.get((chunk.id, chunk.attempts))
        if found is None or chunk.state is not ChunkState.IN_DOUBT or found[0].rows_hash != chunk.rows_hash:
            return None
        return found[0]

    def recorded(self, answer: KeptAnswer) -> None:
        """What *answer* says is in the journal."""
        _, ack = self._came.pop((ChunkId(answer.lane, answer.tile, answer.child), answer.attempt))
        ack()

    def heard(self) -> None:
        """What has come so far is looked at now: `or_news` waits for more."""
        self._news.clear()

    async def or_news(self, wait: Awaitable[None]) -> None:
        """*wait*, until it is over or more has come since `heard`."""
        if not self._may_come:
            await wait
            return
        tasks = [asyncio.ensure_future(one) for one in (wait, self._news.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
