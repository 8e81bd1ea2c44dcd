"""The usual form of a destination's rows as a regular language, and an automaton that says whether a block is in it.

Rows with their keys in one order, strings, integers and no free nesting are a regular language, so one pass of a compiled automaton
finds out what a decoder finds out by making every value: JSON's grammar, the keys, the types, one row a line. It makes no objects,
and steps over the inside of strings many bytes at a time. What it takes is a part of what the decoder takes (a test holds it to
that); what it does not take is for the decoder: other orders of keys, other white space, integers of 19 digits, keys in escapes.

The strings' UTF-8 is looked at besides (`bulkup.encoding.utf8`): an automaton that did both would have to stop at every byte above
127 (measured: a third of the speed).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from bulkup.encoding.utf8 import Utf8
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt

__all__ = [
    "BOOLEAN",
    "INTEGER",
    "STRING",
    "Automaton",
    "Finder",
    "Form",
    "Lines",
    "automaton_of",
    "ending_with",
    "exactly",
    "nullable",
    "one_of",
    "record",
]

_HEX = rb"[0-9a-fA-F]"
_ESCAPED = (
    rb"\\(?:[\x22\x5c/bfnrt]"
    rb"|u(?:[0-9a-ce-fA-CE-F]%b{3}|[dD][0-7]%b{2}|[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}))" % (_HEX, _HEX, _HEX, _HEX)
)
"""Half a surrogate pair is no character."""

_END = b"\0"
"""Stands behind the last row when it is looked for: no row can hold it, and with it the automaton needs no end of its own
(hyperscan makes a fast one only of patterns that do not ask for the end of the data)."""

_LONGEST = 3_000
"""Bytes of a row's pattern. Compiling takes longer faster than the pattern grows: 0.07 s for twelve columns, 0.22 s for twenty."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a value may look like: a pattern over bytes."""

    pattern: bytes


STRING = Form(rb"\x22(?:[^\x00-\x1f\x22\x5c]|%b)*\x22" % _ESCAPED)
INTEGER = Form(rb"(?:0|-?[1-9][0-9]{0,17})")
BOOLEAN = Form(rb"(?:true|false)")


def one_of(texts: Iterable[str]) -> Form:
    """One of these strings, written plainly."""
    written = [msgspec.json.encode(text) for text in texts]
    return Form(b"(?:%b)" % b"|".join(map(exactly, written)))


def nullable(form: Form) -> Form:
    """*form*, or null."""
    return Form(b"(?:null|%b)" % form.pattern)


def record(fields: Sequence[tuple[str, Form]], optional: Sequence[tuple[str, Form]] = ()) -> Form:
    """An object with these keys in this order, and any of *optional* behind them in theirs. *fields* must not be empty."""
    always = b", ?".join(_field(name, form) for name, form in fields)
    maybe = b"".join(b"(?:, ?%b)?" % _field(name, form) for name, form in optional)
    return Form(rb"\{%b%b\}" % (always, maybe))


def ending_with(last: Form, before: Form) -> Form:
    """An array: any number of *before*, and then *last*."""
    return Form(rb"\[(?:%b, ?)*%b\]" % (before.pattern, last.pattern))


def _field(name: str, form: Form) -> bytes:
    return exactly(msgspec.json.encode(name)) + b": ?" + form.pattern


def exactly(text: bytes) -> bytes:
    """The pattern of *text* itself."""
    return b"".join(b"\\x%02x" % byte for byte in text)


class Automaton:
    """Says whether data is nothing but rows of one form, a line each. For one thread at a time."""

    def __init__(self, row: Form) -> None:
        """Raises where *row* is too large for an automaton, ImportError where there are none on this machine."""
        self._utf8 = Utf8()
        self._rows = Lines(row)

    def takes(self, data: bytes) -> bool:
        """Whether *data* is one or more such rows joined by `\\n`, with or without one at its end, in UTF-8."""
        return self._rows.are_in(data) and self._utf8.holds(data)


class Lines:
    """Says whether data is nothing but lines of one form, whatever bytes stand in their strings. For one thread at a time."""

    def __init__(self, row: Form) -> None:
        """Raises where *row* is too large for an automaton, ImportError where there are none on this machine."""
        if len(row.pattern) > _LONGEST:
            raise ValueError("the pattern is too long")
        self._rows = _Scanner(rb"\A(?:%b\n)*%b\n?\x00" % (row.pattern, row.pattern))

    def are_in(self, data: bytes) -> bool:
        """Whether *data* is one or more such lines joined by `\\n`, with or without one at its end."""
        try:  # not by `attempt`, since this is called for each block
            end = self._rows.end_of_match(data, _END)
        except Exception:  # noqa: BLE001 - whatever a codec raises
            return False
        return end == len(data) + len(_END)  # a zero byte in the data ends it too early


def automaton_of(row: Form) -> Automaton | None:
    """The automaton for *row*, or None where there cannot be one."""
    made = attempt(Automaton, row)
    return None if isinstance(made, Refusal) else made


class Finder:
    """Says of data whether a pattern matches somewhere in it. For one thread at a time."""

    def __init__(self, pattern: bytes) -> None:
        """*pattern* is one of hyperscan's and of `re`'s, which does the work on a machine without hyperscan, slower."""
        self._slow = re.compile(pattern).search
        self._scanner = attempt(_Scanner, pattern)

    def finds(self, data: bytes) -> bool:
        """Whether the pattern matches somewhere in *data*."""
        if not isinstance(self._scanner, Refusal):
            end = attempt(self._scanner.end_of_match, data)
            if not isinstance(end, Refusal):
                return end is not None
        return self._slow(data) is not None


class _Scanner:
    """Finds where a pattern's first match ends."""

    def __init__(self, pattern: bytes) -> None:
        import hyperscan  # not needed to import bulkup

        self._database = _compiled(pattern)
        self._scratch = hyperscan.Scratch(self._database)
        self._end: int | None = None

    def end_of_match(self, *data: bytes) -> int | None:
        """In the *data* joined together, which is not copied for that. Raises what hyperscan raises."""
        self._end = None
        self._database.scan(list(data), match_event_handler=self._on_match, scratch=self._scratch)
        return self._end

    def _on_match(self, _pattern: int, _start: int, end: int, _flags: int, _context: object) -> None:
        self._end = end


@lru_cache(maxsize=32)
def _compiled(pattern: bytes) -> Any:
    """The pattern's database, which any number of scanners may share, each with a scratch of its own."""
    import hyperscan

    database = hyperscan.Database(mode=hyperscan.HS_MODE_VECTORED)
    flags = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_DOTALL
    database.compile(expressions=[pattern], ids=[0], elements=1, flags=[flags])
    return database
