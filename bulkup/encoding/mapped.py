"""Rows made by a declarative mapping: evaluated column by column, encoded by batch.

Only the source keys that the mapping mentions are decoded. The same code maps one row: a batch of one names its fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from bulkup.encoding.faults import Fault, said
from bulkup.encoding.splice import checked_utf8
from bulkup.encoding.target import Irregular
from bulkup.mapping import Array, Const, Expression, Mapping, Path, Record
from bulkup.model import Stage

__all__ = ["MappedRows"]

_MISSING: Any = msgspec.UNSET
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_Column = Callable[[list[Any]], list[Any]]


class _Refused(Irregular):
    """One value refuses its row."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.fault = Fault(Stage.MAP, field, f"{field}: {what}")


class MappedRows:
    """Takes rows that *mapping* can map, whatever other keys they have. A *dropped* key counts as missing."""

    def __init__(self, mapping: Mapping, dropped: tuple[str, ...] = ()) -> None:
        keys = [key for key in dict.fromkeys(_keys(mapping.record)) if key not in dropped]
        names = {key: f"k{i}" for i, key in enumerate(keys)}
        fields: list[Any] = [(field, Any, _MISSING) for field in names.values()]
        row = msgspec.defstruct("MappedRow", fields, gc=False, rename={field: key for key, field in names.items()})
        self._decode = msgspec.json.Decoder(row).decode_lines
        self._encode = msgspec.json.Encoder().encode_lines
        self._column = _record(mapping.record, "", names)

    sure = False

    def lines(self, data: bytes, rows: int) -> bytes:
        """As `Rewriter.lines`."""
        checked_utf8(data)
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        return self._encode(self._column(decoded))[:-1]

    def fault(self, row: bytes) -> Fault | None:
        """Why the mapping refuses *row*, which reads well; None where it maps."""
        try:
            self.lines(row, 1)
        except _Refused as refused:
            return refused.fault
        except (Irregular, msgspec.MsgspecError, RecursionError):
            return None
        return None


def _keys(expression: Expression) -> list[str]:
    match expression:
        case Path():
            return [str(expression.steps[0])]
        case Record():
            return [key for _, inner in expression.fields for key in _keys(inner)]
        case Array():
            return [key for inner in expression.items for key in _keys(inner)]
        case Const():
            return []


def _compiled(expression: Expression, where: str, names: dict[str, str]) -> _Column:
    match expression:
        case Path():
            return _path(expression, where, names)
        case Record():
            return _record(expression, where, names)
        case Array():
            return _array(expression, where, names)
        case Const(value):
            return lambda rows: [value] * len(rows)


def _record(record: Record, where: str, names: dict[str, str]) -> _Column:
    keys = tuple(key for key, _ in record.fields)
    columns = [_compiled(inner, f"{where}.{key}" if where else key, names) for key, inner in record.fields]

    def column(rows: list[Any]) -> list[Any]:
        values = [made(rows) for made in columns]
        if any(_MISSING in made for made in values):
            return [
                {key: value for key, value in zip(keys, row, strict=True) if value is not _MISSING}
                for row in zip(*values, strict=True)
            ]
        return [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]

    return column


def _array(array: Array, where: str, names: dict[str, str]) -> _Column:
    columns = [_compiled(inner, f"{where}[{i}]", names) for i, inner in enumerate(array.items)]

    def column(rows: list[Any]) -> list[Any]:
        values = [made(rows) for made in columns]
        for i, made in enumerate(values):
            if _MISSING in made:
                raise _Refused(f"{where}[{i}]", "its path leads to nothing in this row, and it has no default")
        return list(map(list, zip(*values, strict=True))) if values else [[] for _ in rows]

    return column


def _path(path: Path, where: str, names: dict[str, str]) -> _Column:
    field = names.get(str(path.steps[0]))
    top = attrgetter(field) if field is not None else lambda _row: _MISSING
    inner, regex, fallback = path.steps[1:], path.regex, path.default if path.has_default else _MISSING

    def refuse(what: str) -> Any:
        if not path.has_default:
            raise _Refused(where, what)
        return fallback

    def matched(value: Any) -> Any:
        if value is _MISSING:
            return value
        if not isinstance(value, str):
            return refuse(f"the regex needs a string at {path.text}, got {said(value)}")
        found = regex.search(value) if regex is not None else None
        if found is None or found[1] is None:
            return refuse(f"the regex does not match at {path.text}, which holds {said(value)}")
        return found[1]

    def cast(value: Any) -> Any:
        if value is _MISSING or type(value) is int:
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str):
            digits = value.strip().replace(",", "")
            if _INTEGER.fullmatch(digits):
                return int(digits)
        return refuse(f"expected an integer at {path.text}, got {said(value)}")

    def column(rows: list[Any]) -> list[Any]:
        values = list(map(top, rows))
        for step in inner:
            values = [_at(value, step) for value in values]
        if None in values or _MISSING in values:
            values = [_MISSING if value is None else value for value in values]
        if regex is not None:
            values = list(map(matched, values))
        if path.integer:
            values = list(map(cast, values))
        if path.has_default:
            values = [fallback if value is _MISSING else value for value in values]
        return values

    return column


def _at(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
    if isinstance(value, list) and -len(value) <= step < len(value):
        return value[step]
    return _MISSING
