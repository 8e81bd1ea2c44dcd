"""Rows for a destination with a schema: taken as they are where they fit, or written anew column by column."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import repeat
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from bulkup.encoding.carried import MinusZero
from bulkup.encoding.doubled_keys import DoubledKeys
from bulkup.encoding.faults import Fault, said
from bulkup.encoding.identity import VerbatimCodec
from bulkup.encoding.language import BOOLEAN, INTEGER, STRING, Form, nullable, record
from bulkup.encoding.members import Members
from bulkup.encoding.row_types import ArrayWriter, RowType, is_odd, line_decoder, row_maker, row_type
from bulkup.encoding.shapes import Change
from bulkup.encoding.shortcuts import turns_as_text
from bulkup.encoding.target import INT64, Codec, Irregular
from bulkup.encoding.utf8 import Utf8
from bulkup.model import Stage
from bulkup.refusal import Refusal, attempt
from bulkup.rows.schema import Column, Holds

__all__ = ["ColumnsCodec", "column_codecs", "column_fault", "columns_form"]

_TYPES: dict[Holds, Any] = {
    Holds.STRING: str,
    Holds.INTEGER: Annotated[int, INT64],
    Holds.BOOLEAN: bool,
    Holds.TEXT: msgspec.Raw,
    Holds.CHARACTERS: str,
    Holds.AS_IS: Any,
}
_NOT_NULL = dict[str, Any] | list[Any] | str | int | float | bool
_EXPECTED = {
    Holds.STRING: "a string",
    Holds.INTEGER: "an integer",
    Holds.BOOLEAN: "true or false",
    Holds.CHARACTERS: "a string, a number, true or false",
}
_MOST_LOSSES = 3
"""After so many blocks that were not compact no other is expected to be."""

_NULL = msgspec.Raw(b"null")
_REMADE = frozenset({Holds.TEXT, Holds.CHARACTERS})
_MAY_NEST = frozenset({Holds.TEXT, Holds.AS_IS})
_CARRIED = frozenset({Holds.AS_IS, Holds.CHARACTERS})
"""What is written anew as the token that it is, since a value of any type may hold a number that a double does not."""

_strings = msgspec.json.Decoder(list[str]).decode
_NESTED = {b"{", b"["}


def column_codecs(columns: Sequence[Column], dropped: Sequence[str], *, rewrite: bool) -> tuple[Codec, ...]:
    """The ways to encode rows of *columns*, the usual one first.

    *rewrite*: every row is written anew. Otherwise a row with every column is sent as its own bytes, and only one that
    lacks a nullable column is written anew, with an explicit null.
    """
    written = ColumnsCodec(columns, dropped)
    return (written,) if rewrite else (VerbatimCodec(_row_type(columns, ()), columns_form(columns)), written)


def columns_form(columns: Sequence[Column]) -> Form | None:
    """Rows with just these columns in this order, or None where one of them may hold anything."""
    forms = {Holds.STRING: STRING, Holds.INTEGER: INTEGER, Holds.BOOLEAN: BOOLEAN}
    if not columns or any(column.holds not in forms for column in columns):
        return None
    found = [(column.name, forms[column.holds], column.nullable) for column in columns]
    return record([(name, nullable(form) if may_be_null else form) for name, form, may_be_null in found])


def _nullable(column: Column) -> Any:
    if column.holds is Holds.AS_IS and not column.nullable:
        return _NOT_NULL
    kind = _TYPES[column.holds]
    return kind | None if column.nullable and column.holds not in (Holds.TEXT, Holds.AS_IS) else kind


def _row_type(
    columns: Sequence[Column],
    dropped: Sequence[str],
    *,
    absent_is_null: bool = False,
    tokens: frozenset[Holds] = frozenset(),
) -> RowType:
    """Rows of *columns*. Columns that hold one of *tokens* are not looked into."""
    fields: list[Any] = []
    names = {f"c{i}": column.name for i, column in enumerate(columns)}
    for i, column in enumerate(columns):
        is_token = column.holds in (Holds.TEXT, *tokens)
        field = (f"c{i}", msgspec.Raw if is_token else _nullable(column))
        null = _NULL if is_token else None
        fields.append((*field, null) if absent_is_null and column.nullable else field)
    fields += [(f"d{i}", msgspec.Raw, _NULL) for i in range(len(dropped))]
    names |= {f"d{i}": key for i, key in enumerate(dropped)}
    return row_type("ColumnRow", fields, forbid_unknown_fields=True, rename=names)


class ColumnsCodec:
    """Writes rows anew: an absent nullable column as null, a text column as its value's own JSON text in a string, a number as it
    stands in the source."""

    def __init__(self, columns: Sequence[Column], dropped: Sequence[str] = ()) -> None:
        self._columns = columns
        self._skips = bool(dropped)
        self._utf8 = Utf8()
        self._members = Members()
        self._row = partial(_row_type, columns, dropped)
        self._minus_zero = MinusZero()
        self._has_integers = any(column.holds is Holds.INTEGER for column in columns)
        self._as_is = [
            (i, msgspec.json.Decoder(list[_nullable(column)]).decode)  # type: ignore[misc]
            for i, column in enumerate(columns)
            if column.holds is Holds.AS_IS
        ]
        self._getters = [attrgetter(f"c{i}") for i in range(len(columns))]
        self._array_of = ArrayWriter().written
        names = [column.name for column in columns]
        self._is_made_anew = self._skips or is_odd(names)
        self._remade = [(i, column) for i, column in enumerate(columns) if column.holds in _REMADE]
        self._nested = [(i, self._getters[i]) for i, column in enumerate(columns) if column.holds in _MAY_NEST]
        self._texts_at = [i for i, column in enumerate(columns) if column.holds is Holds.TEXT]
        self._compact_losses = 0 if self._can_tell_by_length(columns) else _MOST_LOSSES
        self._doubled = DoubledKeys()
        self._objects: list[bytes] | None = None
        has_characters = any(column.holds is Holds.CHARACTERS for column in columns)
        self.changes: Counter[str] | None = Counter() if has_characters else None
        """As `Pipeline` has them."""
        is_one_text = len(columns) == 1 and columns[0].holds is Holds.TEXT
        self.shortcuts = turns_as_text(columns[0].name) if is_one_text else ()

    def _can_tell_by_length(self, columns: Sequence[Column]) -> bool:
        """Whether each value is written from what was read for it, and so is as long or shorter."""
        return (
            bool(columns) and not self._is_made_anew and all(column.holds is not Holds.CHARACTERS for column in columns)
        )

    is_verbatim = False

    # Made when they are first used: most uploads need few of them, and each takes a tenth of a millisecond.

    @cached_property
    def _decode(self) -> Callable[[bytes], list[Any]]:
        return line_decoder(self._row(absent_is_null=True, tokens=_CARRIED))

    @cached_property
    def _decode_complete(self) -> Callable[[bytes], list[Any]]:
        return line_decoder(self._row(tokens=_CARRIED))

    @cached_property
    def _decode_tokens(self) -> Callable[[bytes], list[Any]]:
        return line_decoder(self._row(absent_is_null=True, tokens=_CARRIED | {Holds.INTEGER}))

    @cached_property
    def _out(self) -> Callable[..., Any]:
        return row_maker("WrittenRow", [column.name for column in self._columns])

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`."""
        if self._compact_losses < _MOST_LOSSES:
            body = self._body_of_compact(data, rows)
            if body is not None:
                return body
            self._compact_losses += 1
        decoded, is_complete = self._decoded(data, rows)
        if len(decoded) != rows or not self._columns:
            raise Irregular
        tokens = self._tokens(decoded)
        self._objects = _with_objects(tokens) if is_complete else None
        if self._has_integers and self._minus_zero.may_be_in(data):
            decoded = self._decode_tokens(data)  # a decoder makes 0 of -0
        return self._written(decoded, tokens)

    def _body_of_compact(self, data: bytes, rows: int) -> bytes | None:
        """The body of rows that have every column once, nothing besides and no white space; None where they may not be so.

        What comes out shows it, since nothing is ever written longer than it was read, but for texts, by their quotes. So if it is
        as long as *data*, no member, no white space and no sign of a `-0` was lost, and a decoder has seen each string's UTF-8.
        """
        decoded = attempt(self._decode_complete, data)
        if isinstance(decoded, Refusal) or len(decoded) != rows:
            return None
        tokens = self._tokens(decoded)
        body = self._written(decoded, tokens)
        if len(body) != len(data) + _longer_as_texts([tokens[i] for i in self._texts_at], rows):
            return None
        self._objects = _with_objects(tokens)
        return body

    def _tokens(self, decoded: list[Any]) -> dict[int, bytes]:
        """The tokens of the columns that may nest, a line each: none holds a break. Raises where one may not be sent as it is."""
        tokens = {i: b"\n".join(map(getter, decoded)) for i, getter in self._nested}
        for i, check in self._as_is:
            check(b"[" + tokens[i].replace(b"\n", b",") + b"]")
        return tokens

    def _written(self, decoded: list[Any], tokens: Mapping[int, bytes]) -> bytes:
        changed: set[int] = set()
        written: dict[int, Iterable[Any]] = {
            i: self._texts(column, tokens[i])
            if column.holds is Holds.TEXT
            else self._as_characters(column, list(map(bytes, map(self._getters[i], decoded))), changed)
            for i, column in self._remade
        }
        if self._is_made_anew:
            values = (written[i] if i in written else map(getter, decoded) for i, getter in enumerate(self._getters))
            decoded = list(map(self._out, *values))
        else:
            for i, made in written.items():
                deque(map(setattr, decoded, repeat(f"c{i}"), made), maxlen=0)
        if self.changes is not None:
            self.changes.clear()
            if changed:
                self.changes[Change.AS_TEXT] = len(changed)
        return self._array_of(decoded)

    def _decoded(self, data: bytes, rows: int) -> tuple[list[Any], bool]:
        """The rows, and whether each has every column once for sure, and nothing besides."""
        members = self._members.of(data)
        if members is None:
            self._utf8.check(data)  # a value that is left out, or is there again, is decoded by nobody
        if members == rows * len(self._columns) and not self._skips:
            complete = attempt(self._decode_complete, data)
            if not isinstance(complete, Refusal):
                return complete, True
        return self._decode(data), False

    def saw_each_key_once(self, _data: bytes, _rows: int, _body: bytes) -> bool:
        """As `Witness`: the rows have as many members as there are columns, and each column. Their values are looked at besides."""
        objects, self._objects = self._objects, None
        return objects is not None and not (objects and self._doubled.may_be_in(b"\n".join(objects)))

    def _texts(self, column: Column, tokens: bytes) -> list[str] | list[str | None]:
        """The texts of a column's *tokens*, one a line; None for a null."""
        texts = tokens.decode().split("\n")
        if "null" not in texts:
            return texts
        if not column.nullable:
            raise Irregular
        return [None if text == "null" else text for text in texts]

    def _as_characters(self, column: Column, tokens: list[bytes], changed: set[int]) -> list[msgspec.Raw]:
        begins = {token[:1] for token in tokens}
        if begins & _NESTED or (b"n" in begins and not column.nullable):
            raise Irregular
        if begins <= {b'"'}:
            _strings(b"[" + b",".join(tokens) + b"]")  # half a surrogate pair is no text
            return list(map(msgspec.Raw, tokens))
        _strings(b"[" + b",".join(token for token in tokens if token.startswith(b'"')) + b"]")
        for number, token in enumerate(tokens):
            if token[:1] not in b'"n':
                tokens[number] = b'"%b"' % token
                changed.add(number)
        return list(map(msgspec.Raw, tokens))


def _with_objects(tokens: Mapping[int, bytes]) -> list[bytes]:
    return [lines for lines in tokens.values() if b"{" in lines]


_ESCAPED = (b'"', b"\\", b"\t", b"\r")
"""All that a token may hold and that takes one byte more in a string."""


def _longer_as_texts(columns: Sequence[bytes], rows: int) -> int:
    """By how many bytes the tokens of *columns*, a line for each of *rows* rows, are longer as texts in strings. A null stays."""
    tokens = b"\n".join(columns)
    nulls = tokens.split(b"\n").count(b"null") if b"null" in tokens else 0
    escapes = sum(tokens.count(byte) for byte in _ESCAPED if byte in tokens)
    return 2 * (rows * len(columns) - nulls) + escapes


def column_fault(columns: Sequence[Column], row: dict[str, Any]) -> Fault | None:
    """What keeps the decoded *row* from following *columns*: the column, its type and the value, named."""
    known = {column.name for column in columns}
    for key, value in row.items():
        if key not in known:
            what = f"not a column of the schema, which is fixed; its value here is {said(value)}"
            return _fault(key, what, "text?")
    for column in columns:
        kind = column.type if isinstance(column.type, str) else "that type"
        given = column.type if isinstance(column.type, str) else None
        given = str(column.holds) if column.holds in (Holds.TEXT, Holds.CHARACTERS) else given
        nullable = None if given is None else f"{given}?"
        if column.name not in row and not column.nullable:
            return _fault(column.name, f"the column ({kind}, not nullable) is absent", nullable)
        value = row.get(column.name)
        if value is None:
            if not column.nullable:
                return _fault(column.name, f"expected {_EXPECTED.get(column.holds, 'a value')}, got null", nullable)
        elif not _holds(column.holds, value):
            null = " or null" if column.nullable else ""
            what = f"expected {_EXPECTED[column.holds]}{null}, got {said(value)}"
            return _fault(column.name, what, "text?" if column.nullable else "text")
    return None


def _fault(name: str, what: str, given: str | None) -> Fault:
    """*given* is the type with which another run would take the value."""
    way_out = "" if given is None else f"; in a new run --column '{name}={given}' takes it"
    return Fault(Stage.VALIDATE, name, f"{name}: {what}{way_out}")


def _holds(holds: Holds, value: Any) -> bool:
    match holds:
        case Holds.STRING:
            return isinstance(value, str)
        case Holds.INTEGER:
            return type(value) is int and -(2**63) <= value < 2**63
        case Holds.BOOLEAN:
            return isinstance(value, bool)
        case Holds.CHARACTERS:
            return not isinstance(value, dict | list)
        case _:
            return True
