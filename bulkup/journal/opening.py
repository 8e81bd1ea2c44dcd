"""How a journal file is opened, brought up to date, or refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import IO

from bulkup.errors import JournalUnusable
from bulkup.journal.faults import FILES, as_sqlite_errors, lacks_shared_memory, meaning, needs_to_write, unusable
from bulkup.journal.locks import Still
from bulkup.journal.schema import APPLICATION_ID, FORMAT, OLDEST, create, migrate, objects_of, shown_as
from bulkup.journal.sidecars import IDS, REJECTS
from bulkup.journal.soundness import contradiction, foreign_schema, lost_commits
from bulkup.journal.state_files import check_files, filesystem_of, open_in

__all__ = ["connect", "connect_read_only"]

CHECKED_WHOLE_BYTES = 8 << 20
"""A journal up to this size is checked as a whole when it is opened; of a larger one only the ends of each table are."""

WAIT_S = 10.0
"""How long to wait for another process that has the journal for a moment."""

WAIT_FOR_READERS_S = 60.0
"""The same where a reader keeps the writer out, which it does not in WAL mode."""

MAY_BE_WAL = 2
"""The bytes 18 and 19 of a database in WAL mode: https://www.sqlite.org/fileformat2.html"""

SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""The end of a rollback journal that names another one, to be deleted when all is done. Ours never does: it is one database."""

MADE_LATER = (REJECTS, IDS, "manifest.json", "receipt.json")
"""A run has these only once its journal has tables."""

_KEYS = {
    "facts": ("lane", "key"),
    "logs": ("name",),
    "tiles": ("lane", "tile"),
    "chunks": ("lane", "tile", "child"),
    "sums": ("lane", "state", "evidence"),
    "datasets": ("lane", "name", "remote_id"),
}


_WRITTEN_HERE: set[tuple[int, int]] = set()
"""Device and inode of the journals that this process has open to write. They were looked through when they were opened, so to read
them beside that is cheap: the receipt and the manifest do."""


class _Written(sqlite3.Connection):
    """The connection of a journal's writer; *file* is its device and inode."""

    file: tuple[int, int] = (-1, -1)

    def close(self) -> None:
        _WRITTEN_HERE.discard(self.file)
        super().close()


def connect(path: Path, *, may_create: bool) -> sqlite3.Connection:
    """Open the journal at *path* for its one writer, who has the run's lock; making it first if *may_create*.

    An older one is brought up to date in one transaction: it stays as it was if that does not come to its end. In WAL mode, or
    with a rollback journal where the filesystem is shared between machines or does not let processes share memory. Raises
    `JournalUnusable`, `LocalDisk`, and `RunLocked` where another process holds the file.
    """
    _check_files(path, is_read=False)
    try:
        fd = open_in(path.parent, path.name, os.O_RDWR | (os.O_CREAT if may_create else 0))
    except FileNotFoundError:
        raise _none(path) from None
    file = os.fstat(fd)
    os.close(fd)
    connection = _to_write(path, may_create=may_create)
    connection.file = (file.st_dev, file.st_ino)
    _WRITTEN_HERE.add(connection.file)
    return connection


def _to_write(path: Path, *, may_create: bool) -> _Written:
    try:
        if not filesystem_of(path).is_networked:
            try:
                with as_sqlite_errors():
                    return _connected(path, may_create=may_create, wal=True)
            except sqlite3.Error as error:
                if not lacks_shared_memory(error):
                    raise
        with as_sqlite_errors():
            return _connected(path, may_create=may_create, wal=False)
    except sqlite3.Error as error:
        raise meaning(error, path) from error


def _connected(path: Path, *, may_create: bool, wal: bool) -> _Written:
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        timeout=WAIT_S if wal else WAIT_FOR_READERS_S,
        factory=_Written,
    )
    try:
        _distrust(connection)
        was_wal = _is_wal(path)
        if was_wal and not wal:  # the index of the log is kept in this process's own memory then
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        is_new = may_create and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if is_new:
            _refuse_emptied(path)
            if wal:
                connection.execute("PRAGMA journal_mode = WAL")
            create(connection)
        known = FORMAT if is_new else _check(connection, path, to_write=True)
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'TRUNCATE'}")
        connection.execute("PRAGMA synchronous = FULL")
        if was_wal and not wal:
            connection.execute("PRAGMA locking_mode = NORMAL")
        if known < FORMAT:
            _migrate(connection, path)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # gives the lock back
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    migrate(connection, path.parent)
    connection.execute("COMMIT")
    _check(connection, path, to_write=True)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the journal at *path* to look at it, while another process may be writing.

    In a place that cannot be written to it is read together with what its last writer has left beside it (`-wal`), while nobody
    writes. Raises `JournalUnusable`, `LocalDisk`, `RunLocked`.
    """
    is_ours = _is_written_here(path)
    _check_files(path, is_read=True, is_ours=is_ours)
    try:
        os.close(open_in(path.parent, path.name, os.O_RDONLY))
    except FileNotFoundError:
        raise _none(path) from None
    try:
        try:
            return _looking(path, "mode=ro", _Looked, is_ours=is_ours)
        except sqlite3.Error as error:
            if not needs_to_write(error) or not _is_wal(path):
                raise
            return _looking_alone(path, error)
    except sqlite3.Error as error:
        raise meaning(error, path) from error


def _refuse_emptied(path: Path) -> None:
    """Raise `JournalUnusable` where a journal without tables had some: what a young run has recorded stands in its log alone
    (`-wal`), and without that its rows would be sent once more."""
    for name in MADE_LATER:
        if os.path.lexists(path.with_name(name)):
            raise unusable(path, f"it is empty, and {name} is beside it, so its journal.db-wal has been lost")


class _Looked(sqlite3.Connection):
    """A connection that gives *still* back when it is closed."""

    still: Still | None = None

    def close(self) -> None:
        super().close()
        if self.still is not None:
            self.still.release()


def _is_written_here(path: Path) -> bool:
    try:
        file = os.lstat(path)
    except OSError:
        return False
    return (file.st_dev, file.st_ino) in _WRITTEN_HERE


def _looking(path: Path, how: str, kind: type[_Looked], *, is_ours: bool = False) -> _Looked:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        isolation_level=None,
        timeout=WAIT_S,
        check_same_thread=False,
        factory=kind,
    )
    try:
        with as_sqlite_errors():
            _distrust(connection)
            if "unix-none" in how:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            if not is_ours:
                _check(connection, path, to_write=False)
    except BaseException:
        connection.close()
        raise
    return connection


def _looking_alone(path: Path, first: sqlite3.Error) -> _Looked:
    """Without locks and shared memory of SQLite's: the run's own lock keeps writers away.

    Where that does not help either, the *first* error tells more."""
    still = Still(path.with_name("lock"), f"run {path.parent.name}")
    log = path.with_name("journal.db-wal")
    has_more = os.path.lexists(log) and log.stat(follow_symlinks=False).st_size > 0
    try:
        connection = _looking(path, "mode=ro&vfs=unix-none" if has_more else "mode=ro&immutable=1", _Looked)
    except sqlite3.Error as error:
        still.release()
        raise (first if needs_to_write(error) else error) from error
    except BaseException:
        still.release()
        raise
    connection.still = still
    return connection


def _distrust(connection: sqlite3.Connection) -> None:
    """Before anything is read: no function runs because the file says so, and a damaged page is refused when it is first read."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _is_wal(path: Path) -> bool:
    with os.fdopen(open_in(path.parent, path.name, os.O_RDONLY), "rb") as file:
        return file.read(20)[18:] == bytes((MAY_BE_WAL, MAY_BE_WAL))


def _check_files(path: Path, *, is_read: bool, is_ours: bool = False) -> None:
    """Raise `JournalUnusable` for what SQLite would follow, carry out, or pass over without a word."""
    try:
        check_files(path.parent, FILES, is_read=is_read)
    except FileNotFoundError:
        raise _none(path) from None
    if is_ours:
        return
    for name, is_wrong, what in (
        ("journal.db-journal", _names_another, "names a file elsewhere, to be deleted"),
        ("journal.db-wal", lost_commits, "is damaged, and has commits behind the damaged place"),
    ):
        try:
            fd = open_in(path.parent, name, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with os.fdopen(fd, "rb") as file:
            if is_wrong(file):
                raise unusable(path, f"{name} {what}")


def _names_another(file: IO[bytes]) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(SUPER_JOURNAL)))
    return file.read() == SUPER_JOURNAL


def _none(path: Path) -> JournalUnusable:
    return JournalUnusable(f"{path}: there is no journal here")


def _check(connection: sqlite3.Connection, path: Path, *, to_write: bool) -> int:
    """The journal's format. Raises `JournalUnusable` where it is not one to be taken."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise unusable(path, "it is not a journal of bulkup's")
    known = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if known > FORMAT:
        raise JournalUnusable(
            f"{path}: written by a newer bulkup (format {known}, this one knows up to {FORMAT}); upgrade bulkup"
        )
    if known < OLDEST:
        raise JournalUnusable(
            f"{path}: written by a bulkup before 0.1.0 (format {known}, this one knows {OLDEST} and later); finish the run with "
            "the bulkup that began it"
        )
    said = foreign_schema(connection, objects_of(known)) or _damage(connection, known, to_write=to_write)
    if said is not None:
        raise unusable(path, said)
    return known


def _damage(connection: sqlite3.Connection, known: int, *, to_write: bool) -> str | None:
    """What is seen to be damaged within a bounded number of pages. What lies elsewhere is found when it is read.

    Who only looks sends nothing because of it, and is not made to wait for more than SQLite's quick check.
    """
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * page_bytes <= CHECKED_WHOLE_BYTES:
        check = "integrity_check" if to_write else "quick_check"
        said = str(connection.execute(f"PRAGMA {check}(1)").fetchone()[0])
        if said != "ok":
            return said
        return contradiction(connection, shown_as(known)) if to_write else None
    for table, key in _KEYS.items():
        for order in ("ASC", "DESC"):
            by = ", ".join(f"{column} {order}" for column in key)
            connection.execute(f"SELECT * FROM {table} ORDER BY {by} LIMIT 1").fetchone()  # noqa: S608 - both are literals
    return None
