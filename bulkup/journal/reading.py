"""A look at a run's journal while another process may be writing it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bulkup.account.receipt import RemoteEntry
from bulkup.chunk import Chunk, Totals
from bulkup.journal import queries
from bulkup.journal.facts import Fact
from bulkup.journal.faults import meaning
from bulkup.journal.opening import connect_read_only
from bulkup.journal.place import kept_in
from bulkup.journal.queries import StateCount
from bulkup.journal.sidecars import IDS, REJECTS, read_ids, read_rejects
from bulkup.journal.state_files import open_in, refused

__all__ = ["JournalView", "SqliteView", "read_chunks", "view"]

T = TypeVar("T")


class JournalView(Protocol):
    """What stands in a run's journal, to be looked at. Facts and counts are of one moment."""

    def fact(self, fact: Fact[T], lane: str = "") -> T:
        """What is recorded of the run or of a lane, or what stands for nothing."""

    def totals(self, lane: str) -> Totals:
        """What the lane's chunks add up to."""

    def changes(self, lane: str) -> dict[str, int]:
        """In how many of the lane's rows each kind of change was made. Rows that the service refused do not count."""

    def evidence(self, lane: str) -> dict[str, int]:
        """How many chunks of the lane count as landed by which evidence."""

    def datasets(self, lane: str) -> int:
        """How many datasets hold the lane's landed rows."""

    def remote(self, lane: str, at_most: int) -> list[RemoteEntry]:
        """The first *at_most* datasets that hold the lane's landed rows, in the source's order."""

    def states(self, lane: str) -> list[StateCount]:
        """The lane's chunks by state. Those that were split are counted by their children."""

    def planned_to(self, lane: str) -> int:
        """The position up to which the lane's source is planned."""

    def rows_since(self, lane: str, at: float, *, began_later: bool) -> tuple[int, bool]:
        """Rows of the lane that were sent after *at* (Unix time) and have landed, and whether there may be more of them that nobody
        knows of. *began_later*: the whole run did; else a chunk that was found by looking may have been sent before."""

    def chunks(self, lane: str) -> Iterator[Chunk]:
        """Every chunk of the lane that was not split, by position, as of now. Raises `JournalUnusable`."""

    def chunks_then(self, lane: str) -> Iterator[Chunk]:
        """The same as of the moment that facts and counts are of."""

    def split_ranges(self, lane: str) -> Iterator[tuple[int, int]]:
        """The ranges [start, stop) of chunks that were split, by position, an outer one before those in it."""

    def ids_at(self, at: int | None) -> list[str | int] | None:
        """The ids in the line that begins at position *at* of the ids; None where there is none, or where it lies on another
        machine. Raises `JournalUnusable`."""

    def reject_lines(self, lanes: Sequence[str]) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
        """The rejected rows in the order in which they were written: position, line, and what stands in it. *lanes* are the run's.

        Raises `JournalUnusable` where they are not as they were written, `UsageProblem` where they lie on another machine."""

    def rejects(self, lanes: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The same without the lines."""

    def lines_of_rejects(self) -> AbstractContextManager[Callable[[int], bytes]]:
        """What gives the line of the rejected row at a position that `rejects` told. Raises `LocalDisk`."""


class SqliteView:
    """A `JournalView` of the journal in *folder*, read-only."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self._folder = folder
        self._db = db

    def fact(self, fact: Fact[T], lane: str = "") -> T:
        return queries.fact(self._db, lane, fact)

    def totals(self, lane: str) -> Totals:
        return queries.totals(self._db, lane)

    def changes(self, lane: str) -> dict[str, int]:
        return queries.changes(self._db, lane)

    def evidence(self, lane: str) -> dict[str, int]:
        return queries.evidence(self._db, lane)

    def datasets(self, lane: str) -> int:
        return queries.datasets(self._db, lane)

    def remote(self, lane: str, at_most: int) -> list[RemoteEntry]:
        return [RemoteEntry(*row) for row in queries.remote(self._db, lane, at_most)]

    def states(self, lane: str) -> list[StateCount]:
        return queries.states(self._db, lane)

    def planned_to(self, lane: str) -> int:
        return queries.planned_to(self._db, lane) or 0

    def rows_since(self, lane: str, at: float, *, began_later: bool) -> tuple[int, bool]:
        return queries.rows_since(self._db, lane, at, began_later)

    def chunks(self, lane: str) -> Iterator[Chunk]:
        return read_chunks(self._folder, lane)

    def chunks_then(self, lane: str) -> Iterator[Chunk]:
        return queries.every_chunk(self._db, lane)

    def split_ranges(self, lane: str) -> Iterator[tuple[int, int]]:
        return queries.split_ranges(self._db, lane)

    def ids_at(self, at: int | None) -> list[str | int] | None:
        if at is None:
            return None
        lines = read_ids(self._folder, queries.log_length(self._db, IDS), at=at)
        with closing(lines):
            return next((line.ids for line, _ in lines), None)

    def reject_lines(self, lanes: Sequence[str]) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
        return read_rejects(self._folder, queries.log_length(self._db, REJECTS), lanes)

    def rejects(self, lanes: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        for at, _, record in self.reject_lines(lanes):
            yield at, record

    @contextmanager
    def lines_of_rejects(self) -> Iterator[Callable[[int], bytes]]:
        try:
            with os.fdopen(open_in(self._folder, REJECTS, os.O_RDONLY), "rb") as stream:

                def line_at(at: int) -> bytes:
                    stream.seek(at)
                    return stream.readline()

                yield line_at
        except OSError as error:
            raise refused(self._folder / REJECTS, error) from error


@contextmanager
def view(folder: Path, address: str | None = None) -> Iterator[JournalView]:
    """Look at the journal of the run in *folder*, wherever it is; one of an older format stays as it is. Raises `JournalUnusable`,
    and where it is in a database as that does. *address*: of the database that has it, where the folder is not there to say so."""
    address = address or kept_in(folder)
    if address is not None:
        from bulkup.journal.postgres.reading import look

        with look(address, folder) as found:
            yield found
        return
    with closing(connect_read_only(folder / "journal.db")) as db:
        try:
            db.execute("BEGIN")
            yield SqliteView(folder, db)
        except sqlite3.Error as error:
            raise meaning(error, folder / "journal.db") from error


def read_chunks(folder: Path, lane: str) -> Iterator[Chunk]:
    """Every chunk of *lane* that was not split, by position, one at a time, while another process may be writing.

    Raises `JournalUnusable`, also in mid-way where the file is damaged.
    """
    if kept_in(folder) is not None:
        with view(folder) as journal:
            yield from journal.chunks(lane)
        return
    path = folder / "journal.db"
    with closing(connect_read_only(path)) as db:
        try:
            yield from queries.every_chunk(db, lane)
        except sqlite3.DatabaseError as error:
            raise meaning(error, path) from error
