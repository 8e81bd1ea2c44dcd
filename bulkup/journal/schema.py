"""The journal's tables, and how they came to be: the oldest format that is still taken, and a step to each one after it.

A new journal's tables are made of the same steps as an old one is brought up to date by, so both have the same. To carry them out
one by one would cost three times as much: SQLite reads all of its tables anew after each `ALTER TABLE`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import field
from functools import cache
from pathlib import Path

import msgspec

from bulkup.journal.sidecars import IDS, lines_of
from bulkup.journal.soundness import Objects, objects_in
from bulkup.light_dataclass import dataclass

__all__ = [
    "APPLICATION_ID",
    "CHANGED",
    "FORMAT",
    "OLDEST",
    "OPEN",
    "OPEN_CHUNKS",
    "create",
    "migrate",
    "objects_of",
    "shown_as",
]

APPLICATION_ID = 0x62756C6B  # "bulk"

OLDEST = 3
"""The format of bulkup 0.1.0, the first that was released."""

OPEN = "ended = 0"
"""Chunks that are not at an end, word for word as the partial index has it: only then is the index used."""

OPEN_CHUNKS = "chunks INDEXED BY open_chunks"
"""The table, read through that index: SQLite, which knows no figures of ours, would rather read all chunks of a lane."""

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

_FORMAT_3 = f"""
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


@dataclass(frozen=True, slots=True)
class Step:
    """How a journal comes by its next format. All of it is done inside one transaction.

    *tables* is SQL, for new journals too; *fill* puts into an older one, whose folder it is given, what the new tables should hold
    of it. *shown*: what is read in place of each new column of `chunks` where the journal may not be written to.
    """

    tables: str
    fill: Callable[[sqlite3.Connection, Path], None] = lambda _db, _folder: None
    shown: dict[str, str] = field(default_factory=dict)


def _find_ids(db: sqlite3.Connection, folder: Path) -> None:
    """Where the ids of each chunk's rows stand in `ids.jsonl`. A line that cannot be read is passed over: who needs it tells."""
    length = db.execute("SELECT length FROM logs WHERE name = ?", (IDS,)).fetchone()
    heads = msgspec.json.Decoder(_Head)

    def places() -> Iterator[tuple[int, str, int, int]]:
        for at, line in lines_of(folder, IDS, length[0] if length else 0):
            try:
                head = heads.decode(line)
                tile, _, child = head.chunk.partition("-")
                yield at, head.lane, int(tile), int(child or 0)
            except ValueError:
                continue

    db.executemany(
        "UPDATE chunks SET ids_at = ? WHERE lane = ? AND tile = ? AND child = ? AND state = 'landed'", places()
    )


class _Head(msgspec.Struct):
    lane: str
    chunk: str


_ENDS_5 = """
    INSERT INTO sums (lane, state, evidence, chunks, lines, rows, blank, rejected, body_bytes, skipped, made)
    SELECT NEW.lane, NEW.state, coalesce(NEW.evidence, ''), 1, NEW.line_count, NEW.rows, NEW.blank, NEW.rejected, NEW.body_bytes,
        NEW.skipped, NEW.made
    WHERE true
    ON CONFLICT DO UPDATE SET chunks = chunks + 1, lines = lines + excluded.lines, rows = rows + excluded.rows,
        blank = blank + excluded.blank, rejected = rejected + excluded.rejected, body_bytes = body_bytes + excluded.body_bytes,
        skipped = skipped + excluded.skipped, made = made + excluded.made;
    INSERT INTO datasets
    SELECT NEW.lane, NEW.name, coalesce(NEW.remote_id, ''), 1, NEW.rows, NEW.start, coalesce(NEW.stored_after, 0)
    WHERE NEW.state = 'landed'
    ON CONFLICT DO UPDATE SET chunks = chunks + 1, rows = rows + excluded.rows, start = min(start, excluded.start),
        stored_after = max(stored_after, excluded.stored_after);
"""

CHANGED = "changes IS NOT NULL"
"""Chunks with rows that were changed, word for word as the partial index has it."""

_ROWS_BY_A_FUNCTION = f"""
ALTER TABLE chunks ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chunks ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chunks ADD COLUMN changes TEXT;
ALTER TABLE sums ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sums ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
CREATE INDEX changed_chunks ON chunks (lane) WHERE {CHANGED};
DROP TRIGGER planned_ended;
DROP TRIGGER ended;
CREATE TRIGGER planned_ended AFTER INSERT ON chunks WHEN NEW.ended BEGIN {_ENDS_5} END;
CREATE TRIGGER ended AFTER UPDATE OF ended ON chunks BEGIN {_ENDS_5} END;
"""
"""Of a chunk: rows that the user's function left out, rows that it made besides, and as JSON how many rows were changed in which
way (NULL for none): [[kind, rows], ...]."""

STEPS = (
    Step(
        # Byte of ids.jsonl at which the line with the ids of a chunk's rows begins, NULL where it has none.
        tables="ALTER TABLE chunks ADD COLUMN ids_at INTEGER;",
        fill=_find_ids,
        shown={"ids_at": "NULL"},
    ),
    Step(tables=_ROWS_BY_A_FUNCTION, shown={"skipped": "0", "made": "0", "changes": "NULL"}),
)
"""From each format to the next, the first from `OLDEST`."""

FORMAT = OLDEST + len(STEPS)
"""What this version writes."""


def create(db: sqlite3.Connection) -> None:
    """Make the tables of a new journal."""
    db.executescript(
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; BEGIN; {_tables(FORMAT)} COMMIT;"
    )


def migrate(db: sqlite3.Connection, folder: Path) -> None:
    """Bring the journal in *folder*, of an older format, up to date. To be called inside a transaction, which keeps all or nothing.

    Raises `JournalUnusable`, `sqlite3.Error`."""
    known = db.execute("PRAGMA user_version").fetchone()[0]
    for step in STEPS[known - OLDEST :]:
        for statement in _statements(step.tables):
            db.execute(statement)
        step.fill(db, folder)
    db.execute(f"PRAGMA user_version = {FORMAT}")


def shown_as(known: int) -> dict[str, str]:
    """What is read in place of the columns of `chunks` that a journal of format *known* does not have."""
    return {column: value for step in STEPS[known - OLDEST :] for column, value in step.shown.items()}


@cache
def objects_of(known: int) -> Objects:
    """What a journal of format *known* consists of."""
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(_tables(known))
        return objects_in(db)
    finally:
        db.close()


@cache
def _tables(known: int) -> str:
    """The tables of format *known* as one script, each made once."""
    made = _FORMAT_3
    for step in STEPS[: known - OLDEST]:
        for statement in _statements(step.tables):
            match statement.strip(" \n;").split(maxsplit=5):
                case ["ALTER", "TABLE", table, "ADD", "COLUMN", column]:
                    at = made.index("    PRIMARY KEY (", made.index(f"CREATE TABLE {table} ("))
                    made = f"{made[:at]}    {column},\n{made[at:]}"
                case ["DROP", "TRIGGER", name]:
                    at = made.index(f"CREATE TRIGGER {name} ")
                    made = made[:at] + made[made.index("END;", at) + len("END;") :]
                case _:
                    made += statement
    return made


def _statements(script: str) -> Iterator[str]:
    """The statements of *script*, one at a time: `executescript` would commit what came before."""
    held = ""
    for part in script.split(";"):
        held += part + ";"
        if held.strip(" \n;") and sqlite3.complete_statement(held):
            yield held
            held = ""
