"""A table that grows past what memory should hold: SQLite writes it to a file without a name, which goes with it."""

from __future__ import annotations

import sqlite3
import weakref

__all__ = ["scratch"]

CACHE_KIB = 4096
"""So much of it stays in memory; the rest is in the file, in the system's folder for temporary files."""


def scratch(schema: str, owner: object) -> sqlite3.Connection:
    """An empty database with the tables of *schema*, open as long as *owner* is there. Nothing in it outlives the process.

    Source: an empty name makes "a temporary on-disk database", deleted when it is closed (sqlite.org/inmemorydb.html).
    """
    db = sqlite3.connect(
        "", isolation_level=None, check_same_thread=False
    )  # closed by whichever thread collects its owner
    weakref.finalize(owner, db.close)
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.executescript(schema)
    db.execute("BEGIN")  # never committed: what is not in memory is written only when the cache is full
    return db
