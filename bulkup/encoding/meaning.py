"""What a row of the source means in its destination's shape: by plain steps on exact values, with nothing of the encoder's in it.

`verify` holds what was sent against this, so that a mistake of the encoder's shows, and is not made a second time and called equal.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from bulkup.encoding.depth import room_to_recurse
from bulkup.encoding.drop import without
from bulkup.encoding.meant_shapes import NoShape, as_named, meant_labels, meant_turns, mended, unsigned
from bulkup.encoding.plan import RowPlan
from bulkup.encoding.searching import TooSlow, first_groups
from bulkup.encoding.target import FixedRows
from bulkup.rows.exact import NotJsonError, Pairs, read, written
from bulkup.rows.mapping import Array, Const, Expression, Path, Record
from bulkup.rows.numerals import whole
from bulkup.rows.schema import Holds
from bulkup.settings.repair import Repair

__all__ = ["as_meant"]

_MISSING: Any = object()
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")


class _Refused(Exception):
    """The row has no meaning in that shape: it should have been rejected."""


def as_meant(plan: RowPlan, line: bytes, body: bytes) -> bytes:
    """*body*, which was made of the row on *line*, where it means what the row means; else what the row means, as JSON, or as text
    that is none where the row should have been rejected.

    A key that stands twice has no meaning, unless the run repairs it, or began when the last value counted.
    """
    if body == line:
        return body
    try:
        source = mended(line, plan.repairs, signed=_is_shaped(plan))
        if plan.finds_doubled_keys and Repair.DUPLICATE_KEYS not in plan.repairs and _holds_pairs(source):
            raise _Refused("a key stands twice in an object")
        meant = _shaped(plan, _last_counts(source))
    except TooSlow:  # the encoder's search was just within its time, this one not: that says nothing of the row
        return body
    except (NotJsonError, NoShape, _Refused) as why:
        return b"not a row: " + str(why).encode("utf-8", "replace")
    try:
        made = _last_counts(read(body))
    except (NotJsonError, _Refused):
        made = None
    if isinstance(made, dict):
        meant = _with_texts(plan, meant, made)
        made = {key: value for key, value in made.items() if value is not None}
    told = written(meant)
    return body if told == written(made) else told


def _last_counts(value: Any) -> Any:
    """*value* with each of its `Pairs` an object. Raises `_Refused` where it is too deep: no row that is made anew is so deep."""
    try:
        with room_to_recurse():
            return _plain(value)
    except RecursionError:
        raise _Refused("nested too deeply to be made anew") from None


def _plain(value: Any) -> Any:
    match value:
        case Pairs():
            return {key: _plain(item) for key, item in value.members}
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return list(map(_plain, value))
        case _:
            return value


def _holds_pairs(value: Any) -> bool:
    """Whether a key stands twice in an object of *value*."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, Pairs):
            return True
        if isinstance(part, dict):
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
    return False


def _shaped(plan: RowPlan, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _Refused("not an object")
    row = without(row, plan.drop, plan.drop_nested)
    if plan.mapping is not None:
        row = _record(plan.mapping.record, row)
    elif isinstance(plan.target.rows, FixedRows):
        row = unsigned(_answered(plan, row)) if _is_shaped(plan) else row
    elif _is_shaped(plan):
        row = unsigned(as_named(plan.preset, row, plan.turns_key))
    return {key: value for key, value in row.items() if value is not None}


def _is_shaped(plan: RowPlan) -> bool:
    """Whether a preset makes something else of a row."""
    if isinstance(plan.target.rows, FixedRows):
        return plan.mapping is None and plan.preset != "identity"
    return plan.column_preset is not None and plan.column_preset.made is not None


def _answered(plan: RowPlan, row: dict[str, Any]) -> dict[str, Any]:
    turns = meant_turns(plan.preset, row, plan.turns_key)
    if len(turns) < 2:
        raise _Refused("no question and answer")
    return {"conv_prefix": turns[:-1], "response": turns[-1], **meant_labels(row)}


def _with_texts(plan: RowPlan, meant: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """*meant* with its text columns as strings: the text that was made where it means the value, else the one way to write it."""
    holds = {column.name: column.holds for column in plan.columns or ()}
    return {key: _in_column(holds.get(key), value, made.get(key)) for key, value in meant.items()}


def _in_column(holds: Holds | None, value: Any, made: Any) -> Any:
    as_it_is = isinstance(value, str) and holds is Holds.CHARACTERS
    return value if as_it_is or holds not in (Holds.TEXT, Holds.CHARACTERS) else _text(value, made)


def _text(value: Any, made: Any) -> str:
    wanted = written(value)
    if isinstance(made, str):
        try:
            if written(_last_counts(read(made.encode("utf-8", "surrogatepass")))) == wanted:
                return made
        except (NotJsonError, _Refused):
            pass
    return wanted.decode()


# --- a mapping ------------------------------------------------------------------------------------------------------


def _evaluated(expression: Expression, row: dict[str, Any]) -> Any:
    match expression:
        case Const(value):
            return _config_value(value)
        case Record():
            return _record(expression, row)
        case Array():
            items = [_evaluated(item, row) for item in expression.items]
            if _MISSING in items:
                raise _Refused("a path in an array leads to nothing")
            return items
        case Path():
            return _at_path(expression, row)


def _record(record: Record, row: dict[str, Any]) -> dict[str, Any]:
    found = ((key, _evaluated(inner, row)) for key, inner in record.fields)
    return {key: value for key, value in found if value is not _MISSING}


def _config_value(value: Any) -> Any:
    return read(msgspec.json.encode(value))


def _at_path(path: Path, row: dict[str, Any]) -> Any:
    value: Any = row
    for step in path.steps:
        value = _step(value, step)
    default = _config_value(path.default) if path.has_default else _MISSING
    if value is None or value is _MISSING:
        return default
    try:
        return _cast(path, _group(path, value))
    except _Refused:
        if default is _MISSING:
            raise
        return default


def _step(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
    is_there = isinstance(value, list) and -len(value) <= step < len(value)
    return value[step] if is_there else _MISSING


def _group(path: Path, value: Any) -> Any:
    if path.regex is None:
        return value
    found = first_groups(path.regex, [value])[0] if isinstance(value, str) else None
    if found is None:
        raise _Refused(f"the regex does not match at {path.text}")
    return found


def _cast(path: Path, value: Any) -> Any:
    if not path.integer or type(value) is int:
        return value
    if isinstance(value, msgspec.Raw):
        made = whole(str(value, "ascii"))
    else:
        digits = value.strip().replace(",", "") if isinstance(value, str) else ""
        made = int(digits) if _INTEGER.fullmatch(digits) else None
    if made is None:
        raise _Refused(f"no integer at {path.text}")
    return made
