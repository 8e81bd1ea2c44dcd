"""Keys that stand twice in one object, at any depth.

Rows of a source mostly have the same keys in the same order, so an automaton is made of them in which each key has one place: what
it takes and a decoder takes too has no key twice. It need not know JSON, since a decoder does: only strings, brackets and keys.

What it does not take is decoded. Decoders keep the last of two members and tell nobody. So a block is decoded and written again:
where no member was lost there are as many colons as before, whatever stands in its strings. A block with a colon in an escape, and
one that has lost some, is looked at row by row, the odd rows with Python's decoder, which shows every member.

A codec that writes rows anew has decoded them, and may know by itself that it has lost nothing: a `Witness`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import msgspec
import orjson

from bulkup.encoding.depth import room_to_recurse
from bulkup.encoding.language import Form, Lines, exactly
from bulkup.encoding.members import Members
from bulkup.encoding.row_types import line_decoder, row_type
from bulkup.refusal import Refusal, attempt

__all__ = [
    "DoubledKeys",
    "SameKeys",
    "Witness",
    "colons",
    "doubled_key",
    "escapes_a_colon",
    "form_of",
    "may_hold_doubled_keys",
]

_LEAST_BYTES = 16 * 1024
"""Of a block that an automaton is made of."""

_MISSED, _MOST_LEARNED = 8, 3
"""After so many large blocks that the automaton did not take another is made, so many in all: that takes as long as ten blocks."""

_MOST_KEYS = 64
_COLON = b":"
_ESCAPES, _ESCAPED_COLONS = b"\\u003", (b"\\u003a", b"\\u003A")
"""Of these escapes Go and PHP write many: those of `<`, `>` and `=`."""


@runtime_checkable
class Witness(Protocol):
    """A codec that sees at little cost that it has lost no member."""

    def saw_each_key_once(self, data: bytes, rows: int, body: bytes) -> bool:
        """Whether no key stands twice in an object of *data*, of which it has just made *body*. True is sure, False is not."""


class DoubledKeys:
    """Finds out whether a key stands twice in rows. For one thread at a time; what it says depends on the rows alone."""

    def __init__(self) -> None:
        self._quick: Callable[[bytes], bool] | None = None
        self._missed = 0
        self._learned = 0

    def may_be_in(self, lines: bytes) -> bool:
        """As `may_hold_doubled_keys`, quicker for rows that are like the ones before."""
        if self._quick is not None and self._quick(lines):
            return False
        found = may_hold_doubled_keys(lines)
        if not found and len(lines) >= _LEAST_BYTES and self._learned < _MOST_LEARNED:
            self._missed += 1
            if self._missed == _MISSED:
                self._learn(lines)
        return found

    def _learn(self, lines: bytes) -> None:
        self._missed, self._learned = 0, self._learned + 1
        for way in (_automaton, _table):
            quick = attempt(way, lines)
            if not isinstance(quick, Refusal) and quick(lines) and _is_quicker(quick, lines):
                self._quick = quick
                return


def _is_quicker(quick: Callable[[bytes], bool], lines: bytes) -> bool:
    its, others = (min(_seconds(way, lines) for _ in range(3)) for way in (quick, _may_hold))
    return its < others


def _automaton(lines: bytes) -> Callable[[bytes], bool]:
    return Lines(form_of(lines)).are_in


def _table(lines: bytes) -> Callable[[bytes], bool]:
    return SameKeys(lines).once_each


class SameKeys:
    """Rows that all have the same keys, too many for an automaton. Each has them once if there are so many members in all."""

    def __init__(self, lines: bytes) -> None:
        """Raises where the rows of *lines* differ in their keys."""
        keys = [frozenset(orjson.loads(line)) for line in lines.split(b"\n")]
        if len(set(keys)) != 1:
            raise ValueError("rows with different keys")
        names = {f"k{i}": key for i, key in enumerate(sorted(keys[0]))}
        row = row_type("SameKeys", [(name, msgspec.Raw) for name in names], rename=names, forbid_unknown_fields=True)
        self._decode = line_decoder(row)
        self._getters = [attrgetter(name) for name in names]
        self._members = Members()
        self._inner = DoubledKeys()
        objects = self._objects(self._decode(lines))
        if objects:
            self._inner._learn(objects)

    def once_each(self, lines: bytes) -> bool:
        """Whether all *lines* are such rows, and no key stands twice in them or in their values. False is not sure."""
        rows = attempt(self._decode, lines)
        if isinstance(rows, Refusal) or self._members.of(lines) != len(rows) * len(self._getters):
            return False
        objects = self._objects(rows)
        return not (objects and self._inner.may_be_in(objects))

    def _objects(self, rows: Sequence[Any]) -> bytes:
        """The values of the columns that hold an object somewhere, a line each."""
        columns = (b"\n".join(map(getter, rows)) for getter in self._getters)
        return b"\n".join(column for column in columns if b"{" in column)


def _seconds(way: Callable[[bytes], bool], lines: bytes) -> float:
    """Of this thread's processor time: what else runs on the machine decides nothing."""
    began = time.thread_time()
    way(lines)
    return time.thread_time() - began


# --- rows like these ------------------------------------------------------------------------------------------------

_SPACE = rb"[ \t\r]*"
_COMMA = rb"[ \t\r,]*"
_SCALAR = rb'(?:"(?:[^"\\\n]|\\[^\n])*"|[-+.0-9eE]+|true|false|null)'


def form_of(lines: bytes) -> Form:
    """Rows with the keys of *lines*, each key in one place in its object. Raises where they have no such form."""
    return Form(_SPACE + _value([orjson.loads(line) for line in lines.split(b"\n")]) + _SPACE)


def _value(values: Sequence[Any]) -> bytes:
    tables = [value for value in values if isinstance(value, dict)]
    items = [item for value in values if isinstance(value, list) for item in value]
    ways = [_SCALAR]
    if tables:
        ways.append(rb"\{" + _SPACE + b"".join(_member(key, tables) for key in _order(tables)) + rb"\}")
    if any(isinstance(value, list) for value in values):
        ways.append(rb"\[" + _SPACE + (b"(?:%b%b)*" % (_value(items), _COMMA) if items else b"") + rb"\]")
    return ways[0] if len(ways) == 1 else b"(?:%b)" % b"|".join(reversed(ways))


def _member(key: str, tables: Sequence[dict[str, Any]]) -> bytes:
    token = exactly(orjson.dumps(key))
    return b"(?:%b%b:%b%b%b)?" % (token, _SPACE, _SPACE, _value([t[key] for t in tables if key in t]), _COMMA)


def _order(tables: Sequence[dict[str, Any]]) -> list[str]:
    """All keys of *tables*, each behind the key that it stands behind."""
    order: list[str] = []
    for keys in dict.fromkeys(map(tuple, tables)):
        at = 0
        for key in keys:
            if key in order:
                at = order.index(key) + 1
            else:
                order.insert(at, key)
                at += 1
        if len(order) > _MOST_KEYS:
            raise ValueError("too many keys")
    return order


# --- any rows -------------------------------------------------------------------------------------------------------


def escapes_a_colon(data: bytes) -> bool:
    """Whether an escape in *data* may stand for a colon."""
    return _ESCAPES in data and any(escape in data for escape in _ESCAPED_COLONS)


def may_hold_doubled_keys(lines: bytes) -> bool:
    """Whether a key may stand twice in one of *lines*, rows of JSON joined by `\\n`. False is sure, True is not."""
    global _last
    before, found = _last
    if lines != before:
        found = _may_hold(lines)
        _last = lines, found
    return found


_last: tuple[bytes, bool] = b"", False
"""A source's first block is asked about three times: for the decision, for its rows, and when it is encoded."""


def _may_hold(lines: bytes) -> bool:
    if escapes_a_colon(lines):
        return True
    written = attempt(_written, lines)
    return isinstance(written, Refusal) or colons(written) != colons(lines)


def _written(lines: bytes) -> bytes:
    return orjson.dumps(orjson.loads(b"[" + lines.replace(b"\n", b",") + b"]"))


def colons(data: bytes) -> int:
    """How many there are. Taking them out is faster than counting them."""
    return len(data) - len(data.replace(_COLON, b""))


class _Doubled(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Doubled(key)
        seen.add(key)


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=str, parse_int=str)


def doubled_key(row: bytes) -> str | None:
    """A key that stands twice in an object of *row*; None where there is none, or the row is no JSON."""
    if not may_hold_doubled_keys(row):
        return None
    with room_to_recurse():
        found = attempt(_DECODER.decode, row.decode("utf-8", "replace"))
    return found.why.key if isinstance(found, Refusal) and isinstance(found.why, _Doubled) else None
