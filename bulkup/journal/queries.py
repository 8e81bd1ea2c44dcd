"""Everything that is asked of the journal's tables and done to them, in SQL: for whoever writes, and for who only looks.

A function takes a connection and, where it is about one, a lane. Those that change something are to be called inside a transaction.
What stands in the tables and makes no sense is a `sqlite3.DatabaseError`, as damage is that SQLite finds itself.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.journal import chunk_rows
from bulkup.journal.base import BY_A_PERSON, LOST, PAGE_CHUNKS
from bulkup.journal.chunk_rows import ENDS, FIELDS, to_row, to_totals
from bulkup.journal.facts import DECISIONS, SURVEY, Decided, Fact
from bulkup.journal.schema import CHANGED, OPEN, OPEN_CHUNKS, shown_as
from bulkup.light_dataclass import dataclass

T = TypeVar("T")

# --- chunks as rows ---------------------------------------------------------------------------------------------------

_COLUMNS = ", ".join(FIELDS)
_INSERT = f"INSERT INTO chunks ({_COLUMNS}, line_count, ended) VALUES ({', '.join('?' * (len(FIELDS) + 2))})"  # noqa: S608

_changes = msgspec.json.Decoder(list[tuple[str, int]])


def to_chunk(row: tuple[Any, ...]) -> Chunk:
    """Out of the columns. Raises `sqlite3.DatabaseError` where what stands there is no chunk."""
    try:
        return chunk_rows.to_chunk(row)
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error


@cache
def _columns(known: int) -> str:
    """The columns as a journal of format *known* has them."""
    shown = shown_as(known)
    return ", ".join(shown.get(column, column) for column in FIELDS)


# --- facts ------------------------------------------------------------------------------------------------------------


def fact(db: sqlite3.Connection, lane: str, what: Fact[T]) -> T:
    """What is recorded of *lane*, '' for the run."""
    try:
        return what.of_text(text_of_fact(db, lane, what.key))
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def text_of_fact(db: sqlite3.Connection, lane: str, key: str) -> str | None:
    row = db.execute("SELECT value FROM facts WHERE lane = ? AND key = ?", (lane, key)).fetchone()
    return None if row is None else row[0]


def facts(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    return {(lane, key): text for lane, key, text in db.execute("SELECT lane, key, value FROM facts")}


def set_fact(db: sqlite3.Connection, lane: str, key: str, text: str) -> None:
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (lane, key, text))


# --- what becomes of chunks -------------------------------------------------------------------------------------------


def plan(db: sqlite3.Connection, lane: str, chunks: Iterable[Chunk], tiles: Iterable[TileSpan]) -> None:
    db.executemany(_INSERT, map(to_row, chunks))
    db.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", [(lane, t.tile, t.start, t.stop) for t in tiles])


def recover(db: sqlite3.Connection, lane: str, at: float) -> int:
    lost = "state = 'in doubt', reason = ?, last_byte_at = ?"
    where = f"lane = ? AND {OPEN} AND state = 'sending'"
    return db.execute(f"UPDATE {OPEN_CHUNKS} SET {lost} WHERE {where}", (LOST, at, lane)).rowcount  # noqa: S608


def sending(db: sqlite3.Connection, chunk: ChunkId, at: float) -> None:
    _move(db, chunk, ChunkState.SENDING, "attempts = attempts + 1, was_answered = 0, last_byte_at = ?", at)


def plan_again(db: sqlite3.Connection, chunk: ChunkId, reason: str | None) -> None:
    _move(db, chunk, ChunkState.PLANNED, "reason = ?", reason)


def answered(db: sqlite3.Connection, chunk: ChunkId, remote_id: str) -> None:
    _move(db, chunk, ChunkState.ANSWERED, "remote_id = ?", remote_id)


def landed(db: sqlite3.Connection, chunk: ChunkId, remote_id: str, evidence: Evidence, ids_at: int | None) -> None:
    # of a doubt the last byte is known, not the first
    began = "last_byte_at" if evidence is Evidence.ANSWER else "0"
    changes = f"remote_id = ?, evidence = ?, stored_after = {began}, reason = NULL, ids_at = ?"
    _move(db, chunk, ChunkState.LANDED, changes, remote_id, evidence.value, ids_at)


def in_doubt(db: sqlite3.Connection, chunk: ChunkId, reason: str, at: float, was_answered: bool) -> None:
    changes = "reason = ?, last_byte_at = ?, was_answered = ?"
    _move(db, chunk, ChunkState.IN_DOUBT, changes, reason, at, int(was_answered))


def absent(db: sqlite3.Connection, chunk: ChunkId) -> None:
    _move(db, chunk, ChunkState.PLANNED, "reason = NULL, absences = absences + 1")


def held(db: sqlite3.Connection, chunk: ChunkId, reason: str) -> None:
    _move(db, chunk, ChunkState.IN_DOUBT, "reason = ?", reason)


def landed_by_a_person(db: sqlite3.Connection, chunk: ChunkId, remote_id: str, at: float) -> None:
    changes = "remote_id = ?, evidence = ?, stored_after = 0, reason = ?"
    _move(db, chunk, ChunkState.LANDED, changes, remote_id, Evidence.PERSON.value, BY_A_PERSON)
    _add_decision(db, chunk, "landed", at)


def absent_by_a_person(db: sqlite3.Connection, chunk: ChunkId, at: float) -> None:
    _move(db, chunk, ChunkState.PLANNED, "reason = ?, absences = absences + 1", BY_A_PERSON)
    _add_decision(db, chunk, "absent", at)


def refused(db: sqlite3.Connection, chunk: ChunkId, reason: str) -> None:
    _move(db, chunk, ChunkState.REFUSED, "rejected = rejected + rows, rows = 0, reason = ?", reason)


def replace(db: sqlite3.Connection, parent: ChunkId, children: Iterable[Chunk], reason: str) -> None:
    _move(db, parent, ChunkState.SPLIT, "reason = ?", reason)
    db.executemany(_INSERT, map(to_row, children))


def _move(db: sqlite3.Connection, chunk: ChunkId, state: ChunkState, changes: str, *values: object) -> None:
    done = db.execute(_update(state, changes), (*values, chunk.lane, chunk.tile, chunk.child))
    assert done.rowcount == 1, f"chunk {chunk} is not open in the journal"


@cache
def _update(state: ChunkState, changes: str) -> str:
    """The statement that moves one chunk to *state* with *changes*; lane, tile and child come after their values."""
    ended = ", ended = 1" if state in ENDS else ""
    where = f"lane = ? AND tile = ? AND child = ? AND {OPEN}"  # an end is one
    return f"UPDATE chunks SET state = '{state}'{ended}, {changes} WHERE {where}"  # noqa: S608 - literals all


def _add_decision(db: sqlite3.Connection, chunk: ChunkId, said: str, at: float) -> None:
    """What a person said stays, whatever becomes of the chunk."""
    known = fact(db, chunk.lane, DECISIONS)
    set_fact(db, chunk.lane, DECISIONS.key, DECISIONS.to_text((*known, Decided(str(chunk), said, at))))


# --- questions about chunks -------------------------------------------------------------------------------------------


def chunk(db: sqlite3.Connection, id_: ChunkId) -> Chunk | None:
    query = f"SELECT {_COLUMNS} FROM chunks WHERE lane = ? AND tile = ? AND child = ?"  # noqa: S608
    row = db.execute(query, (id_.lane, id_.tile, id_.child)).fetchone()
    return None if row is None else to_chunk(row)


def open_chunks(db: sqlite3.Connection, lane: str, states: Sequence[ChunkState]) -> list[Chunk]:
    marks = ",".join("?" * len(states))
    query = f"SELECT {_COLUMNS} FROM {OPEN_CHUNKS} WHERE lane = ? AND {OPEN} AND state IN ({marks}) ORDER BY start"  # noqa: S608
    return [to_chunk(row) for row in db.execute(query, (lane, *(state.value for state in states)))]


def page(db: sqlite3.Connection, lane: str, after: Chunk | None, which: str) -> list[Chunk]:
    """The first chunks behind *after*, by position, of those for which *which* (SQL) holds. Tiles are in the source's order, so
    nothing is sorted but what one of them was cut into."""
    where = f"lane = ? AND (tile, start, child) > (?, ?, ?) AND {which}"
    query = f"SELECT {_COLUMNS} FROM chunks WHERE {where} ORDER BY tile, start, child LIMIT {PAGE_CHUNKS}"  # noqa: S608
    begin = (-1, -1, -1) if after is None else (after.id.tile, after.start, after.id.child)
    return [to_chunk(row) for row in db.execute(query, (lane, *begin))]


NOT_SPLIT = "state != 'split'"
LANDED_WITHOUT_IDS = "state = 'landed' AND ids_at IS NULL"
"""Conditions for `page`."""


def every_chunk(db: sqlite3.Connection, lane: str) -> Iterator[Chunk]:
    """As `page` of those that were not split, one at a time, out of a journal of any format."""
    query = f"SELECT {_columns(_format_of(db))} FROM chunks WHERE lane = ? AND {NOT_SPLIT} ORDER BY tile, start, child"  # noqa: S608
    return map(to_chunk, db.execute(query, (lane,)))


def split_ranges(db: sqlite3.Connection, lane: str) -> Iterator[tuple[int, int]]:
    query = "SELECT start, stop FROM chunks WHERE lane = ? AND state = 'split' ORDER BY start, stop DESC"
    return iter(db.execute(query, (lane,)))


def called_absent(db: sqlite3.Connection, lane: str) -> list[Chunk]:
    query = f"SELECT {_COLUMNS} FROM chunks WHERE lane = ? AND absences > 0 ORDER BY start"  # noqa: S608
    return [to_chunk(row) for row in db.execute(query, (lane,))]


def absences(db: sqlite3.Connection, lane: str) -> int:
    query = "SELECT total(absences) FROM chunks INDEXED BY absent_chunks WHERE lane = ? AND absences > 0"
    return int(db.execute(query, (lane,)).fetchone()[0])


def next_child(db: sqlite3.Connection, lane: str, tile: int) -> int:
    row = db.execute("SELECT max(child) FROM chunks WHERE lane = ? AND tile = ?", (lane, tile)).fetchone()
    return 1 + (row[0] or 0)


def frontier(db: sqlite3.Connection, lane: str) -> tuple[int, int | None]:
    last = db.execute("SELECT max(tile) FROM tiles WHERE lane = ?", (lane,)).fetchone()[0]
    tile = 0 if last is None else last + 1
    begun = db.execute("SELECT max(stop) FROM chunks WHERE lane = ? AND tile = ?", (lane, tile)).fetchone()
    return tile, begun[0]


def planned_to(db: sqlite3.Connection, lane: str) -> int | None:
    last = "SELECT max(tile) FROM chunks WHERE lane = ?1"  # tiles are in the source's order
    query = f"SELECT max(stop) FROM chunks WHERE lane = ?1 AND tile = ({last})"  # noqa: S608
    found: int | None = db.execute(query, (lane,)).fetchone()[0]
    return found


def is_blank(db: sqlite3.Connection) -> bool:
    return not db.execute("SELECT EXISTS (SELECT 1 FROM chunks) OR EXISTS (SELECT 1 FROM tiles)").fetchone()[0]


def latest_time(db: sqlite3.Connection) -> float:
    sent = db.execute("SELECT max(last_byte_at) FROM chunks").fetchone()[0] or 0.0
    lanes = [lane for (lane,) in db.execute("SELECT lane FROM facts WHERE key = ?", (SURVEY.key,))]
    looked = [survey.at for survey in (fact(db, lane, SURVEY) for lane in lanes) if survey is not None]
    return max([float(sent), *looked])


# --- sums -------------------------------------------------------------------------------------------------------------

_SUMMED = ("rows", "blank", "rejected", "body_bytes", "skipped", "made")


@cache
def _sums(known: int) -> str:
    """State, chunks, lines and `_SUMMED`, in a journal of format *known*. What has ended is summed up already, what is open is
    little."""
    shown = shown_as(known)
    summed = ", ".join(f"sum({shown.get(column, column)})" for column in _SUMMED)
    return f"""
        SELECT state, sum(chunks), sum(lines), {summed} FROM sums WHERE lane = ? GROUP BY state
        UNION ALL
        SELECT state, count(*), sum(line_count), {summed} FROM {OPEN_CHUNKS} WHERE lane = ? AND {OPEN} GROUP BY state
    """  # noqa: S608


def _summed(db: sqlite3.Connection, lane: str) -> Iterator[tuple[Any, ...]]:
    return iter(db.execute(_sums(_format_of(db)), (lane, lane)))


def _format_of(db: sqlite3.Connection) -> int:
    known: int = db.execute("PRAGMA user_version").fetchone()[0]
    return known


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many chunks, with how many good rows, stand in one state."""

    state: str
    chunks: int
    rows: int


def totals(db: sqlite3.Connection, lane: str) -> Totals:
    return to_totals((_one_of(ChunkState, state), *counts) for state, *counts in _summed(db, lane))


def states(db: sqlite3.Connection, lane: str) -> list[StateCount]:
    return [StateCount(row[0], row[1], row[3]) for row in _summed(db, lane) if row[0] != ChunkState.SPLIT]


def changes(db: sqlite3.Connection, lane: str) -> dict[str, int]:
    if "changes" in shown_as(_format_of(db)):
        return {}
    found: Counter[str] = Counter()
    query = f"SELECT changes FROM chunks WHERE lane = ? AND {CHANGED} AND state NOT IN ('split', 'refused')"  # noqa: S608
    for (text,) in db.execute(query, (lane,)):
        try:
            found.update(dict(_changes.decode(text)))
        except ValueError as error:
            raise sqlite3.DatabaseError(f"changes that make no sense: {error}") from error
    return dict(sorted(found.items()))


def evidence(db: sqlite3.Connection, lane: str) -> dict[str, int]:
    query = "SELECT evidence, chunks FROM sums WHERE lane = ? AND state = 'landed' ORDER BY evidence"
    return {_one_of(Evidence, evidence).value: chunks for evidence, chunks in db.execute(query, (lane,))}


def _one_of(kind: type[T], text: str) -> T:
    try:
        return kind(text)  # type: ignore[call-arg]
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def rows_since(db: sqlite3.Connection, lane: str, at: float, began_later: bool) -> tuple[int, bool]:
    query = (
        "SELECT total(rows) FILTER (WHERE state = 'landed' AND (evidence = 'answer' OR :began_later)), "
        "count(*) FILTER (WHERE (state = 'landed' AND evidence != 'answer' AND NOT :began_later) "
        "OR state IN ('sending', 'answered', 'in doubt')) "
        "FROM chunks WHERE lane = :lane AND last_byte_at >= :at"
    )
    rows, unclear = db.execute(query, {"lane": lane, "at": at, "began_later": began_later}).fetchone()
    return int(rows), unclear > 0


# --- datasets at the destination --------------------------------------------------------------------------------------


def landings(db: sqlite3.Connection, lane: str) -> dict[str, float]:
    query = (
        "SELECT remote_id, max(stored_after) FROM datasets WHERE lane = ? AND remote_id != '' "  # a person need not know the id
        "GROUP BY remote_id"
    )
    return dict(db.execute(query, (lane,)))


def datasets(db: sqlite3.Connection, lane: str) -> int:
    return int(db.execute("SELECT count(*) FROM datasets WHERE lane = ?", (lane,)).fetchone()[0])


def remote(db: sqlite3.Connection, lane: str, at_most: int) -> list[tuple[str, str, int]]:
    query = "SELECT remote_id, name, rows FROM datasets WHERE lane = ? ORDER BY start LIMIT ?"
    return db.execute(query, (lane, at_most)).fetchall()


def remote_ids(db: sqlite3.Connection, lane: str, name: str) -> set[str]:
    query = "SELECT remote_id FROM datasets WHERE lane = ? AND name = ? AND remote_id != ''"
    return {row[0] for row in db.execute(query, (lane, name))}


# --- the logs beside it -----------------------------------------------------------------------------------------------


def log_length(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT length FROM logs WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_log_length(db: sqlite3.Connection, name: str, length: int) -> None:
    db.execute("INSERT INTO logs VALUES (?, ?) ON CONFLICT DO UPDATE SET length = excluded.length", (name, length))
