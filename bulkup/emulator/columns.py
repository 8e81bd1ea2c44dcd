"""Nebius's column types, and rows held to them.

`string`, `integer`, `boolean` and `option` around one of the others are vouched for [openapi, seen]. `float`, `double`,
`list`, `struct` and `json` are likely and not documented [open]: taken, and checked as far as their names say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = ["MAX_PROBLEMS", "Column", "columns", "error", "row_problems"]

MAX_PROBLEMS: Final = 1000
"""An answer names no more problems than these."""

NONE: Final = type(None)
_ANY: Final[frozenset[type]] = frozenset({str, int, float, bool, list, dict, NONE})
_TYPES: Final[Mapping[str, frozenset[type]]] = MappingProxyType(
    {
        "string": frozenset({str}),
        "integer": frozenset({int}),
        "boolean": frozenset({bool}),
        "float": frozenset({float, int}),
        "double": frozenset({float, int}),
        "list": frozenset({list}),
        "struct": frozenset({dict}),
        "json": _ANY,
    }
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: which JSON types its values may have, and what else is asked of one that has such a type."""

    name: str
    type_name: str
    types: frozenset[type]
    further: Callable[[Any], bool] | None = None


def error(loc: list[str | int], message: str, kind: str) -> dict[str, Any]:
    """One item of a 422's `detail` [openapi]."""
    return {"loc": loc, "msg": message, "type": kind}


def columns(schema: object, problems: list[dict[str, Any]]) -> list[Column]:
    """The columns that *schema* declares. What is wrong with it is added to *problems*."""
    if not isinstance(schema, list):
        problems.append(error(["body", "schema"], "Input should be a valid list", "list_type"))
        return []
    found: dict[str, Column] = {}
    for number, given in enumerate(schema):
        loc: list[str | int] = ["body", "schema", number]
        if not isinstance(given, dict):
            problems.append(error(loc, "Input should be a valid dictionary", "model_attributes_type"))
            continue
        problems += [
            error([*loc, key], "Extra inputs are not permitted", "extra_forbidden")
            for key in given.keys() - {"name", "type"}
        ]
        name = given.get("name")
        if not isinstance(name, str):
            problems.append(_absent_or([*loc, "name"], "name" in given, "string"))
        elif name in found:
            problems.append(error([*loc, "name"], f"Column {name!r} is declared twice", "value_error"))
        elif (column := _column(name, given.get("type"), [*loc, "type"], problems)) is not None:
            found[name] = column
    return list(found.values())


def _column(name: str, given: object, loc: list[str | int], problems: list[dict[str, Any]]) -> Column | None:
    if not isinstance(given, dict) or not isinstance(type_name := given.get("name"), str):
        problems.append(error([*loc, "name"], "Field required", "missing"))
        return None
    if type_name in {"option", "list"} and "item" in given:
        inner = _column(name, given["item"], [*loc, "item"], problems)
        if inner is None or type_name == "list":
            return inner and Column(name, "list", _TYPES["list"], _each(inner))
        return Column(name, f"option of {inner.type_name}", inner.types | {NONE}, inner.further)
    if type_name == "option":
        problems.append(error([*loc, "item"], "Field required", "missing"))
        return None
    if type_name not in _TYPES:
        problems.append(error([*loc, "name"], f"Unknown column type {type_name!r}", "enum"))
        return None
    return Column(name, type_name, _TYPES[type_name], _is_int64 if type_name == "integer" else None)


def _is_int64(value: int | None) -> bool:
    return value is None or -(1 << 63) <= value < 1 << 63


def _each(item: Column) -> Callable[[Any], bool]:
    types, further = item.types, item.further
    return lambda values: (
        values is None or all(type(value) in types and (further is None or further(value)) for value in values)
    )


def row_problems(rows: list[Any], declared: list[Column]) -> list[dict[str, Any]]:
    """What is wrong with *rows*, the first `MAX_PROBLEMS`. A column that a row leaves out is null."""
    problems: list[dict[str, Any]] = []
    names = frozenset(column.name for column in declared)
    cells = [(column.name, column.types, column.further) for column in declared]
    for number, row in enumerate(rows):
        if len(problems) >= MAX_PROBLEMS:
            break
        if type(row) is not dict:
            problems.append(error(["body", "rows", number], "Input should be a valid dictionary", "dict_type"))
            continue
        if not row.keys() <= names:
            problems += [
                error(["body", "rows", number, extra], f"Column {extra!r} is not in the schema", "extra_forbidden")
                for extra in sorted(row.keys() - names)
            ]
        for name, types, further in cells:
            value = row.get(name)
            if type(value) not in types or (further is not None and not further(value)):
                type_name = next(column.type_name for column in declared if column.name == name)
                problems.append(_absent_or(["body", "rows", number, name], name in row, type_name))
    return problems


def _absent_or(loc: list[str | int], given: bool, type_name: str) -> dict[str, Any]:
    if not given:
        return error(loc, "Field required", "missing")
    return error(loc, f"Input should be a valid {type_name}", f"{type_name.rpartition(' ')[2]}_type")
