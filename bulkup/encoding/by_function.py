"""Rows that the user's function makes of the source's: what goes in, what may come out, and what is said where it will not do.

Numbers that the function hands on keep their characters: it is given floats that know how they were written. One that it makes is
written as Python's shortest form of it (orjson's); integers may have any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import GeneratorType
from typing import Any

import msgspec
import orjson

from bulkup.encoding.depth import MOST_NESTED
from bulkup.encoding.faults import Fault, said
from bulkup.light_dataclass import dataclass
from bulkup.model import Changes, Stage
from bulkup.refusal import Refusal, attempt
from bulkup.rows.function import Function, line_at_fault

__all__ = ["ByFunction", "Made", "Number", "as_json"]

_MOST_VALUES = 10_000_000
"""In a row; one that holds itself has no end."""

_PLACE_CHARS = 200
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


class Number(float):
    """A float that knows the characters it had."""

    def __new__(cls, text: str) -> Number:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        return (self.text,)

    text: str


@dataclass(frozen=True, slots=True)
class Made:
    """The rows made of one, as JSON. Without any the row is skipped. *changes*: what was changed on the way."""

    rows: tuple[bytes, ...]
    changes: Changes = ()


class ByFunction:
    """Calls the user's function. To be called where user code may run."""

    def __init__(self, function: Function, max_row_bytes: int) -> None:
        self._named = function
        self._function = function.load()
        self._max_bytes = max_row_bytes

    def made(self, row: dict[str, Any]) -> Made | Fault:
        """What becomes of *row*, whose numbers with a point or an exponent are `Number`s; the function may change it."""
        try:
            given = self._function(row)
            if isinstance(given, GeneratorType):
                given = list(given)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises
            return _fault(line_at_fault(self._named, error))
        if given is None:
            return Made(())
        rows: Iterable[object] = given if isinstance(given, list | tuple) else (given,)
        made: list[bytes] = []
        size = 0
        for place, one in enumerate(rows, 1):
            which = f"row {place} of the {len(given)} that it gave: " if isinstance(given, list | tuple) else ""
            if not isinstance(one, dict):
                return self._bad(f"{which}{_named(one)} is not a row: give a dict, a list of dicts, or None")
            data = as_json(one)
            if isinstance(data, str):
                return self._bad(f"{which}{data}")
            made.append(data)
            size += len(data)
            if size > self._max_bytes:
                return self._bad(
                    f"what it made of one row is larger than max_row_bytes ({self._max_bytes}); "
                    "a larger max_row_bytes in the config file takes it, in a new run"
                )
        return Made(tuple(made))

    def _bad(self, what: str) -> Fault:
        return _fault(f"{self._named.title}: {what}")


def _fault(reason: str) -> Fault:
    return Fault(Stage.MAP, None, reason)


def _named(value: object) -> str:
    """*value* for a message: what JSON does not have is named by its type."""
    is_json = value is None or isinstance(value, bool | int | float | str)
    return said(value) if is_json else f"a {type(value).__name__}"


def as_json(row: dict[Any, Any]) -> bytes | str:
    """*row* as JSON, or what keeps it from being JSON."""
    data = attempt(orjson.dumps, row, _plain, _STRICT)
    if isinstance(data, Refusal):
        trouble = _trouble(row, "")
        if trouble is not None:
            return trouble
        data = attempt(_wide, row)  # integers beyond 64 bits, or nested deeper than orjson goes
        if isinstance(data, Refusal):
            return f"what it gave is not JSON: {data.why}"
    elif b"null" in data:  # orjson writes it for NaN and infinities
        trouble = _trouble(row, "")
        if trouble is not None:
            return trouble
    return data


def _wide(row: dict[str, Any]) -> bytes:
    return msgspec.json.Encoder(enc_hook=_as_raw).encode(row)


def _plain(value: Any) -> Any:
    """For orjson: what it does not know."""
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    return _of_numpy(value)


def _as_raw(value: Any) -> Any:
    """The same for msgspec."""
    return msgspec.Raw(value.text) if isinstance(value, Number) else _of_numpy(value)


def _of_numpy(value: Any) -> Any:
    """A plain value for numpy's of one number or text. Raises `TypeError`."""
    if isinstance(value, float):
        return float(value)
    item = getattr(value, "item", None)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 and callable(item):
        return item()
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


def _trouble(value: Any, place: str) -> str | None:
    """What in *value*, at *place*, JSON does not have; None where there is nothing."""
    left: list[tuple[Any, str, int]] = [(value, place, 0)]
    for _ in range(_MOST_VALUES):
        if not left:
            return None
        one, at, depth = left.pop()
        if depth > MOST_NESTED:
            break
        match one:
            case Mapping():
                for key, inner in one.items():
                    if not isinstance(key, str):
                        return f"{at or 'the row'} has the key {key!r}, and keys are strings"
                    left.append((inner, (f"{at}.{key}" if at else key)[:_PLACE_CHARS], depth + 1))
            case list() | tuple():
                left.extend((inner, f"{at}[{i}]"[:_PLACE_CHARS], depth + 1) for i, inner in enumerate(one))
            case float() if not math.isfinite(one) and not isinstance(one, Number):
                return f"{at}: {float(one)!r} is not a JSON value"
            case str():
                if isinstance(attempt(one.encode), Refusal):
                    return f"{at}: a lone surrogate, which no UTF-8 can hold"
            case None | bool() | int() | float():
                pass
            case _:
                if isinstance(attempt(orjson.dumps, one, _plain, _STRICT), Refusal):
                    return f"{at}: a {type(one).__name__} is not a JSON value"
    return "it is nested too deeply, or holds itself"
