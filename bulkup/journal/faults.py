"""What SQLite's errors mean: a damaged journal, one that another process holds, or a disk and a machine that refuse."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bulkup.errors import BulkupError, JournalUnusable, LocalDisk, RunLocked
from bulkup.journal.state_files import filesystem_of, open_in, refused

__all__ = ["FILES", "as_sqlite_errors", "lacks_shared_memory", "meaning", "needs_to_write", "unusable"]

FILES = ("journal.db", "journal.db-wal", "journal.db-shm", "journal.db-journal")
"""What SQLite opens by name."""

_SHARED_MEMORY = frozenset(
    {
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
_ELSEWHERE = frozenset(
    {
        *(
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_NOLFS,
        ),
        *(sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_AUTH),
    }
)
"""Kinds of errors that say nothing of what stands in the file."""

MORE_FILES = 6
"""So many files SQLite may open besides those that are there."""


def unusable(path: Path, what: str) -> JournalUnusable:
    """The error for a damaged or foreign journal at *path*: *what* was seen, and what to do."""
    what = " ".join(what.split())
    return JournalUnusable(
        f"{path}: unusable journal ({what}). Restore it from a copy of {path.parent}. Without a copy, compare what is stored with "
        "manifest.json and ids.jsonl beside it, and upload only what is missing, under another --name"
    )


@contextmanager
def as_sqlite_errors() -> Iterator[None]:
    """A damaged schema is an error of SQLite's whatever bytes it has: where they are no UTF-8, the module cannot even say so."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError("its schema is damaged") from error


def lacks_shared_memory(error: sqlite3.Error) -> bool:
    """Whether SQLite could not map the file that processes share in WAL mode (`-shm`)."""
    return _code(error) in _SHARED_MEMORY


def needs_to_write(error: sqlite3.Error) -> bool:
    """Whether SQLite could not look at the journal without writing beside it."""
    kind = (_code(error) or 0) & 0xFF
    return lacks_shared_memory(error) or kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def meaning(error: sqlite3.Error, path: Path) -> BulkupError:
    """What *error* says of the journal at *path*. Only what was read there can make it unusable."""
    code = _code(error)
    kind = None if code is None else code & 0xFF
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RunLocked(
            f"{path}: another process holds the journal (a copy, or a look at it); wait for it, then try again"
        )
    if kind == sqlite3.SQLITE_FULL:
        return LocalDisk(f"{path}: {error}; free some space, then run the same command")
    if kind in _ELSEWHERE:
        if lacks_shared_memory(error):
            return LocalDisk(
                f"{path}: {filesystem_of(path)} does not let processes share memory ({error.sqlite_errorname}); move the whole "
                "state directory to a local disk and name that with --state-dir"
            )
        return _told_by_the_system(path) or LocalDisk(
            f"{path}: {error} ({error.sqlite_errorname}); check the state directory's disk, then run the same command"
        )
    return unusable(path, str(error))


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's extended code; None for an error of the module's own, such as text that is not UTF-8."""
    return getattr(error, "sqlite_errorcode", None)


def _told_by_the_system(path: Path) -> BulkupError | None:
    """Try what SQLite has tried: the system says more. None where it does not refuse."""
    with ExitStack() as held:
        try:
            for name in FILES:
                try:
                    fd = open_in(path.parent, name, os.O_RDWR)
                except FileNotFoundError:
                    continue
                held.callback(os.close, fd)
            for _ in range(MORE_FILES):
                held.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            held.callback(os.close, os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC))
            if not os.access(path.parent, os.W_OK):
                raise OSError(*_not_writable(path.parent))
        except OSError as error:
            return refused(path, error)
        except BulkupError as error:
            return error
    return None


def _not_writable(folder: Path) -> tuple[int, str]:
    import errno

    number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    return number, os.strerror(number)
