"""The journal's interface: what the flow tells it, and what it answers."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.errors import JournalUnusable, LocalDisk
from bulkup.journal.append_log import AppendLog
from bulkup.journal.tables import connect, connect_read_only
from bulkup.journal.writer import Writer

__all__ = ["Journal", "LaneJournal", "RemoteDataset"]

REJECTS = "rejects.jsonl"
IDS = "ids.jsonl"

DECISIONS = "decisions"
"""The fact that holds what a person has decided in a lane: `[{"chunk", "said", "at"}, …]`."""

LIMITED_BY = "limited by"
"""The fact that says what a lane's pace is limited by, while it works."""

BY_A_PERSON = "decided by a person"

HEADER_BYTES = 100
"""Of an SQLite file: a shorter one holds nothing."""

_FIELDS = (
    "lane", "tile", "child", "start", "stop", "file", "byte_offset", "rows", "blank", "rejected", "lines", "body_bytes",
    "raw_hash", "rows_hash", "name", "verbatim", "state", "attempts", "remote_id", "reason", "last_byte_at", "was_answered",
    "absences", "evidence",
)  # fmt: skip
_COLUMNS = ", ".join(_FIELDS)
_INSERT = f"INSERT INTO chunks ({_COLUMNS}, line_count) VALUES ({', '.join('?' * (len(_FIELDS) + 1))})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class RemoteDataset:
    """A dataset at the destination that holds rows of this run."""

    id: str
    name: str
    rows: int


class Journal:
    """One run's journal, and the two logs beside it. All work is done by one thread; see `Writer`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, logs: dict[str, AppendLog]) -> None:
        self.folder = folder
        self._logs = logs
        self._writer = Writer(connection, logs)

    @classmethod
    def open(cls, folder: Path, *, create: bool) -> Journal:
        """Open the journal in *folder* to write. Raises `JournalUnusable`."""
        _refuse_torn(folder)
        connection = connect(folder / "journal.db", create=create)
        logs: dict[str, AppendLog] = {}
        try:
            lengths = dict(connection.execute("SELECT name, length FROM logs"))
            for name in (REJECTS, IDS):
                logs[name] = AppendLog(folder / name, good_length=lengths.get(name, 0))
        except (ValueError, sqlite3.Error, OSError) as error:
            connection.close()
            for log in logs.values():
                log.close()
            if isinstance(error, OSError):
                raise LocalDisk(f"{error.filename or folder}: {error.strerror}; see to the state directory") from error
            raise JournalUnusable(f"{folder}: {error}; restore the folder from a copy") from error
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

    def close(self) -> None:
        """Finish what waits and close the files."""
        self._writer.close()


def _refuse_torn(folder: Path) -> None:
    """A database without content is a new journal only where nothing stands beside it."""
    database = folder / "journal.db"
    if database.exists() and database.stat().st_size < HEADER_BYTES:
        for name in (REJECTS, IDS, "journal.db-wal"):
            if (folder / name).exists() and (folder / name).stat().st_size:
                raise JournalUnusable(
                    f"{database} is empty, but {name} beside it is not; restore the folder from a copy"
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
        await self._writer.run(
            lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (self.name, key, text)) and None
        )

    async def recover(self, at: float) -> int:
        """What stood as sending when the last process ended is in doubt; how many chunks that is. *at*: Unix time, now: a byte may
        have left until just before that."""

        def work(db: sqlite3.Connection) -> int:
            return db.execute(
                "UPDATE chunks SET state = ?, reason = ?, last_byte_at = ? WHERE lane = ? AND state = ?",
                (ChunkState.IN_DOUBT, "the process ended while this was being sent", at, self.name, ChunkState.SENDING),
            ).rowcount

        return await self._writer.run(work)

    def plan(
        self, chunks: Sequence[Chunk], *, rejects: bytes = b"", tiles: Sequence[TileSpan] = ()
    ) -> asyncio.Future[None]:
        """Record chunks with the dead letters of their ranges, and *tiles* that are now planned whole.

        The record is durable when the future is done, and before anything that is asked of the journal later.
        """

        def work(db: sqlite3.Connection) -> None:
            self._insert(db, chunks)
            db.executemany(
                "INSERT INTO tiles VALUES (?, ?, ?, ?)", [(self.name, t.tile, t.start, t.stop) for t in tiles]
            )
            if rejects:
                self._logs[REJECTS].append(rejects)

        return self._writer.submit(work)

    async def sending(self, chunk: ChunkId, at: float) -> None:
        """The slot is granted: from here on the chunk may reach the service. *at* is Unix time."""
        await self._move(chunk, ChunkState.SENDING, "attempts = attempts + 1, was_answered = 0, last_byte_at = ?", at)

    async def plan_again(self, chunk: ChunkId, reason: str | None = None) -> None:
        """The chunk may be sent anew: nothing of it is stored, or the user accepts doubles."""
        await self._move(chunk, ChunkState.PLANNED, "reason = ?", reason)

    async def answered(self, chunk: ChunkId, remote_id: str) -> None:
        """The service has taken the chunk under *remote_id* and is not done with it."""
        await self._move(chunk, ChunkState.ANSWERED, "remote_id = ?", remote_id)

    async def landed(self, chunk: ChunkId, remote_id: str, *, evidence: Evidence, ids: bytes = b"") -> None:
        """The chunk is stored. *ids*, a line for `ids.jsonl`, is durable before this is."""
        began = (
            "last_byte_at" if evidence is Evidence.ANSWER else "0"
        )  # of a doubt the last byte is known, not the first

        def work(db: sqlite3.Connection) -> None:
            if ids:
                self._logs[IDS].append(ids)
            changes = f"remote_id = ?, evidence = ?, stored_after = {began}, reason = NULL"
            self._set(db, chunk, ChunkState.LANDED, changes, remote_id, evidence)

        await self._writer.run(work)

    async def in_doubt(self, chunk: ChunkId, reason: str, at: float, *, was_answered: bool = False) -> None:
        """Whether the chunk was stored is not known. *at*: when a byte of it may last have left. *was_answered*: the service
        refused it, so nothing is on its way."""
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
            self._set(db, chunk, ChunkState.LANDED, changes, remote_id, Evidence.PERSON, BY_A_PERSON)
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
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (self.name, DECISIONS, json.dumps(decisions)))

    async def landings(self) -> dict[str, float]:
        """Each remote dataset that holds landed rows, with the time after which the last in it was stored (0: unknown)."""
        known = "AND NOT (remote_id = '' AND evidence = 'a person')"  # a person need not know the id
        query = f"SELECT remote_id, max(stored_after) FROM chunks WHERE lane = ? AND state = 'landed' {known} GROUP BY remote_id"  # noqa: S608
        return await self._writer.run(lambda db: dict(db.execute(query, (self.name,))))

    async def landed_ids(self) -> tuple[frozenset[str | int], list[Chunk]]:
        """The ids of all rows that have landed with ids, and the landed chunks that have none. Reads the whole of `ids.jsonl`."""
        query = f"SELECT {_COLUMNS} FROM chunks WHERE lane = ? AND state = 'landed'"  # noqa: S608

        def work(db: sqlite3.Connection) -> tuple[frozenset[str | int], list[Chunk]]:
            landed = {str(chunk.id): chunk for chunk in map(_chunk, db.execute(query, (self.name,)))}
            ids: set[str | int] = set()
            with self._logs[IDS].path.open("rb") as lines:
                for line in lines:
                    record = json.loads(line)
                    if record["lane"] == self.name and landed.pop(record["chunk"], None) is not None:
                        ids.update(record["ids"])
            return frozenset(ids), list(landed.values())

        return await self._writer.run(work)

    async def called_absent(self) -> list[Chunk]:
        """The chunks that were called absent at some time, whatever has become of them since."""
        query = f"SELECT {_COLUMNS} FROM chunks WHERE lane = ? AND absences > 0 ORDER BY start"  # noqa: S608
        return await self._writer.run(lambda db: [_chunk(row) for row in db.execute(query, (self.name,))])

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
        query = f"SELECT {_COLUMNS} FROM chunks WHERE lane = ? AND state IN ({marks}) ORDER BY start"  # noqa: S608
        return await self._writer.run(lambda db: [_chunk(row) for row in db.execute(query, (self.name, *states))])

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

    async def remote(self) -> list[RemoteDataset]:
        """The datasets that hold the lane's landed rows."""
        return await self._writer.run(lambda db: read_remote(db, self.name))

    async def evidence(self) -> dict[str, int]:
        """How many chunks count as landed by which evidence."""
        return await self._writer.run(lambda db: read_evidence(db, self.name))

    async def largest_body(self) -> int:
        """Bytes of the largest landed chunk's rows."""
        query = "SELECT max(body_bytes) FROM chunks WHERE lane = ? AND state = 'landed'"
        return await self._writer.run(lambda db: db.execute(query, (self.name,)).fetchone()[0] or 0)

    async def _move(self, chunk: ChunkId, state: ChunkState, changes: str, *values: object) -> None:
        await self._writer.run(lambda db: self._set(db, chunk, state, changes, *values))

    def _set(self, db: sqlite3.Connection, chunk: ChunkId, state: ChunkState, changes: str, *values: object) -> None:
        done = db.execute(
            f"UPDATE chunks SET state = ?, {changes} WHERE lane = ? AND tile = ? AND child = ?",  # noqa: S608 - changes are literals above
            (state, *values, chunk.lane, chunk.tile, chunk.child),
        )
        assert done.rowcount == 1, f"chunk {chunk} is not in the journal"

    def _insert(self, db: sqlite3.Connection, chunks: Sequence[Chunk]) -> None:
        db.executemany(_INSERT, [_row(chunk) for chunk in chunks])


def read_fact(db: sqlite3.Connection, lane: str, key: str) -> Any:
    """A recorded fact as JSON, None if there is none."""
    row = db.execute("SELECT value FROM facts WHERE lane = ? AND key = ?", (lane, key)).fetchone()
    return None if row is None else json.loads(row[0])


def read_totals(db: sqlite3.Connection, lane: str) -> Totals:
    """What the chunks of *lane* add up to."""
    totals = Totals()
    query = (
        "SELECT state, count(*), sum(line_count), sum(rows), sum(blank), sum(rejected), sum(body_bytes) "
        "FROM chunks WHERE lane = ? GROUP BY state"
    )
    for state, chunks, lines, rows, blank, rejected, body_bytes in db.execute(query, (lane,)):
        totals.add(
            ChunkState(state),
            chunks=chunks,
            lines=lines,
            rows=rows,
            blank=blank,
            rejected=rejected,
            body_bytes=body_bytes,
        )
    return totals


def read_evidence(db: sqlite3.Connection, lane: str) -> dict[str, int]:
    """How many landed chunks of *lane* count as landed by which evidence. Those without rows were never sent."""
    query = (
        "SELECT evidence, count(*) FROM chunks WHERE lane = ? AND state = 'landed' GROUP BY evidence ORDER BY evidence"
    )
    return dict(db.execute(query, (lane,)))


def read_remote(db: sqlite3.Connection, lane: str) -> list[RemoteDataset]:
    """The datasets that hold landed rows of *lane*, in the source's order."""
    query = (
        "SELECT remote_id, name, sum(rows) FROM chunks WHERE lane = ? AND state = 'landed' "
        "GROUP BY remote_id, name ORDER BY min(start)"
    )
    return [RemoteDataset(*row) for row in db.execute(query, (lane,))]


def read_chunks(folder: Path, lane: str) -> list[Chunk]:
    """Every chunk of *lane* that was not split, by position, while another process may be writing."""
    db = connect_read_only(folder / "journal.db")
    try:
        query = f"SELECT {_COLUMNS} FROM chunks WHERE lane = ? AND state != 'split' ORDER BY start"  # noqa: S608
        return [_chunk(row) for row in db.execute(query, (lane,))]
    finally:
        db.close()


def _row(chunk: Chunk) -> tuple[object, ...]:
    values = {
        **{field: getattr(chunk, field) for field in _FIELDS[3:]},
        "lines": json.dumps(chunk.lines),
        "verbatim": int(chunk.verbatim),
        "was_answered": int(chunk.was_answered),
    }
    return (chunk.id.lane, chunk.id.tile, chunk.id.child, *(values[field] for field in _FIELDS[3:]), chunk.line_count)


def _chunk(row: tuple[Any, ...]) -> Chunk:
    values = dict(zip(_FIELDS, row, strict=True))
    id_ = ChunkId(values.pop("lane"), values.pop("tile"), values.pop("child"))
    values["lines"] = tuple((file, count) for file, count in json.loads(values["lines"]))
    values["verbatim"] = bool(values["verbatim"])
    values["was_answered"] = bool(values["was_answered"])
    values["state"] = ChunkState(values["state"])
    values["evidence"] = None if values["evidence"] is None else Evidence(values["evidence"])
    return Chunk(id=id_, **values)
