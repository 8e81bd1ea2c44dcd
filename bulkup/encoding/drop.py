"""`--drop KEY`: source keys left out before anything else sees them.

KEY is a key of the row, or, where the row has no such key, a place within it: `meta.source`, `messages[].name`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from bulkup.encoding.carried import CarryingDecoder
from bulkup.encoding.target import Irregular

__all__ = ["DropNested", "has_place", "is_nested", "without"]


def is_nested(key: str) -> bool:
    """Whether *key* can name a place within a row."""
    return "." in key or "[]" in key


def has_place(row: dict[str, Any], key: str) -> bool:
    """Whether there is something at the place *key* within *row*."""
    *before, last = _steps(key)
    return any(isinstance(value, dict) and last in value for value in _at([row], before))


def without(row: dict[str, Any], top: Iterable[str], nested: Iterable[str]) -> dict[str, Any]:
    """*row* without the keys *top* and the places *nested*. Values inside *row* may be changed."""
    kept = {key: value for key, value in row.items() if key not in set(top)}
    for place in nested:
        _drop([kept], _steps(place))
    return kept


def _steps(place: str) -> list[str]:
    return [step for step in place.replace("[]", ".[]").split(".") if step]


def _drop(values: list[Any], steps: list[str]) -> None:
    """Drop the place at *steps* from each of *values*: all of them go one step down together, which is faster than one by one."""
    *before, last = steps
    if last != "[]":
        for value in _at(values, before):
            if isinstance(value, dict):
                value.pop(last, None)


def _at(values: list[Any], steps: list[str]) -> list[Any]:
    """What stands at *steps* within *values*."""
    for step in steps:
        if step == "[]":
            values = [item for value in values if isinstance(value, list) for item in value]
        else:
            values = [value[step] for value in values if isinstance(value, dict) and step in value]
    return values


class DropNested:
    """Drops places within rows: each row is decoded and encoded again, its numbers as they are."""

    def __init__(self, places: Iterable[str]) -> None:
        self._places = [_steps(place) for place in places]
        self._decode = CarryingDecoder(dict[str, Any]).decode_lines
        self._encode = msgspec.json.Encoder().encode_lines

    def lines(self, data: bytes, rows: int) -> bytes:
        """As `Rewriter.lines`."""
        decoded = self._decode(data)
        if len(decoded) != rows:
            raise Irregular
        for steps in self._places:
            _drop(decoded, steps)
        return self._encode(decoded)[:-1]
