"""The files beside a journal that is in PostgreSQL: each epoch writes its own, so that a process that was stopped, and wakes,
cannot spoil those of the next. Positions count through the files of all epochs. A file lies where its process ran."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from bulkup.errors import RunLocked
from bulkup.journal.append_log import AppendLog
from bulkup.journal.postgres.client import Connection
from bulkup.journal.postgres.lease import TAKEN_OVER
from bulkup.light_dataclass import dataclass

__all__ = ["IDS", "REJECTS", "Part", "begin_log", "file_name", "missing", "parts_of"]

IDS, REJECTS = "ids", "rejects"


@dataclass(frozen=True, slots=True)
class Part:
    """What one epoch wrote: *length* bytes that count, behind *base* bytes of earlier epochs. *is_here*: the file is in the run's
    folder on this machine."""

    name: str
    base: int
    length: int
    host: str
    folder: str
    is_here: bool

    @property
    def stop(self) -> int:
        return self.base + self.length


def file_name(log: str, epoch: int) -> str:
    """What the file of *epoch* is called."""
    return f"{log}.{epoch}.jsonl"


def parts_of(db: Connection, run: int, log: str, folder: Path) -> list[Part]:
    """The files of *log* that hold something, in order."""
    query = """SELECT epoch, base, length, host, folder FROM bulkup.logs
        WHERE run = %s AND name = %s AND length > 0 ORDER BY epoch"""
    return [
        Part(file_name(log, epoch), base, length, host, there, os.path.lexists(folder / file_name(log, epoch)))
        for epoch, base, length, host, there in db.execute(query, (run, log)).fetchall()
    ]


def missing(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """The ranges of positions whose files are not here."""
    return [(part.base, part.stop) for part in parts if not part.is_here]


def begin_log(db: Connection, run: int, epoch: int, log: str, folder: Path) -> AppendLog:
    """The file that *epoch* writes. Raises `OSError`, `JournalUnusable`, `RunLocked` where another process has a higher epoch, and
    as psycopg does."""
    row = db.execute(
        """WITH mine AS (SELECT run FROM bulkup.runs WHERE run = %s AND epoch = %s FOR SHARE),
            earlier AS (SELECT coalesce(sum(length), 0) AS base FROM bulkup.logs WHERE run = %s AND name = %s AND epoch < %s)
            INSERT INTO bulkup.logs SELECT mine.run, %s, %s, earlier.base, 0, %s, %s FROM mine, earlier
            ON CONFLICT (run, name, epoch) DO UPDATE SET length = 0 RETURNING base""",
        (run, epoch, run, log, epoch, log, epoch, socket.gethostname(), os.path.realpath(folder)),
    ).fetchone()
    if row is None:
        raise RunLocked(TAKEN_OVER)
    return AppendLog(folder / file_name(log, epoch), good_length=0, base=int(row[0]))
