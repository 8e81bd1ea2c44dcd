"""Rows made by a declarative mapping: evaluated column by column, encoded by batch.

Only the source keys that the mapping mentions are decoded. The same code maps one row: a batch of one names its fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import repeat
from operator import attrgetter
from typing import Any, cast

import msgspec

from bulkup.encoding.carried import CarryingDecoder
from bulkup.encoding.faults import Fault, said
from bulkup.encoding.row_types import row_maker, row_type
from bulkup.encoding.searching import TooSlow, first_groups
from bulkup.encoding.target import Irregular
from bulkup.encoding.utf8 import Utf8
from bulkup.model import Stage
from bulkup.refusal import Refusal, attempt
from bulkup.rows.mapping import Array, Const, Expression, Mapping, Path, Record
from bulkup.rows.numerals import whole

__all__ = ["MappedRows", "RowRefused"]

_MISSING: Any = msgspec.UNSET
_NOTHING = {type(None), msgspec.UnsetType}
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_Column = Callable[[list[Any]], list[Any]]


class _Unfit(Exception):
    """A value that the regex or the cast does not take."""


class _NotSearched(_Unfit):
    """A value that the regex takes too long for: no default stands in for what is not known."""


class RowRefused(Irregular):
    """One value refuses its row; *is_slow* where that is because the regex takes too long for it."""

    is_slow = False

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.fault = Fault(Stage.MAP, field, f"{field}: {what}")


class MappedRows:
    """Takes rows that *mapping* can map, whatever other keys they have. A *dropped* key counts as missing."""

    def __init__(self, mapping: Mapping, dropped: tuple[str, ...] = ()) -> None:
        keys = [key for key in dict.fromkeys(_keys(mapping.record)) if key not in dropped]
        names = {key: f"k{i}" for i, key in enumerate(keys)}
        fields: list[Any] = [(field, Any, _MISSING) for field in names.values()]
        row = row_type("MappedRow", fields, rename={field: key for key, field in names.items()})
        self._utf8 = Utf8()
        self._decode = CarryingDecoder(row).decode_lines
        self._encode = msgspec.json.Encoder().encode_lines
        self._column = _record(mapping.record, "", names)

    def lines(self, data: bytes, rows: int) -> bytes:
        """As `Rewriter.lines`."""
        self._utf8.check(data)
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        return self._encode(self._column(decoded))[:-1]

    def fault(self, row: bytes) -> Fault | None:
        """Why the mapping refuses *row*, which reads well; None where it maps."""
        found = attempt(self.lines, row, 1)
        return found.why.fault if isinstance(found, Refusal) and isinstance(found.why, RowRefused) else None


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
    columns = [_compiled(inner, f"{where}.{key}" if where else key, names) for key, inner in record.fields]
    made = row_maker("Made", [key for key, _ in record.fields])
    return lambda rows: list(map(made, *[column(rows) for column in columns]))


def _array(array: Array, where: str, names: dict[str, str]) -> _Column:
    columns = [_compiled(inner, f"{where}[{i}]", names) for i, inner in enumerate(array.items)]

    def column(rows: list[Any]) -> list[Any]:
        values = [made(rows) for made in columns]
        for i, made in enumerate(values):
            if isinstance(array.items[i], Path) and _MISSING in made:
                raise RowRefused(f"{where}[{i}]", "its path leads to nothing in this row, and it has no default")
        return list(zip(*values, strict=True)) if values else [()] * len(rows)

    return column


def _path(path: Path, where: str, names: dict[str, str]) -> _Column:
    field = names.get(str(path.steps[0]))
    top = attrgetter(field) if field is not None else lambda _row: _MISSING
    steps, is_plain = path.steps[1:], path.regex is None and not path.integer

    def one(value: Any) -> Any:
        try:
            return _value(path, value)
        except _Unfit as unfit:
            is_slow = isinstance(unfit, _NotSearched)
            if path.has_default and not is_slow:
                return path.default
            refused = RowRefused(where, str(unfit))
            refused.is_slow = is_slow
            raise refused from None

    def column(rows: list[Any]) -> list[Any]:
        values = list(map(top, rows))
        for step in steps:
            values = [_at(value, step) for value in values]
        kinds = set(map(type, values))
        if is_plain and kinds.isdisjoint(_NOTHING):
            return values
        made = _all_strings(path, values) if kinds == {str} else None
        return list(map(one, values)) if made is None else made

    return column


def _value(path: Path, value: Any) -> Any:
    if value is None or value is _MISSING:
        return path.default if path.has_default else _MISSING
    if path.regex is not None:
        if not isinstance(value, str):
            raise _Unfit(f"the regex needs a string at {path.text}, got {said(value)}")
        try:
            (group,) = first_groups(path.regex, [value])
        except TooSlow as slow:
            raise _NotSearched(f"the regex {slow} at {path.text}, which holds {said(value)}") from None
        if group is None:
            raise _Unfit(f"the regex does not match at {path.text}, which holds {said(value)}")
        value = group
    if not path.integer or type(value) is int:
        return value
    if isinstance(value, msgspec.Raw):
        return _made_whole(path, value)
    digits = value.strip().replace(",", "") if isinstance(value, str) else ""
    if not _INTEGER.fullmatch(digits):
        raise _Unfit(f"expected an integer at {path.text}, got {said(value)}")
    return int(digits)


def _made_whole(path: Path, value: msgspec.Raw) -> int | msgspec.Raw:
    number = str(value, "ascii")
    if number == "-0":  # an integer as it is, which stays as it is
        return value
    made = whole(number)
    if made is None:
        raise _Unfit(f"expected an integer at {path.text}, got {said(value)}")
    return made


def _all_strings(path: Path, values: list[str]) -> list[Any] | None:
    """`_value` of each by batch, or None where one of them needs a closer look."""
    if path.regex is not None:
        found = attempt(first_groups, path.regex, values)
        if isinstance(found, Refusal) or None in found:
            return None
        values = cast("list[str]", found)
    if not path.integer:
        return values
    digits = list(map(str.replace, map(str.strip, values), repeat(","), repeat("")))
    return list(map(int, digits)) if all(map(_INTEGER.fullmatch, digits)) else None


def _at(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
    if isinstance(value, list) and -len(value) <= step < len(value):
        return value[step]
    return _MISSING
