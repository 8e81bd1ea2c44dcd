"""The one thread that touches the journal on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bulkup.journal import queries
from bulkup.journal.append_log import AppendLog
from bulkup.journal.commit_pace import CommitPace
from bulkup.journal.faults import meaning
from bulkup.journal.grouping import Grouping
from bulkup.journal.known import Known
from bulkup.journal.state_files import refused

__all__ = ["Writer"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


class Writer(Grouping[Work]):
    """Runs pieces of work in order, many to a transaction; each is durable when its `run` returns.

    Raises `LocalDisk` where the disk refuses, `JournalUnusable` where the file is damaged; what was committed before stays.
    """

    def __init__(
        self, connection: sqlite3.Connection, logs: Mapping[str, AppendLog], known: Known, database: Path
    ) -> None:
        self._connection = connection
        self._logs = logs
        self._known = known
        self._database = database
        super().__init__(CommitPace())

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work* inside a transaction; its result, once that is on disk. A cancelled caller's work is done all the same."""
        return await self.ask(work)

    def ask(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """As `run`, for a caller that has something else to do meanwhile."""
        return self.submit(work)

    def _shut(self) -> None:
        for log in self._logs.values():
            log.close()
        self._connection.close()

    def _commit(self, group: Sequence[Work]) -> tuple[list[Any], BaseException | None]:
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
        self._known.keep()
        return results, None

    def _roll_back(self) -> None:
        self._known.undo()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for log in self._logs.values():
                log.undo()
        except (sqlite3.Error, OSError):
            pass  # the first failure is the one to report; the logs are cut back on the next open


def _translated(error: BaseException, database: Path) -> BaseException:
    if isinstance(error, OSError):
        return refused(database.parent, error)
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError):
        return meaning(error, database)
    return error
