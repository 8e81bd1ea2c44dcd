"""A look at a run's journal while another process may be writing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkup.chunk import Chunk, Totals
from bulkup.journal.faults import meaning
from bulkup.journal.records import read_chunks, read_evidence, read_fact, read_planned_to, read_totals
from bulkup.journal.sidecars import IDS, REJECTS, read_ids, read_letters
from bulkup.journal.tables import OPEN, OPEN_CHUNKS, connect_read_only
from bulkup.receipt import RemoteEntry

__all__ = ["JournalView", "StateCount", "view"]


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many chunks, with how many good rows, stand in one state."""

    state: str
    chunks: int
    rows: int


class JournalView:
    """What stands in the journal in *folder*, read-only. Facts and counts are of one moment."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self._folder = folder
        self._db = db

    def fact(self, key: str, lane: str = "") -> Any:
        """A fact about the run or a lane, as JSON; None if it is not known."""
        return read_fact(self._db, lane, key)

    def totals(self, lane: str) -> Totals:
        """What the lane's chunks add up to."""
        return read_totals(self._db, lane)

    def evidence(self, lane: str) -> dict[str, int]:
        """How many chunks of the lane count as landed by which evidence."""
        return read_evidence(self._db, lane)

    def datasets(self, lane: str) -> int:
        """How many datasets hold the lane's landed rows."""
        return int(self._db.execute("SELECT count(*) FROM datasets WHERE lane = ?", (lane,)).fetchone()[0])

    def remote(self, lane: str, at_most: int) -> list[RemoteEntry]:
        """The first *at_most* datasets that hold the lane's landed rows, in the source's order."""
        query = "SELECT remote_id, name, rows FROM datasets WHERE lane = ? ORDER BY start LIMIT ?"
        return [RemoteEntry(*row) for row in self._db.execute(query, (lane, at_most))]

    def states(self, lane: str) -> list[StateCount]:
        """The lane's chunks by state. Those that were split are counted by their children."""
        ended = "SELECT state, sum(chunks), sum(rows) FROM sums WHERE lane = ? AND state != 'split' GROUP BY state"
        still_open = f"SELECT state, count(*), sum(rows) FROM {OPEN_CHUNKS} WHERE lane = ? AND {OPEN} GROUP BY state"  # noqa: S608
        query = f"{ended} UNION ALL {still_open}"
        return [StateCount(*row) for row in self._db.execute(query, (lane, lane))]

    def planned_to(self, lane: str) -> int:
        """The position up to which the lane's source is planned."""
        return read_planned_to(self._db, lane) or 0

    def rows_since(self, lane: str, at: float, *, began_later: bool) -> tuple[int, bool]:
        """Rows of the lane that were sent after *at* (Unix time) and have landed, and whether there may be more of them that nobody
        knows of. *began_later*: the whole run did; else a chunk that was found by looking may have been sent before."""
        query = (
            "SELECT total(rows) FILTER (WHERE state = 'landed' AND (evidence = 'answer' OR :began_later)), "
            "count(*) FILTER (WHERE (state = 'landed' AND evidence != 'answer' AND NOT :began_later) "
            "OR state IN ('sending', 'answered', 'in doubt')) "
            "FROM chunks WHERE lane = :lane AND last_byte_at >= :at"
        )
        given = {"lane": lane, "at": at, "began_later": began_later}
        landed, unclear = self._db.execute(query, given).fetchone()
        return int(landed), unclear > 0

    def chunks(self, lane: str) -> Iterator[Chunk]:
        """Every chunk of the lane that was not split, by position, as of now. Raises `JournalUnusable`."""
        return read_chunks(self._folder, lane)

    def split_ranges(self, lane: str) -> list[tuple[int, int]]:
        """The ranges [start, stop) of chunks that were split, by position, an outer one before those in it."""
        query = "SELECT start, stop FROM chunks WHERE lane = ? AND state = 'split' ORDER BY start, stop DESC"
        return list(self._db.execute(query, (lane,)))

    def rejects_bytes(self) -> int:
        """How much of `rejects.jsonl` counts."""
        return self._log_bytes(REJECTS)

    def ids(self, lane: str) -> Iterator[tuple[str, list[str | int]]]:
        """The ids that the service gave for the rows of each landed chunk, with the chunk's name. Read a chunk at a time. Raises
        `JournalUnusable` where they are not as they were written."""
        for record in read_ids(self._folder, self._log_bytes(IDS)):
            if record.lane == lane:
                yield record.chunk, record.ids

    def rejects(self, lanes: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The dead letters in the order in which they were written, each with its byte offset in `rejects.jsonl`.

        *lanes* are the run's. Raises `JournalUnusable` where they are not as they were written."""
        for at, _, letter in read_letters(self._folder, self.rejects_bytes(), lanes):
            yield at, letter

    def _log_bytes(self, name: str) -> int:
        row = self._db.execute("SELECT length FROM logs WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def view(folder: Path) -> Iterator[JournalView]:
    """Look at the journal in *folder*. Raises `JournalUnusable`."""
    with closing(connect_read_only(folder / "journal.db")) as db:
        try:
            db.execute("BEGIN")
            yield JournalView(folder, db)
        except sqlite3.Error as error:
            raise meaning(error, folder / "journal.db") from error
