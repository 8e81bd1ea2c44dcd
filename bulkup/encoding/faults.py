"""Why a row was refused, in words that a person can act on.

Verdicts are the codecs'. What stands here runs only on rows that are already refused, so it may take its time.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec
from msgspec import Raw

from bulkup.encoding.depth import MOST_NESTED
from bulkup.light_dataclass import dataclass
from bulkup.model import Stage
from bulkup.refusal import Irregular, Refusal
from bulkup.settings.repair import Repair

__all__ = ["TOO_DEEP", "Fault", "number_text", "one_line", "read_row", "said", "unfit"]

_BOM = b"\xef\xbb\xbf"
_SPACE = " \t\r\n"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
_SAID_CHARS = 60
_REASON_CHARS = 500
TOO_DEEP = f"nested too deeply to be read; brackets may stand {MOST_NESTED:,} deep within each other"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one row: the stage that found it, the field it stands in, one line for a person."""

    stage: Stage
    field: str | None
    reason: str


def one_line(text: str, max_chars: int = _REASON_CHARS) -> str:
    """*text* with what would break or hide a line escaped, cut to *max_chars*: keys are the source's, and may be anything."""
    short = text if len(text) <= max_chars else text[: max_chars - 1] + "…"
    return short if short.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


class _NotJsonError(ValueError):
    """A word that Python's decoder takes and JSON does not have."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJsonError(f"{name} is not a JSON value; --repair {Repair.NAN} sends null in its place")


class _Double(float):
    """A double that knows how the number was written: `1e-400` is not said to be 0.0."""

    def __new__(cls, text: str) -> _Double:
        made = super().__new__(cls, text)
        made._text = text
        return made

    def __repr__(self) -> str:
        return self._text if len(self._text) <= _SAID_CHARS else self._text[: _SAID_CHARS - 1] + "…"

    _text: str


def number_text(value: Any) -> str | None:
    """The characters of *value* where it is a number with a point or an exponent, or `-0`, as decoders carry it; else None. Of a
    double that does not know its own they are those of its value."""
    if isinstance(value, Raw):
        return str(value, "ascii")
    if isinstance(value, _Double):
        return value._text
    if not isinstance(value, float):
        return None
    text = getattr(value, "text", None)  # as a function is given them
    return text if isinstance(text, str) else repr(value)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_Double)


def said(value: Any) -> str:
    """*value* as it is named in a reason: `the string 'x'`, `the integer 5`, `an array of 3`, `null`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            short = value if len(value) <= _SAID_CHARS else value[: _SAID_CHARS - 1] + "…"
            return f"the string {short!r}"
        case int():
            return f"the integer {value}" if abs(value) < 10**_SAID_CHARS else "an integer beyond 64 bits"
        case float():
            return f"the number {value!r}"
        case Raw():
            return f"the number {_Double(str(value, 'ascii'))!r}"
        case list():
            return f"an array of {len(value)}"
        case _:
            return "an object"


def read_row(line: bytes) -> dict[str, Any] | Fault:
    """The object that *line* holds, or the fault that keeps it from being read (stage `read`, bytes counted from 0)."""
    if line.lstrip().startswith(_BOM):
        return _unread("a byte order mark stands before the row")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        what = f"not UTF-8: byte 0x{line[error.start]:02x} at byte {error.start}"
        return _unread(f"{what}; a whole file in another encoding is read with --encoding NAME, in a new run")
    begin = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _DECODER.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        return _unread(_not_json(text, error))
    except RecursionError:
        return _unread(TOO_DEEP)
    except ValueError as error:
        if isinstance(error, _NotJsonError):
            return _unread(f"not valid JSON: {error}")
        return _unread(
            f"an integer of more than {sys.get_int_max_str_digits():,} digits, which is not read where it must be understood"
        )
    rest = text[end:].lstrip(_SPACE)
    if rest:
        at = len(text[: len(text) - len(rest)].encode())
        what = "two objects on one line: the second begins" if rest[0] == "{" else "something follows the row"
        return _unread(f"{what} at byte {at}")
    if not isinstance(value, dict):
        return _unread(f"a row must be an object, this is {said(value)}")
    found = _SURROGATE.search(text)
    if found and _lone_surrogate(value):
        at = len(text[: found.start()].encode())
        return _unread(
            f"not valid text: a lone surrogate escape at or after byte {at}, which no UTF-8 can hold; "
            f"--repair {Repair.SURROGATES} puts U+FFFD in its place"
        )
    return value


def _unread(reason: str) -> Fault:
    return Fault(Stage.READ, None, reason)


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    at = len(text[: error.pos].encode())
    if error.pos >= len(text.rstrip(_SPACE)) or error.msg.startswith("Unterminated string"):
        return f"not valid JSON: the line ends before the row does (what is open begins at or before byte {at})"
    if text[error.pos : error.pos + 1] == "\0":
        return f"not valid JSON: a raw control character at byte {at} (a line break in a string of an array is shown as \\u0000)"
    what = error.msg.removesuffix(" at")
    return f"not valid JSON: {what[0].lower()}{what[1:]} at byte {at}"


def unfit(line: bytes, value: dict[str, Any], refused: Refusal | None) -> Fault:
    """The fault of a row that reads well and whose values fit, and that the strict codec still refused, as *refused* says."""
    if _out_of_range(value):
        return _unread("a number is too large for a double")
    doubled: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return dict(pairs)

    json.loads(line, object_pairs_hook=note)
    if doubled:
        return Fault(
            Stage.VALIDATE, doubled[0], f"{doubled[0]}: the key stands more than once, with a value that is no good"
        )
    if refused is None or isinstance(refused.why, Irregular | msgspec.MsgspecError | UnicodeError):
        return Fault(Stage.VALIDATE, None, "the row does not fit the destination's shape")
    if isinstance(refused.why, RecursionError):
        return _unread(TOO_DEEP)
    return Fault(Stage.VALIDATE, None, f"the row cannot be encoded ({refused})")


def _lone_surrogate(value: Any) -> bool:
    return any(isinstance(part, str) and _HALF_PAIR.search(part) is not None for part in _parts(value))


def _out_of_range(value: Any) -> bool:
    return any(isinstance(part, float) and math.isinf(part) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """Every key and every value within *value*, however deep."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            left.extend(part)
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
        else:
            yield part
