"""What a column of separated text holds: text, unless every value of the whole source is a number, or true or false.

A value keeps its characters: `02` is a text, and so are all values of its column. The patterns are Rust's and Python's alike.
"""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["NOTHING", "PATTERNS", "TRUTHS", "Kind", "as_json_text", "kind_of_type", "usual"]

_LARGEST = str(2**63 - 1)


class Kind(StrEnum):
    """How the values of a column are written as JSON, where they have its form; else they are strings."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


def _up_to_largest() -> str:
    """A pattern of the whole numbers of 19 digits that 64 bits hold."""
    ways = [
        f"{_LARGEST[:place]}[{0 if place else 1}-{int(digit) - 1}][0-9]{{{len(_LARGEST) - place - 1}}}"
        for place, digit in enumerate(_LARGEST)
        if int(digit) > (0 if place else 1)
    ]
    return "|".join([*ways, _LARGEST])


_SHORT = "0|[1-9][0-9]{0,17}"
_WHOLE = f"(?:0|-?(?:[1-9][0-9]{{0,17}}|{_up_to_largest()})|-{2**63})"
_EXPONENT = "[eE](?:-[0-9]{1,3}|[+]?(?:[0-9]{1,2}|[01][0-9]{2}|2[0-8][0-9]))"
_FRACTION = "[.][0-9]{1,400}"
PATTERNS = {
    Kind.INTEGER: f"^(?:{_WHOLE})$",
    Kind.NUMBER: f"^(?:-0|{_WHOLE}|-?(?:{_SHORT})(?:{_FRACTION}(?:{_EXPONENT})?|{_EXPONENT}))$",
    Kind.BOOLEAN: "^(?:true|false|True|False|TRUE|FALSE)$",
}
"""What a value of the kind looks like. `-0` is a number and no integer: as an integer it would lose its sign."""

TRUTHS = ("^(?:true|false)$", "^(?:True|False)$", "^(?:TRUE|FALSE)$")
"""In one of these ways all values of a column must be written, for it to be one of true and false."""

NOTHING = "^$"
"""What no value looks like."""

_USUAL = {
    PATTERNS[Kind.INTEGER]: rb"(?:0|-?[1-9][0-9]{0,17})",
    PATTERNS[Kind.NUMBER]: rb"(?:-?(?:0|[1-9][0-9]{0,17})(?:[.][0-9]{1,24})?(?:[eE][-+]?[0-9]{1,2})?)",
    PATTERNS[Kind.BOOLEAN]: rb"(?:true|false|True|False|TRUE|FALSE)",
    **{truth: truth[1:-1].encode() for truth in TRUTHS},
}

_COMPILED = {kind: re.compile(pattern[:-1] + r"\Z") for kind, pattern in PATTERNS.items()}
_NAMED = {"integer": Kind.INTEGER, "boolean": Kind.BOOLEAN, "string": Kind.STRING}
_NUMBERS = {"number", "double", "float"}


def as_json_text(text: str, kind: Kind | None) -> str | None:
    """*text* as the kind writes it in JSON, None where it must be a string."""
    if kind is None or kind is Kind.STRING or _COMPILED[kind].match(text) is None:
        return None
    return text.lower() if kind is Kind.BOOLEAN else text


def usual(pattern: str) -> bytes:
    """A pattern of bytes for most of what *pattern*, one of the above, takes, and nothing else: its automaton is small."""
    return _USUAL[pattern]


def kind_of_type(name: object) -> Kind | None:
    """The kind of a column whose type a person has said, None where that says nothing of how it is written."""
    if not isinstance(name, str):
        return None
    name = name.removesuffix("?")
    return Kind.NUMBER if name in _NUMBERS else _NAMED.get(name)
