"""Types of rows with any keys.

msgspec makes a `Struct` of a row's keys, the fastest there is, but none with a key that its encoder would have to escape: one with
`"`, a backslash or a control character. Rows with such keys are decoded as tables of tokens and each value by its own decoder:
the same rows are taken, and the same bytes are written, several times slower.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from bulkup.encoding.utf8 import Utf8

__all__ = ["ArrayWriter", "RowType", "is_odd", "is_of", "line_decoder", "row_maker", "row_type"]

_ODD = re.compile(r'["\\\x00-\x1f]')
_table_lines = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode_lines


def is_odd(keys: Iterable[str]) -> bool:
    """Whether one of *keys* is not written as it stands."""
    return any(map(_ODD.search, keys))


_MEMBER = re.compile(rb'"[ \t\r\n]*+:')
"""How every member of an object begins, wherever it stands. What looks so within a string is found too."""

_SPACE = re.compile(r"[ \t\r\n]*+")
_READ = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


def _members_in(table: dict[str, msgspec.Raw], values: Iterable[msgspec.Raw]) -> int:
    """How many members *table* has, and its *values*, with what only looks so."""
    return len(table) + sum(map(len, map(_MEMBER.findall, values)))


def _members(line: bytes) -> Iterator[tuple[str, bytes]]:
    """Every member of the object that *line*, sound JSON, holds: its key, and its value's text."""
    text = line.decode()
    at = _behind_space(text, 1)
    while text[at] != "}":
        key, at = _READ(text, at)
        begin = _behind_space(text, text.index(":", at) + 1)
        _, end = _READ(text, begin)
        yield key, text[begin:end].encode()
        at = _behind_space(text, end)
        at = _behind_space(text, at + 1) if text[at] == "," else at


def _behind_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


FloatHook = Callable[[str], Any] | None


class _ByKey:
    """A row with odd keys, for `line_decoder`. Its objects have the attributes that a `Struct` has, and cannot be encoded."""

    def __init__(self, name: str, fields: Sequence[Any], rename: Mapping[str, str], *, strict: bool) -> None:
        self.made = msgspec.defstruct(name, [field[:2] for field in fields], gc=False)
        self.types = [(rename.get(field[0], field[0]), field[1]) for field in fields]
        self.defaults = {rename.get(field[0], field[0]): field[2] for field in fields if len(field) > 2}
        self.known = {key for key, _ in self.types} if strict else None


class _ByKeyDecoder:
    """What `decode_lines` of a `Struct` does."""

    def __init__(self, row: _ByKey, float_hook: FloatHook) -> None:
        self._row_type = row
        self._fields = [
            (key, None if kind is msgspec.Raw else msgspec.json.Decoder(kind, float_hook=float_hook).decode)
            for key, kind in row.types
        ]
        self._decoders = dict(self._fields)
        self._utf8 = Utf8()

    def decode_lines(self, data: bytes) -> list[Any]:
        self._utf8.check(data)
        tables = _table_lines(data)
        members = sum(map(_members_in, tables, map(dict.values, tables)))
        if members != len(_MEMBER.findall(data)):  # a key may be there twice, of whose values a table has the last
            lines = filter(None, map(bytes.strip, data.split(b"\n")))
            for key, token in chain.from_iterable(map(_members, lines)):
                decode = self._decoders.get(key)
                if decode is not None:
                    decode(token)
        return list(map(self._row, tables))

    def _row(self, table: dict[str, msgspec.Raw]) -> Any:
        row = self._row_type
        if row.known is not None and not table.keys() <= row.known:
            raise msgspec.ValidationError("a key that is not known")
        values: list[Any] = []
        for key, decode in self._fields:
            if key in table:
                values.append(table[key] if decode is None else decode(table[key]))
            elif key in row.defaults:
                values.append(row.defaults[key])
            else:
                raise msgspec.ValidationError("a key that is needed is absent")
        return row.made(*values)


class ArrayWriter:
    """Writes rows as the inside of an array, into a buffer that it keeps: one that grows anew for each block costs a tenth more.
    For one thread at a time."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode_into
        self._buffer = bytearray()

    def written(self, rows: Sequence[Any]) -> bytes:
        """*rows*, encoded and joined by commas."""
        buffer = self._buffer
        self._encode(rows, buffer)
        if len(buffer) > _KEPT_BYTES:
            self._buffer = bytearray()
        with memoryview(buffer) as view:
            return bytes(view[1:-1])


_KEPT_BYTES = 1024 * 1024

RowType = type[msgspec.Struct] | _ByKey


def row_type(
    name: str, fields: Sequence[Any], *, rename: Mapping[str, str], forbid_unknown_fields: bool = False
) -> RowType:
    """A row with *fields* (name, type and perhaps a default each), whose keys are *rename*'s or the names themselves."""
    if is_odd(rename.values()):
        return _ByKey(name, fields, rename, strict=forbid_unknown_fields)
    return msgspec.defstruct(
        name, fields, gc=False, kw_only=True, rename=dict(rename), forbid_unknown_fields=forbid_unknown_fields
    )


def is_of(row: object, kind: RowType) -> bool:
    """Whether *row* was decoded as *kind*."""
    return isinstance(row, kind.made if isinstance(kind, _ByKey) else kind)


def line_decoder(row: RowType, float_hook: FloatHook = None) -> Callable[[bytes], list[Any]]:
    """What makes a list of *row* of lines of JSON. *float_hook* as msgspec's."""
    if isinstance(row, _ByKey):
        return _ByKeyDecoder(row, float_hook).decode_lines
    return msgspec.json.Decoder(row, float_hook=float_hook).decode_lines


def row_maker(name: str, keys: Sequence[str]) -> Callable[..., Any]:
    """What makes an object of *keys* of as many values, for the encoder. A value that is `UNSET` is left out."""
    if is_odd(keys):
        return lambda *values: {
            key: value for key, value in zip(keys, values, strict=True) if value is not msgspec.UNSET
        }
    fields = [(f"k{i}", Any) for i in range(len(keys))]
    return msgspec.defstruct(name, fields, gc=False, rename={f"k{i}": key for i, key in enumerate(keys)})
