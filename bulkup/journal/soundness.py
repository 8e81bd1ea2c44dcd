"""Whether a journal agrees with itself: what SQLite cannot see, as a number with one bit turned over."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from typing import IO

from bulkup.chunk import ChunkState, Evidence

__all__ = ["Objects", "contradiction", "foreign_schema", "lost_commits", "objects_in"]

Objects = dict[tuple[str, str], str]
"""Tables, indexes and triggers by kind and name: the table, and the SQL that made each, without comments and spacing."""

_ENDED = "', '".join(
    state.value for state in (ChunkState.LANDED, ChunkState.REFUSED, ChunkState.SPLIT, ChunkState.EMPTY)
)
_STATES = "', '".join(state.value for state in ChunkState)
_EVIDENCES = "', '".join(evidence.value for evidence in Evidence)

_KEYS = "lane, state, evidence, chunks, lines, rows, blank, rejected, body_bytes, skipped, made"
_HELD = "lane, name, remote_id, chunks, rows, start, stored_after"
_COUNTED = (
    "count(*) AS chunks, sum(line_count) AS lines, sum(rows) AS rows, sum(blank) AS blank, sum(rejected) AS rejected, "
    "sum(body_bytes) AS body_bytes, sum(skipped) AS skipped, sum(made) AS made"
)

_CHECKS = (
    (
        "a chunk that makes no sense",
        f"""SELECT lane || ' ' || tile || '-' || child FROM chunks WHERE state NOT IN ('{_STATES}')
            OR ended != (state IN ('{_ENDED}')) OR coalesce(evidence, 'answer') NOT IN ('{_EVIDENCES}')
            OR (evidence IS NOT NULL AND state != 'landed') OR (state = 'landed' AND rows > 0 AND evidence IS NULL)
            OR min(tile, child, start, file, byte_offset, rows, blank, rejected, body_bytes, attempts, absences, skipped, made) < 0
            OR stop < start OR line_count != rows + blank + rejected + skipped - made OR verbatim NOT IN (0, 1)
            OR was_answered NOT IN (0, 1) OR length(raw_hash) != 16 OR length(rows_hash) != 16 LIMIT 1""",  # noqa: S608 - literals all
    ),
    (
        "sums that are not those of its chunks",
        f"""SELECT lane FROM (
            SELECT lane, state, coalesce(evidence, '') AS evidence, {_COUNTED} FROM chunks WHERE ended = 1 GROUP BY 1, 2, 3
            UNION ALL SELECT {_KEYS} FROM sums) GROUP BY {_KEYS} HAVING count(*) != 2 LIMIT 1""",  # noqa: S608
    ),
    (
        "datasets that are not those of its chunks",
        f"""SELECT lane FROM (
            SELECT lane, name, coalesce(remote_id, '') AS remote_id, count(*) AS chunks, sum(rows) AS rows, min(start) AS start,
                max(coalesce(stored_after, 0)) AS stored_after
            FROM chunks WHERE state = 'landed' GROUP BY 1, 2, 3
            UNION ALL SELECT {_HELD} FROM datasets) GROUP BY {_HELD} HAVING count(*) != 2 LIMIT 1""",  # noqa: S608
    ),
    (
        "chunks that overlap",
        """SELECT lane FROM (
            SELECT lane, start, lag(stop) OVER (PARTITION BY lane ORDER BY start, stop) AS before FROM chunks
            WHERE state != 'split') WHERE start < before LIMIT 1""",
    ),
    (
        "tiles out of order",  # where a tile stops is arithmetic: it may lie behind the source's end, and the next begin before it
        """SELECT lane FROM (
            SELECT lane, start, stop, lag(start) OVER (PARTITION BY lane ORDER BY tile) AS before FROM tiles)
            WHERE stop < start OR start <= before LIMIT 1""",
    ),
)
"""What is wrong, and a query that then finds something. All of it holds after every transaction."""


def contradiction(db: sqlite3.Connection, shown: Mapping[str, str]) -> str | None:
    """What in the journal contradicts itself, None if nothing. Reads all of it. *shown*: what stands for the columns that a journal
    of its format does not have (`bulkup.journal.schema.shown_as`)."""
    absent = "".join(f", {shown[column]} AS {column}" for column in ("skipped", "made") if column in shown)
    tables = ", ".join(f"{table} AS (SELECT *{absent} FROM main.{table})" for table in ("chunks", "sums"))  # noqa: S608
    for what, query in _CHECKS:
        found = db.execute(f"WITH {tables} {query}" if absent else query).fetchone()
        if found is not None:
            return f"{what}: {found[0]}"
    return None


# --- the schema -------------------------------------------------------------------------------------------------------


def foreign_schema(db: sqlite3.Connection, ours: Objects) -> str | None:
    """What in the journal is not one of *ours*, or of those is not in the journal: None if nothing. A trigger or a view of somebody
    else's would run with our statements."""
    found = objects_in(db)
    for kind, name in sorted(found.keys() | ours.keys()):
        if found.get((kind, name)) != ours.get((kind, name)):
            what = "is not there" if (kind, name) not in found else "is not bulkup's"
            return f"its {kind} {name} {what}"
    return None


def objects_in(db: sqlite3.Connection) -> Objects:
    """What the journal consists of."""
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return {(str(kind), str(name)): f"{table} {_plain(str(sql))}" for kind, name, table, sql in rows}


def _plain(sql: str) -> str:
    return " ".join(" ".join(line.partition("--")[0] for line in sql.split("\n")).split())


# --- the log of what is not in the database yet -----------------------------------------------------------------------

_WAL_HEADER = struct.Struct(">8I")
_FRAME_HEADER = struct.Struct(">6I")
_LITTLE, _BIG = 0x377F0682, 0x377F0683


def lost_commits(wal: IO[bytes]) -> bool:
    """Whether a write-ahead log holds commits behind a damaged place, which SQLite would leave out without a word.

    A power cut may tear the last transaction, for each is on the disk before the next begins. So a torn place has one commit behind
    it at most; with two of them something was lost. Format: https://www.sqlite.org/fileformat2.html#walformat
    """
    header = wal.read(_WAL_HEADER.size)
    if len(header) < _WAL_HEADER.size:
        return False
    magic, _, page_bytes, _, *salts, first, second = _WAL_HEADER.unpack(header)
    order = {_LITTLE: "<", _BIG: ">"}.get(magic)
    if order is None or page_bytes not in {1 << n for n in range(9, 17)}:
        return _has_commits(wal, page_bytes=4096)
    sums = _summed((0, 0), header[:24], order)
    is_sound = sums == (first, second)
    commits = 0
    size = _FRAME_HEADER.size + page_bytes
    while len(frame := wal.read(size)) == size:
        _, pages, *frame_salts, one, two = _FRAME_HEADER.unpack_from(frame)
        if frame_salts != salts:  # of an earlier use of the file
            if is_sound:
                return _goes_on(wal, salts, size)
            continue
        if is_sound:
            sums = _summed(_summed(sums, frame[:8], order), frame[24:], order)
            is_sound = sums == (one, two)
        if not is_sound and pages:
            commits += 1
    return commits > 1


def _summed(sums: tuple[int, int], data: bytes, order: str) -> tuple[int, int]:
    """SQLite's checksum of *data*, whose length is a multiple of 8, going on from *sums*."""
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _goes_on(wal: IO[bytes], salts: list[int], size: int) -> bool:
    """Whether more than one commit of this use of the file comes behind a frame that seems to be of another."""
    commits = 0
    while len(frame := wal.read(size)) == size:
        _, pages, *frame_salts, _, _ = _FRAME_HEADER.unpack_from(frame)
        commits += frame_salts == salts and pages > 0
    return commits > 1


def _has_commits(wal: IO[bytes], *, page_bytes: int) -> bool:
    """Whether frames with one and the same salt hold more than one commit: the header is damaged, so its salt is not known."""
    size = _FRAME_HEADER.size + page_bytes
    last: list[int] = []
    commits = 0
    while len(frame := wal.read(size)) == size:
        _, pages, *salts, _, _ = _FRAME_HEADER.unpack_from(frame)
        commits = (commits if salts == last else 0) + (pages > 0)
        last = salts
        if commits > 1:
            return True
    return False
