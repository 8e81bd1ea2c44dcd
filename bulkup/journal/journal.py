"""The journal's interface: what the flow tells it, and what it answers."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.errors import JournalUnusable
from bulkup.journal.append_log import AppendLog
from bulkup.journal.faults import meaning
from bulkup.journal.records import (
    COLUMNS,
    INSERT,
    read_chunk,
    read_fact,
    read_planned_to,
    read_totals,
    to_chunk,
    to_row,
    update,
)
from bulkup.journal.sidecars import IDS, REJECTS, read_ids
from bulkup.journal.tables import OPEN, OPEN_CHUNKS, connect
from bulkup.journal.writer import Writer
from bulkup.state_files import refused

__all__ = ["Journal", "LaneJournal"]

DECISIONS = "decisions"
"""The fact that holds what a person has decided in a lane: `[{"chunk", "said", "at"}, …]`."""

LIMITED_BY = "limited by"
"""The fact that says what a lane's pace is limited by, while it works."""

BY_A_PERSON = "decided by a person"

DATABASE = "journal.db"

HEADER_BYTES = 100
"""Of an SQLite file: a shorter one holds nothing."""

LEFT_BY_A_RUN = (REJECTS, IDS, "journal.db-wal", "manifest.json", "receipt.json")
"""Where one of these holds something, there was a journal."""


class Journal:
    """One run's journal, and the two logs beside it. All work is done by one thread; see `Writer`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, logs: dict[str, AppendLog]) -> None:
        self.folder = folder
        self._logs = logs
        self._writer = Writer(connection, logs, folder / "journal.db")

    @classmethod
    def open(cls, folder: Path, *, create: bool) -> Journal:
        """Open the journal in *folder* to write. Raises `JournalUnusable`, `LocalDisk`, `RunLocked`."""
        _refuse_torn(folder)
        with ExitStack() as opened:
            connection = opened.enter_context(closing(connect(folder / "journal.db", create=create)))
            logs: dict[str, AppendLog] = {}
            try:
                lengths = dict(connection.execute("SELECT name, length FROM logs"))
                for name in (REJECTS, IDS):
                    logs[name] = opened.enter_context(
                        closing(AppendLog(folder / name, good_length=lengths.get(name, 0)))
                    )
            except sqlite3.Error as error:
                raise meaning(error, folder / "journal.db") from error
            except OSError as error:
                raise refused(folder, error) from error
            except ValueError as error:
                raise JournalUnusable(f"{folder}: {error}; restore the folder from a copy") from error
            opened.pop_all()
            return cls(folder, connection, logs)

    def lane(self, name: str) -> LaneJournal:
        """The part of the journal that belongs to one lane."""
        return LaneJournal(name, self._writer, self._logs)

    async def fact(self, key: str) -> Any:
        """A fact about the run, as JSON; None if it is not known."""
        return await self.lane("").fact(key)

    async def set_fact(self, key: str, value: Any) -> None:
        """Record a fact about the run."""
        await self.lane("").set_fact(key, value)

    async def is_blank(self) -> bool:
        """Nothing was planned yet in any lane."""
        query = "SELECT EXISTS (SELECT 1 FROM chunks) OR EXISTS (SELECT 1 FROM tiles)"
        return await self._writer.run(lambda db: not db.execute(query).fetchone()[0])

    async def latest_time(self) -> float:
        """The latest time (Unix seconds) of anything that was sent or looked at, 0 where nothing was. Reads every chunk."""

        def work(db: sqlite3.Connection) -> float:
            sent = db.execute("SELECT max(last_byte_at) FROM chunks").fetchone()[0] or 0.0
            looked = (json.loads(value) for (value,) in db.execute("SELECT value FROM facts WHERE key = 'survey'"))
            return max([float(sent), *(float(survey["at"]) for survey in looked)])

        return await self._writer.run(work)

    def close(self) -> None:
        """Finish what waits and close the files."""
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


class LaneJournal:
    """What one lane tells the journal. Every method returns when its record is durable."""

    def __init__(self, lane: str, writer: Writer, logs: dict[str, AppendLog]) -> None:
        self.name = lane
        self._writer = writer
        self._logs = logs

    async def fact(self, key: str) -> Any:
        """A fact about the lane, as JSON; None if it is not known."""
        return await self._writer.run(lambda db: read_fact(db, self.name, key))

    async def set_fact(self, key: str, value: Any) -> None:
        """Record a fact about the lane."""
        text = json.dumps(value)
        await self._writer.run(lambda db: self._keep(db, key, text))

    async def recover(self, at: float) -> int:
        """What stood as sending when the last process ended is in doubt; how many chunks that is. *at*: Unix time, now: a byte may
        have left until just before that."""

        lost = "state = 'in doubt', reason = ?, last_byte_at = ?"

        def work(db: sqlite3.Connection) -> int:
            return db.execute(
                f"UPDATE {OPEN_CHUNKS} SET {lost} WHERE lane = ? AND {OPEN} AND state = 'sending'",  # noqa: S608 - literals
                ("the process ended while this was being sent", at, self.name),
            ).rowcount

        return await self._writer.run(work)

    def plan(
        self, chunks: Sequence[Chunk], *, rejects: bytes = b"", tiles: Sequence[TileSpan] = ()
    ) -> asyncio.Future[None]:
        """Record chunks with the dead letters of their ranges, and *tiles* that are now planned whole.

        The record is durable before anything that is asked of the journal later: nothing is sent of what is not. The future is done
        when there is room for more plans; where one fails after that, what is asked later does.
        """

        def work(db: sqlite3.Connection) -> None:
            self._insert(db, chunks)
            db.executemany(
                "INSERT INTO tiles VALUES (?, ?, ?, ?)", [(self.name, t.tile, t.start, t.stop) for t in tiles]
            )
            if rejects:
                self._logs[REJECTS].append(rejects)

        return self._writer.submit_ahead(work)

    async def sending(self, chunk: ChunkId, at: float) -> None:
        """The slot is granted: from here on the chunk may reach the service. *at* is Unix time."""
        self._writer.under_way += 1
        await self._move(chunk, ChunkState.SENDING, "attempts = attempts + 1, was_answered = 0, last_byte_at = ?", at)

    async def plan_again(self, chunk: ChunkId, reason: str | None = None) -> None:
        """The chunk may be sent anew: nothing of it is stored, or the user accepts doubles."""
        self._writer.back()
        await self._move(chunk, ChunkState.PLANNED, "reason = ?", reason)

    async def answered(self, chunk: ChunkId, remote_id: str) -> None:
        """The service has taken the chunk under *remote_id* and is not done with it."""
        self._writer.back()
        await self._move(chunk, ChunkState.ANSWERED, "remote_id = ?", remote_id)

    async def landed(self, chunk: ChunkId, remote_id: str, *, evidence: Evidence, ids: bytes = b"") -> None:
        """The chunk is stored. *ids*, a line for `ids.jsonl`, is durable before this is."""
        self._writer.back()
        began = (
            "last_byte_at" if evidence is Evidence.ANSWER else "0"
        )  # of a doubt the last byte is known, not the first

        def work(db: sqlite3.Connection) -> None:
            if ids:
                self._logs[IDS].append(ids)
            changes = f"remote_id = ?, evidence = ?, stored_after = {began}, reason = NULL"
            self._set(db, chunk, ChunkState.LANDED, changes, remote_id, evidence.value)

        await self._writer.run(work)

    async def in_doubt(self, chunk: ChunkId, reason: str, at: float, *, was_answered: bool = False) -> None:
        """Whether the chunk was stored is not known. *at*: when a byte of it may last have left. *was_answered*: the service
        refused it, so nothing is on its way."""
        self._writer.back()
        changes = "reason = ?, last_byte_at = ?, was_answered = ?"
        await self._move(chunk, ChunkState.IN_DOUBT, changes, reason, at, int(was_answered))

    async def absent(self, chunk: ChunkId) -> None:
        """A look has shown that the chunk is not stored: it may be sent again. That it was is kept for the final audit."""
        await self._move(chunk, ChunkState.PLANNED, "reason = NULL, absences = absences + 1")

    async def held(self, chunk: ChunkId, reason: str) -> None:
        """The doubt could not be settled; *reason* gives what was seen."""
        await self._move(chunk, ChunkState.IN_DOUBT, "reason = ?", reason)

    async def landed_by_a_person(self, chunk: ChunkId, remote_id: str, at: float) -> None:
        """A person says that the chunk is stored. *remote_id* is empty where nobody knows it; *at*: Unix time."""

        def work(db: sqlite3.Connection) -> None:
            changes = "remote_id = ?, evidence = ?, stored_after = 0, reason = ?"
            self._set(db, chunk, ChunkState.LANDED, changes, remote_id, Evidence.PERSON.value, BY_A_PERSON)
            self._add_decision(db, chunk, "landed", at)

        await self._writer.run(work)

    async def absent_by_a_person(self, chunk: ChunkId, at: float) -> None:
        """A person says that the chunk is not stored: it may be sent again, and the final audit looks for it. *at*: Unix time."""

        def work(db: sqlite3.Connection) -> None:
            self._set(db, chunk, ChunkState.PLANNED, "reason = ?, absences = absences + 1", BY_A_PERSON)
            self._add_decision(db, chunk, "absent", at)

        await self._writer.run(work)

    def _add_decision(self, db: sqlite3.Connection, chunk: ChunkId, said: str, at: float) -> None:
        """What a person said stays, whatever becomes of the chunk."""
        decisions = [*(read_fact(db, self.name, DECISIONS) or []), {"chunk": str(chunk), "said": said, "at": at}]
        self._keep(db, DECISIONS, json.dumps(decisions))

    def _keep(self, db: sqlite3.Connection, fact: str, text: str) -> None:
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (self.name, fact, text))

    async def landings(self) -> dict[str, float]:
        """Each remote dataset that holds landed rows, with the time after which the last in it was stored (0: unknown)."""
        query = (
            "SELECT remote_id, max(stored_after) FROM datasets WHERE lane = ? AND remote_id != '' "  # a person need not know the id
            "GROUP BY remote_id"
        )
        return await self._writer.run(lambda db: dict(db.execute(query, (self.name,))))

    async def landed_ids(self) -> tuple[frozenset[str | int], list[Chunk]]:
        """The ids of all rows that have landed with ids, and the landed chunks that have none. Reads the whole of `ids.jsonl`."""
        query = "SELECT tile, child FROM chunks WHERE lane = ? AND state = 'landed'"

        def work(db: sqlite3.Connection) -> tuple[frozenset[str | int], list[Chunk]]:
            landed = {str(id_): id_ for id_ in (ChunkId(self.name, *key) for key in db.execute(query, (self.name,)))}
            ids: set[str | int] = set()
            log = self._logs[IDS]
            for record in read_ids(log.path.parent, log.length):
                if record.lane == self.name and landed.pop(record.chunk, None) is not None:
                    ids.update(record.ids)
            without = (read_chunk(db, id_) for id_ in landed.values())
            return frozenset(ids), [chunk for chunk in without if chunk is not None]

        return await self._writer.run(work)

    async def called_absent(self) -> list[Chunk]:
        """The chunks that were called absent at some time, whatever has become of them since."""
        query = f"SELECT {COLUMNS} FROM chunks WHERE lane = ? AND absences > 0 ORDER BY start"  # noqa: S608
        return await self._writer.run(lambda db: [to_chunk(row) for row in db.execute(query, (self.name,))])

    async def refused(self, chunk: ChunkId, reason: str, rejects: bytes) -> None:
        """The service will take none of the chunk's rows: they are dead letters now."""

        def work(db: sqlite3.Connection) -> None:
            self._logs[REJECTS].append(rejects)
            self._set(db, chunk, ChunkState.REFUSED, "rejected = rejected + rows, rows = 0, reason = ?", reason)

        await self._writer.run(work)

    async def replace(self, parent: ChunkId, children: Sequence[Chunk], reason: str, rejects: bytes = b"") -> None:
        """*children* stand for *parent* from now on, in one transaction with what was rejected on the way."""

        def work(db: sqlite3.Connection) -> None:
            self._set(db, parent, ChunkState.SPLIT, "reason = ?", reason)
            self._insert(db, children)
            if rejects:
                self._logs[REJECTS].append(rejects)

        await self._writer.run(work)

    async def next_child(self, tile: int) -> int:
        """The first child number of *tile* that was never used."""

        def work(db: sqlite3.Connection) -> int:
            row = db.execute("SELECT max(child) FROM chunks WHERE lane = ? AND tile = ?", (self.name, tile)).fetchone()
            return 1 + (row[0] or 0)

        return await self._writer.run(work)

    async def open_chunks(self, *states: ChunkState) -> list[Chunk]:
        """The chunks in *states* (of those that are not ends), by position."""
        marks = ",".join("?" * len(states))
        query = f"SELECT {COLUMNS} FROM {OPEN_CHUNKS} WHERE lane = ? AND {OPEN} AND state IN ({marks}) ORDER BY start"  # noqa: S608
        values = (self.name, *(state.value for state in states))
        return await self._writer.run(lambda db: [to_chunk(row) for row in db.execute(query, values)])

    async def chunk(self, tile: int, child: int) -> Chunk | None:
        """The chunk of that number, whatever has become of it; None if there is none."""
        return await self._writer.run(lambda db: read_chunk(db, ChunkId(self.name, tile, child)))

    async def frontier(self) -> tuple[int, int | None]:
        """Where planning goes on: the next tile, and the position up to which it is planned already (None: it is not begun)."""

        def work(db: sqlite3.Connection) -> tuple[int, int | None]:
            last = db.execute("SELECT max(tile) FROM tiles WHERE lane = ?", (self.name,)).fetchone()[0]
            tile = 0 if last is None else last + 1
            begun = db.execute("SELECT max(stop) FROM chunks WHERE lane = ? AND tile = ?", (self.name, tile)).fetchone()
            return tile, begun[0]

        return await self._writer.run(work)

    async def totals(self) -> Totals:
        """What the lane's chunks add up to."""
        return await self._writer.run(lambda db: read_totals(db, self.name))

    async def planned_to(self) -> int | None:
        """The position up to which the source is planned, chunk by chunk; None where there is no chunk."""
        return await self._writer.run(lambda db: read_planned_to(db, self.name))

    async def remote_ids(self, name: str) -> set[str]:
        """The known ids of the datasets called *name* that hold landed rows."""
        query = "SELECT remote_id FROM datasets WHERE lane = ? AND name = ? AND remote_id != ''"
        return await self._writer.run(lambda db: {row[0] for row in db.execute(query, (self.name, name))})

    async def _move(self, chunk: ChunkId, state: ChunkState, changes: str, *values: object) -> None:
        await self._writer.run(lambda db: self._set(db, chunk, state, changes, *values))

    def _set(self, db: sqlite3.Connection, chunk: ChunkId, state: ChunkState, changes: str, *values: object) -> None:
        done = db.execute(update(state, changes), (*values, chunk.lane, chunk.tile, chunk.child))
        assert done.rowcount == 1, f"chunk {chunk} is not open in the journal"

    def _insert(self, db: sqlite3.Connection, chunks: Sequence[Chunk]) -> None:
        db.executemany(INSERT, map(to_row, chunks))
