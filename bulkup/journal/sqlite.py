"""The journal on disk: an SQLite database and two logs beside it, all in the hands of one thread. What SQL there is stands in
`queries`, and the tables in `schema`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, TypeVar

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.errors import JournalUnusable
from bulkup.journal import queries
from bulkup.journal.append_log import AppendLog
from bulkup.journal.base import PAGE_BYTES, GuardedByLock
from bulkup.journal.facts import DECISIONS, Fact, LaneFact, RunFact
from bulkup.journal.faults import meaning
from bulkup.journal.known import Known
from bulkup.journal.opening import connect
from bulkup.journal.sidecars import IDS, REJECTS, IdsLine, page_of_ids
from bulkup.journal.state_files import refused
from bulkup.journal.writer import Writer

__all__ = ["DATABASE", "SqliteJournal", "SqliteLane"]

T = TypeVar("T")

DATABASE = "journal.db"

HEADER_BYTES = 100
"""Of an SQLite file: a shorter one holds nothing."""

LEFT_BY_A_RUN = (REJECTS, IDS, "journal.db-wal", "manifest.json", "receipt.json")
"""Where one of these holds something, there was a journal."""


class SqliteJournal(GuardedByLock):
    """One run's journal in a folder. All work is done by one thread; see `Writer`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, logs: dict[str, AppendLog]) -> None:
        self._logs = logs
        self._known = Known(connection, folder / DATABASE)
        self._writer = Writer(connection, logs, self._known, folder / DATABASE)

    @classmethod
    def open(cls, folder: Path, *, create: bool) -> SqliteJournal:
        """Open the journal in *folder* to write, for who has the run's lock; an older one is brought up to date. Raises
        `JournalUnusable`, `LocalDisk`, `RunLocked`."""
        _refuse_torn(folder)
        with ExitStack() as opened:
            connection = opened.enter_context(closing(connect(folder / DATABASE, may_create=create)))
            logs: dict[str, AppendLog] = {}
            try:
                for name in (REJECTS, IDS):
                    log = AppendLog(folder / name, good_length=queries.log_length(connection, name))
                    logs[name] = opened.enter_context(closing(log))
            except sqlite3.Error as error:
                raise meaning(error, folder / DATABASE) from error
            except OSError as error:
                raise refused(folder, error) from error
            except ValueError as error:
                raise JournalUnusable(f"{folder}: {error}; restore the folder from a copy") from error
            opened.pop_all()
            return cls(folder, connection, logs)

    def lane(self, name: str) -> SqliteLane:
        return SqliteLane(name, self._writer, self._logs, self._known)

    async def fact(self, fact: RunFact[T]) -> T:
        return await _fact(self._known, self._writer, "", fact)

    async def set_fact(self, fact: RunFact[T], value: T) -> None:
        await self._writer.run(self._known.setting("", fact.key, fact.to_text(value)))

    async def is_blank(self) -> bool:
        return self._known.is_blank or await self._writer.run(queries.is_blank)

    async def latest_time(self) -> float:
        return 0.0 if self._known.has_no_times else await self._writer.run(queries.latest_time)

    def close(self) -> None:
        self._writer.close()


def _refuse_torn(folder: Path) -> None:
    """A database without content, or none, is a new journal only where nothing stands beside it."""
    database = folder / DATABASE
    try:
        size = database.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        size = None
    except OSError as error:
        raise refused(database, error) from error
    if size is not None and size >= HEADER_BYTES:
        return
    for name in LEFT_BY_A_RUN:
        try:
            beside = (folder / name).stat(follow_symlinks=False)
        except OSError:
            continue
        if beside.st_size:
            what = "is not there" if size is None else "is empty"
            raise JournalUnusable(
                f"{database} {what}, but {name} beside it is not empty; restore the folder from a copy"
            )


async def _fact(known: Known, writer: Writer, lane: str, fact: Fact[T]) -> T:
    if known.has(lane, fact.key):
        return known.fact(lane, fact)
    return await writer.run(lambda db: queries.fact(db, lane, fact))


class SqliteLane:
    """What one lane tells the journal."""

    earlier_s: Final = 0.0

    def __init__(self, lane: str, writer: Writer, logs: dict[str, AppendLog], known: Known) -> None:
        self.name = lane
        self._writer = writer
        self._logs = logs
        self._known = known

    async def fact(self, fact: LaneFact[T]) -> T:
        return await _fact(self._known, self._writer, self.name, fact)

    async def set_fact(self, fact: LaneFact[T], value: T) -> None:
        await self._writer.run(self._known.setting(self.name, fact.key, fact.to_text(value)))

    # --- what becomes of chunks ---------------------------------------------------------------------------------------

    def plan(
        self, chunks: Sequence[Chunk], *, rejects: bytes = b"", tiles: Sequence[TileSpan] = ()
    ) -> asyncio.Future[None]:
        def work(db: sqlite3.Connection) -> None:
            queries.plan(db, self.name, chunks, tiles)
            self._reject(rejects)

        self._known.is_blank = False
        return self._writer.submit_ahead(work)

    async def recover(self, at: float) -> int:
        return 0 if self._known.is_blank else await self._ask(queries.recover, at)

    async def sending(self, chunk: ChunkId, at: float) -> None:
        self._writer.under_way += 1
        await self._writer.run(lambda db: queries.sending(db, chunk, at))

    async def plan_again(self, chunk: ChunkId, reason: str | None = None) -> None:
        self._writer.back()
        await self._writer.run(lambda db: queries.plan_again(db, chunk, reason))

    async def answered(self, chunk: ChunkId, remote_id: str) -> None:
        self._writer.back()
        await self._writer.run(lambda db: queries.answered(db, chunk, remote_id))

    async def landed(self, chunk: ChunkId, remote_id: str, *, evidence: Evidence, ids: bytes = b"") -> None:
        self._writer.back()

        def work(db: sqlite3.Connection) -> None:
            ids_at = self._logs[IDS].append(ids) if ids else None
            queries.landed(db, chunk, remote_id, evidence, ids_at)

        await self._writer.run(work)

    async def in_doubt(self, chunk: ChunkId, reason: str, at: float, *, was_answered: bool = False) -> None:
        self._writer.back()
        await self._writer.run(lambda db: queries.in_doubt(db, chunk, reason, at, was_answered))

    async def absent(self, chunk: ChunkId) -> None:
        await self._writer.run(lambda db: queries.absent(db, chunk))

    async def held(self, chunk: ChunkId, reason: str) -> None:
        await self._writer.run(lambda db: queries.held(db, chunk, reason))

    async def landed_by_a_person(self, chunk: ChunkId, remote_id: str, at: float) -> None:
        await self._decide(lambda db: queries.landed_by_a_person(db, chunk, remote_id, at))

    async def _decide(self, work: Callable[[sqlite3.Connection], None]) -> None:
        def decided(db: sqlite3.Connection) -> None:
            work(db)
            self._known.look_again(db, self.name, DECISIONS.key)

        await self._writer.run(decided)

    async def absent_by_a_person(self, chunk: ChunkId, at: float) -> None:
        await self._decide(lambda db: queries.absent_by_a_person(db, chunk, at))

    async def refused(self, chunk: ChunkId, reason: str, rejects: bytes) -> None:
        def work(db: sqlite3.Connection) -> None:
            self._reject(rejects)
            queries.refused(db, chunk, reason)

        await self._writer.run(work)

    async def replace(self, parent: ChunkId, children: Sequence[Chunk], reason: str, rejects: bytes = b"") -> None:
        def work(db: sqlite3.Connection) -> None:
            queries.replace(db, parent, children, reason)
            self._reject(rejects)

        await self._writer.run(work)

    def _reject(self, rejects: bytes) -> None:
        if rejects:
            self._logs[REJECTS].append(rejects)

    # --- what is asked ------------------------------------------------------------------------------------------------

    async def chunk(self, tile: int, child: int) -> Chunk | None:
        return await self._writer.run(lambda db: queries.chunk(db, ChunkId(self.name, tile, child)))

    async def open_chunks(self, *states: ChunkState) -> list[Chunk]:
        return [] if self._known.is_blank else await self._ask(queries.open_chunks, states)

    async def page(self, after: Chunk | None = None) -> list[Chunk]:
        return await self._ask(queries.page, after, queries.NOT_SPLIT)

    async def page_without_ids(self, after: Chunk | None = None) -> list[Chunk]:
        return await self._ask(queries.page, after, queries.LANDED_WITHOUT_IDS)

    async def page_of_ids(self, at: int = 0) -> tuple[list[IdsLine], int | None]:
        log = self._logs[IDS]
        return await self._writer.run(lambda _: page_of_ids(log.path.parent, self.name, at, log.length, PAGE_BYTES))

    async def called_absent(self) -> list[Chunk]:
        return await self._ask(queries.called_absent)

    async def absences(self) -> int:
        return await self._ask(queries.absences)

    async def next_child(self, tile: int) -> int:
        return await self._ask(queries.next_child, tile)

    async def frontier(self) -> tuple[int, int | None]:
        return (0, None) if self._known.is_blank else await self._ask(queries.frontier)

    async def planned_to(self) -> int | None:
        return None if self._known.is_blank else await self._ask(queries.planned_to)

    async def totals(self) -> Totals:
        return Totals() if self._known.is_blank else await self._ask(queries.totals)

    async def landings(self) -> dict[str, float]:
        return await self._ask(queries.landings)

    async def remote_ids(self, name: str) -> set[str]:
        return await self._ask(queries.remote_ids, name)

    def _ask(self, query: Callable[..., T], *values: Any) -> asyncio.Future[T]:
        """What *query* says of the lane, or does in it."""
        return self._writer.ask(lambda db: query(db, self.name, *values))
