"""Columns: what they are called, what they hold, how they are inferred from the first block.

The services' references vouch for `string`, `integer` (64 bits) and `boolean`, and for a nullable one. So whatever
else a column holds (floats, nested values, mixed types) travels as its JSON text in a `string` column, unless told
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bulkup.errors import UsageProblem

__all__ = [
    "Column",
    "Holds",
    "Nested",
    "columns_from_json",
    "columns_to_json",
    "given_columns",
    "infer_columns",
    "words",
]


class Holds(StrEnum):
    """What a column takes, and how it is written."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"  # any value, written as its JSON text in a string
    AS_IS = "as-is"  # any value, written as it is; the type is the user's own word


class Nested(StrEnum):
    """What becomes of values that are neither string, integer nor boolean."""

    TEXT = "text"
    AS_IS = "as-is"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. *type* is the wire type without its `option`: a name, or the wire's own object for an as-is one."""

    name: str
    holds: Holds
    type: str | Mapping[str, Any]
    nullable: bool = False


GivenType = str | Mapping[str, Any]
_PLAIN = {str: Holds.STRING, int: Holds.INTEGER, bool: Holds.BOOLEAN}


def given_columns(given: Mapping[str, GivenType]) -> dict[str, Column]:
    """Columns by the types that a config gives.

    `string`, `integer`, `boolean`: just these; `text`: any value as JSON text in a string column; any other name or
    object: values are sent as they are, under that type. A `?` behind a name, or `{name = "option", item = …}`, makes
    it nullable.
    """
    return {name: _given(name, kind) for name, kind in given.items()}


def _given(name: str, kind: GivenType) -> Column:
    nullable = False
    while isinstance(kind, Mapping) and kind.get("name") == "option" and "item" in kind:
        kind, nullable = kind["item"], True
    if isinstance(kind, Mapping) and set(kind) == {"name"}:
        kind = kind["name"]
    if isinstance(kind, str) and kind.endswith("?"):
        kind, nullable = kind[:-1], True
    if not kind or not isinstance(kind, str | Mapping):
        raise UsageProblem(f"column {name}: a type is a name such as 'string' or a table, not {kind!r}")
    if kind == "text":
        return Column(name, Holds.TEXT, "string", nullable)
    if kind in ("string", "integer", "boolean"):
        return Column(name, Holds(kind), kind, nullable)
    return Column(name, Holds.AS_IS, kind, nullable)


def infer_columns(rows: Sequence[dict[str, Any]], nested: Nested = Nested.TEXT) -> dict[str, Column]:
    """The columns of *rows*, in order of first appearance. A column that is null, or absent, in some row is nullable;
    one that is null in all is a nullable string."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(key, []).append(value)
    return {name: _inferred(name, column, len(rows), nested) for name, column in values.items()}


def _inferred(name: str, values: list[Any], rows: int, nested: Nested) -> Column:
    kinds = set(map(type, values))
    nullable = type(None) in kinds or len(values) < rows
    kinds.discard(type(None))
    if not kinds:
        return Column(name, Holds.STRING, "string", nullable=True)
    holds = _PLAIN.get(kinds.pop()) if len(kinds) == 1 else None
    if holds is Holds.INTEGER and not all(-(2**63) <= value < 2**63 for value in values if value is not None):
        holds = None
    if holds is not None:
        return Column(name, holds, str(holds), nullable)
    if nested is Nested.TEXT:
        return Column(name, Holds.TEXT, "string", nullable)
    numbers = all(type(value) in (int, float) for value in values if value is not None)
    return Column(name, Holds.AS_IS, "double" if numbers else "json", nullable)


def words(column: Column) -> str:
    """*column* as it is said to a person: `score integer?`, `messages string (JSON text)`."""
    kind = column.type if isinstance(column.type, str) else str(column.type.get("name", "object"))
    text = " (JSON text)" if column.holds is Holds.TEXT else ""
    return f"{column.name} {kind}{'?' if column.nullable else ''}{text}"


def columns_to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """*columns* for the journal."""
    return [{"name": c.name, "holds": str(c.holds), "type": c.type, "nullable": c.nullable} for c in columns]


def columns_from_json(data: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """What `columns_to_json` wrote."""
    return tuple(Column(c["name"], Holds(c["holds"]), c["type"], c["nullable"]) for c in data)
