"""What was seen of the keys of a source's rows, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from bulkup.rows.schema import Kind

__all__ = ["Place", "Seen", "kind_of_token", "with_row"]

_SURELY_64_BITS = 18
"""Digits of an integer."""

_ANY_NUMBER = (Kind.LARGE, Kind.NUMBER)
_BEGINS = {
    '"': Kind.STRING,
    "{": Kind.OBJECT,
    "[": Kind.ARRAY,
    "t": Kind.BOOLEAN,
    "f": Kind.BOOLEAN,
    "n": Kind.NULL,
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A row: the number of its file in the source, from 0; how many positions behind the file's beginning; and its line, from 1,
    None where not all lines before it were looked at."""

    file: int
    at: int
    line: int | None = field(compare=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one key: each kind of value, with the first place of it."""

    first: Mapping[Kind, Place] = field(default_factory=dict)

    def also(self, kind: Kind, place: Place) -> Seen:
        """With *kind* at *place*, too."""
        known = self.first.get(kind)
        return self if known is not None and known <= place else replace(self, first={**self.first, kind: place})

    def as_told(self) -> Seen:
        """Without numbers of another kind behind the first one that is no integer of 64 bits: from there on a decoder takes every
        number, so only some of them were noticed."""
        first = min((place for kind, place in self.first.items() if kind in _ANY_NUMBER), default=None)
        if first is None:
            return self
        numbers = (Kind.INTEGER, *_ANY_NUMBER)
        return Seen({kind: place for kind, place in self.first.items() if kind not in numbers or place <= first})


def with_row(
    seen: Mapping[str, Seen], tokens: Mapping[str, msgspec.Raw], place: Place, first_row: Place | None
) -> dict[str, Seen] | None:
    """*seen* with the row at *place*, whose values are *tokens*; None where it brings nothing new.

    *first_row* is the first row that was taken before, which lacks every key that is new; None where this is the first.
    """
    made: dict[str, Seen] = {}
    for name, token in tokens.items():
        known, kind = seen.get(name), kind_of_token(token)
        if known is None:
            absent = {} if first_row is None else {Kind.ABSENT: first_row}
            made[name] = Seen({**absent, kind: place})
        elif kind not in known.first:
            made[name] = known.also(kind, place)
    for name in seen.keys() - tokens.keys():
        if Kind.ABSENT not in seen[name].first:
            made[name] = seen[name].also(Kind.ABSENT, place)
    return {**seen, **made} if made else None


def kind_of_token(token: msgspec.Raw) -> Kind:
    """The kind of a value by its characters."""
    text = bytes(memoryview(token)[:1]).decode("latin-1")
    kind = _BEGINS.get(text)
    if kind is not None:
        return kind
    number = bytes(token)
    if b"." in number or b"e" in number or b"E" in number:
        return Kind.NUMBER
    if len(number) <= _SURELY_64_BITS or (len(number) <= _SURELY_64_BITS + 2 and -(2**63) <= int(number) < 2**63):
        return Kind.INTEGER
    return Kind.LARGE
