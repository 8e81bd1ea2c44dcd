"""The journal's tables, and how a journal file is opened or refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from bulkup.errors import JournalUnusable, LocalDisk

__all__ = ["OPEN", "OPEN_CHUNKS", "connect", "connect_read_only", "disk_refused", "unusable"]

APPLICATION_ID = 0x62756C6B  # "bulk"
FORMAT = 3
"""Raise it with every change to the tables."""

OPEN = "ended = 0"
"""Chunks that are not at an end, word for word as the partial index has it: only then is the index used."""

OPEN_CHUNKS = "chunks INDEXED BY open_chunks"
"""The table, read through that index: SQLite, which knows no figures of ours, would rather read all chunks of a lane."""

CHECKED_WHOLE_BYTES = 8 << 20
"""A journal up to this size is checked page by page when it is opened; of a larger one only the ends of each table are."""

_ENDS = """
    INSERT INTO sums
    SELECT NEW.lane, NEW.state, coalesce(NEW.evidence, ''), 1, NEW.line_count, NEW.rows, NEW.blank, NEW.rejected, NEW.body_bytes
    WHERE true
    ON CONFLICT DO UPDATE SET chunks = chunks + 1, lines = lines + excluded.lines, rows = rows + excluded.rows,
        blank = blank + excluded.blank, rejected = rejected + excluded.rejected, body_bytes = body_bytes + excluded.body_bytes;
    INSERT INTO datasets
    SELECT NEW.lane, NEW.name, coalesce(NEW.remote_id, ''), 1, NEW.rows, NEW.start, coalesce(NEW.stored_after, 0)
    WHERE NEW.state = 'landed'
    ON CONFLICT DO UPDATE SET chunks = chunks + 1, rows = rows + excluded.rows, start = min(start, excluded.start),
        stored_after = max(stored_after, excluded.stored_after);
"""

_SCHEMA = f"""
CREATE TABLE facts (
    lane TEXT NOT NULL,             -- '' for the run's own
    key TEXT NOT NULL,
    value TEXT NOT NULL,            -- JSON
    PRIMARY KEY (lane, key)
) WITHOUT ROWID, STRICT;
CREATE TABLE logs (
    name TEXT PRIMARY KEY,
    length INTEGER NOT NULL         -- bytes of the file that count
) WITHOUT ROWID, STRICT;
CREATE TABLE tiles (
    lane TEXT NOT NULL,
    tile INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    PRIMARY KEY (lane, tile)
) WITHOUT ROWID, STRICT;
CREATE TABLE chunks (
    lane TEXT NOT NULL,
    tile INTEGER NOT NULL,
    child INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    file INTEGER NOT NULL,
    byte_offset INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    blank INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    lines TEXT NOT NULL,            -- JSON: [[file number, lines], ...]
    line_count INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL,
    raw_hash BLOB NOT NULL,
    rows_hash BLOB NOT NULL,
    name TEXT NOT NULL,
    verbatim INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    remote_id TEXT,
    evidence TEXT,
    reason TEXT,
    last_byte_at REAL,              -- Unix time at which a byte of it may last have left this machine
    stored_after REAL,              -- Unix time at which what has landed began to be sent, 0 where it was found by looking
    was_answered INTEGER NOT NULL DEFAULT 0, -- 1: in doubt though the service refused it, so nothing is on its way
    absences INTEGER NOT NULL DEFAULT 0,     -- how often it was called absent and sent again
    ended INTEGER NOT NULL,         -- 1: its state is an end. The triggers hang on this, so that no other change runs them
    PRIMARY KEY (lane, tile, child)
) WITHOUT ROWID, STRICT;
CREATE INDEX open_chunks ON chunks (lane, start) WHERE {OPEN};
CREATE INDEX absent_chunks ON chunks (lane, start) WHERE absences > 0;
CREATE TABLE sums (                 -- of the chunks that have come to an end, kept by the triggers below
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    evidence TEXT NOT NULL,         -- '' for none
    chunks INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    blank INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL,
    PRIMARY KEY (lane, state, evidence)
) WITHOUT ROWID, STRICT;
CREATE TABLE datasets (             -- that hold landed rows, kept by the triggers below
    lane TEXT NOT NULL,
    name TEXT NOT NULL,             -- first: names come in the source's order, ids in none
    remote_id TEXT NOT NULL,        -- '' where nobody knows it
    chunks INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    start INTEGER NOT NULL,         -- of the first chunk in it
    stored_after REAL NOT NULL,     -- of the last one
    PRIMARY KEY (lane, name, remote_id)
) WITHOUT ROWID, STRICT;
CREATE TRIGGER planned_ended AFTER INSERT ON chunks WHEN NEW.ended BEGIN {_ENDS} END;
CREATE TRIGGER ended AFTER UPDATE OF ended ON chunks BEGIN {_ENDS} END;
"""


_KEYS = {
    "facts": ("lane", "key"),
    "logs": ("name",),
    "tiles": ("lane", "tile"),
    "chunks": ("lane", "tile", "child"),
    "sums": ("lane", "state", "evidence"),
    "datasets": ("lane", "name", "remote_id"),
}


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the journal at *path* for its one writer, making it first if *create*. Raises `JournalUnusable`, `LocalDisk`."""
    if create:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise LocalDisk(f"{path}: {error.strerror}; see to the state directory") from error
    elif not path.exists():
        raise JournalUnusable(f"{path}: there is no journal here")
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        if create and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; BEGIN; {_SCHEMA} COMMIT;"
            )
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        connection.close()
        if disk_refused(error):
            raise LocalDisk(f"{path}: {error}; free some space, then run the same command") from error
        raise unusable(path, str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the journal at *path* to look at it, while another process may be writing. Raises `JournalUnusable`."""
    if not path.exists():
        raise JournalUnusable(f"{path}: there is no journal here")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10, check_same_thread=False
        )
        _check(connection, path)
    except sqlite3.DatabaseError as error:
        raise unusable(path, str(error)) from error
    return connection


def disk_refused(error: BaseException) -> bool:
    """Whether SQLite says that the disk, not the file, is at fault."""
    return isinstance(error, sqlite3.OperationalError) and any(
        word in str(error) for word in ("disk is full", "disk I/O", "readonly", "unable to open")
    )


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise unusable(path, "it is not a journal of bulkup's")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        raise JournalUnusable(
            f"{path}: written by a newer bulkup (format {version}, this one knows {FORMAT}); upgrade bulkup"
        )
    if version < FORMAT:
        raise JournalUnusable(
            f"{path}: written by an older bulkup (format {version}, this one writes {FORMAT}); finish the run with the bulkup "
            "that began it"
        )
    connection.execute("PRAGMA cell_size_check = ON")  # a damaged page is refused when it is first read
    if (said := _damage(connection)) is not None:
        raise unusable(path, said)


def _damage(connection: sqlite3.Connection) -> str | None:
    """What is seen to be damaged within a bounded number of pages. What lies elsewhere is found when it is read."""
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * page_bytes <= CHECKED_WHOLE_BYTES:
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        return None if said == "ok" else said
    for table, key in _KEYS.items():
        for order in ("ASC", "DESC"):
            by = ", ".join(f"{column} {order}" for column in key)
            connection.execute(f"SELECT * FROM {table} ORDER BY {by} LIMIT 1").fetchone()  # noqa: S608 - both are literals
    return None


def unusable(path: Path, what: str) -> JournalUnusable:
    """The error for a damaged or foreign journal at *path*: *what* was seen, and what to do."""
    what = " ".join(what.split())
    return JournalUnusable(
        f"{path}: unusable journal ({what}). Restore it from a copy, or move {path.parent} away and start anew with --append "
        "once you know what has landed (manifest.json and ids.jsonl beside it say)"
    )
