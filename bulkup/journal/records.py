"""What the journal's tables hold, as values: chunks to rows and back, facts, and what a lane's chunks add up to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, Totals
from bulkup.journal.facts import checked
from bulkup.journal.faults import meaning
from bulkup.journal.tables import OPEN, OPEN_CHUNKS, connect_read_only

__all__ = [
    "COLUMNS",
    "INSERT",
    "read_chunk",
    "read_chunks",
    "read_evidence",
    "read_fact",
    "read_planned_to",
    "read_totals",
    "to_chunk",
    "to_row",
    "update",
]

_FIELDS = (
    "lane", "tile", "child", "start", "stop", "file", "byte_offset", "rows", "blank", "rejected", "lines", "body_bytes",
    "raw_hash", "rows_hash", "name", "verbatim", "state", "attempts", "remote_id", "reason", "last_byte_at", "was_answered",
    "absences", "evidence",
)  # fmt: skip
COLUMNS = ", ".join(_FIELDS)
INSERT = f"INSERT INTO chunks ({COLUMNS}, line_count, ended) VALUES ({', '.join('?' * (len(_FIELDS) + 2))})"  # noqa: S608
_KEY = attrgetter("id.lane", "id.tile", "id.child")
_PLAIN = attrgetter(*_FIELDS[3 : _FIELDS.index("lines")])
_REST = attrgetter(*_FIELDS[_FIELDS.index("attempts") : _FIELDS.index("was_answered")])
_HASHED = attrgetter("body_bytes", "raw_hash", "rows_hash", "name")


ENDS = frozenset({ChunkState.LANDED, ChunkState.REFUSED, ChunkState.SPLIT, ChunkState.EMPTY})


@cache
def update(state: ChunkState, changes: str) -> str:
    """The statement that moves one chunk to *state* with *changes* (SQL); lane, tile and child come after their values."""
    ended = ", ended = 1" if state in ENDS else ""
    where = f"lane = ? AND tile = ? AND child = ? AND {OPEN}"  # an end is one
    return f"UPDATE chunks SET state = '{state}'{ended}, {changes} WHERE {where}"  # noqa: S608 - literals all


def read_fact(db: sqlite3.Connection, lane: str, key: str) -> Any:
    """A recorded fact as JSON, None if there is none. Raises `sqlite3.DatabaseError` where it is not of its kind."""
    row = db.execute("SELECT value FROM facts WHERE lane = ? AND key = ?", (lane, key)).fetchone()
    return None if row is None else checked(key, row[0])


def read_totals(db: sqlite3.Connection, lane: str) -> Totals:
    """What the chunks of *lane* add up to."""
    totals = Totals()
    for state, chunks, lines, rows, blank, rejected, body_bytes in db.execute(_SUMS, (lane, lane)):
        totals.add(
            _state(state),
            chunks=chunks,
            lines=lines,
            rows=rows,
            blank=blank,
            rejected=rejected,
            body_bytes=body_bytes,
        )
    return totals


def _state(text: str) -> ChunkState:
    try:
        return ChunkState(text)
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def read_evidence(db: sqlite3.Connection, lane: str) -> dict[str, int]:
    """How many landed chunks of *lane* count as landed by which evidence. Those without rows were never sent."""
    query = "SELECT evidence, chunks FROM sums WHERE lane = ? AND state = 'landed' ORDER BY evidence"
    try:
        return {Evidence(evidence).value: chunks for evidence, chunks in db.execute(query, (lane,))}
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def read_planned_to(db: sqlite3.Connection, lane: str) -> int | None:
    """The position up to which *lane*'s source is planned, chunk by chunk; None where there is no chunk."""
    last = "SELECT max(tile) FROM chunks WHERE lane = ?1"  # tiles are in the source's order
    query = f"SELECT max(stop) FROM chunks WHERE lane = ?1 AND tile = ({last})"  # noqa: S608
    found: int | None = db.execute(query, (lane,)).fetchone()[0]
    return found


def read_chunk(db: sqlite3.Connection, id_: ChunkId) -> Chunk | None:
    """One chunk, whatever has become of it; None if there is none of that number."""
    query = f"SELECT {COLUMNS} FROM chunks WHERE lane = ? AND tile = ? AND child = ?"  # noqa: S608
    row = db.execute(query, (id_.lane, id_.tile, id_.child)).fetchone()
    return None if row is None else to_chunk(row)


def read_chunks(folder: Path, lane: str) -> Iterator[Chunk]:
    """Every chunk of *lane* that was not split, by position, one at a time, while another process may be writing.

    Raises `JournalUnusable`, also in mid-way where the file is damaged.
    """
    path = folder / "journal.db"
    query = f"SELECT {COLUMNS} FROM chunks WHERE lane = ? AND state != 'split' ORDER BY tile, start"  # noqa: S608 - no sorting of the whole
    with closing(connect_read_only(path)) as db:
        try:
            yield from map(to_chunk, db.execute(query, (lane,)))
        except sqlite3.DatabaseError as error:
            raise meaning(error, path) from error


_SUMMED = "count(*), sum(line_count), sum(rows), sum(blank), sum(rejected), sum(body_bytes)"
_SUMS = f"""
    SELECT state, sum(chunks), sum(lines), sum(rows), sum(blank), sum(rejected), sum(body_bytes)
        FROM sums WHERE lane = ? GROUP BY state
    UNION ALL
    SELECT state, {_SUMMED} FROM {OPEN_CHUNKS} WHERE lane = ? AND {OPEN} GROUP BY state
"""  # noqa: S608 - what has ended is summed up already, what is open is little


def to_row(chunk: Chunk) -> tuple[object, ...]:
    """As `INSERT` takes it. SQLite's binding is quick with plain types only, so no enum and no bool goes there."""
    evidence = chunk.evidence
    return (
        *_KEY(chunk),
        *_PLAIN(chunk),
        orjson.dumps(chunk.lines).decode(),
        *_HASHED(chunk),
        int(chunk.verbatim),
        chunk.state.value,
        *_REST(chunk),
        int(chunk.was_answered),
        chunk.absences,
        None if evidence is None else evidence.value,
        chunk.line_count,
        int(chunk.state in ENDS),
    )


def to_chunk(row: tuple[Any, ...]) -> Chunk:
    """A chunk out of `COLUMNS`. Raises `sqlite3.DatabaseError` where what stands there is no chunk."""
    try:
        values = dict(zip(_FIELDS[3:], row[3:], strict=True))
        values["lines"] = tuple(map(tuple, orjson.loads(values["lines"])))
        values["verbatim"] = bool(values["verbatim"])
        values["was_answered"] = bool(values["was_answered"])
        values["state"] = ChunkState(values["state"])
        if values["evidence"] is not None:
            values["evidence"] = Evidence(values["evidence"])
        return Chunk(id=ChunkId(row[0], row[1], row[2]), **values)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a chunk that makes no sense: {error}") from error
