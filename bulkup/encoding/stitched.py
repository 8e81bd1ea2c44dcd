"""A declarative mapping carried out on tokens: constants are written once, strings and integers go over as they stand.

It takes what most rows are; a row with a default, a float to be cast or a path into an object is left to `MappedRows`.

What comes out is checked by nobody, so a mapping is stitched only if the destination's codec takes whatever it writes. That
is tried, not reasoned out: rows with the least and the most that each place can hold are put before the codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import product
from operator import attrgetter, itemgetter
from typing import Annotated, Any, cast

import msgspec

from bulkup.encoding.row_types import line_decoder, row_type
from bulkup.encoding.searching import first_groups
from bulkup.encoding.shortcuts import Shortcut, strings_moved
from bulkup.encoding.splice import QUOTE, joined
from bulkup.encoding.target import INT64, Codec, Irregular
from bulkup.encoding.utf8 import Utf8
from bulkup.light_dataclass import dataclass, replace
from bulkup.refusal import attempt
from bulkup.rows.mapping import Array, Const, Expression, Mapping, Path, Record

__all__ = ["Stitched", "stitched"]

_NULL = b"null"
_STRING_OR_NULL = QUOTE | {_NULL[0]}
_MOST_PLACES = 6
_NUMERALS = "0123456789-\n"

_encode = msgspec.json.Encoder().encode
_strings = msgspec.json.Decoder(list[str]).decode
_integers = msgspec.json.Decoder(list[Annotated[int, INT64]]).decode


class _Kind(Enum):
    """What a place takes; the value is what it is tried with."""

    STRING = (b'""', b'"x"', '"}é\\n"'.encode())
    INTEGER = (b"0", b"-9223372036854775808", b"9223372036854775807")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value goes: *key* stands before it and *comma* behind it, and all three are left out with a missing value,
    unless it *must* be there."""

    path: Path
    key: bytes
    comma: bytes
    must: bool
    kind: _Kind = _Kind.STRING


_Template = Sequence[bytes | _Place]


def stitched(mapping: Mapping, dropped: tuple[str, ...], codec: Codec) -> Stitched | None:
    """*mapping* as a codec of source rows, or None where it must be evaluated. *codec* says what the destination takes."""
    template = list(_record(mapping.record))
    places = [part for part in template if isinstance(part, _Place)]
    if not 0 < len(places) <= _MOST_PLACES or any(not _is_plain(place.path, dropped) for place in places):
        return None
    for kinds in product(*map(_kinds, places)):
        chosen = iter(kinds)
        tried = [replace(part, kind=next(chosen)) if isinstance(part, _Place) else part for part in template]
        if all(_takes(codec, [(place, place.kind.value[i]) for place in _places(tried)], tried) for i in range(3)):
            return Stitched([_needed(part, codec, tried) for part in tried])
    return None


def _is_plain(path: Path, dropped: tuple[str, ...]) -> bool:
    return len(path.steps) == 1 and path.steps[0] not in dropped


def _places(template: _Template) -> list[_Place]:
    return [part for part in template if isinstance(part, _Place)]


def _kinds(place: _Place) -> tuple[_Kind, ...]:
    if place.path.integer:
        return (_Kind.INTEGER,)
    return (_Kind.STRING,) if place.path.regex is not None else (_Kind.STRING, _Kind.INTEGER)


def _takes(codec: Codec, values: Sequence[tuple[_Place, bytes]], template: _Template) -> bool:
    left = iter(values)
    row = b"".join(part if isinstance(part, bytes) else _written(*next(left)) for part in template)
    return attempt(codec.body, row, 1) == row


def _written(place: _Place, token: bytes) -> bytes:
    return place.key + token + place.comma if token else b""


def _needed(part: bytes | _Place, codec: Codec, template: _Template) -> bytes | _Place:
    """*part*, with *must* where the codec does not take a row without it."""
    if isinstance(part, bytes) or part.must:
        return part
    without = [(place, b"" if place is part else place.kind.value[0]) for place in _places(template)]
    return replace(part, must=not _takes(codec, without, template))


# --- the mapping as a template --------------------------------------------------------------------------------------


def _template(expression: Expression) -> Iterator[bytes | _Place]:
    match expression:
        case Const(value):
            yield _encode(value)
        case Path():
            yield _Place(expression, b"", b"", must=True)
        case Record():
            yield from _record(expression)
        case Array():
            for i, item in enumerate(expression.items):
                yield b"," if i else b"["
                yield from _template(item)
            yield b"]" if expression.items else b"[]"


def _record(record: Record) -> Iterator[bytes | _Place]:
    """Its fields; the first that is always there carries no comma, those before it one behind, the others one before."""
    sure = (i for i, (_, inner) in enumerate(record.fields) if not isinstance(inner, Path) or inner.has_default)
    anchor = next(sure, 0)
    yield b"{"
    for i, (name, inner) in enumerate(record.fields):
        key = (b"," if i > anchor else b"") + _encode(name) + b":"
        comma = b"," if i < anchor else b""
        if isinstance(inner, Path):
            yield _Place(inner, key, comma, must=i == anchor or inner.has_default)
        else:
            yield key
            yield from _template(inner)
            yield comma
    yield b"}"


# --- carrying it out ------------------------------------------------------------------------------------------------


class Stitched:
    """Takes rows whose values are just strings and integers where the mapping puts them, nulls where it may leave them out."""

    is_verbatim = False

    def __init__(self, template: _Template) -> None:
        keys = dict.fromkeys(str(place.path.steps[0]) for place in _places(template))
        names = {key: f"k{i}" for i, key in enumerate(keys)}
        fields: list[Any] = [(name, msgspec.Raw, msgspec.Raw(_NULL)) for name in names.values()]
        rename = {name: key for key, name in names.items()}
        row = row_type("MappedTokens", fields, rename=rename)
        self._utf8 = Utf8()
        self._decode = line_decoder(row)
        self._columns: list[tuple[bytes, Callable[[Any], msgspec.Raw], _Place]] = []
        literal = b""
        for part in template:
            if isinstance(part, bytes):
                literal += part
            else:
                self._columns.append((literal, attrgetter(names[str(part.path.steps[0])]), part))
                literal = b""
        self._end = literal
        self.shortcuts = self._strings_moved()
        self._bytes_more = self._longer_by() if self._keeps_tokens() else None

    def _strings_moved(self) -> tuple[Shortcut, ...]:
        places = [place for _, _, place in self._columns]
        if any(place.kind is not _Kind.STRING or place.path.regex is not None for place in places):
            return ()
        keys = [str(place.path.steps[0]) for place in places]
        befores = [before + place.key for before, _, place in self._columns]
        commas = [b"", *(place.comma for place in places)]
        return strings_moved(
            keys, [comma + before for comma, before in zip(commas, (*befores, self._end), strict=True)]
        )

    def _keeps_tokens(self) -> bool:
        """Whether each place holds the value of a key of its own as it stands, in every row."""
        places = [place for _, _, place in self._columns]
        keys = {place.path.steps[0] for place in places}
        return len(keys) == len(places) and all(
            place.must and place.path.regex is None and not place.path.integer for place in places
        )

    def _longer_by(self) -> int:
        """How many bytes the body of a row is longer than the row, if that has just the keys that are needed and no white space."""
        values = {str(place.path.steps[0]): place.kind.value[0] for _, _, place in self._columns}
        row = b"{%b}" % b",".join(_encode(key) + b":" + value for key, value in values.items())
        return len(self.body(row, 1)) - len(row)

    def saw_each_key_once(self, data: bytes, rows: int, body: bytes) -> bool:
        """As `Witness`: what was lost is missing in the body; so is all else that a row may hold, and no place is ever longer."""
        return self._bytes_more is not None and len(body) == len(data) + rows * self._bytes_more

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`; *data* is lines of the source."""
        self._utf8.check(data)
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        parts: list[list[bytes]] = []
        for literal, getter, place in self._columns:
            parts.append(_pieces(place, literal if parts else b"," + literal, map(getter, decoded)))
        return joined(parts, self._end, b",")


def _pieces(place: _Place, literal: bytes, values: Iterable[msgspec.Raw]) -> list[bytes]:
    """For each row *literal*, and behind it what *place* makes of its value."""
    head = literal + place.key
    if place.kind is _Kind.STRING and place.path.regex is None:
        pieces = list(map(head.__add__, values))
        begins = set(map(itemgetter(len(head)), pieces))
        if begins != QUOTE:
            return _without_missing(pieces, place, literal, begins)
    else:
        tokens = list(map(bytes, values))
        if _NULL in tokens:
            made = iter(_made(place.path, [token for token in tokens if token != _NULL]))
            pieces = [head + (token if token == _NULL else next(made)) for token in tokens]
            return _without_missing(pieces, place, literal, _STRING_OR_NULL)
        pieces = list(map(head.__add__, _made(place.path, tokens)))
    return [piece + place.comma for piece in pieces] if place.comma else pieces


def _without_missing(pieces: list[bytes], place: _Place, literal: bytes, begins: set[int]) -> list[bytes]:
    if place.must or not begins <= _STRING_OR_NULL:
        raise Irregular
    missing = literal + place.key + _NULL
    return [literal if piece == missing else piece + place.comma for piece in pieces]


def _made(path: Path, tokens: list[bytes]) -> list[bytes]:
    """The tokens that *path*, with a regex or of integers, makes of *tokens*, none of them null."""
    if not tokens:
        return tokens
    array = b"[" + b",".join(tokens) + b"]"
    if path.regex is None and (not path.integer or set(map(itemgetter(0), tokens)).isdisjoint(QUOTE)):
        _integers(array)
        return tokens
    texts = _strings(array)
    if path.regex is not None:
        found = first_groups(path.regex, texts)
        if None in found:
            raise Irregular
        texts = cast("list[str]", found)
    return _numerals(texts) if path.integer else list(map(_encode, texts))


def _numerals(texts: list[str]) -> list[bytes]:
    """Integers as JSON writes them, thousands commas taken out. Any other way to write one needs a closer look."""
    joint = "\n".join(texts).replace(",", "")
    tokens = joint.encode().split(b"\n")
    if joint.strip(_NUMERALS) or not len(_integers(b"[" + b",".join(tokens) + b"]")) == len(tokens) == len(texts):
        raise Irregular
    return tokens
