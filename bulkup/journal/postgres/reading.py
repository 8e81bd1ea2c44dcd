"""A look at a run's journal in PostgreSQL, while another process may be writing it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from bulkup.account.receipt import RemoteEntry
from bulkup.chunk import Chunk, Totals
from bulkup.errors import JournalUnusable, UsageProblem
from bulkup.journal.facts import Fact
from bulkup.journal.postgres import questions
from bulkup.journal.postgres.client import Connection
from bulkup.journal.postgres.lease import standing_of
from bulkup.journal.postgres.logs import IDS, REJECTS, Part, missing, parts_of
from bulkup.journal.postgres.runs import connected
from bulkup.journal.queries import StateCount
from bulkup.journal.sidecars import read_ids, read_rejects
from bulkup.journal.state_files import open_in, refused

__all__ = ["PostgresView", "look"]

T = TypeVar("T")


class PostgresView:
    """A `JournalView` of a run whose files are in *folder*, as far as they are on this machine."""

    def __init__(self, db: Connection, run: int, folder: Path) -> None:
        self._db = db
        self._run = run
        self._folder = folder
        self._ids = parts_of(db, run, IDS, folder)
        self._rejects = parts_of(db, run, REJECTS, folder)

    def fact(self, fact: Fact[T], lane: str = "") -> T:
        return questions.fact(self._db, self._run, lane, fact)

    def totals(self, lane: str) -> Totals:
        return questions.totals(self._db, self._run, lane)

    def changes(self, lane: str) -> dict[str, int]:
        return questions.changes(self._db, self._run, lane)

    def evidence(self, lane: str) -> dict[str, int]:
        return questions.evidence(self._db, self._run, lane)

    def datasets(self, lane: str) -> int:
        return questions.datasets(self._db, self._run, lane)

    def remote(self, lane: str, at_most: int) -> list[RemoteEntry]:
        return [RemoteEntry(*row) for row in questions.remote(self._db, self._run, lane, at_most)]

    def states(self, lane: str) -> list[StateCount]:
        return questions.states(self._db, self._run, lane)

    def planned_to(self, lane: str) -> int:
        return questions.planned_to(self._db, self._run, lane) or 0

    def rows_since(self, lane: str, at: float, *, began_later: bool) -> tuple[int, bool]:
        return questions.rows_since(self._db, self._run, lane, at, began_later)

    def chunks(self, lane: str) -> Iterator[Chunk]:
        gone = missing(self._ids)
        for chunk in questions.every_chunk(self._db, self._run, lane):
            at = chunk.ids_at
            is_gone = at is not None and any(start <= at < stop for start, stop in gone)
            yield replace(chunk, ids_at=None) if is_gone else chunk

    def chunks_then(self, lane: str) -> Iterator[Chunk]:
        return self.chunks(lane)

    def split_ranges(self, lane: str) -> Iterator[tuple[int, int]]:
        return questions.split_ranges(self._db, self._run, lane)

    def ids_at(self, at: int | None) -> list[str | int] | None:
        part = None if at is None else _part_at(self._ids, at)
        if at is None or part is None or not part.is_here:
            return None
        lines = read_ids(self._folder, part.length, at=at - part.base, name=part.name)
        with closing(lines):
            return next((line.ids for line, _ in lines), None)

    def reject_lines(self, lanes: Sequence[str]) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
        for part in self._rejects:
            _refuse_missing(part)
            for at, line, record in read_rejects(self._folder, part.length, lanes, part.name):
                yield part.base + at, line, record

    def rejects(self, lanes: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        for at, _, record in self.reject_lines(lanes):
            yield at, record

    @contextmanager
    def lines_of_rejects(self) -> Iterator[Callable[[int], bytes]]:
        opened: dict[str, Any] = {}

        def line_at(at: int) -> bytes:
            part = _part_at(self._rejects, at)
            assert part is not None, "it was listed"
            if part.name not in opened:
                opened[part.name] = os.fdopen(open_in(self._folder, part.name, os.O_RDONLY), "rb")
            stream = opened[part.name]
            stream.seek(at - part.base)
            found: bytes = stream.readline()
            return found

        try:
            yield line_at
        except OSError as error:
            raise refused(self._folder, error) from error
        finally:
            for stream in opened.values():
                stream.close()


def _part_at(parts: Sequence[Part], at: int) -> Part | None:
    return next((part for part in parts if part.base <= at < part.stop), None)


def _refuse_missing(part: Part) -> None:
    if not part.is_here:
        raise UsageProblem(
            f"rejected rows of this run stand in {part.folder}/{part.name} on {part.host}, and not here: run the command there, or "
            "copy that file into the run's folder"
        )


@contextmanager
def look(address: str, folder: Path) -> Iterator[PostgresView]:
    """Look at the journal of the run in *folder*, which the database at *address* has. Facts and counts are of one moment.

    Raises `JournalUnusable`, and as the database does."""
    with connected(address) as db:
        standing = standing_of(db, folder.name)
        if standing is None:
            raise JournalUnusable(f"{address}: there is no run {folder.name} in this database")
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # whoever looks keeps nobody out
        try:
            yield PostgresView(db, standing.run, folder)
        except ValueError as error:
            raise JournalUnusable(f"{address}: unusable journal ({error})") from error
