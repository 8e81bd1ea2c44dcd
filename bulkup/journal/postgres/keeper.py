"""A run's journal in PostgreSQL, in the hands of one thread, under an epoch that nobody else has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio

from bulkup.authority import Authority
from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.errors import BulkupError, RunLocked
from bulkup.journal.append_log import AppendLog
from bulkup.journal.base import PAGE_BYTES
from bulkup.journal.facts import DECISIONS, Decided, LaneFact, RunFact
from bulkup.journal.postgres import changes, questions
from bulkup.journal.postgres.changes import Piece, Plan, SetFact
from bulkup.journal.postgres.client import Connection, DatabaseAway, connect, meaning
from bulkup.journal.postgres.lease import Claim, Lease, acquire, claim_dataset
from bulkup.journal.postgres.logs import IDS, REJECTS, Part, begin_log, missing, parts_of
from bulkup.journal.postgres.wanted import Wanted
from bulkup.journal.postgres.writer import FIRST_WAIT_S, LONGEST_WAIT_S, PgWriter
from bulkup.journal.sidecars import IdsLine, page_of_ids
from bulkup.journal.state_files import refused
from bulkup.machine import machine_clock

__all__ = ["PostgresJournal", "PostgresLane"]

T = TypeVar("T")


class PostgresJournal:
    """One run's journal."""

    def __init__(
        self, address: str, folder: Path, writer: PgWriter, lease: Lease, claim: Claim, logs: dict[str, AppendLog]
    ) -> None:
        self._address = address
        self._folder = folder
        self._writer = writer
        self._lease = lease
        self._claim = claim
        self._logs = logs
        self._earlier: list[Part] = []

    @classmethod
    def open(cls, address: str, folder: Path, name: str, wanted: Wanted) -> PostgresJournal:
        """Take the run called *name* in the database at *address* (as it is shown), to write it. Blocks while another process may,
        and while the database is away, within limits.

        Raises `RunLocked`, `JournalUnusable`, `LocalDisk`, `UsageProblem`, `TokenRefused`, `DatabaseAway`."""
        away = _Away(wanted)
        while True:
            try:
                journal = cls._open(address, folder, name, wanted, away.is_over)
            except DatabaseAway as error:
                if not away.may_wait(str(error)):
                    raise
                continue
            if wanted.given_up():
                journal.close()
                raise RunLocked(f"run {name} was wanted no more")
            return journal

    @classmethod
    def _open(
        cls, address: str, folder: Path, name: str, wanted: Wanted, connected: Callable[[], None]
    ) -> PostgresJournal:
        with ExitStack() as opened:
            try:
                connection = connect(address)
                opened.callback(connection.close)
                connected()
                claim = acquire(
                    connection,
                    name,
                    folder,
                    lease_s=wanted.lease_s,
                    has_lock=wanted.has_lock,
                    stands_by=wanted.stands_by,
                    say=wanted.say,
                    given_up=wanted.given_up,
                )
                lease = Lease(address, claim, wanted.lease_s, folder)
                opened.callback(lease.close)
                logs: dict[str, AppendLog] = {}
                earlier = parts_of(connection, claim.run, IDS, folder)
                for log in (REJECTS, IDS):
                    logs[log] = begin_log(connection, claim.run, claim.epoch, log, folder)
                    opened.callback(logs[log].close)
            except BulkupError:
                raise
            except OSError as error:
                raise refused(folder, error) from error
            except Exception as error:  # noqa: BLE001 - psycopg's, which need not be there to be named
                raise _meant(error, address) from None
            opened.pop_all()
        if claim.has_failed_over:
            wanted.say(
                "the journal's database has failed over since this run last wrote: what is not at its end is in doubt"
            )
        writer = PgWriter(
            address, connection, claim, lease, logs, folder, retry_for_s=wanted.retry_for_s, say=wanted.say
        )
        journal = cls(address, folder, writer, lease, claim, logs)
        journal._earlier = earlier
        return journal

    @property
    def authority(self) -> Authority:
        """This process's right to send."""
        return self._lease

    @property
    def shared_lease(self) -> tuple[Path, int] | None:
        return self._lease.shared

    def lane(self, name: str) -> PostgresLane:
        return PostgresLane(name, self._writer, self._parts, self._claim)

    def _parts(self) -> list[Part]:
        """The files of ids so far. To be asked in the writer's thread."""
        log = self._logs[IDS]
        own = Part(log.path.name, log.base, log.length, "", str(self._folder), is_here=True)
        return [*self._earlier, own] if log.length else self._earlier

    async def fact(self, fact: RunFact[T]) -> T:
        return await self._writer.ask(lambda db, run: questions.fact(db, run, "", fact))

    async def set_fact(self, fact: RunFact[T], value: T) -> None:
        await self._writer.tell(SetFact("", fact.key, fact.to_text(value)))

    async def is_blank(self) -> bool:
        return await self._writer.ask(questions.is_blank)

    async def latest_time(self) -> float:
        return await self._writer.ask(questions.latest_time)

    async def claim_dataset(self, identity: str) -> None:
        """Take a destination's dataset for this run. Raises `RunLocked` where another run has it."""

        def take() -> None:
            try:
                connection = connect(self._address)
                try:
                    claim_dataset(connection, self._claim, identity)
                finally:
                    connection.close()
            except BulkupError:
                raise
            except Exception as error:  # noqa: BLE001 - psycopg's, which need not be there to be named
                raise _meant(error, self._address) from None

        await anyio.to_thread.run_sync(take, abandon_on_cancel=True)

    def close(self) -> None:
        self._writer.close()
        self._lease.close()


class _Away:
    """A database that cannot be reached before a run is taken: how long that is waited for."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._until: float | None = None
        self._wait_s = FIRST_WAIT_S

    def is_over(self) -> None:
        """It has answered."""
        self._until, self._wait_s = None, FIRST_WAIT_S

    def may_wait(self, why: str) -> bool:
        """Wait a moment, unless that has gone on for too long, or nobody wants the run any more."""
        now, most_s = time.monotonic(), self._wanted.open_for_s
        if self._until is None:
            self._until = now + most_s
            if most_s > 0:
                self._wanted.say(f"waiting up to {most_s:,.0f} s for the journal's database: {why}")
        if now >= self._until or self._wanted.given_up():
            return False
        time.sleep(min(self._wait_s, self._until - now))
        self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
        return True


def _meant(error: Exception, address: str) -> Exception:
    return meaning(error, address) if type(error).__module__.startswith("psycopg") else error


class PostgresLane:
    """What one lane tells the journal."""

    def __init__(self, lane: str, writer: PgWriter, parts: Callable[[], list[Part]], claim: Claim) -> None:
        self.name = lane
        self._claim = claim
        self._writer = writer
        self._parts = parts

    @property
    def earlier_s(self) -> float:
        return max(0.0, self._claim.earlier_until - machine_clock())

    async def fact(self, fact: LaneFact[T]) -> T:
        return await self._ask(questions.fact, fact)

    async def set_fact(self, fact: LaneFact[T], value: T) -> None:
        await self._writer.tell(SetFact(self.name, fact.key, fact.to_text(value)))

    # --- what becomes of chunks ---------------------------------------------------------------------------------------

    def plan(
        self, chunks: Sequence[Chunk], *, rejects: bytes = b"", tiles: Sequence[TileSpan] = ()
    ) -> asyncio.Future[None]:
        return self._writer.submit_ahead(Plan(self.name, chunks, tiles, rejects))

    async def recover(self, at: float) -> int:
        return await self._ask(questions.recover, at)

    async def sending(self, chunk: ChunkId, at: float) -> None:
        self._writer.under_way += 1
        await self._writer.tell(changes.sending(chunk, at))

    async def plan_again(self, chunk: ChunkId, reason: str | None = None) -> None:
        await self._back(changes.plan_again(chunk, reason))

    async def answered(self, chunk: ChunkId, remote_id: str) -> None:
        await self._back(changes.answered(chunk, remote_id))

    async def landed(self, chunk: ChunkId, remote_id: str, *, evidence: Evidence, ids: bytes = b"") -> None:
        await self._back(changes.landed(chunk, remote_id, evidence, ids))

    async def in_doubt(self, chunk: ChunkId, reason: str, at: float, *, was_answered: bool = False) -> None:
        await self._back(changes.in_doubt(chunk, reason, at, was_answered))

    async def absent(self, chunk: ChunkId) -> None:
        await self._writer.tell(changes.absent(chunk))

    async def held(self, chunk: ChunkId, reason: str) -> None:
        await self._writer.tell(changes.held(chunk, reason))

    async def landed_by_a_person(self, chunk: ChunkId, remote_id: str, at: float) -> None:
        await self._decided(changes.landed_by_a_person(chunk, remote_id), Decided(str(chunk), "landed", at))

    async def absent_by_a_person(self, chunk: ChunkId, at: float) -> None:
        await self._decided(changes.absent_by_a_person(chunk), Decided(str(chunk), "absent", at))

    async def refused(self, chunk: ChunkId, reason: str, rejects: bytes) -> None:
        await self._writer.tell(changes.refused(chunk, reason, rejects))

    async def replace(self, parent: ChunkId, children: Sequence[Chunk], reason: str, rejects: bytes = b"") -> None:
        await self._writer.tell(changes.split(parent, reason, children, rejects))

    async def _back(self, piece: Piece) -> None:
        self._writer.back()
        await self._writer.tell(piece)

    async def _decided(self, piece: Piece, said: Decided) -> None:
        """What a person said stays, whatever becomes of the chunk: one piece of work with it."""
        decisions = (*await self.fact(DECISIONS), said)
        fact = self._writer.tell(SetFact(self.name, DECISIONS.key, DECISIONS.to_text(decisions)))
        await asyncio.gather(fact, self._writer.tell(piece))

    # --- what is asked ------------------------------------------------------------------------------------------------

    async def chunk(self, tile: int, child: int) -> Chunk | None:
        id_ = ChunkId(self.name, tile, child)
        found = await self._writer.ask(lambda db, run: questions.chunk(db, run, id_))
        return None if found is None else self._seen([found])[0]

    async def open_chunks(self, *states: ChunkState) -> list[Chunk]:
        return await self._ask(questions.open_chunks, states)

    async def page(self, after: Chunk | None = None) -> list[Chunk]:
        return self._seen(await self._ask(questions.page, after, questions.NOT_SPLIT))

    async def page_without_ids(self, after: Chunk | None = None) -> list[Chunk]:
        elsewhere = "".join(f" OR ids_at >= {start} AND ids_at < {stop}" for start, stop in missing(self._parts()))
        return self._seen(await self._ask(questions.page, after, f"state = 'landed' AND (ids_at IS NULL{elsewhere})"))

    async def page_of_ids(self, at: int = 0) -> tuple[list[IdsLine], int | None]:
        def read(_db: Connection, _run: int) -> tuple[list[IdsLine], int | None]:
            parts = [part for part in self._parts() if part.stop > at]
            if not parts:
                return [], None
            part = parts[0]
            following = part.stop if len(parts) > 1 else None
            if not part.is_here:
                return [], following
            begin = max(0, at - part.base)
            found, after = page_of_ids(self._writer.folder, self.name, begin, part.length, PAGE_BYTES, part.name)
            return found, following if after is None else part.base + after

        return await self._writer.ask(read)

    async def called_absent(self) -> list[Chunk]:
        return self._seen(await self._ask(questions.called_absent))

    async def absences(self) -> int:
        return await self._ask(questions.absences)

    async def next_child(self, tile: int) -> int:
        return await self._ask(questions.next_child, tile)

    async def frontier(self) -> tuple[int, int | None]:
        return await self._ask(questions.frontier)

    async def planned_to(self) -> int | None:
        return await self._ask(questions.planned_to)

    async def totals(self) -> Totals:
        return await self._ask(questions.totals)

    async def landings(self) -> dict[str, float]:
        return await self._ask(questions.landings)

    async def remote_ids(self, name: str) -> set[str]:
        return await self._ask(questions.remote_ids, name)

    def _seen(self, chunks: list[Chunk]) -> list[Chunk]:
        """*chunks* as seen from here: ids that lie on another machine are not known."""
        gone = missing(self._parts())
        if not gone:
            return chunks
        return [
            replace(chunk, ids_at=None)
            if chunk.ids_at is not None and any(start <= chunk.ids_at < stop for start, stop in gone)
            else chunk
            for chunk in chunks
        ]

    async def _ask(self, query: Callable[..., T], *values: Any) -> T:
        """What *query* says of the lane, or does in it."""
        return await self._writer.ask(lambda db, run: query(db, run, self.name, *values))
