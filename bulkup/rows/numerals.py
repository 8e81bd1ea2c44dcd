"""JSON's numbers as they are written, and what two of them have to do with each other: no double is made of any.

Two numbers are the same where their exact decimal values are: 1, 1.0, 1.00 and 10e-1 are, and so are 0 and -0. What a double keeps
of 123456789.123456789123 is another number.
"""

from __future__ import annotations

import re

__all__ = ["PLAIN_DIGITS", "canonical", "whole"]

_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
PLAIN_DIGITS = 4300
"""Up to so many digits an integer is written out, as many as Python reads; `1e999999999` is larger than memory."""

_WHOLE_DIGITS = 40

_EXPONENT_DIGITS = 1000


def canonical(number: str) -> str:
    """The one way to write the value of *number*, a JSON number: an integer of up to 4,300 digits plainly, else as `123e-5`."""
    found = _NUMBER.fullmatch(number)
    if found is None:
        raise ValueError(f"not a JSON number: {number[:40]!r}")
    sign, before, behind, exponent = found.groups()
    behind = behind or ""
    digits = (before + behind).lstrip("0")
    if not digits:
        return "0"
    if (
        exponent is not None and len(exponent) > _EXPONENT_DIGITS
    ):  # beyond Python's own integers: only the same text is the same
        return number
    least = digits.rstrip("0")
    shift = int(exponent or 0) - len(behind) + len(digits) - len(least)
    if 0 <= shift <= PLAIN_DIGITS - len(least):
        return sign + least + "0" * shift
    return f"{sign}{least}e{shift}"


def whole(number: str) -> int | None:
    """The integer that *number* is exactly; None where it is none, or one of over 40 digits."""
    text = canonical(number)
    digits = text.removeprefix("-")
    return int(text) if digits.isdecimal() and len(digits) <= _WHOLE_DIGITS else None
