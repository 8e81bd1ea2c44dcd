"""`--drop KEY`: source keys left out before anything else sees them.

KEY is a key of the row, or, where the row has no such key, a place within it: `meta.source`, `messages[].name`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from bulkup.encoding.carried import CarryingDecoder
from bulkup.encoding.target import Irregular

__all__ = ["DropNested", "is_nested", "without"]


def is_nested(key: str) -> bool:
    """Whether *key* can name a place within a row."""
    return "." in key or "[]" in key


def without(row: dict[str, Any], top: Iterable[str], nested: Iterable[str]) -> dict[str, Any]:
    """*row* without the keys *top* and the places *nested*. Values inside *row* may be changed."""
    kept = {key: value for key, value in row.items() if key not in set(top)}
    for place in nested:
        _drop(kept, _steps(place))
    return kept


def _steps(place: str) -> list[str]:
    return [step for step in place.replace("[]", ".[]").split(".") if step]


def _drop(value: Any, steps: list[str]) -> None:
    step, *rest = steps
    if step == "[]":
        for item in value if isinstance(value, list) and rest else ():
            _drop(item, rest)
    elif isinstance(value, dict):
        if not rest:
            value.pop(step, None)
        elif step in value:
            _drop(value[step], rest)


class DropNested:
    """Drops places within rows. Only the values that hold a place are decoded and encoded again, with their numbers as they are;
    the others go over as the tokens that they are."""

    def __init__(self, places: Iterable[str]) -> None:
        self._places: dict[str, list[list[str]]] = {}
        for key, *rest in map(_steps, places):
            if key != "[]":  # a row is no array
                self._places.setdefault(key, []).append(rest)
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode_lines
        self._encode = msgspec.json.Encoder().encode_lines
        self._values = CarryingDecoder(Any)

    def lines(self, data: bytes, rows: int) -> bytes:
        """As `Rewriter.lines`."""
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        for key, places in self._places.items():
            having = [row for row in decoded if key in row]
            if [] in places:
                for row in having:
                    del row[key]
            elif having:
                for row, token in zip(having, self._without([row[key] for row in having], places), strict=True):
                    row[key] = token
        return self._encode(decoded)[:-1]

    def _without(self, tokens: list[msgspec.Raw], places: list[list[str]]) -> Iterator[msgspec.Raw]:
        values = self._values.decode_lines(b"\n".join(tokens))
        for value in values:
            for steps in places:
                _drop(value, steps)
        return map(msgspec.Raw, self._encode(values)[:-1].split(b"\n"))
