"""Where a run's journal is: in its folder, or in a database that a file in the folder names."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bulkup.errors import JournalUnusable
from bulkup.journal.locks import Holder, holder_of
from bulkup.journal.state_files import open_in, read_in, refused
from bulkup.tokens.database import shown_address

__all__ = ["MARKER", "holder_in", "kept_in", "mark"]

MARKER = "journal.json"
"""In a run's folder: the address of the database that has its journal, without a password."""


def kept_in(folder: Path) -> str | None:
    """The address (as it is shown) of the database that has the journal of the run in *folder*; None where that is in the folder.

    Raises `JournalUnusable`, `LocalDisk`."""
    if not os.path.lexists(folder / MARKER):
        return None
    try:
        return shown_address(json.loads(read_in(folder, MARKER) or b"")["journal"])
    except (ValueError, KeyError, TypeError) as error:
        raise JournalUnusable(f"{folder / MARKER}: it names no database; restore it from a copy") from error


def mark(folder: Path, address: str) -> None:
    """Note that the journal of the run in *folder* is in the database at *address*. Raises `JournalUnusable`, `LocalDisk`."""
    data = json.dumps({"journal": address}).encode() + b"\n"
    if os.path.lexists(folder / MARKER) and read_in(folder, MARKER) == data:
        return
    try:
        fd = open_in(folder, MARKER, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise refused(folder / MARKER, error) from error


def holder_in(folder: Path, address: str | None = None) -> Holder | None:
    """The process that works on the run in *folder*, None if none does. *address*: of the database that has its journal, where the
    folder is not there to say so. Raises as `holder_of`, and as a database does."""
    address = address or kept_in(folder)
    if address is None:
        return holder_of(folder / "lock")
    from bulkup.journal.postgres.runs import holder_of_run

    return holder_of_run(address, folder.name)
