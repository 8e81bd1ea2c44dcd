r"""The declarative mapping of a config: for each output field, where its value comes from.

    [DESTINATION.mapping]
    conv_prefix  = [{ role = { const = "user" }, content = "question" }]
    response     = { role = { const = "assistant" }, content = "answer" }
    ground_truth = { path = "answer", regex = '####\s*(-?[\d,]+)', cast = "integer" }

A **string** is a path: `question`, `$.question`, `meta.tags[0]`, `turns[-1].text`, `$["odd key"].x`. A **table** with
`const` is a constant; one with `path` is a path with, optionally, one `regex` (one group, searched for),
`cast = "integer"` (thousands commas taken out) and a `default`; any other table, and every array, is a structure of
these. The mapping's own table is always a structure. Source keys that are not mentioned are left out.

Null counts as missing. What is missing, without a `default`, is left out of its table; in an array it refuses the row.
A regex that does not match, or a cast that fails, refuses the row unless there is a `default`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping as Table
from typing import Any

from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.settings.json_values import trouble_in

__all__ = ["Array", "Const", "Expression", "Mapping", "Path", "Record", "parse_mapping"]

_STEP = re.compile(
    r"""\.?(?P<name>[^.\[\]"'$\s][^.\[\]"']*)|\[(?P<index>-?\d{1,18})\]|\[(?P<key>"(?:[^"\\]|\\.)*")\]"""
)
_PATH_KEYS = {"path", "regex", "cast", "default"}


@dataclass(frozen=True, slots=True)
class Const:
    """A value of its own."""

    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    """A place in the source row: *steps* from its top (the first is a key), then regex, then cast."""

    text: str
    steps: tuple[str | int, ...]
    regex: re.Pattern[str] | None = None
    integer: bool = False
    default: Any = None
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """An object of these fields."""

    fields: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True)
class Array:
    """An array of these items."""

    items: tuple[Expression, ...]


Expression = Const | Path | Record | Array


@dataclass(frozen=True, slots=True)
class Mapping:
    """The output's fields. Equal mappings have equal `source`, which is what the config holds, as JSON."""

    record: Record
    source: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The output's keys, in order."""
        return tuple(name for name, _ in self.record.fields)

    def to_json(self) -> dict[str, Any]:
        """For the journal; `parse_mapping` takes it back."""
        loaded: dict[str, Any] = json.loads(self.source)
        return loaded


def parse_mapping(table: Table[str, Any]) -> Mapping:
    """The mapping that *table* (TOML, or what `to_json` gave) describes, or `UsageProblem` naming the field."""
    if not table:
        raise UsageProblem("mapping: it has no fields")
    trouble = trouble_in(table)
    if trouble is not None:
        raise UsageProblem(f"mapping: {trouble}")
    return Mapping(_record(table, ""), json.dumps(table, allow_nan=False))


def _record(table: Table[str, Any], where: str) -> Record:
    return Record(tuple((key, _expression(value, f"{where}.{key}" if where else key)) for key, value in table.items()))


def _expression(value: Any, where: str) -> Expression:
    match value:
        case str():
            return Path(value, _steps(value, where))
        case list():
            return Array(tuple(_expression(item, f"{where}[{i}]") for i, item in enumerate(value)))
        case dict() if "const" in value:
            if len(value) > 1:
                raise _problem(where, "a constant is { const = … } with nothing beside it")
            return Const(value["const"])
        case dict() if "path" in value:
            return _path(value, where)
        case dict() if value:
            return _record(value, where)
        case _:
            raise _problem(where, f"a constant is written {{ const = {json.dumps(value)} }}")


def _path(table: dict[str, Any], where: str) -> Path:
    unknown = sorted(set(table) - _PATH_KEYS)
    if unknown:
        raise _problem(where, f"beside path stand regex, cast and default, not {', '.join(unknown)}")
    if table.get("cast") not in (None, "integer"):
        raise _problem(where, f"the only cast is 'integer', not {table['cast']!r}")
    regex = None
    if "regex" in table:
        compiled = attempt(_compiled, table["regex"])
        if isinstance(compiled, Refusal):
            raise _problem(where, f"the regex is not valid: {compiled.why}")
        regex = compiled
        if regex.groups != 1:
            raise _problem(where, f"the regex must have one group, it has {regex.groups}")
    text = table["path"]
    if not isinstance(text, str):
        raise _problem(where, "a path is a string")
    default = table.get("default")
    return Path(text, _steps(text, where), regex, table.get("cast") == "integer", default, "default" in table)


def _compiled(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise TypeError("it must be text")
    with warnings.catch_warnings():  # of what a later Python may read otherwise
        warnings.simplefilter("ignore")
        return re.compile(pattern)


def _steps(text: str, where: str) -> tuple[str | int, ...]:
    rest = text.removeprefix("$")
    steps: list[str | int] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            break
        name, index, key = found["name"], found["index"], found["key"]
        step = name if name is not None else int(index) if index is not None else attempt(json.loads, key)
        if isinstance(step, Refusal) or trouble_in(step) is not None:
            break
        steps.append(step)
        at = found.end()
    if at < len(rest) or not steps or isinstance(steps[0], int):
        hint = f"; a constant is written {{ const = {json.dumps(text)} }}"
        raise _problem(where, f'{text!r} is not a path such as question, meta.tags[0] or $["odd key"]{hint}')
    return tuple(steps)


def _problem(where: str, what: str) -> UsageProblem:
    return UsageProblem(f"mapping, field {where}: {what}")
