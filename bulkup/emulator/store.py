"""What the emulator holds: datasets, and their rows as JSON text, in SQLite on disk.

One thread owns the connection, so jobs are done one after the other and each is whole. Rows of a dataset are numbered
from 0 in the order in which they were stored; what a lagging reader sees is therefore always the first so many.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from .settings import ServiceName

__all__ = ["Dataset", "Store", "Upload"]

T = TypeVar("T")

_SPAN: Final = 1 << 36
"""Row n of dataset d has the key d·SPAN + n: one B-tree, appended to, and any row found by arithmetic."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS datasets (
  number INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
  place TEXT NOT NULL, project TEXT, schema BLOB, status TEXT NOT NULL, polls_left INTEGER NOT NULL, ends TEXT NOT NULL,
  created_at REAL NOT NULL, rows INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS datasets_by_name ON datasets (service, place, name);
CREATE TABLE IF NOT EXISTS batches (dataset INTEGER NOT NULL, rows INTEGER NOT NULL, stored_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS batches_by_dataset ON batches (dataset, stored_at, rows);
CREATE TABLE IF NOT EXISTS rows (key INTEGER PRIMARY KEY, id TEXT, data BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload's meaning. *place* is Nebius's folder or Collinear's space; *rows* are JSON objects as text;
    *ids* one for each row, or none at all (Nebius).

    *polls* is how often a poll finds PENDING (-1: always), *ends* what it is then.
    """

    service: ServiceName
    name: str
    place: str
    rows: Sequence[bytes]
    ids: Sequence[str] = ()
    project: str | None = None
    schema: bytes | None = None
    polls: int = 0
    ends: str = "READY"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as stored; *rows* counts all of them, *created_at* is unix seconds."""

    number: int
    service: str
    id: str
    name: str
    place: str
    project: str | None
    schema: bytes | None
    status: str
    polls_left: int
    ends: str
    created_at: float
    rows: int


class Store:
    """The database. Every coroutine is one job of the one thread, done whole even if its caller is cancelled."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.last = 0
        """The number of the youngest dataset. Whoever knows it knows which datasets there were."""
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "emulator-store")
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._thread.submit(self._open).result()

    def close(self) -> None:
        """Finish what was begun, then close."""
        self._thread.submit(self._db.close).result()
        self._thread.shutdown()

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-16384;" + _TABLES)
        self.last = self._db.execute("SELECT coalesce(max(number), 0) FROM datasets").fetchone()[0]

    async def _job(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _change(self, work: Callable[[], T]) -> T:
        def transaction() -> T:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                return work()

        return await self._job(transaction)

    # writing

    async def create(self, upload: Upload) -> Dataset:
        """Store *upload* as a new dataset, whatever its name."""
        return await self._change(lambda: self._add(self._create(upload), upload))

    async def append(self, upload: Upload, among: int | None) -> Dataset:
        """Add *upload* to the oldest dataset of its name and place, or create it.

        *among* restricts the search to datasets up to that number: those that there were at a certain moment.
        """

        def work() -> Dataset:
            found = self._select(
                "service=? AND place=? AND name=? AND number<=? ORDER BY number LIMIT 1",
                (upload.service, upload.place, upload.name, self.last if among is None else among),
            )
            return self._add(found[0] if found else self._create(upload), upload)

        return await self._change(work)

    def _create(self, upload: Upload) -> Dataset:
        made = uuid.uuid4()
        status = "PENDING" if upload.polls else upload.ends
        cursor = self._db.execute(
            "INSERT INTO datasets"
            " (service, id, name, place, project, schema, status, polls_left, ends, created_at, rows)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,0)",
            (
                upload.service,
                made.hex if upload.service == "nebius" else str(made),
                upload.name,
                upload.place,
                upload.project,
                upload.schema,
                status,
                upload.polls,
                upload.ends,
                self._clock(),
            ),
        )
        assert cursor.lastrowid is not None
        self.last = cursor.lastrowid
        return self._select("number=?", (self.last,))[0]

    def _add(self, dataset: Dataset, upload: Upload) -> Dataset:
        ids: Sequence[str | None] = upload.ids or [None] * len(upload.rows)
        first = dataset.number * _SPAN + dataset.rows
        keyed = zip(range(first, first + len(upload.rows)), ids, upload.rows, strict=True)
        self._db.executemany("INSERT INTO rows VALUES (?,?,?)", keyed)
        self._db.execute("INSERT INTO batches VALUES (?,?,?)", (dataset.number, len(upload.rows), self._clock()))
        self._db.execute("UPDATE datasets SET rows=rows+? WHERE number=?", (len(upload.rows), dataset.number))
        return self._select("number=?", (dataset.number,))[0]

    async def poll(self, service: ServiceName, dataset_id: str) -> Dataset | None:
        """The dataset, after counting one poll of it: PENDING for so many as it was created with, then its end."""

        def work() -> Dataset | None:
            found = self._select("service=? AND id=?", (service, dataset_id))
            if not found or found[0].status != "PENDING" or found[0].polls_left < 0:
                return found[0] if found else None
            number = found[0].number
            if not found[0].polls_left:
                self._db.execute("UPDATE datasets SET status=ends WHERE number=?", (number,))
            self._db.execute("UPDATE datasets SET polls_left=max(0, polls_left-1) WHERE number=?", (number,))
            return self._select("number=?", (number,))[0]

        return await self._change(work)

    async def rename(self, dataset: Dataset, name: str, place: str) -> Dataset:
        """Give *dataset* another name or place."""

        def work() -> Dataset:
            self._db.execute("UPDATE datasets SET name=?, place=? WHERE number=?", (name, place, dataset.number))
            return self._select("number=?", (dataset.number,))[0]

        return await self._change(work)

    async def clear(self) -> None:
        """Forget everything. Numbers go on."""
        await self._change(lambda: [self._db.execute(f"DELETE FROM {t}") for t in ("rows", "batches", "datasets")])  # noqa: S608

    # reading: *until* (unix seconds) leaves out what was stored after it

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Dataset]:
        return [Dataset(*row) for row in self._db.execute(f"SELECT * FROM datasets WHERE {where}", values)]  # noqa: S608

    async def find(self, service: ServiceName, dataset_id: str, until: float | None = None) -> Dataset | None:
        """The dataset of that id, or None."""
        found = await self._job(
            lambda: self._select("service=? AND id=? AND created_at<=?", (service, dataset_id, _bound(until)))
        )
        return found[0] if found else None

    async def datasets(
        self, service: ServiceName, place: str | None = None, name: str | None = None, until: float | None = None
    ) -> list[Dataset]:
        """All datasets of *service* (in that place, of that name), oldest first."""

        def work() -> list[Dataset]:
            return self._select(
                "service=?1 AND (?2 IS NULL OR place=?2) AND (?3 IS NULL OR name=?3) AND created_at<=?4"
                " ORDER BY number",
                (service, place, name, _bound(until)),
            )

        return await self._job(work)

    async def count(self, dataset: Dataset, until: float | None = None) -> int:
        """How many of its rows are visible."""

        def work() -> int:
            query = "SELECT coalesce(sum(rows), 0) FROM batches WHERE dataset=? AND stored_at<=?"
            return int(self._db.execute(query, (dataset.number, _bound(until))).fetchone()[0])

        return await self._job(work)

    async def rows(
        self, dataset: Dataset, offset: int, limit: int, until: float | None = None
    ) -> list[tuple[str | None, bytes]]:
        """Up to *limit* visible rows from *offset*, each with its id (None on Nebius)."""
        end = min(offset + limit, await self.count(dataset, until), _SPAN)
        first = dataset.number * _SPAN

        def work() -> list[tuple[str | None, bytes]]:
            query = "SELECT id, data FROM rows WHERE key>=? AND key<? ORDER BY key"
            return self._db.execute(query, (first + min(offset, _SPAN), first + end)).fetchall()

        return await self._job(work)


def _bound(until: float | None) -> float:
    return 1e18 if until is None else until
