"""What of a config can be kept and sent: values that JSON has a form for, nested only so deep."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

__all__ = ["MOST_NESTED", "trouble_in"]

MOST_NESTED = 64
"""Tables and arrays within each other. No config needs that many, and every codec takes them."""

_NAME_CHARS = 100


def trouble_in(value: Any) -> str | None:
    """What keeps *value* (of TOML, or a caller's) from being used, and the place it stands in; None where it is sound."""
    left: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while left:
        place, part = left.pop()
        inner: Iterable[tuple[Any, Any]] = ()
        if isinstance(part, dict):
            inner = part.items()
        elif isinstance(part, list | tuple):
            inner = enumerate(part)
        else:
            what = _trouble(part)
            if what is not None:
                return f"{_name(place)}: {what}"
        for key, item in inner:
            if not isinstance(key, str | int) or _trouble(key) is not None:
                return f"{_name(place)}: a key must be text, not {ascii(key)[:_NAME_CHARS]}"
            if len(place) >= MOST_NESTED:
                return f"{_name(place)}: nested more than {MOST_NESTED} deep"
            left.append(((*place, str(key)), item))
    return None


def _trouble(value: Any) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            return None if _is_text(value) else "it holds a lone surrogate, which UTF-8 has no form for"
        case int():
            return None if -(2**63) <= value < 2**64 else "a whole number must fit into 64 bits"
        case float():
            return None if math.isfinite(value) else f"JSON has no form for the number {value}"
        case _:
            return f"a {type(value).__name__} has no form in JSON; write it as text"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(place: tuple[str, ...]) -> str:
    name = ".".join(place[:MOST_NESTED])
    short = name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) or "the table"
