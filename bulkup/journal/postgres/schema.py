"""The journal's tables in PostgreSQL, and how they are made and brought up to date: under a lock, in one transaction."""

from __future__ import annotations

from bulkup.errors import JournalUnusable
from bulkup.journal.postgres.client import Connection

__all__ = ["FORMAT", "check", "prepare"]

_FORMAT_1 = """
CREATE TABLE bulkup.runs (
    run integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    epoch bigint NOT NULL,              -- of the process that may write: each has a higher one
    holder text NOT NULL,               -- JSON: who that is
    expires_at timestamptz NOT NULL,    -- by this database's clock; -infinity once it was given back
    system_id bigint,                   -- of the database as that process found it: another one has failed over
    timeline bigint,
    changed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE TABLE bulkup.targets (           -- the datasets that runs write to
    identity text PRIMARY KEY,
    run integer NOT NULL,
    epoch bigint NOT NULL
);
CREATE TABLE bulkup.commits (           -- the last one of each run's writer
    run integer PRIMARY KEY,
    epoch bigint NOT NULL,
    number bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE bulkup.facts (
    run integer NOT NULL,
    lane text NOT NULL,                 -- '' for the run's own
    key text NOT NULL,
    value text NOT NULL,                -- JSON
    PRIMARY KEY (run, lane, key)
);
CREATE TABLE bulkup.logs (              -- the files beside the journal: each epoch writes its own
    run integer NOT NULL,
    name text NOT NULL,
    epoch bigint NOT NULL,
    base bigint NOT NULL,               -- bytes in the files of earlier epochs
    length bigint NOT NULL,             -- bytes of this one that count
    host text NOT NULL,
    folder text NOT NULL,
    PRIMARY KEY (run, name, epoch)
);
CREATE TABLE bulkup.tiles (
    run integer NOT NULL,
    lane text NOT NULL,
    tile bigint NOT NULL,
    start bigint NOT NULL,
    stop bigint NOT NULL,
    PRIMARY KEY (run, lane, tile)
);
CREATE TABLE bulkup.chunks (            -- columns as in SQLite
    run integer NOT NULL,
    lane text NOT NULL,
    tile bigint NOT NULL,
    child bigint NOT NULL,
    start bigint NOT NULL,
    stop bigint NOT NULL,
    file bigint NOT NULL,
    byte_offset bigint NOT NULL,
    rows bigint NOT NULL,
    blank bigint NOT NULL,
    rejected bigint NOT NULL,
    lines text NOT NULL,
    body_bytes bigint NOT NULL,
    raw_hash bytea NOT NULL,
    rows_hash bytea NOT NULL,
    name text NOT NULL,
    verbatim bigint NOT NULL,
    state text NOT NULL,
    attempts bigint NOT NULL,
    remote_id text,
    reason text,
    last_byte_at double precision,
    was_answered bigint NOT NULL,
    absences bigint NOT NULL,
    evidence text,
    ids_at bigint,                      -- counted through the files of all epochs
    skipped bigint NOT NULL,
    made bigint NOT NULL,
    changes text,
    line_count bigint NOT NULL,
    ended bigint NOT NULL,
    stored_after double precision,
    PRIMARY KEY (run, lane, tile, child)
) WITH (fillfactor = 70);
CREATE INDEX open_chunks ON bulkup.chunks (run, lane, start) WHERE ended = 0;
CREATE INDEX absent_chunks ON bulkup.chunks (run, lane, start) WHERE absences > 0;
CREATE INDEX changed_chunks ON bulkup.chunks (run, lane) WHERE changes IS NOT NULL;
CREATE TABLE bulkup.sums (              -- of the chunks that have come to an end, kept by the statements that end them
    run integer NOT NULL,
    lane text NOT NULL,
    state text NOT NULL,
    evidence text NOT NULL,             -- '' for none
    chunks bigint NOT NULL,
    lines bigint NOT NULL,
    rows bigint NOT NULL,
    blank bigint NOT NULL,
    rejected bigint NOT NULL,
    body_bytes bigint NOT NULL,
    skipped bigint NOT NULL,
    made bigint NOT NULL,
    PRIMARY KEY (run, lane, state, evidence)
) WITH (fillfactor = 50);
CREATE TABLE bulkup.datasets (          -- that hold landed rows, kept likewise
    run integer NOT NULL,
    lane text NOT NULL,
    name text NOT NULL,
    remote_id text NOT NULL,            -- '' where nobody knows it
    chunks bigint NOT NULL,
    rows bigint NOT NULL,
    start bigint NOT NULL,
    stored_after double precision NOT NULL,
    PRIMARY KEY (run, lane, name, remote_id)
);
"""

STEPS = (_FORMAT_1,)
"""From each format to the next; 0 has nothing but its number."""

FORMAT = len(STEPS)
"""What this version reads and writes."""


def prepare(db: Connection) -> None:
    """Make the tables, or bring them up to date, while every other process that would waits. Raises `JournalUnusable`, and as
    psycopg does."""
    if _known(db) == FORMAT:
        return
    for _ in range(3):  # two that make a schema at once: one of them is told that it is there already
        try:
            db.execute("CREATE SCHEMA IF NOT EXISTS bulkup")
            db.execute("CREATE TABLE IF NOT EXISTS bulkup.format (known integer NOT NULL)")
            break
        except Exception as error:
            if getattr(error, "sqlstate", None) not in ("23505", "42710", "42P06", "42P07"):
                raise
    with db.transaction():
        db.execute("LOCK TABLE bulkup.format IN ACCESS EXCLUSIVE MODE")
        row = db.execute("SELECT known FROM bulkup.format").fetchone()
        known = 0 if row is None else int(row[0])
        _refuse_newer(known)
        for step in STEPS[known:]:
            db.execute(step)
        if known < FORMAT:
            db.execute("DELETE FROM bulkup.format")
            db.execute("INSERT INTO bulkup.format VALUES (%s)", (FORMAT,))


def check(db: Connection) -> bool:
    """Whether there are journals in the database that this version reads. Raises `JournalUnusable` where a newer one has
    written."""
    known = _known(db)
    if known is not None:
        _refuse_newer(known)
    return known == FORMAT


def _known(db: Connection) -> int | None:
    there = db.execute("SELECT to_regclass('bulkup.format') IS NOT NULL").fetchone()
    if there is None or not there[0]:
        return None
    row = db.execute("SELECT known FROM bulkup.format").fetchone()
    return None if row is None else int(row[0])


def _refuse_newer(known: int) -> None:
    if known > FORMAT:
        raise JournalUnusable(
            f"the journals in this database were written by a newer bulkup (format {known}, this one knows up to {FORMAT}); "
            "upgrade bulkup"
        )
