"""Where the elements of a JSON array end, found exactly, in one pass, whatever is wrong inside of them."""

from __future__ import annotations

import re
import sys

__all__ = ["ElementScanner", "MemberScanner", "ObjectScanner"]

# Possessive throughout (`*+`, `++`): each byte is looked at once, and nothing is ever tried again. A class of one byte
# (`[^"]`) is several times faster than one of two, so a string whose first quote may be escaped is the exception.
# Before 3.11.5 what a possessive group (`(…)*+`) has taken of a string that then turns out to be none is not given back
# (https://github.com/python/cpython/issues/106052), unless an atomic group is around it, which takes longer.
_STRING = rb'"[^"]*+"(?<!\\")' if sys.version_info >= (3, 11, 5) else rb'(?>"[^"]*+"(?<!\\"))'
_INSIDE = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+")
_BETWEEN = re.compile(rb'(?:[^"{}\[\],]++|' + _STRING + rb")*+")
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_OPENING, _CLOSING = re.compile(rb"[{\[]++"), re.compile(rb"[}\]]++")

_QUOTE, _COMMA, _BACKSLASH = b'",\\'
_OPEN = b"[{"
_COMMA_OR_END_OF_ARRAY = (_COMMA, ord("]"))


class ElementScanner:
    """Brackets counted outside of strings. It goes on where it stopped when more bytes have come.

    *pos* is the index of the next byte to look at.
    """

    _ends: tuple[int, ...] = _COMMA_OR_END_OF_ARRAY
    _ends_closed = False

    def __init__(self) -> None:
        self.pos = 0
        self._depth = 0
        self._in_string = False

    def end_of_element(self, held: bytearray, limit: int) -> int | None:
        """The index before *limit* of the `,` or `]` that ends the element begun, or None where that comes later."""
        while self.pos < limit:
            if self._in_string:
                found = _REST_OF_STRING.match(held, self.pos, limit)
                assert found is not None
                self.pos = found.end()
                if self.pos == limit or held[self.pos] == _BACKSLASH:  # whose other half is still to come
                    return None
                self._in_string = False
                self.pos += 1
                continue
            found = (_INSIDE if self._depth else _BETWEEN).match(held, self.pos, limit)
            assert found is not None
            self.pos = found.end()
            if self.pos == limit:
                return None
            byte = held[self.pos]
            if byte == _QUOTE:
                self._in_string = True
            elif byte in _OPEN:
                run = self._run(_OPENING, held, limit)
                self._depth += run
                self.pos += run - 1
            elif self._depth:
                run = min(self._depth, self._run(_CLOSING, held, limit))
                self._depth -= run
                self.pos += run - 1
                if self._ends_closed and not self._depth:
                    self.pos += 1
                    return self.pos
            elif byte in self._ends:
                return self.pos
            self.pos += 1
        return None

    def _run(self, brackets: re.Pattern[bytes], held: bytearray, limit: int) -> int:
        """How many *brackets* stand here side by side: millions are counted at once."""
        found = brackets.match(held, self.pos, limit)
        assert found is not None
        return found.end() - self.pos

    def dropped(self, count: int) -> None:
        """The first *count* bytes held are gone."""
        self.pos -= count


class MemberScanner(ElementScanner):
    """The end of a value in an object or an array: the `,`, `]` or `}` behind it."""

    _ends = (*_COMMA_OR_END_OF_ARRAY, ord("}"))


class ObjectScanner(ElementScanner):
    """The end of an object (or an array) that stands by itself: the index behind its closing bracket."""

    _ends = ()
    _ends_closed = True
