"""Columns: what they are called, what they hold, how they are inferred from the kinds of values that stand in them.

The services' references vouch for `string`, `integer` (64 bits) and `boolean`, and for a nullable one. So whatever
else a column holds travels as text in a `string` column, unless told otherwise: strings beside numbers or booleans stay what they
are, and the others are their own characters; all else is its JSON text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.settings.near import nearest

__all__ = [
    "Column",
    "Holds",
    "Kind",
    "Nested",
    "columns_from_json",
    "columns_to_json",
    "given_columns",
    "infer_column",
    "infer_columns",
    "kind_of",
    "misspelt",
    "words",
]


class Holds(StrEnum):
    """What a column takes, and how it is written."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"  # any value, written as its JSON text in a string
    CHARACTERS = "characters"  # a string as it is; a number, true or false as a string of its own characters
    AS_IS = "as-is"  # any value, written as it is; the type is the user's own word


class Kind(StrEnum):
    """What a value is, as far as a column must know it; absent is one too."""

    STRING = "string"
    INTEGER = "integer"
    LARGE = "integer beyond 64 bits"
    NUMBER = "number"  # with a point or an exponent
    BOOLEAN = "boolean"
    OBJECT = "object"
    ARRAY = "array"
    NULL = "null"
    ABSENT = "absent"


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


_TYPES = ("string", "integer", "boolean", "text", "characters", "double", "number", "json")
_PERHAPS = ("strings", "int", "integers", "bool", "float", "double64", "str", "date", "datetime", "list", "struct")
_MISSPELT = 0.75

GivenType = str | Mapping[str, Any]
_PLAIN = {Kind.STRING: Holds.STRING, Kind.INTEGER: Holds.INTEGER, Kind.BOOLEAN: Holds.BOOLEAN}
_NUMBERS = {Kind.INTEGER, Kind.LARGE, Kind.NUMBER}
_CHARACTERS = {Kind.STRING, Kind.BOOLEAN, *_NUMBERS}
_KINDS = {
    str: Kind.STRING,
    float: Kind.NUMBER,
    bool: Kind.BOOLEAN,
    dict: Kind.OBJECT,
    list: Kind.ARRAY,
    type(None): Kind.NULL,
}


def given_columns(given: Mapping[str, GivenType]) -> dict[str, Column]:
    """Columns by the types that a config gives.

    `string`, `integer`, `boolean`: just these; `text`: any value as JSON text in a string column; `characters`: a string as it is,
    a number, true or false as its characters; any other name or object: values are sent as they are, under that type. A `?` behind
    a name, or `{name = "option", item = …}`, makes it nullable.
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
    if isinstance(kind, str) and (meant := misspelt(kind)) is not None:
        raise UsageProblem(f"column {name}: there is no type {kind!r} (did you mean {meant}?)")
    if kind in ("text", "characters"):
        return Column(name, Holds(kind), "string", nullable)
    if kind in ("string", "integer", "boolean"):
        return Column(name, Holds(kind), kind, nullable)
    return Column(name, Holds.AS_IS, kind, nullable)


def misspelt(kind: str) -> str | None:
    """The type that was meant by *kind*, None where it is one, or may be one that a service has and bulkup does not know."""
    kind = kind.removesuffix("?")
    if kind in _TYPES or kind in _PERHAPS:
        return None
    return nearest(kind, _TYPES, _MISSPELT)


def infer_columns(rows: Sequence[dict[str, Any]], nested: Nested = Nested.TEXT) -> dict[str, Column]:
    """The columns of *rows*, in order of first appearance. A column that is null, or absent, in some row is nullable."""
    kinds: dict[str, set[Kind]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        for key, value in row.items():
            kinds.setdefault(key, set()).add(kind_of(value))
            counts[key] = counts.get(key, 0) + 1
    absent = {Kind.ABSENT}
    return {
        name: infer_column(name, found | absent if counts[name] < len(rows) else found, nested)
        for name, found in kinds.items()
    }


def kind_of(value: Any) -> Kind:
    """The kind of a decoded *value*."""
    if type(value) is int:
        return Kind.INTEGER if -(2**63) <= value < 2**63 else Kind.LARGE
    return _KINDS.get(type(value), Kind.NUMBER)  # numbers may be carried as their characters


def infer_column(name: str, kinds: Collection[Kind], nested: Nested = Nested.TEXT) -> Column:
    """The column *name* in which just *kinds* were seen.

    One of string, integer and boolean: just that. Strings beside numbers or booleans: strings, the others as their characters.
    Numbers that are no integers of 64 bits, and nested values: JSON text, or with *nested* as they are. Null or absent anywhere:
    nullable. Nothing else: a nullable string.
    """
    nullable = Kind.NULL in kinds or Kind.ABSENT in kinds
    held = set(kinds) - {Kind.NULL, Kind.ABSENT}
    if not held:
        return Column(name, Holds.STRING, "string", nullable=True)
    holds = _PLAIN.get(next(iter(held))) if len(held) == 1 else None
    if holds is not None:
        return Column(name, holds, str(holds), nullable)
    if nested is not Nested.TEXT:
        return Column(name, Holds.AS_IS, "double" if held <= _NUMBERS else "json", nullable)
    is_plain = Kind.STRING in held and held <= _CHARACTERS
    return Column(name, Holds.CHARACTERS if is_plain else Holds.TEXT, "string", nullable)


_WRITTEN = {Holds.TEXT: " (JSON text)", Holds.CHARACTERS: " (other values as their characters)"}


def words(column: Column) -> str:
    """*column* as it is said to a person: `score integer?`, `messages string (JSON text)`."""
    kind = column.type if isinstance(column.type, str) else str(column.type.get("name", "object"))
    text = _WRITTEN.get(column.holds, "")
    return f"{column.name} {kind}{'?' if column.nullable else ''}{text}"


def columns_to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """*columns* for the journal."""
    return [{"name": c.name, "holds": str(c.holds), "type": c.type, "nullable": c.nullable} for c in columns]


def columns_from_json(data: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """What `columns_to_json` wrote."""
    return tuple(Column(c["name"], Holds(c["holds"]), c["type"], c["nullable"]) for c in data)
