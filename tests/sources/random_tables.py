"""Tables of random types and values, and what `docs/values.md` says that each value comes to: written here once more."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import strategies as st

__all__ = ["LEAVES", "TEXT", "Leaf", "Made", "Number", "as_said", "read", "tables"]

MINUTE = timedelta(minutes=1)
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FIRST, LAST = -62_135_596_800, 4_102_444_800
"""From the year 1 to 2100, in seconds: behind that libraries differ in which months are summer."""


def whole(bits: int, *, is_signed: bool) -> st.SearchStrategy[Any]:
    least = -(2 ** (bits - 1)) if is_signed else 0
    return st.integers(least, 2 ** (bits - is_signed) - 1)


def seconds(unit: str) -> st.SearchStrategy[int]:
    """Of moments, in *unit*; far from the ends, so that every zone has four digits for the year."""
    least = max(FIRST + 10**6, -(2**63) // UNITS[unit] + 10)
    most = min(LAST - 10**6, 2**63 // UNITS[unit] - 10)
    return st.builds(
        lambda second, part: second * UNITS[unit] + part % UNITS[unit],
        st.integers(least, most),
        st.integers(0, 10**9) | st.just(0),
    )


TEXT = st.text(max_size=6) | st.sampled_from(["", "\0", "\u2028", '"\\\n', "0", "é" * 20])
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "+05:30", "-00:45"]
Leaf = tuple[pa.DataType, st.SearchStrategy[Any]]
LEAVES: list[Leaf] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *((getattr(pa, f"int{bits}")(), whole(bits, is_signed=True)) for bits in (8, 16, 32, 64)),
    *((getattr(pa, f"uint{bits}")(), whole(bits, is_signed=False)) for bits in (8, 16, 32, 64)),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.decimal128(9, 3), st.decimals(-99999, 99999, places=3)),
    (pa.decimal32(7, 2), st.decimals(-999, 999, places=2)),
    (pa.decimal64(18, 6), st.decimals(-999_999, 999_999, places=6)),
    (pa.decimal256(60, 0), st.integers(-(10**59), 10**59).map(Decimal)),
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.binary(), st.binary(max_size=5)),
    (pa.large_binary(), st.binary(max_size=5)),
    (pa.binary_view(), st.binary(max_size=20)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.date64(), st.dates()),
    *((pa.timestamp(unit), seconds(unit)) for unit in UNITS),
    *((pa.timestamp(unit, zone), seconds(unit)) for unit in ("ms", "us", "ns") for zone in ZONES),
    (pa.time32("ms"), st.integers(0, 86_399_999)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
    (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    *((pa.duration(unit), st.integers(-(10**12), 10**12)) for unit in UNITS),
    (pa.dictionary(pa.int8(), pa.string()), TEXT),
    (pa.dictionary(pa.uint8(), pa.large_binary()), st.binary(max_size=5)),
    (pa.dictionary(pa.int32(), pa.int64()), st.integers(-9, 9)),
]
NAMES = st.sampled_from(["a", "b", "ключ", 'q"q', "", " ", "a.b"])


NESTED = ("list", "large", "fixed", "struct", "map")


@st.composite
def typed(draw: st.DrawFn, leaves: Sequence[Leaf], depth: int = 0) -> Leaf:
    """A type made of *leaves*, and what draws its values."""
    kind = draw(st.sampled_from(["leaf"] * 3 + list(NESTED))) if depth < 3 else "leaf"
    if kind == "leaf":
        found, values = draw(st.sampled_from(leaves))
        return found, st.none() | values
    if kind == "struct":
        names = draw(st.lists(NAMES.filter(bool), min_size=1, max_size=3, unique=True))
        inner = [draw(typed(leaves, depth + 1)) for _ in names]
        fields = pa.struct([pa.field(name, one) for name, (one, _) in zip(names, inner, strict=True)])
        of_all = st.fixed_dictionaries(dict(zip(names, (values for _, values in inner), strict=True)))
        return fields, st.none() | of_all
    one, values = draw(typed(leaves, depth + 1))
    if kind == "map":
        key, keys = draw(
            st.sampled_from([(pa.string(), TEXT), (pa.int64(), st.integers(-9, 9)), (pa.date32(), st.dates())])
        )
        return pa.map_(key, one), st.none() | st.lists(st.tuples(keys, values), max_size=3, unique_by=lambda it: it[0])
    if kind == "fixed":
        return pa.list_(one, 2), st.none() | st.lists(values, min_size=2, max_size=2)
    return (pa.list_ if kind == "list" else pa.large_list)(one), st.none() | st.lists(values, max_size=3)


@dataclass(frozen=True)
class Made:
    """A table, and its values, column by column."""

    table: pa.Table
    columns: list[list[Any]]

    def check(self, lines: Sequence[str]) -> None:
        """Each of *lines* is what `docs/values.md` says of a row."""
        assert len(lines) == self.table.num_rows
        for number, line in enumerate(lines):
            row = read(line)
            assert list(row) == self.table.column_names
            for name, column, kind in zip(row, self.columns, self.table.schema.types, strict=True):
                assert as_said(kind, column[number])(row[name]), (kind, column[number], line)


@st.composite
def tables(draw: st.DrawFn, leaves: Sequence[Leaf] = LEAVES) -> Made:
    """Up to three columns of types made of *leaves*."""
    names = draw(st.lists(NAMES.filter(bool), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(0, 9))
    arrays, columns = [], []
    for _ in names:
        kind, values = draw(typed(leaves))
        columns.append(draw(st.lists(values, min_size=rows, max_size=rows)))
        arrays.append(pa.array(columns[-1], kind))
    return Made(pa.table(arrays, names=names), columns)


def as_said(kind: pa.DataType, value: Any) -> Callable[[Any], bool]:
    """Whether what stands in JSON is *value*, of that type."""
    types = pa.types
    if value is None:
        return lambda got: got is None
    if types.is_dictionary(kind):
        return as_said(kind.value_type, value)
    if types.is_floating(kind):
        return lambda got: isinstance(got, Number) and _is_float(got, value, kind)
    if types.is_decimal(kind):
        return lambda got: isinstance(got, Number) and got == f"{value:f}"
    if types.is_boolean(kind):
        return lambda got: got is value
    if types.is_integer(kind):
        return lambda got: isinstance(got, Number) and got == str(value)
    if types.is_date(kind):
        return lambda got: got == value.isoformat()
    if types.is_timestamp(kind):
        return lambda got: _moment(got, kind) == (value, _offset(value, kind))
    if types.is_time(kind):
        return lambda got: _clock(got) * UNITS[kind.unit] == value
    if types.is_duration(kind):
        return lambda got: _span(got) * UNITS[kind.unit] == value
    if types.is_map(kind):
        return lambda got: (
            isinstance(got, dict)
            and list(got) == [str(key) for key, _ in value]
            and all(as_said(kind.item_type, one)(got[str(key)]) for key, one in value)
        )
    if types.is_struct(kind):
        return lambda got: (
            list(got) == [field.name for field in kind]
            and all(as_said(kind.field(name).type, one)(got[name]) for name, one in value.items())
        )
    if types.is_nested(kind):
        return lambda got: (
            len(got) == len(value)
            and all(as_said(kind.value_type, one)(each) for one, each in zip(value, got, strict=True))
        )
    if isinstance(value, bytes):
        return lambda got: base64.b64decode(got, validate=True) == value
    return lambda got: got == value and not isinstance(got, Number)


class Number(str):
    """The characters of a number of JSON; a string is a plain one."""

    __slots__ = ()


def read(line: str) -> Any:
    """*line* with numbers as the characters that stand there."""
    return json.loads(line, parse_int=Number, parse_float=Number, parse_constant=Number)


def _is_float(got: Any, value: float, kind: pa.DataType) -> bool:
    if value != value or value in (float("inf"), float("-inf")):
        return bool(got == {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)])
    if kind.bit_width == 16:
        return struct.pack("e", float(got)) == struct.pack("e", value)
    if kind.bit_width == 32:
        return struct.pack("f", float(got)) == struct.pack("f", value)
    return struct.pack("d", float(got)) == struct.pack("d", value)


def _fraction(text: str | None) -> Decimal:
    return Decimal("0" + (text or ""))


def _moment(got: str, kind: pa.DataType) -> tuple[int, timedelta | None]:
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?([+-]\d\d:\d\d)?", got)
    assert found is not None, got
    local = datetime.fromisoformat(found[1] + (found[3] or "+00:00"))
    second = int((local - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1)
    part = _fraction(found[2]) * UNITS[kind.unit]
    return second * UNITS[kind.unit] + int(part), local.utcoffset() if found[3] else None


def _offset(value: int, kind: pa.DataType) -> timedelta | None:
    if kind.tz is None:
        return None
    if kind.tz[0] in "+-":
        return datetime.fromisoformat(f"2000-01-01T00:00:00{kind.tz}").utcoffset()
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value // UNITS[kind.unit])
    offset = moment.astimezone(ZoneInfo(kind.tz)).utcoffset()
    assert offset is not None
    return (1 if offset > timedelta(0) else -1) * (abs(offset) // MINUTE * MINUTE)


def _clock(got: str) -> Decimal:
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)(\.\d+)?", got)
    assert found is not None, got
    return int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3]) + _fraction(found[4])


def _span(got: str) -> Decimal:
    found = re.fullmatch(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", got)
    assert found is not None, got
    days, hours, minutes, rest = (Decimal(part or 0) for part in found.groups()[1:])
    return (-1 if found[1] else 1) * (((days * 24 + hours) * 60 + minutes) * 60 + rest)
