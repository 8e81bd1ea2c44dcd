"""A look at a run's journal while another process may be writing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bulkup.account.receipt import RemoteEntry
from bulkup.chunk import Chunk, Totals
from bulkup.journal import queries
from bulkup.journal.facts import Fact
from bulkup.journal.faults import meaning
from bulkup.journal.opening import connect_read_only
from bulkup.journal.queries import StateCount
from bulkup.journal.sidecars import IDS, REJECTS, read_ids, read_letters

__all__ = ["JournalView", "read_chunks", "view"]

T = TypeVar("T")


class JournalView:
    """What stands in the journal in *folder*, read-only. Facts and counts are of one moment."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self._folder = folder
        self._db = db

    def fact(self, fact: Fact[T], lane: str = "") -> T:
        """What is recorded of the run or of a lane, or what stands for nothing."""
        return queries.fact(self._db, lane, fact)

    def totals(self, lane: str) -> Totals:
        """What the lane's chunks add up to."""
        return queries.totals(self._db, lane)

    def changes(self, lane: str) -> dict[str, int]:
        """In how many of the lane's rows each kind of change was made. Rows that the service refused do not count."""
        return queries.changes(self._db, lane)

    def evidence(self, lane: str) -> dict[str, int]:
        """How many chunks of the lane count as landed by which evidence."""
        return queries.evidence(self._db, lane)

    def datasets(self, lane: str) -> int:
        """How many datasets hold the lane's landed rows."""
        return queries.datasets(self._db, lane)

    def remote(self, lane: str, at_most: int) -> list[RemoteEntry]:
        """The first *at_most* datasets that hold the lane's landed rows, in the source's order."""
        return [RemoteEntry(*row) for row in queries.remote(self._db, lane, at_most)]

    def states(self, lane: str) -> list[StateCount]:
        """The lane's chunks by state. Those that were split are counted by their children."""
        return queries.states(self._db, lane)

    def planned_to(self, lane: str) -> int:
        """The position up to which the lane's source is planned."""
        return queries.planned_to(self._db, lane) or 0

    def rows_since(self, lane: str, at: float, *, began_later: bool) -> tuple[int, bool]:
        """Rows of the lane that were sent after *at* (Unix time) and have landed, and whether there may be more of them that nobody
        knows of. *began_later*: the whole run did; else a chunk that was found by looking may have been sent before."""
        return queries.rows_since(self._db, lane, at, began_later)

    def chunks(self, lane: str) -> Iterator[Chunk]:
        """Every chunk of the lane that was not split, by position, as of now. Raises `JournalUnusable`."""
        return read_chunks(self._folder, lane)

    def split_ranges(self, lane: str) -> Iterator[tuple[int, int]]:
        """The ranges [start, stop) of chunks that were split, by position, an outer one before those in it."""
        return queries.split_ranges(self._db, lane)

    def ids_at(self, at: int | None) -> list[str | int] | None:
        """The ids in the line of `ids.jsonl` that begins at byte *at*; None where there is none. Raises `JournalUnusable`."""
        if at is None:
            return None
        lines = read_ids(self._folder, queries.log_length(self._db, IDS), at=at)
        with closing(lines):
            return next((line.ids for line, _ in lines), None)

    def rejects_bytes(self) -> int:
        """How much of `rejects.jsonl` counts."""
        return queries.log_length(self._db, REJECTS)

    def rejects(self, lanes: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The dead letters in the order in which they were written, each with its byte offset in `rejects.jsonl`.

        *lanes* are the run's. Raises `JournalUnusable` where they are not as they were written."""
        for at, _, letter in read_letters(self._folder, self.rejects_bytes(), lanes):
            yield at, letter


@contextmanager
def view(folder: Path) -> Iterator[JournalView]:
    """Look at the journal in *folder*; one of an older format stays as it is. Raises `JournalUnusable`."""
    with closing(connect_read_only(folder / "journal.db")) as db:
        try:
            db.execute("BEGIN")
            yield JournalView(folder, db)
        except sqlite3.Error as error:
            raise meaning(error, folder / "journal.db") from error


def read_chunks(folder: Path, lane: str) -> Iterator[Chunk]:
    """Every chunk of *lane* that was not split, by position, one at a time, while another process may be writing.

    Raises `JournalUnusable`, also in mid-way where the file is damaged.
    """
    path = folder / "journal.db"
    with closing(connect_read_only(path)) as db:
        try:
            yield from queries.every_chunk(db, lane)
        except sqlite3.DatabaseError as error:
            raise meaning(error, path) from error
