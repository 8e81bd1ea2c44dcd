"""Row plans that look: what a destination takes but for the columns that nobody knows yet.

Blocks are held against what was seen so far (`known`): one that fits brings nothing new. Of one that does not, each row that is at
fault is looked at by itself (`open_to_all`): it brings something new, or it is a rejected row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec

from bulkup.encoding import RowPlan
from bulkup.encoding.columns import column_fault, columns_form
from bulkup.encoding.faults import Fault
from bulkup.encoding.identity import VerbatimCodec
from bulkup.encoding.row_types import row_type
from bulkup.encoding.shortcuts import Shortcut, turns_as_text
from bulkup.encoding.target import INT64, Codec, Irregular
from bulkup.encoding.utf8 import Utf8
from bulkup.light_dataclass import dataclass
from bulkup.model import Validation
from bulkup.rows.schema import Column, Holds, Kind, infer_column
from bulkup.scan.seen import Seen

__all__ = ["known", "open_to_all", "tokens_in"]

_NUMBER = {Kind.LARGE, Kind.NUMBER}
_TYPES: dict[Kind, Any] = {
    Kind.STRING: str,
    Kind.INTEGER: Annotated[int, INT64],
    Kind.BOOLEAN: bool,
    Kind.ARRAY: list[msgspec.Raw],
    Kind.OBJECT: dict[str, msgspec.Raw],
    Kind.NULL: None,
}
_HELD: dict[Holds, Any] = {
    Holds.STRING: str,
    Holds.INTEGER: Annotated[int, INT64],
    Holds.BOOLEAN: bool,
    Holds.CHARACTERS: str | int | float | bool,
    Holds.TEXT: msgspec.Raw,
    Holds.AS_IS: Any,
}
_NULL = msgspec.Raw(b"null")

tokens_in = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
"""Of an array of rows: each row's values by key, as they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPlan(RowPlan):
    """A row plan whose rows are taken by *codec*, of whose columns only those in *given* are certain."""

    codec: Codec
    given: tuple[Column, ...] = ()

    def codecs(self) -> tuple[Codec, ...]:
        return (self.codec,)

    def column_fault(self, row: dict[str, Any]) -> Fault | None:
        here = {column.name for column in self.given if column.name in row}
        own = [column for column in self.given if column.name in here or not column.nullable]
        return column_fault(own, {name: row[name] for name in here})


def open_to_all(plan: RowPlan, given: Sequence[Column]) -> LookPlan:
    """*plan* for rows of any columns besides *given*."""
    return _looking(plan, _OpenCodec(given, _dropped(plan)), given)


def known(plan: RowPlan, seen: Mapping[str, Seen], given: Sequence[Column], *, is_settled: bool) -> LookPlan:
    """*plan* for rows in which each key has only the kinds of values that were *seen*. *is_settled*: they are so for long that it
    pays to make an automaton."""
    names = {column.name: column for column in given}
    keys = {**dict.fromkeys(seen), **dict.fromkeys(names)}
    fields: list[Any] = []
    rename: dict[str, str] = {}
    for i, name in enumerate(keys):
        column = names.get(name)
        kind = _type_of(seen[name]) if column is None else _given_type(column)
        may_lack = Kind.ABSENT in seen[name].first if column is None else column.nullable
        fields.append((f"c{i}", kind, None) if may_lack else (f"c{i}", kind))
        rename[f"c{i}"] = name
    for i, name in enumerate(_dropped(plan)):
        fields.append((f"d{i}", msgspec.Raw, _NULL))
        rename[f"d{i}"] = name
    row = row_type("LookedAtRow", fields, rename=rename, forbid_unknown_fields=True)
    codec = _KnownCodec(row, _quick_ways(seen, given) if is_settled and not _dropped(plan) else ())
    return _looking(plan, codec, given)


def _looking(plan: RowPlan, codec: Codec, given: Sequence[Column]) -> LookPlan:
    """Under `trust` columns are looked at all the same, and keys that stand twice are not."""
    trusts = plan.validation is Validation.TRUST
    return LookPlan(
        target=plan.target,
        preset=plan.preset,
        turns=plan.turns,
        repairs=plan.repairs,
        is_checked=plan.is_checked,
        edition=1 if trusts else plan.edition,
        mapping=plan.mapping,
        drop=plan.drop,
        drop_nested=plan.drop_nested,
        max_row_bytes=plan.max_row_bytes,
        validation=Validation.FULL,
        codec=codec,
        given=tuple(given),
    )


def _dropped(plan: RowPlan) -> tuple[str, ...]:
    return plan.drop if plan.mapping is None else ()


def _type_of(seen: Seen) -> Any:
    kinds = seen.first.keys() - {Kind.ABSENT}
    types = [_TYPES[kind] for kind in kinds - _NUMBER]
    if kinds & _NUMBER:  # a decoder does not tell these apart
        types = [kind for kind in types if kind is not _TYPES[Kind.INTEGER]]
        types += [int, float]
    if not types:
        return None
    made = types[0]
    for kind in types[1:]:
        made = made | kind
    return made


def _given_type(column: Column) -> Any:
    kind = _HELD[column.holds]
    return kind | None if column.nullable and column.holds not in (Holds.TEXT, Holds.AS_IS) else kind


def _quick_ways(seen: Mapping[str, Seen], given: Sequence[Column]) -> tuple[Shortcut, ...]:
    columns = {name: infer_column(name, found.first) for name, found in seen.items()}
    columns |= {column.name: column for column in given}
    if any(Kind.ABSENT in found.first for found in seen.values()):
        return ()
    if len(seen) == 1 and not given and all(set(found.first) == {Kind.ARRAY} for found in seen.values()):
        return tuple(replace(way, body=_as_it_is) for way in turns_as_text(next(iter(seen))))
    form = columns_form(list(columns.values()))
    return () if form is None else (Shortcut(form, b"{", _as_it_is),)


def _as_it_is(data: bytes) -> bytes:
    return data


class _KnownCodec:
    """Takes rows that decode as *row*. Its bodies are for counting."""

    is_verbatim = True

    def __init__(self, row: Any, shortcuts: Sequence[Shortcut]) -> None:
        self._codec = VerbatimCodec(row, None)
        self._utf8 = Utf8()
        self.shortcuts = shortcuts

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`."""
        self._utf8.check(data)
        return self._codec.body(data, rows)


class _OpenCodec:
    """Takes rows of any columns, of which those in *given* hold what they must."""

    is_verbatim = True
    shortcuts: Sequence[Shortcut] = ()

    def __init__(self, given: Iterable[Column], dropped: Sequence[str]) -> None:
        self._given = [(column, msgspec.json.Decoder(_given_type(column)).decode) for column in given]
        self._dropped = dropped
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode_lines
        self._check = msgspec.json.Decoder(list[str]).decode
        self._utf8 = Utf8()

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`."""
        self._utf8.check(data)
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        for row in decoded:
            self._check_row(row)
        return data.replace(b"\n", b",")

    def _check_row(self, row: dict[str, msgspec.Raw]) -> None:
        names = set()
        for column, decode in self._given:
            names.add(column.name)
            token = row.get(column.name)
            if token is None:
                if not column.nullable:
                    raise Irregular
            elif decode(token) is None and not column.nullable:
                raise Irregular
        strings = [token for name, token in row.items() if name not in names and bytes(memoryview(token)[:1]) == b'"']
        self._check(b"[" + b",".join(strings) + b"]")  # half a surrogate pair is no text
