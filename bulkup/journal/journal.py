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

HEADER_BYTES = 100
"""Of an SQLite file: a shorter one holds nothing."""

_FIELDS = (
    "lane", "tile", "child", "start", "stop", "file", "byte_offset", "rows", "blank", "rejected", "lines", "body_bytes",
    "raw_hash", "rows_hash", "name", "verbatim", "state", "attempts", "remote_id", "reason", "last_byte_at",
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

    async def recover(self) -> int:
        """What stood as sending when the last process ended is in doubt; how many chunks that is."""

        def work(db: sqlite3.Connection) -> int:
            return db.execute(
                "UPDATE chunks SET state = ?, reason = ? WHERE lane = ? AND state = ?",
                (ChunkState.IN_DOUBT, "the process ended while this was being sent", self.name, ChunkState.SENDING),
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
        await self._move(chunk, ChunkState.SENDING, "attempts = attempts + 1, last_byte_at = ?", at)

    async def plan_again(self, chunk: ChunkId, reason: str | None = None) -> None:
        """The chunk may be sent anew: nothing of it is stored, or the user accepts doubles."""
        await self._move(chunk, ChunkState.PLANNED, "reason = ?", reason)

    async def answered(self, chunk: ChunkId, remote_id: str) -> None:
        """The service has taken the chunk under *remote_id* and is not done with it."""
        await self._move(chunk, ChunkState.ANSWERED, "remote_id = ?", remote_id)

    async def landed(self, chunk: ChunkId, remote_id: str, *, evidence: Evidence, ids: bytes = b"") -> None:
        """The chunk is stored. *ids*, a line for `ids.jsonl`, is durable before this is."""

        def work(db: sqlite3.Connection) -> None:
            if ids:
                self._logs[IDS].append(ids)
            self._set(db, chunk, ChunkState.LANDED, "remote_id = ?, evidence = ?, reason = NULL", remote_id, evidence)

        await self._writer.run(work)

    async def in_doubt(self, chunk: ChunkId, reason: str, at: float) -> None:
        """Whether the chunk was stored is not known. *at*: when a byte of it may last have left."""
        await self._move(chunk, ChunkState.IN_DOUBT, "reason = ?, last_byte_at = ?", reason, at)

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
    }
    return (chunk.id.lane, chunk.id.tile, chunk.id.child, *(values[field] for field in _FIELDS[3:]), chunk.line_count)


def _chunk(row: tuple[Any, ...]) -> Chunk:
    values = dict(zip(_FIELDS, row, strict=True))
    id_ = ChunkId(values.pop("lane"), values.pop("tile"), values.pop("child"))
    values["lines"] = tuple((file, count) for file, count in json.loads(values["lines"]))
    values["verbatim"] = bool(values["verbatim"])
    values["state"] = ChunkState(values["state"])
    return Chunk(id=id_, **values)
