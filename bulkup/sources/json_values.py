"""JSON values one after the other, however they are laid out, and the rows that stand somewhere inside of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from bulkup.model import Block, LongRow
from bulkup.refusal import Refusal, attempt
from bulkup.sources.element_ends import MemberScanner, ObjectScanner
from bulkup.sources.format import Format, Item
from bulkup.sources.json_array import ArrayCutter
from bulkup.sources.json_path import path_text

__all__ = ["OBJECTS", "ROWS_AT", "ValuesCutter"]

_VALUES = msgspec.json.Decoder(msgspec.Raw)
_KEY = msgspec.json.Decoder(str)
_OBJECT, _ARRAY, _END_OBJECT, _END_ARRAY, _COMMA = b"{[}],"
_SPACE = re.compile(rb"[ \t\r\n]*+")
_BETWEEN = re.compile(rb"[ \t\r\n]*+(?:,[ \t\r\n]*+)*+")
_NAME = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:', re.DOTALL)

_LONGEST_KEY = 64 * 1024
_MOST_NESTED = 1000


class _InnerArray(ArrayCutter):
    """An array with something behind it. Once it is *closed*, *rest* is what was held of that, and *position* where it begins."""

    @property
    def closed(self) -> bool:
        return self._is_behind

    @property
    def position(self) -> int:
        return self._start

    def rest(self) -> bytes:
        """What stands behind it, as far as it was fed."""
        return bytes(self._held)

    def _skip_separators(self) -> None:
        if not self.closed:
            super()._skip_separators()

    def _look_behind(self) -> None:
        """That is somebody else's."""


class _Objects(_InnerArray):
    """Objects one after the other, with white space, commas or nothing between them; or a *single* one. Closed by anything else."""

    _new_scanner = ObjectScanner
    _at_end = "ends inside an object"

    def __init__(self, start: int, *, block_bytes: int, max_row_bytes: int, single: bool) -> None:
        super().__init__(start, block_bytes=block_bytes, max_row_bytes=max_row_bytes)
        self._single = single
        self._begin_elements()

    def finish(self) -> list[Item]:
        items = self._cut_all(last=True)
        if not self.closed and (self._held or self._scanner is not None):
            items += super().finish()
        return items

    def _skip_separators(self) -> None:
        if self._scanner is not None or self.closed:
            return
        self._drop(_matched(_SPACE if self._single else _BETWEEN, self._held))
        if self._held and self._held[0] != _OBJECT:
            self._close()

    def _cut(self, *, last: bool) -> Item | None:
        item = super()._cut(last=last)
        if item is not None and self._single:
            self._close()
        return item

    def _fast(self, *, last: bool) -> Block | None:
        if self._single:
            return None
        if last and len(self._held) < self._block_bytes:
            body = bytes(self._held)
            if raws := self._decode_some(body):
                return self._block_of(raws, body, len(body))
        return super()._fast(last=False)

    def _decode_some(self, prefix: bytes) -> list[msgspec.Raw] | None:
        found = attempt(_VALUES.decode_lines, prefix)
        if isinstance(found, Refusal):  # there may be commas
            return super()._decode_some(prefix) if b"," in self._likely.partition(b"{")[0] else None
        return found if all(memoryview(raw)[0] == _OBJECT for raw in found) else None

    def _next(self, end: int) -> int | None:
        at = _matched(_BETWEEN, self._held, end)
        return at if not self._single and self._held[at : at + 1] == b"{" else None


class _Expect(Enum):
    VALUE = auto()
    KEY = auto()
    AFTER = auto()


class ValuesCutter:
    """The rows at *rows_at* in JSON values one after the other: each element of an array that stands there, or the object itself.

    A step goes through arrays: it is taken in each of their members. What stands elsewhere is passed over, without being held. A
    null in the place of the rows, and a value that has no such place, hold no rows.

    Lines, positions, broken elements and blocks are as with `ArrayCutter`, which cuts the rows. Holds at most *max_row_bytes* and
    a piece, and a block of rows of small arrays.
    """

    def __init__(self, start: int, *, block_bytes: int, max_row_bytes: int, rows_at: Sequence[str] = ()) -> None:
        self.trouble: str | None = None
        self._path = tuple(rows_at)
        self._held = bytearray()
        self._start = start  # the position of the first byte held
        self._sizes = {"block_bytes": min(block_bytes, max_row_bytes), "max_row_bytes": max_row_bytes}
        self._part: _InnerArray | None = None
        self._skipped: MemberScanner | None = None
        self._within: list[tuple[int, int]] = []  # the brackets around, and how many steps were taken before each
        self._expect, self._steps = _Expect.VALUE, 0
        self._anything = self._found = False
        self._pending: list[Block] = []
        self._pending_bytes = 0

    def feed(self, piece: bytes) -> list[Item]:
        """Take *piece*; what is complete now."""
        self._held += piece
        return self._cut_all(last=False)

    def finish(self) -> list[Item]:
        """The rest, an incomplete last row included: the input ends here."""
        items = self._cut_all(last=True)
        self._flush(items)
        if self.trouble is None and (self._within or self._held or self._expect is _Expect.KEY):
            self.trouble = "ends inside a JSON value"
        if self.trouble is None and self._anything and not self._found:
            self.trouble = f"nothing stands at {path_text(self._path)}, where --rows-at looks for the rows"
        return items

    def _cut_all(self, *, last: bool) -> list[Item]:
        items: list[Item] = []
        while self.trouble is None and (self._cut_part(items, last=last) if self._part is not None else self._step()):
            pass
        if self.trouble is not None:
            self._flush(items)
        return items

    def _cut_part(self, items: list[Item], *, last: bool) -> bool:
        """Go on with the rows begun; whether they have come to their end."""
        part = self._part
        assert part is not None
        data = bytes(self._held)
        self._held.clear()
        found = part.feed(data)
        if last and not part.closed:
            found += part.finish()
        for item in found:
            self._take(item, items)
        self.trouble = part.trouble
        if not part.closed:
            return False
        self._part, self._expect = None, _Expect.AFTER
        self._held += part.rest()
        self._start = part.position
        return True

    def _take(self, item: Item, items: list[Item]) -> None:
        """Blocks of a few rows become one."""
        if isinstance(item, LongRow) or self._pending_bytes + len(item.data) > self._sizes["block_bytes"]:
            self._flush(items)
        if isinstance(item, LongRow):
            items.append(item)
            return
        self._pending.append(item)
        self._pending_bytes += len(item.data) + 1

    def _flush(self, items: list[Item]) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if len(pending) < 2:
            items += pending
            return
        offsets = [offset for block in pending for offset in block.offsets or ()]
        data = b"\n".join(block.data for block in pending)
        items.append(Block(data, pending[0].start, pending[-1].end, offsets))

    def _step(self) -> bool:
        """Go to the next token; whether there is one that is held whole."""
        if self._skipped is not None:
            return self._skip()
        self._drop(_matched(_SPACE, self._held))
        if not self._held:
            return False
        match self._expect:
            case _Expect.VALUE:
                self._value(self._held[0])
            case _Expect.KEY:
                return self._key(self._held[0])
            case _Expect.AFTER:
                self._behind_value(self._held[0])
        return True

    def _value(self, first: int) -> None:
        if first == _END_ARRAY and self._within and self._within[-1][0] == _ARRAY:
            self._leave()
        elif self._steps == len(self._path):
            self._rows(first)
        elif first in (_OBJECT, _ARRAY):
            if len(self._within) == _MOST_NESTED:
                self.trouble = f"is nested too deeply at position {self._start:,}"
                return
            self._anything = True
            self._within.append((first, self._steps))
            self._expect = _Expect.KEY if first == _OBJECT else _Expect.VALUE
            self._drop(1)
        elif self._within:
            self._skipped = MemberScanner()
        else:
            self.trouble = f"position {self._start:,} begins neither an object nor an array"

    def _rows(self, first: int) -> None:
        """The rows begin here."""
        if first == _ARRAY:
            self._part = _InnerArray(self._start, **self._sizes)
        elif first == _OBJECT:
            self._part = _Objects(self._start, **self._sizes, single=bool(self._within))
        elif first == ord("n") and self._within:
            self._skipped = MemberScanner()
        else:
            self.trouble = (
                f"neither an object nor an array stands at {path_text(self._path)} (position {self._start:,})"
            )
            return
        self._anything = self._found = True

    def _key(self, first: int) -> bool:
        if first == _END_OBJECT:
            self._leave()
            return True
        if first == _COMMA:
            self._drop(1)
            return True
        name = _NAME.match(self._held)
        if name is None:
            if first != ord('"') or len(self._held) > _LONGEST_KEY:
                self.trouble = f"is no JSON at position {self._start:,}, where a key should stand"
            return False
        steps = self._within[-1][1]
        if attempt(_KEY.decode, name[1]) == self._path[steps]:
            self._expect, self._steps = _Expect.VALUE, steps + 1
        else:
            self._skipped = MemberScanner()
        self._drop(name.end())
        return True

    def _behind_value(self, first: int) -> None:
        if not self._within:
            self._expect, self._steps = _Expect.VALUE, 0
            if first == _COMMA:
                self._drop(1)
            return
        bracket, steps = self._within[-1]
        if first == _COMMA:
            self._drop(1)
            self._expect, self._steps = (_Expect.KEY if bracket == _OBJECT else _Expect.VALUE), steps
        elif first == (_END_OBJECT if bracket == _OBJECT else _END_ARRAY):
            self._leave()
        else:
            self.trouble = f"is no JSON at position {self._start:,}, where a comma or a bracket should stand"

    def _leave(self) -> None:
        self._within.pop()
        self._drop(1)
        self._expect = _Expect.AFTER

    def _skip(self) -> bool:
        """Pass over a value; whether its end was found."""
        assert self._skipped is not None
        end = self._skipped.end_of_element(self._held, len(self._held))
        if end is None:
            count = self._skipped.pos
            self._drop(count)
            self._skipped.dropped(count)
            return False
        self._skipped, self._expect = None, _Expect.AFTER
        self._drop(end)
        return True

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._start += count


def _matched(pattern: re.Pattern[bytes], text: bytearray, at: int = 0) -> int:
    found = pattern.match(text, at)
    assert found is not None
    return found.end()


OBJECTS = Format(name="values", title="JSON values", cutter=ValuesCutter)
"""Objects and arrays one after the other, pretty-printed or not."""

ROWS_AT = Format(name="rows-at", title="rows inside of JSON", cutter=ValuesCutter, takes_path=True)
"""What `--rows-at` asks for; the file says where its rows stand."""
