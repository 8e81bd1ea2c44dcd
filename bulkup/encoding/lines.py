"""Where one line ends and the next begins: `\\n` or `\\r\\n`, and nothing else.

msgspec's line decoder accepts blank lines, two objects on a line and a row over two lines. What it decoded is one row a
line only if there are as many rows as lines and every break stands between `}` and `{`; `whole_lines` finds that out
without touching single rows in Python (measured: 0.9 GB/s for rows of 60 bytes, 7 GB/s for rows of 1 KB).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import repeat
from operator import itemgetter

from bulkup.light_dataclass import dataclass
from bulkup.model import Block

__all__ = ["SPACE", "Line", "WholeLines", "is_blank", "line_count", "lines_of", "whole_lines", "without_blanks"]

_BEGINS, _ENDS = {ord("{")}, {ord("}")}
_first, _before_break, _last = itemgetter(0), itemgetter(-2), itemgetter(-1)
SPACE = b" \t\r\n"
_BLANKS = re.compile(rb"\n[ \t\r\n]*\n")


@dataclass(frozen=True, slots=True)
class WholeLines:
    """Lines of which each begins with `{` and ends with `}`, joined by `\\n`; no break behind the last."""

    data: bytes
    count: int


def whole_lines(data: bytes) -> WholeLines | None:
    """*data* with every break made `\\n` and the last one taken off, if each line begins with `{` and ends with `}`."""
    if not data.startswith(b"{"):
        return None
    if not data.endswith(b"\n"):
        if data.endswith(b"\r"):  # half a break
            return None
        data += b"\n"
    count = _count(data)
    if count is None and b"\r" in data:
        data = _without_returns(data)
        count = _count(data)
    return None if count is None else WholeLines(data[:-1], count)


def line_count(data: bytes) -> int:
    """How many lines, the last with or without its break. Taking the breaks out is 2.5 times as fast as counting them."""
    breaks = len(data) - len(data.replace(b"\n", b""))
    return breaks if data.endswith(b"\n") or not data else breaks + 1


def without_blanks(data: bytes) -> WholeLines | None:
    """The lines of *data* that are not blank, white space around them taken off; None where one is not `{…}`, or there is none."""
    data = _BLANKS.sub(b"\n", data)  # at once, however many
    lines = list(map(bytes.strip, data.split(b"\n"), repeat(SPACE)))
    kept = list(filter(None, lines))
    if not kept or set(map(_first, kept)) != _BEGINS or set(map(_last, kept)) != _ENDS:
        return None
    return WholeLines(b"\n".join(kept), len(kept))


def is_blank(data: bytes) -> bool:
    """Whether all lines are blank."""
    return data.isspace() and b"\x0b" not in data and b"\x0c" not in data


def _count(data: bytes) -> int | None:
    """How many lines, each with its `\\n`, or None where one is not `{…}`."""
    lines = io.BytesIO(data).readlines()  # breaks found by memchr, lines copied: faster than any pattern
    # A line that begins with `{` has two bytes at least, so there is one before its break.
    if set(map(_first, lines)) != _BEGINS or set(map(_before_break, lines)) != _ENDS:
        return None
    return len(lines)


def _without_returns(data: bytes) -> bytes:
    bare = data.replace(b"\r", b"")
    lines = io.BytesIO(data).readlines()
    ends = sum(map(bytes.endswith, lines, repeat(b"\r\n")))
    if ends == len(data) - len(bare):  # every return stands before a newline: the usual case, and the fast one
        return bare
    return data.replace(b"\r\n", b"\n")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a block: its number, its first byte's position, its bytes without the break, and these stripped."""

    number: int
    position: int
    raw: bytes
    row: bytes


def lines_of(block: Block) -> Iterator[Line]:
    """The block's lines in order, blank ones (an empty `row`) included."""
    pieces = block.data.split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    at = block.start
    for number, piece in enumerate(pieces):
        raw = piece[:-1] if piece.endswith(b"\r") else piece
        position = at if block.offsets is None else block.offsets[number]
        yield Line(number, position, raw, raw.strip(SPACE))
        at += len(piece) + 1
