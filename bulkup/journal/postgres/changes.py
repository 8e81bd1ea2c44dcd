"""What is done to the tables: pieces of work, and the statements that many pieces of one kind become.

Pieces of a group may change their order only where they touch different chunks, so each joins the latest statement of its kind that
no later one depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cache
from typing import Any

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan
from bulkup.journal.base import BY_A_PERSON
from bulkup.journal.chunk_rows import ENDS, FIELDS, to_row
from bulkup.journal.postgres.client import Connection
from bulkup.light_dataclass import dataclass

__all__ = [
    "Ask", "Batch", "Move", "Piece", "Plan", "SetFact", "absent", "absent_by_a_person", "answered", "batched", "held", "in_doubt",
    "landed", "landed_by_a_person", "plan_again", "refused", "sending", "split",
]  # fmt: skip

_TEXT, _WHOLE, _TIME = "text", "bigint", "double precision"


@dataclass(frozen=True, slots=True)
class Change:
    """How chunks move to *state*: what is set besides, with `u.v0`, `u.v1` … for the values of *kinds* (SQL types)."""

    state: ChunkState
    sets: str
    kinds: tuple[str, ...] = ()


SENDING = Change(ChunkState.SENDING, "attempts = c.attempts + 1, was_answered = 0, last_byte_at = u.v0", (_TIME,))
PLANNED = Change(ChunkState.PLANNED, "reason = u.v0", (_TEXT,))
ANSWERED = Change(ChunkState.ANSWERED, "remote_id = u.v0", (_TEXT,))
LANDED = Change(  # of a doubt the last byte is known, not the first
    ChunkState.LANDED,
    "remote_id = u.v0, evidence = u.v1, reason = NULL, ids_at = u.v2, "
    f"stored_after = CASE WHEN u.v1 = '{Evidence.ANSWER.value}' THEN c.last_byte_at ELSE 0 END",
    (_TEXT, _TEXT, _WHOLE),
)
IN_DOUBT = Change(
    ChunkState.IN_DOUBT, "reason = u.v0, last_byte_at = u.v1, was_answered = u.v2", (_TEXT, _TIME, _WHOLE)
)
ABSENT = Change(ChunkState.PLANNED, "reason = u.v0, absences = c.absences + 1", (_TEXT,))
HELD = Change(ChunkState.IN_DOUBT, "reason = u.v0", (_TEXT,))
BY_PERSON = Change(
    ChunkState.LANDED, "remote_id = u.v0, evidence = u.v1, stored_after = 0, reason = u.v2", (_TEXT, _TEXT, _TEXT)
)
REFUSED = Change(ChunkState.REFUSED, "rejected = c.rejected + c.rows, rows = 0, reason = u.v0", (_TEXT,))
SPLIT = Change(ChunkState.SPLIT, "reason = u.v0", (_TEXT,))


@dataclass(frozen=True, slots=True)
class Move:
    """A chunk that comes to another state."""

    change: Change
    chunk: ChunkId
    values: tuple[Any, ...]
    rejects: bytes = b""
    ids: bytes = b""
    """A line for the ids, where it begins is the last of the values."""


@dataclass(frozen=True, slots=True)
class Plan:
    """New chunks and tiles of a lane, and *parent* that the chunks stand for from now on."""

    lane: str
    chunks: Sequence[Chunk]
    tiles: Sequence[TileSpan] = ()
    rejects: bytes = b""
    parent: Move | None = None


@dataclass(frozen=True, slots=True)
class SetFact:
    """A fact about *lane*, '' for the run."""

    lane: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, or a change that no others join: it sees all that was submitted before it."""

    ask: Callable[[Connection, int], Any]


Piece = Move | Plan | SetFact | Ask


# --- what becomes of chunks -------------------------------------------------------------------------------------------


def sending(chunk: ChunkId, at: float) -> Move:
    return Move(SENDING, chunk, (at,))


def plan_again(chunk: ChunkId, reason: str | None) -> Move:
    return Move(PLANNED, chunk, (reason,))


def answered(chunk: ChunkId, remote_id: str) -> Move:
    return Move(ANSWERED, chunk, (remote_id,))


def landed(chunk: ChunkId, remote_id: str, evidence: Evidence, ids: bytes) -> Move:
    return Move(LANDED, chunk, (remote_id, evidence.value, None), ids=ids)


def in_doubt(chunk: ChunkId, reason: str, at: float, was_answered: bool) -> Move:
    return Move(IN_DOUBT, chunk, (reason, at, int(was_answered)))


def absent(chunk: ChunkId) -> Move:
    return Move(ABSENT, chunk, (None,))


def held(chunk: ChunkId, reason: str) -> Move:
    return Move(HELD, chunk, (reason,))


def landed_by_a_person(chunk: ChunkId, remote_id: str) -> Move:
    return Move(BY_PERSON, chunk, (remote_id, Evidence.PERSON.value, BY_A_PERSON))


def absent_by_a_person(chunk: ChunkId) -> Move:
    return Move(ABSENT, chunk, (BY_A_PERSON,))


def refused(chunk: ChunkId, reason: str, rejects: bytes) -> Move:
    return Move(REFUSED, chunk, (reason,), rejects=rejects)


def split(parent: ChunkId, reason: str, children: Sequence[Chunk], rejects: bytes) -> Plan:
    return Plan(parent.lane, children, rejects=rejects, parent=Move(SPLIT, parent, (reason,)))


# --- many at once -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Batch:
    """Pieces that one statement does: rows for *statement*, as columns, and how many rows it must change or insert."""

    statement: str
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    touched: set[ChunkId] = field(default_factory=set)
    is_checked: bool = False
    """Whether the statement tells how many chunks it has found, which must be all."""
    ask: Ask | None = None
    place: int = -1
    """Of a question: which piece of the group it is."""

    def columns(self) -> list[list[Any]]:
        """The values, an array for each column."""
        return [list(column) for column in zip(*self.rows, strict=True)]


def batched(pieces: Sequence[Piece], write: Callable[[str, bytes], int]) -> list[Batch]:
    """The statements for *pieces*. *write* puts bytes behind a log ("rejects", "ids") and says where they begin."""
    made: list[Batch] = []
    for place, piece in enumerate(pieces):
        match piece:
            case Ask():
                made.append(Batch("", ask=piece, place=place))
            case SetFact(lane, key, text):
                batch = _facts(made)
                batch.rows = [row for row in batch.rows if row[:2] != (lane, key)]
                batch.rows.append((lane, key, text))
            case Move():
                _move(made, piece, write)
            case Plan(lane, chunks, tiles, rejects, parent):
                if parent is not None:
                    _move(made, parent, write)
                if rejects:
                    write("rejects", rejects)
                _insert(made, chunks)
                if tiles:
                    batch = _joined(made, INSERT_TILES, set())
                    batch.rows += [(lane, t.tile, t.start, t.stop) for t in tiles]
    return made


def _move(made: list[Batch], move: Move, write: Callable[[str, bytes], int]) -> None:
    values = move.values
    if move.rejects:
        write("rejects", move.rejects)
    if move.ids:
        values = (*values[:-1], write("ids", move.ids))
    batch = _joined(made, update(move.change), {move.chunk})
    batch.is_checked = True
    batch.rows.append((move.chunk.lane, move.chunk.tile, move.chunk.child, *map(storable, values)))


def _insert(made: list[Batch], chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        batch = _joined(made, insert(chunk.state in ENDS), {chunk.id})
        batch.rows.append(tuple(map(storable, to_row(chunk))))


def storable(value: Any) -> Any:
    """*value*, where text holds what the database cannot keep (NUL, halves of surrogate pairs): with that escaped."""
    if isinstance(value, str) and ("\0" in value or not value.isascii()):
        return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    return value


def _joined(made: list[Batch], statement: str, touches: set[ChunkId]) -> Batch:
    """The latest batch of that *statement* that a piece may join which *touches* chunks, or a new one."""
    for batch in reversed(made):
        if batch.statement == statement and batch.ask is None and not batch.touched & touches:
            batch.touched |= touches
            return batch
        if batch.ask is not None or batch.touched & touches:
            break
    made.append(Batch(statement, touched=set(touches)))
    return made[-1]


def _facts(made: list[Batch]) -> Batch:
    return _joined(made, SET_FACTS, set())


SET_FACTS = """
    INSERT INTO bulkup.facts SELECT %s, u.* FROM unnest(%s::text[], %s::text[], %s::text[]) AS u
    ON CONFLICT (run, lane, key) DO UPDATE SET value = excluded.value"""
INSERT_TILES = """
    INSERT INTO bulkup.tiles SELECT %s, u.* FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) AS u"""

_KINDS = {
    **dict.fromkeys(FIELDS, _WHOLE),
    **dict.fromkeys(("lane", "lines", "name", "state", "remote_id", "reason", "evidence", "changes"), _TEXT),
    **dict.fromkeys(("raw_hash", "rows_hash"), "bytea"),
    "last_byte_at": _TIME,
}

_SUMMED = """
    , summed AS (
        INSERT INTO bulkup.sums AS t
        SELECT run, lane, state, coalesce(evidence, ''), count(*), sum(line_count), sum(rows), sum(blank), sum(rejected),
            sum(body_bytes), sum(skipped), sum(made)
        FROM moved WHERE ended = 1 GROUP BY run, lane, state, coalesce(evidence, '')
        ON CONFLICT (run, lane, state, evidence) DO UPDATE SET chunks = t.chunks + excluded.chunks,
            lines = t.lines + excluded.lines, rows = t.rows + excluded.rows, blank = t.blank + excluded.blank,
            rejected = t.rejected + excluded.rejected, body_bytes = t.body_bytes + excluded.body_bytes,
            skipped = t.skipped + excluded.skipped, made = t.made + excluded.made
    ), held AS (
        INSERT INTO bulkup.datasets AS t
        SELECT run, lane, name, coalesce(remote_id, ''), count(*), sum(rows), min(start), max(coalesce(stored_after, 0))
        FROM moved WHERE state = 'landed' GROUP BY run, lane, name, coalesce(remote_id, '')
        ON CONFLICT (run, lane, name, remote_id) DO UPDATE SET chunks = t.chunks + excluded.chunks,
            rows = t.rows + excluded.rows, start = least(t.start, excluded.start),
            stored_after = greatest(t.stored_after, excluded.stored_after)
    ) SELECT count(*) FROM moved"""


@cache
def insert(has_ended: bool) -> str:
    """Chunks out of arrays of their columns."""
    kinds = ", ".join(f"%s::{_KINDS.get(column, _WHOLE)}[]" for column in (*FIELDS, "line_count", "ended"))
    statement = f"""INSERT INTO bulkup.chunks (run, {", ".join(FIELDS)}, line_count, ended)
        SELECT %s, u.* FROM unnest({kinds}) AS u"""  # noqa: S608 - literals all
    return f"WITH moved AS ({statement} RETURNING *){_SUMMED}" if has_ended else statement


@cache
def update(change: Change) -> str:
    """Chunks that are open, out of arrays of their lanes, tiles, children and the values that are set: how many there were."""
    names = ", ".join(f"v{place}" for place in range(len(change.kinds)))
    kinds = "".join(f", %s::{kind}[]" for kind in change.kinds)
    ended = ", ended = 1" if change.state in ENDS else ""
    statement = f"""UPDATE bulkup.chunks c SET state = '{change.state.value}'{ended}, {change.sets}
        FROM (SELECT %s::integer AS run, u.* FROM unnest(%s::text[], %s::bigint[], %s::bigint[]{kinds})
            AS u (lane, tile, child, {names})) AS u
        WHERE c.run = u.run AND c.lane = u.lane AND c.tile = u.tile AND c.child = u.child AND c.ended = 0"""  # noqa: S608
    if change.state in ENDS:
        return f"WITH moved AS ({statement} RETURNING c.*){_SUMMED}"
    return f"WITH moved AS ({statement} RETURNING 1) SELECT count(*) FROM moved"  # noqa: S608
