"""What the writer of a journal on disk knows without asking: its facts, and whether anything was planned.

Nobody else writes to the journal, so what was read when it was opened and what was committed since is all there is. To ask the
journal's thread takes two changes of thread and a transaction, and a run asks for some twenty facts before it sends anything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bulkup.journal import queries
from bulkup.journal.facts import SURVEY, Fact
from bulkup.journal.faults import meaning

__all__ = ["Known"]

T = TypeVar("T")

_LARGE = 1 << 20
"""A fact of so many characters is asked for each time, not held."""


class Known:
    """The facts as they were committed. Changed in the journal's thread, as part of its transactions; read in any."""

    def __init__(self, connection: sqlite3.Connection, database: Path) -> None:
        """Raises `JournalUnusable`, `LocalDisk`."""
        self._database = database
        self._changed: dict[tuple[str, str], str] = {}
        self._texts: dict[tuple[str, str], str | None] = {}
        try:
            self._keep(queries.facts(connection))
            self.is_blank = queries.is_blank(connection)
            """Nothing was planned yet: then no question about chunks need be asked."""
        except sqlite3.Error as error:
            raise meaning(error, database) from error

    @property
    def has_no_times(self) -> bool:
        """Nothing was sent or looked at."""
        return self.is_blank and not any(key == SURVEY.key for _, key in list(self._texts))

    def has(self, lane: str, key: str) -> bool:
        """Whether what is recorded of *lane* under *key* is known here."""
        return self._texts.get((lane, key), "") is not None

    def fact(self, lane: str, fact: Fact[T]) -> T:
        """What is recorded of *lane*, '' for the run. Raises `JournalUnusable` where it makes no sense."""
        try:
            return fact.of_text(self._texts.get((lane, fact.key)))
        except ValueError as error:
            raise meaning(sqlite3.DatabaseError(str(error)), self._database) from error

    def setting(self, lane: str, key: str, text: str) -> Callable[[sqlite3.Connection], None]:
        """The work that records a fact."""

        def work(db: sqlite3.Connection) -> None:
            queries.set_fact(db, lane, key, text)
            self._changed[lane, key] = text

        return work

    def look_again(self, db: sqlite3.Connection, lane: str, key: str) -> None:
        """A fact was changed inside the transaction in another way."""
        self._changed[lane, key] = queries.text_of_fact(db, lane, key) or "null"

    def keep(self) -> None:
        """The transaction was committed."""
        if self._changed:
            self._keep(self._changed)
            self._changed = {}

    def undo(self) -> None:
        """It was not."""
        self._changed = {}

    def _keep(self, facts: dict[tuple[str, str], str]) -> None:
        for place, text in facts.items():
            self._texts[place] = text if len(text) < _LARGE else None
