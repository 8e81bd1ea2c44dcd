"""A run's journal, opened to write wherever it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from bulkup.errors import RunLocked
from bulkup.journal import Journal, Lock, SqliteJournal
from bulkup.journal.place import mark
from bulkup.journal.postgres.wanted import Wanted
from bulkup.light_dataclass import replace
from bulkup.run.folder import RunFolder

__all__ = ["locked", "opened", "said_in_the_loop", "with_lock"]


def locked(folder: RunFolder, address: str | None) -> Lock | None:
    """The lock of the run's folder, which is made. Where a database says who may write (*address*), None if another process has the
    lock: that one may be stopped. Raises `RunLocked`, `JournalUnusable`, `LocalDisk`."""
    folder.create()
    try:
        return folder.lock()
    except RunLocked:
        if address is None:
            raise
        return None


def opened(folder: RunFolder, address: str | None, wanted: Wanted, *, create: bool = True) -> Journal:
    """The journal of the run in *folder*, in the database at *address* or, where that is None, in the folder.

    Raises `RunLocked`, `JournalUnusable`, `LocalDisk`, and what a database may."""
    if address is None:
        return SqliteJournal.open(folder.path, create=create)
    from bulkup.journal.postgres.keeper import PostgresJournal

    mark(folder.path, address)
    return PostgresJournal.open(address, folder.path, folder.run_id, wanted)


def said_in_the_loop(tell: Callable[[str], None]) -> Callable[[str], None]:
    """*tell*, to be called from any thread: it is called in that of the loop that runs now."""
    loop = asyncio.get_running_loop()

    def say(text: str) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, text)

    return say


def with_lock(wanted: Wanted, lock: Lock | None) -> Wanted:
    """*wanted* of a process that has *lock*."""
    return replace(wanted, has_lock=lock is not None)
