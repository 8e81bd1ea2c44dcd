"""Everything that is asked of the tables, for whoever writes and for who only looks. What makes no sense is a `ValueError`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, Totals
from bulkup.journal.base import LOST, PAGE_CHUNKS
from bulkup.journal.chunk_rows import FIELDS, to_chunk, to_totals
from bulkup.journal.facts import SURVEY, Fact
from bulkup.journal.postgres.client import Connection
from bulkup.journal.queries import LANDED_WITHOUT_IDS, NOT_SPLIT, StateCount

__all__ = [
    "LANDED_WITHOUT_IDS", "NOT_SPLIT", "absences", "called_absent", "changes", "chunk", "datasets", "every_chunk", "evidence",
    "fact", "frontier", "is_blank", "landings", "latest_time", "next_child", "open_chunks", "page", "planned_to", "recover",
    "remote", "remote_ids", "rows_since", "split_ranges", "states", "totals",
]  # fmt: skip

T = TypeVar("T")

_COLUMNS = ", ".join(FIELDS)
_changes = msgspec.json.Decoder(list[tuple[str, int]])


def fact(db: Connection, run: int, lane: str, what: Fact[T]) -> T:
    """What is recorded of *lane*, '' for the run."""
    row = _one(db, "SELECT value FROM bulkup.facts WHERE run = %s AND lane = %s AND key = %s", run, lane, what.key)
    return what.of_text(None if row is None else row[0])


def recover(db: Connection, run: int, lane: str, at: float) -> int:
    """What stood as sending is in doubt; how many chunks that is."""
    statement = """WITH lost AS (
            UPDATE bulkup.chunks SET state = 'in doubt', reason = %s, last_byte_at = %s
            WHERE run = %s AND lane = %s AND ended = 0 AND state = 'sending' RETURNING 1
        ) SELECT count(*) FROM lost"""
    return int(_found(db, statement, LOST, at, run, lane)[0])


def chunk(db: Connection, run: int, id_: ChunkId) -> Chunk | None:
    query = f"SELECT {_COLUMNS} FROM bulkup.chunks WHERE run = %s AND lane = %s AND tile = %s AND child = %s"  # noqa: S608
    row = _one(db, query, run, id_.lane, id_.tile, id_.child)
    return None if row is None else to_chunk(row)


def open_chunks(db: Connection, run: int, lane: str, wanted: Sequence[ChunkState]) -> list[Chunk]:
    query = f"""SELECT {_COLUMNS} FROM bulkup.chunks WHERE run = %s AND lane = %s AND ended = 0 AND state = ANY(%s)
        ORDER BY start"""  # noqa: S608
    return [to_chunk(row) for row in db.execute(query, (run, lane, [state.value for state in wanted]))]


def page(db: Connection, run: int, lane: str, after: Chunk | None, which: str) -> list[Chunk]:
    """The first chunks behind *after*, by position, of those for which *which* (SQL) holds."""
    begin = (-1, -1, -1) if after is None else (after.id.tile, after.start, after.id.child)
    query = f"""SELECT {_COLUMNS} FROM bulkup.chunks
        WHERE run = %s AND lane = %s AND tile >= %s AND (tile, start, child) > (%s, %s, %s) AND {which}
        ORDER BY tile, start, child LIMIT {PAGE_CHUNKS}"""  # noqa: S608
    return [to_chunk(row) for row in db.execute(query, (run, lane, begin[0], *begin))]


def every_chunk(db: Connection, run: int, lane: str) -> Iterator[Chunk]:
    """As `page` of those that were not split, one at a time."""
    last: Chunk | None = None
    while found := page(db, run, lane, last, NOT_SPLIT):
        yield from found
        last = found[-1]


def split_ranges(db: Connection, run: int, lane: str) -> Iterator[tuple[int, int]]:
    query = """SELECT start, stop FROM bulkup.chunks WHERE run = %s AND lane = %s AND state = 'split'
        ORDER BY start, stop DESC"""
    return iter(db.execute(query, (run, lane)).fetchall())


def called_absent(db: Connection, run: int, lane: str) -> list[Chunk]:
    query = f"""SELECT {_COLUMNS} FROM bulkup.chunks WHERE run = %s AND lane = %s AND absences > 0
        ORDER BY start"""  # noqa: S608
    return [to_chunk(row) for row in db.execute(query, (run, lane))]


def absences(db: Connection, run: int, lane: str) -> int:
    query = "SELECT coalesce(sum(absences), 0) FROM bulkup.chunks WHERE run = %s AND lane = %s AND absences > 0"
    return int(_found(db, query, run, lane)[0])


def next_child(db: Connection, run: int, lane: str, tile: int) -> int:
    query = "SELECT max(child) FROM bulkup.chunks WHERE run = %s AND lane = %s AND tile = %s"
    return 1 + (_found(db, query, run, lane, tile)[0] or 0)


def frontier(db: Connection, run: int, lane: str) -> tuple[int, int | None]:
    last = _found(db, "SELECT max(tile) FROM bulkup.tiles WHERE run = %s AND lane = %s", run, lane)[0]
    tile = 0 if last is None else last + 1
    query = "SELECT max(stop) FROM bulkup.chunks WHERE run = %s AND lane = %s AND tile = %s"
    return tile, _found(db, query, run, lane, tile)[0]


def planned_to(db: Connection, run: int, lane: str) -> int | None:
    last = "SELECT max(tile) FROM bulkup.chunks WHERE run = %s AND lane = %s"  # tiles are in the source's order
    query = f"SELECT max(stop) FROM bulkup.chunks WHERE run = %s AND lane = %s AND tile = ({last})"  # noqa: S608
    found: int | None = _found(db, query, run, lane, run, lane)[0]
    return found


def is_blank(db: Connection, run: int) -> bool:
    query = """SELECT EXISTS (SELECT 1 FROM bulkup.chunks WHERE run = %s)
        OR EXISTS (SELECT 1 FROM bulkup.tiles WHERE run = %s)"""
    return not _found(db, query, run, run)[0]


def latest_time(db: Connection, run: int) -> float:
    sent = _found(db, "SELECT max(last_byte_at) FROM bulkup.chunks WHERE run = %s", run)[0] or 0.0
    lanes = db.execute("SELECT lane FROM bulkup.facts WHERE run = %s AND key = %s", (run, SURVEY.key)).fetchall()
    looked = [survey.at for survey in (fact(db, run, lane, SURVEY) for (lane,) in lanes) if survey is not None]
    return max([float(sent), *looked])


# --- sums -------------------------------------------------------------------------------------------------------------

_SUMMED = ", ".join(
    f"sum({column})::bigint" for column in ("rows", "blank", "rejected", "body_bytes", "skipped", "made")
)
_SUMS = f"""
    SELECT state, sum(chunks)::bigint, sum(lines)::bigint, {_SUMMED} FROM bulkup.sums WHERE run = %s AND lane = %s GROUP BY state
    UNION ALL
    SELECT state, count(*), sum(line_count)::bigint, {_SUMMED} FROM bulkup.chunks
    WHERE run = %s AND lane = %s AND ended = 0 GROUP BY state"""  # noqa: S608


def _sums(db: Connection, run: int, lane: str) -> Iterable[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = db.execute(_SUMS, (run, lane, run, lane)).fetchall()
    return found


def totals(db: Connection, run: int, lane: str) -> Totals:
    return to_totals((ChunkState(state), *counts) for state, *counts in _sums(db, run, lane))


def states(db: Connection, run: int, lane: str) -> list[StateCount]:
    return [StateCount(row[0], row[1], row[3]) for row in _sums(db, run, lane) if row[0] != ChunkState.SPLIT]


def changes(db: Connection, run: int, lane: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    query = """SELECT changes FROM bulkup.chunks
        WHERE run = %s AND lane = %s AND changes IS NOT NULL AND state NOT IN ('split', 'refused')"""
    for (text,) in db.execute(query, (run, lane)):
        found.update(dict(_changes.decode(text)))
    return dict(sorted(found.items()))


def evidence(db: Connection, run: int, lane: str) -> dict[str, int]:
    query = (
        "SELECT evidence, chunks FROM bulkup.sums WHERE run = %s AND lane = %s AND state = 'landed' ORDER BY evidence"
    )
    return {Evidence(kind).value: chunks for kind, chunks in db.execute(query, (run, lane))}


def rows_since(db: Connection, run: int, lane: str, at: float, began_later: bool) -> tuple[int, bool]:
    query = """
        SELECT coalesce(sum(rows) FILTER (WHERE state = 'landed' AND (evidence = 'answer' OR %s)), 0),
            count(*) FILTER (WHERE (state = 'landed' AND evidence != 'answer' AND NOT %s)
                OR state IN ('sending', 'answered', 'in doubt'))
        FROM bulkup.chunks WHERE run = %s AND lane = %s AND last_byte_at >= %s"""
    rows, unclear = _found(db, query, began_later, began_later, run, lane, at)
    return int(rows), unclear > 0


# --- datasets at the destination --------------------------------------------------------------------------------------


def landings(db: Connection, run: int, lane: str) -> dict[str, float]:
    query = """SELECT remote_id, max(stored_after) FROM bulkup.datasets WHERE run = %s AND lane = %s AND remote_id != ''
        GROUP BY remote_id"""  # a person need not know the id
    return dict(db.execute(query, (run, lane)).fetchall())


def datasets(db: Connection, run: int, lane: str) -> int:
    return int(_found(db, "SELECT count(*) FROM bulkup.datasets WHERE run = %s AND lane = %s", run, lane)[0])


def remote(db: Connection, run: int, lane: str, at_most: int) -> list[tuple[str, str, int]]:
    query = "SELECT remote_id, name, rows FROM bulkup.datasets WHERE run = %s AND lane = %s ORDER BY start LIMIT %s"
    found: list[tuple[str, str, int]] = db.execute(query, (run, lane, at_most)).fetchall()
    return found


def remote_ids(db: Connection, run: int, lane: str, name: str) -> set[str]:
    query = "SELECT remote_id FROM bulkup.datasets WHERE run = %s AND lane = %s AND name = %s AND remote_id != ''"
    return {row[0] for row in db.execute(query, (run, lane, name))}


def _one(db: Connection, query: str, *values: object) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = db.execute(query, values).fetchone()
    return row


def _found(db: Connection, query: str, *values: object) -> tuple[Any, ...]:
    row = _one(db, query, *values)
    assert row is not None, "it always answers"
    return row
