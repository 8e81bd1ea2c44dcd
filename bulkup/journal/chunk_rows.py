"""Chunks as rows of a table: the same columns in every keeper."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import msgspec
import orjson

from bulkup.chunk import Chunk, ChunkState, Totals

__all__ = ["ENDS", "FIELDS", "to_chunk", "to_row", "to_totals"]

FIELDS = (
    "lane", "tile", "child", "start", "stop", "file", "byte_offset", "rows", "blank", "rejected", "lines", "body_bytes",
    "raw_hash", "rows_hash", "name", "verbatim", "state", "attempts", "remote_id", "reason", "last_byte_at", "was_answered",
    "absences", "evidence", "ids_at", "skipped", "made", "changes",
)  # fmt: skip
"""The columns that are read. What is written has two more: `line_count` and `ended`."""

_KEY = attrgetter("id.lane", "id.tile", "id.child")
_PLAIN = attrgetter(*FIELDS[3 : FIELDS.index("lines")])
_REST = attrgetter(*FIELDS[FIELDS.index("attempts") : FIELDS.index("was_answered")])
_HASHED = attrgetter("body_bytes", "raw_hash", "rows_hash", "name")

ENDS = frozenset({ChunkState.LANDED, ChunkState.REFUSED, ChunkState.SPLIT, ChunkState.EMPTY})


def to_row(chunk: Chunk) -> tuple[Any, ...]:
    """As it is inserted: `FIELDS`, `line_count`, `ended`. Binding is quick with plain types only: no enum, no bool."""
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
        chunk.ids_at,
        chunk.skipped,
        chunk.made,
        orjson.dumps(chunk.changes).decode() if chunk.changes else None,
        chunk.line_count,
        int(chunk.state in ENDS),
    )


def to_chunk(row: tuple[Any, ...]) -> Chunk:
    """Out of the columns `FIELDS`. Raises `ValueError` where what stands there is no chunk."""
    try:
        values = dict(zip(FIELDS[3:], row[3:], strict=True))
        values["lines"] = orjson.loads(values["lines"])
        values["changes"] = orjson.loads(values["changes"] or "[]")
        values["verbatim"] = bool(values["verbatim"])
        values["was_answered"] = bool(values["was_answered"])
        values["id"] = dict(zip(("lane", "tile", "child"), row[:3], strict=True))
        chunk = msgspec.convert(values, Chunk, builtin_types=(bytes,))  # a bit may make another type of a value, too
    except (ValueError, TypeError) as error:
        raise ValueError(f"a chunk that makes no sense: {error}") from error
    if chunk.line_count != chunk.rows + chunk.blank + chunk.rejected + chunk.skipped - chunk.made:
        raise ValueError(f"a chunk that makes no sense: {chunk.id} counts {chunk.line_count} lines")
    return chunk


def to_totals(sums: Iterable[tuple[Any, ...]]) -> Totals:
    """Out of a state with its sums each: chunks, lines, rows, blank, rejected, bytes, skipped, made. A state may come twice."""
    found = Totals()
    for state, chunks, lines, rows, blank, rejected, body_bytes, skipped, made in sums:
        found.add(
            state,
            chunks=chunks,
            lines=lines,
            rows=rows,
            blank=blank,
            rejected=rejected,
            body_bytes=body_bytes,
            skipped=skipped,
            made=made,
        )
    return found
