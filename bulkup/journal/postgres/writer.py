"""The one thread that writes the journal in PostgreSQL: groups of work in pipeline mode, each under this process's epoch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from bulkup.errors import BulkupError, JournalUnusable, RunLocked
from bulkup.journal.append_log import AppendLog
from bulkup.journal.commit_pace import CommitPace
from bulkup.journal.grouping import Grouping
from bulkup.journal.postgres.changes import Ask, Batch, Piece, batched
from bulkup.journal.postgres.client import Connection, DatabaseAway, connect, is_outage, meaning, said_of
from bulkup.journal.postgres.lease import TAKEN_OVER, Claim, Lease, database_of
from bulkup.journal.state_files import refused

__all__ = ["FIRST_WAIT_S", "LONGEST_WAIT_S", "PgPace", "PgWriter"]

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
"""How long it is waited before a database that is away is tried again: twice as long each time."""

CLOSE_ENOUGH = 1500.0
"""So many pieces of work a second, about 500 chunks, are worth groups that are further apart."""


MANY = 64
"""So many requests at once fill groups that are further apart: fewer would only be slowed down."""


class PgPace(CommitPace):
    """Groups 5 ms apart, 20 ms where many chunks come: a group costs the database the same whatever is in it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._pieces = 0
        self._counted_from = clock()

    def count(self, pieces: int, under_way: int) -> None:
        """So many pieces went with a group, and so many requests are under way: few of them would wait for each other."""
        self._pieces += pieces
        now = self._clock()
        if (took_s := now - self._counted_from) >= 0.25:
            is_worth_it = self._pieces / took_s > CLOSE_ENOUGH and under_way >= MANY
            self.per_second = 50.0 if is_worth_it else 200.0
            self._pieces, self._counted_from = 0, now


class Superseded(RunLocked):
    """Another process has taken the run over: nothing more is written or sent by this one."""


class PgWriter(Grouping[Piece]):
    """Does groups of work, each in one transaction that looks first whether the epoch is still this process's.

    While the database is away a group waits, and with it whoever wants to send: what is under way may end, and what it came to
    waits in memory. Where a connection is lost in mid-commit, the number of the last commit tells whether it counted.
    """

    def __init__(
        self,
        address: str,
        connection: Connection,
        claim: Claim,
        lease: Lease,
        logs: Mapping[str, AppendLog],
        folder: Path,
        *,
        retry_for_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._address = address
        self._db: Connection = connection
        connection.execute(f"SET application_name = '{claim.writer}'")
        self._claim = claim
        self._lease = lease
        self._logs = logs
        self.folder = folder
        self._retry_for_s = retry_for_s
        self._say = say
        self._number = 0
        self._pg_pace = PgPace()
        super().__init__(self._pg_pace)

    async def ask(self, question: Callable[[Connection, int], T]) -> T:
        """What *question*, given a connection and the run's number, says of all that was submitted before it."""
        found: T = await self.submit(Ask(question))
        return found

    def tell(self, piece: Piece) -> asyncio.Future[None]:
        """Have *piece* done; the future is done when that is durable."""
        return self.submit(piece)

    def _shut(self) -> None:
        for log in self._logs.values():
            log.close()
            if not log.length:
                with suppress(OSError):
                    log.path.unlink()
        self._drop()

    def _commit(self, group: Sequence[Piece]) -> tuple[list[Any], BaseException | None]:
        self._number += 1
        self._pg_pace.count(len(group), self.under_way)
        try:
            batches = batched(group, lambda name, data: self._logs[name].append(data))
            lengths = [(name, log.sync()) for name, log in self._logs.items() if log.is_ahead]
            results = self._persist(batches, lengths, len(group))
        except BaseException as error:  # noqa: BLE001 - handed to every caller that waits
            self._undo()
            return [], self._translated(error)
        for log in self._logs.values():
            log.keep()
        return results, None

    def _persist(self, batches: list[Batch], lengths: list[tuple[str, int]], count: int) -> list[Any]:
        """Have *batches* done, however often the database is away meanwhile, within limits."""
        began: float | None = None
        wait_s = FIRST_WAIT_S
        results: list[Any] | None = None
        while True:
            try:
                if self._db.closed:
                    self._db = self._connected_again()
                    if results is not None and self._has_committed():
                        break
                results = None
                results = self._done(batches, lengths, count)
                self._db.execute("COMMIT")
                break
            except Exception as error:
                if not is_outage(error):
                    self._refuse_superseded()
                    raise
                self._drop()
                now = time.monotonic()
                if began is None:
                    began = now
                    self._say(
                        f"the journal's database is away ({said_of(error)}): nothing new is sent until it is back; "
                        f"giving up in {self._retry_for_s:.0f} s"
                    )
                if self._ends or now - began >= self._retry_for_s:
                    raise
                time.sleep(wait_s)
                wait_s = min(LONGEST_WAIT_S, wait_s * 2)
        if began is not None:
            self._say(f"the journal's database is back after {time.monotonic() - began:.0f} s")
        return results

    def _done(self, batches: list[Batch], lengths: list[tuple[str, int]], count: int) -> list[Any]:
        """The results of all pieces, in a transaction that is to be committed."""
        db, run, epoch = self._db, self._claim.run, self._claim.epoch
        results: list[Any] = [None] * count
        with db.pipeline() as pipeline:
            db.execute("BEGIN")
            mine = db.execute("SELECT 1 FROM bulkup.runs WHERE run = %s AND epoch = %s FOR SHARE", (run, epoch))
            db.execute(
                "UPDATE bulkup.commits SET number = %s WHERE run = %s AND epoch = %s", (self._number, run, epoch)
            )
            done: list[tuple[Batch, Any]] = []
            for batch in batches:
                if batch.ask is not None:
                    results[batch.place] = batch.ask.ask(db, run)
                else:
                    done.append((batch, db.execute(batch.statement, (run, *batch.columns()))))
            for name, length in lengths:
                db.execute(
                    "UPDATE bulkup.logs SET length = %s WHERE run = %s AND name = %s AND epoch = %s",
                    (length, run, name, epoch),
                )
            pipeline.sync()
            if mine.fetchone() is None:
                self._lease.lose()
                raise Superseded(TAKEN_OVER)
            for batch, cursor in done:
                found = cursor.fetchone()[0] if batch.is_checked else None
                which = " or ".join(sorted(map(str, batch.touched)))
                assert found in (None, len(batch.rows)), f"chunk {which} is not open in the journal"
        return results

    def _refuse_superseded(self) -> None:
        """Raise `Superseded` where that is why a statement failed: what it counts on was changed by another process."""
        with suppress(Exception):
            self._db.execute("ROLLBACK")
            query = "SELECT 1 FROM bulkup.runs WHERE run = %s AND epoch = %s"
            if self._db.execute(query, (self._claim.run, self._claim.epoch)).fetchone() is not None:
                return
            self._lease.lose()
        if self._lease.is_lost:
            raise Superseded(TAKEN_OVER)

    def _connected_again(self) -> Connection:
        db = connect(self._address, called=self._claim.writer)
        found = database_of(db)
        if any(
            old is not None and new is not None and old != new
            for old, new in zip(self._claim.database, found, strict=True)
        ):
            raise DatabaseAway(
                f"{self._address}: another database answers than before (it has failed over, and may lack the last commits); "
                "the same command looks for what is not at its end before it goes on"
            )
        return db

    def _has_committed(self) -> bool:
        """Whether the group that was being committed when the connection broke counts. The database may still be at it: the row is
        locked as long, so to lock it too waits for what becomes of it."""
        row = self._db.execute(
            "SELECT number FROM bulkup.commits WHERE run = %s AND epoch = %s FOR UPDATE",
            (self._claim.run, self._claim.epoch),
        ).fetchone()
        return row is not None and int(row[0]) == self._number

    def _drop(self) -> None:
        with suppress(Exception):
            self._db.close()

    def _undo(self) -> None:
        try:
            if not self._db.closed:
                self._db.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - the first failure is the one to report
            self._drop()
        try:
            for log in self._logs.values():
                log.undo()
        except OSError:
            pass

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, BulkupError):
            return error
        if isinstance(error, OSError):
            return refused(self.folder, error)
        if isinstance(error, ValueError):
            return JournalUnusable(f"{self._address}: unusable journal ({error})")
        if type(error).__module__.startswith("psycopg"):
            return meaning(error, self._address)
        return error
