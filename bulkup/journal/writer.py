"""The one thread that touches the journal. Commits are grouped: whatever waits when one begins goes with it."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from bulkup.errors import BulkupError
from bulkup.journal import queries
from bulkup.journal.append_log import AppendLog
from bulkup.journal.commit_pace import CommitPace
from bulkup.journal.faults import meaning
from bulkup.journal.state_files import refused

__all__ = ["Writer"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
Item = tuple[Work, "asyncio.Future[Any]", asyncio.AbstractEventLoop, bool]
"""Work, who waits for it, the loop to tell, and whether later work counts on it though nobody may be waiting."""

GROUP = 256
"""So many pieces of work go into one commit at most."""

PRESSING = 32
"""So many waiting are a commit's worth: they are not made to wait for more."""

AHEAD = 32
"""So many pieces of work may wait that nobody waits for."""


class Writer:
    """Runs pieces of work in order, many to a transaction; each is durable when its `run` returns.

    A commit costs the same for one piece of work as for eight, so commits that come thick are spaced (see `CommitPace`). Raises
    `LocalDisk` where the disk refuses, `JournalUnusable` where the file is damaged; what was committed before stays.
    """

    def __init__(self, connection: sqlite3.Connection, logs: Mapping[str, AppendLog], database: Path) -> None:
        self._connection = connection
        self._logs = logs
        self._database = database
        self._waiting: deque[Item] = deque()
        self._bell: queue.SimpleQueue[None] = (
            queue.SimpleQueue()
        )  # rung for the first that waits, and once there are many
        self._ends = False
        self.under_way = 0  # how many may come soon to say how they fared; told by those who submit
        self._pace = CommitPace()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="bulkup-journal", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work* inside a transaction; its result, once that is on disk. A cancelled caller's work is done all the same."""
        return await self.submit(work)

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """As `run`, for a caller that has something else to do meanwhile. Work is done in the order in which it was submitted."""
        return self._submit(work, counted_on=False)

    def submit_ahead(self, work: Callable[[sqlite3.Connection], None]) -> asyncio.Future[None]:
        """As `submit`, for work that need only be durable before what is submitted later: the future is done as soon as there is
        room for more. Where it fails after that, everything later fails."""
        future = self._submit(work, counted_on=True)
        if len(self._waiting) >= AHEAD or self._failure is not None:
            return future
        future.add_done_callback(_seen)
        accepted: asyncio.Future[None] = future.get_loop().create_future()
        accepted.set_result(None)
        return accepted

    def _submit(self, work: Callable[[sqlite3.Connection], T], *, counted_on: bool) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
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
        for log in self._logs.values():
            log.close()
        self._connection.close()

    def _serve(self) -> None:
        while True:
            if not self._waiting:
                if self._ends:
                    return
                self._bell.get()
                continue
            self._wait_for_more()
            group: list[Item] = []
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

    def _commit(self, group: list[Work]) -> tuple[list[Any], BaseException | None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [work(self._connection) for work in group]
            for name, log in self._logs.items():
                if log.is_ahead:
                    queries.set_log_length(self._connection, name, log.sync())
            self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - handed to every caller that waits
            self._roll_back()
            return [], _translated(error, self._database)
        for log in self._logs.values():
            log.keep()
        return results, None

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for log in self._logs.values():
                log.undo()
        except (sqlite3.Error, OSError):
            pass  # the first failure is the one to report; the logs are cut back on the next open


def _seen(future: asyncio.Future[None]) -> None:
    """Nobody waits for this one: its error is told by those who come later."""
    if not future.cancelled():
        future.exception()


def _settle(group: list[Item], results: list[Any], failure: BaseException | None) -> None:
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


def _translated(error: BaseException, database: Path) -> BaseException:
    if isinstance(error, OSError):
        return refused(database.parent, error)
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError):
        return meaning(error, database)
    return error
