"""The one thread that touches the journal. Commits are grouped: whatever waits when one begins goes with it."""

from __future__ import annotations

import asyncio
import errno
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from bulkup.errors import BulkupError, JournalUnusable, LocalDisk
from bulkup.journal.append_log import AppendLog
from bulkup.journal.tables import disk_refused

__all__ = ["Writer"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

GROUP = 256


class Writer:
    """Runs pieces of work in order, many to a transaction; each is durable when its `run` returns.

    Raises `LocalDisk` where the disk refuses, `JournalUnusable` where the file is damaged; what was committed before stays.
    """

    def __init__(self, connection: sqlite3.Connection, logs: Mapping[str, AppendLog]) -> None:
        self._connection = connection
        self._logs = logs
        self._waiting: queue.SimpleQueue[tuple[Work, asyncio.Future[Any], asyncio.AbstractEventLoop] | None] = (
            queue.SimpleQueue()
        )
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="bulkup-journal", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work* inside a transaction; its result, once that is on disk. A cancelled caller's work is done all the same."""
        return await self.submit(work)

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """As `run`, for a caller that has something else to do meanwhile. Work is done in the order in which it was submitted."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.put((work, future, loop))
        return future

    def close(self) -> None:
        """Finish what waits, and end. Blocks until the thread has ended."""
        self._waiting.put(None)
        self._thread.join()
        for log in self._logs.values():
            log.close()
        self._connection.close()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first]
            ends = False
            while len(group) < GROUP and not ends:
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    ends = True
                else:
                    group.append(item)
            results: list[Any] = []
            failure = self._failure
            if failure is None:
                results, failure = self._commit([work for work, _, _ in group])
                if isinstance(failure, BulkupError):
                    self._failure = failure  # what comes later counts on what was lost
            _settle(group, results, failure)
            if ends:
                return

    def _commit(self, group: list[Work]) -> tuple[list[Any], BaseException | None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [work(self._connection) for work in group]
            for name, log in self._logs.items():
                if log.is_ahead:
                    self._connection.execute(
                        "INSERT INTO logs VALUES (?, ?) ON CONFLICT DO UPDATE SET length = excluded.length",
                        (name, log.sync()),
                    )
            self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - handed to every caller that waits
            self._roll_back()
            return [], _translated(error)
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


def _settle(
    group: list[tuple[Work, asyncio.Future[Any], asyncio.AbstractEventLoop]],
    results: list[Any],
    failure: BaseException | None,
) -> None:
    def resolve() -> None:
        for place, (_, future, _) in enumerate(group):
            if future.done():
                continue
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(results[place])

    loop = group[0][2]
    with suppress(RuntimeError):  # the loop has ended: nobody waits for the answer
        loop.call_soon_threadsafe(resolve)


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, BulkupError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return LocalDisk(
            f"the state directory's disk refused a write: {error.strerror}; free some space, then run the same command"
        )
    if disk_refused(error):
        return LocalDisk(f"the journal's disk refused a write: {error}; free some space, then run the same command")
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError):
        return JournalUnusable(f"the journal refused a write: {error}")
    return error
