"""Work for a journal's one thread. Commits are grouped: whatever waits when one begins goes with it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from bulkup.errors import BulkupError
from bulkup.journal.commit_pace import CommitPace

__all__ = ["AHEAD", "GROUP", "PRESSING", "Grouping"]

W = TypeVar("W")
_Item = tuple[W, "asyncio.Future[Any]", asyncio.AbstractEventLoop, bool]
"""Work, who waits for it, the loop to tell, and whether later work counts on it though nobody may be waiting."""

GROUP = 256
"""So many pieces of work go into one commit at most."""

PRESSING = 32
"""So many waiting are a commit's worth: they are not made to wait for more."""

AHEAD = 32
"""So many pieces of work may wait that nobody waits for."""


class Grouping(Generic[W]):
    """Takes pieces of work in order and commits many of them at once, in one thread. How is its heirs' matter: `_commit`, `_shut`.

    A commit costs the same for one piece of work as for eight, so commits that come thick are spaced (see `CommitPace`).
    """

    def __init__(self, pace: CommitPace) -> None:
        self._waiting: deque[_Item[W]] = deque()
        self._bell: queue.SimpleQueue[None] = (
            queue.SimpleQueue()
        )  # rung for the first that waits, and once there are many
        self._ends = False
        self.under_way = 0  # how many may come soon to say how they fared; told by those who submit
        self._pace = pace
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="bulkup-journal", daemon=True)
        self._thread.start()

    def submit(self, work: W) -> asyncio.Future[Any]:
        """Have *work* done; the future has its result once that is durable. Work is done in the order in which it was submitted,
        and a cancelled caller's is done all the same."""
        return self._submit(work, counted_on=False)

    def submit_ahead(self, work: W) -> asyncio.Future[None]:
        """As `submit`, for work that need only be durable before what is submitted later: the future is done as soon as there is
        room for more. Where it fails after that, everything later fails."""
        future = self._submit(work, counted_on=True)
        if len(self._waiting) >= AHEAD or self._failure is not None:
            return future
        future.add_done_callback(_seen)
        accepted: asyncio.Future[None] = future.get_loop().create_future()
        accepted.set_result(None)
        return accepted

    def _submit(self, work: W, *, counted_on: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((work, future, loop, counted_on))
        if len(self._waiting) in (1, PRESSING):
            self._bell.put(None)
        return future

    def back(self) -> None:
        """One that was under way has come back."""
        self.under_way = max(0, self.under_way - 1)

    def close(self) -> None:
        """Finish what waits, and end. Blocks until the thread has ended."""
        self._ends = True
        self._bell.put(None)
        self._thread.join()
        self._shut()

    def _commit(self, group: Sequence[W]) -> tuple[list[Any], BaseException | None]:
        """Do all of *group* in one transaction: what each came to, or nothing and why."""
        raise NotImplementedError

    def _shut(self) -> None:
        """Close the files. The thread has ended."""
        raise NotImplementedError

    def _serve(self) -> None:
        while True:
            if not self._waiting:
                if self._ends:
                    return
                self._bell.get()
                continue
            self._wait_for_more()
            group: list[_Item[W]] = []
            with suppress(IndexError):
                while len(group) < GROUP:
                    group.append(self._waiting.popleft())
            results: list[Any] = []
            failure = self._failure
            if failure is None:
                results, failure = self._commit([work for work, _, _, _ in group])
                if isinstance(failure, BulkupError) or (failure and any(counted_on for _, _, _, counted_on in group)):
                    self._failure = failure  # what comes later counts on what was lost
            _settle(group, results, failure)

    def _wait_for_more(self) -> None:
        """Hold a commit back that comes too soon after those before it, unless many wait for it, or most of those who could."""
        self._pace.earn()
        while (
            not self._ends
            and len(self._waiting) < min(PRESSING, self.under_way)
            and (wait_s := self._pace.wait_s()) > 0
        ):
            with suppress(queue.Empty):
                self._bell.get(timeout=wait_s)
            self._pace.earn()
        self._pace.spend()


def _seen(future: asyncio.Future[None]) -> None:
    """Nobody waits for this one: its error is told by those who come later."""
    if not future.cancelled():
        future.exception()


def _settle(group: Sequence[_Item[Any]], results: list[Any], failure: BaseException | None) -> None:
    def resolve() -> None:
        for place, (_, future, _, _) in enumerate(group):
            if future.done():
                continue
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(results[place])

    loop = group[0][2]
    with suppress(RuntimeError):  # the loop has ended: nobody waits for the answer
        loop.call_soon_threadsafe(resolve)
