"""The journal's tables, and how a journal file is opened or refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from bulkup.errors import JournalUnusable, LocalDisk

__all__ = ["connect", "connect_read_only", "disk_refused"]

APPLICATION_ID = 0x62756C6B  # "bulk"
FORMAT = 2
"""Raise it with every change to the tables."""

_SCHEMA = """
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
    PRIMARY KEY (lane, tile, child)
) WITHOUT ROWID, STRICT;
CREATE INDEX open_chunks ON chunks (lane, start) WHERE state IN ('planned', 'sending', 'answered', 'in doubt');
"""


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
        raise JournalUnusable(_advice(path, str(error))) from error
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
        raise JournalUnusable(_advice(path, str(error))) from error
    return connection


def disk_refused(error: BaseException) -> bool:
    """Whether SQLite says that the disk, not the file, is at fault."""
    return isinstance(error, sqlite3.OperationalError) and any(
        word in str(error) for word in ("disk is full", "disk I/O", "readonly", "unable to open")
    )


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise JournalUnusable(_advice(path, "it is not a journal of bulkup's"))
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
    if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise JournalUnusable(_advice(path, said))


def _advice(path: Path, what: str) -> str:
    what = " ".join(what.split())
    return (
        f"{path}: unusable journal ({what}). Restore it from a copy, or move {path.parent} away and start anew with --append "
        "once you know what has landed (manifest.json and ids.jsonl beside it say)"
    )
