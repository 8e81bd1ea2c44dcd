"""A JSON array that comes in pieces of any size, made into blocks of JSON lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from itertools import accumulate, chain, repeat
from operator import add

import msgspec

from bulkup.model import HEAD_BYTES, Block, LongRow
from bulkup.refusal import Refusal, attempt
from bulkup.sources.element_ends import ElementScanner
from bulkup.sources.format import Format, Item
from bulkup.sources.head import SPACE

__all__ = ["JSON_ARRAY", "ArrayCutter", "json_line"]

_TRIES = 2
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_SEPARATORS = re.compile(rb"[ \t\r\n,]*+")
_FIRST_KEY = re.compile(rb'\{[ \t\r\n]*+(?:"[^"\\]{0,64}")?')


class _Phase(Enum):
    BEFORE = auto()
    ELEMENTS = auto()
    TOO_LONG = auto()
    BEHIND = auto()


class ArrayCutter:
    """Each element is one line of a block. A newline between its tokens becomes a space. One inside a string is no JSON: it becomes
    a zero byte, which no JSON holds either. The encoder rejects a row of an array with one under every validation.

    Where blocks are cut depends on the content and *block_bytes* alone. The fast way looks for the last place in a
    window that looks like the separator seen last, and proves it by decoding what stands before; where that fails,
    or an element is broken, the brackets are counted. So a broken element whose brackets balance is one line. Empty
    elements (`,,` and a comma before the `]`) are passed over. Holds at most *max_row_bytes* and a piece.

    *trouble* says what is wrong with the array as a whole, once that is known; nothing comes after that.
    """

    _new_scanner: type[ElementScanner] = ElementScanner
    _at_end = "the array ends before its closing ]"

    def __init__(self, start: int, *, block_bytes: int, max_row_bytes: int) -> None:
        self.trouble: str | None = None
        self._held = bytearray()
        self._start = start  # the position of the first byte held
        self._phase = _Phase.BEFORE
        self._scanner: ElementScanner | None = None  # of an element longer than a window
        self._likely = b""
        self._head = b""
        self._head_start = start
        self._block_bytes = min(block_bytes, max_row_bytes)
        self._max_row_bytes = max_row_bytes

    def feed(self, piece: bytes) -> list[Item]:
        """Take *piece*; what is complete now."""
        self._held += piece
        return self._cut_all(last=False)

    def finish(self) -> list[Item]:
        """The rest, an incomplete last element included: the input ends here."""
        items = self._cut_all(last=True)
        if self._phase is _Phase.TOO_LONG:
            items.append(self._end_long(len(self._held)))
        elif self._phase is _Phase.ELEMENTS and self._held:
            items.append(self._one(len(self._held)))
        if self._phase is not _Phase.BEHIND and self.trouble is None:
            self.trouble = self._at_end
        return items

    @property
    def _is_behind(self) -> bool:
        return self._phase is _Phase.BEHIND

    def _begin_elements(self) -> None:
        self._phase = _Phase.ELEMENTS

    def _close(self) -> None:
        self._phase = _Phase.BEHIND

    def _cut_all(self, *, last: bool) -> list[Item]:
        items = []
        while self.trouble is None and (item := self._cut(last=last)) is not None:
            items.append(item)
        return items

    def _cut(self, *, last: bool) -> Item | None:
        if self._phase is _Phase.TOO_LONG:
            return self._go_on_long()
        self._skip_separators()
        if self._phase is not _Phase.ELEMENTS or not self._held:
            return None
        if self._scanner is None:
            if len(self._held) < self._block_bytes and not last:
                return None
            block = self._fast(last=last) or self._exact()
            if block is not None:
                return block
        return self._go_on_element()

    def _skip_separators(self) -> None:
        """Go to the next element's first byte, or behind the array."""
        if self._scanner is not None:
            return
        self._drop(_end(_SEPARATORS, self._held))
        if not self._held:
            return
        if self._phase is _Phase.BEFORE:
            if self._held[0] != ord("["):
                self.trouble = "does not begin with ["
                return
            self._phase = _Phase.ELEMENTS
            self._drop(_end(_SEPARATORS, self._held, 1))
        if self._phase is _Phase.ELEMENTS and self._held[:1] == b"]":
            self._phase = _Phase.BEHIND
            self._drop(1)
        if self._phase is _Phase.BEHIND:
            self._look_behind()

    def _look_behind(self) -> None:
        self._drop(_end(_SPACE, self._held))
        if self._held:
            self.trouble = "there are bytes other than white space behind the closing ]"

    def _fast(self, *, last: bool) -> Block | None:
        """The elements up to the last likely separator in the window, if they prove to be elements."""
        held = self._held
        if last and len(held) < self._block_bytes:
            body = bytes(held).rstrip(SPACE)
            if raws := self._decode_rest(body):
                return self._block_of(raws, body[:-1], len(body) - 1)
        end = self._block_bytes
        for _ in range(_TRIES if self._likely else 0):
            end = held.rfind(self._likely, 0, end) + 1
            if not end:
                break
            prefix = bytes(held[:end])
            if raws := self._decode_some(prefix):
                return self._block_of(raws, prefix, end)
        return None

    def _decode_rest(self, body: bytes) -> list[msgspec.Raw] | None:
        """The elements of *body*, the last byte of which is no part of them."""
        return _decode(b"[" + body) if body.endswith(b"]") else None

    def _decode_some(self, prefix: bytes) -> list[msgspec.Raw] | None:
        """The elements of *prefix*, if it ends with one."""
        return _decode(b"[%b]" % prefix)

    def _next(self, end: int) -> int | None:
        """Where the element behind the one that ended at *end* begins; None where there is none."""
        return None if self._held[end] == ord("]") else _end(_SPACE, self._held, end + 1)

    def _block_of(self, raws: list[msgspec.Raw], text: bytes, end: int) -> Block:
        """The block of *raws*, the elements of *text*, which is what is held up to *end*."""
        offsets: Sequence[int]
        sizes = list(map(len, raws))
        gap = self._gap(raws, text)
        if gap is not None:
            steps = map(add, sizes[:-1], repeat(len(gap)))
            offsets = list(accumulate(chain((self._start,), steps)))
        else:
            offsets, at = [], 0
            for size in sizes:
                at = _end(_SEPARATORS, text, at)
                offsets.append(self._start + at)
                at += size
        block = Block(_lines(raws), offsets[0], offsets[-1] + sizes[-1], offsets)
        self._drop(end)
        return block

    def _gap(self, raws: list[msgspec.Raw], text: bytes) -> bytes | None:
        """What stands between any two elements, where it is the same everywhere."""
        first = len(raws[0])
        gap = text[first : _end(_SEPARATORS, text, first)]
        return gap if gap.join(raws) == text else None

    def _exact(self) -> Block | None:
        """The elements that end in the window, found by counting brackets; None where the first is longer."""
        held, scanner = self._held, self._new_scanner()
        limit = min(self._block_bytes, len(held))
        spans: list[tuple[int, int]] = []
        start = 0
        while (end := scanner.end_of_element(held, limit)) is not None:
            text = bytes(held[start:end]).rstrip(b" \t\r\n")
            if text:
                spans.append((start, start + len(text)))
            following = self._next(end)
            if following is None:
                break
            start = scanner.pos = following
        if not spans:
            self._scanner = scanner
            return None
        self._learn(spans)
        data = b"\n".join([json_line(bytes(held[start:end])) for start, end in spans])
        offsets = [self._start + start for start, _ in spans]
        block = Block(data, offsets[0], self._start + spans[-1][1], offsets)
        self._drop(spans[-1][1])
        return block

    def _learn(self, spans: list[tuple[int, int]]) -> None:
        """What separates the last two elements is what the fast way looks for."""
        if len(spans) < 2:
            return
        (_, end), (start, _) = spans[-2:]
        key = _FIRST_KEY.match(self._held, start)
        if key is not None and self._held[end - 1 : end] == b"}":
            self._likely = bytes(self._held[end - 1 : key.end()])

    def _go_on_element(self) -> Item | None:
        """An element longer than a window: go on looking for its end, as long as it may be sent."""
        assert self._scanner is not None
        end = self._scanner.end_of_element(self._held, len(self._held))
        if end is not None:
            self._scanner = None
            return self._one(end)
        if self._scanner.pos > max(self._max_row_bytes, HEAD_BYTES):
            self._head, self._head_start = self._head_of(HEAD_BYTES), self._start
            self._phase = _Phase.TOO_LONG
            self._drop_scanned()
        return None

    def _go_on_long(self) -> LongRow | None:
        assert self._scanner is not None
        end = self._scanner.end_of_element(self._held, len(self._held))
        if end is None:
            self._drop_scanned()
            return None
        return self._end_long(end)

    def _one(self, end: int) -> Item:
        """The element that is held up to *end*, by itself."""
        start = self._start
        if end > self._max_row_bytes:
            item: Item = LongRow(self._head_of(min(end, HEAD_BYTES)), start, start + end)
        else:
            text = bytes(self._held[:end]).rstrip(b" \t\r\n")
            item = Block(json_line(text), start, start + len(text), (start,))
        self._drop(end)
        return item

    def _head_of(self, count: int) -> bytes:
        """The first bytes of a row that is refused for its length, on one line."""
        return bytes(self._held[:count]).replace(b"\n", b" ")

    def _end_long(self, end: int) -> LongRow:
        row = LongRow(self._head, self._head_start, self._start + end)
        self._scanner, self._phase = None, _Phase.ELEMENTS
        self._drop(end)
        return row

    def _drop_scanned(self) -> None:
        assert self._scanner is not None
        count = self._scanner.pos
        self._drop(count)
        self._scanner.dropped(count)

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._start += count


_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING_OR_NEWLINE = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|\n', re.DOTALL)
_NOT_JSON = b"\0"


def _lines(raws: Sequence[msgspec.Raw]) -> bytes:
    """Elements that have proved to be JSON, a line each: none of them holds a zero byte, nor a newline in a string."""
    if b"\n" not in b"".join(raws):  # nine times as fast as counting them
        return b"\n".join(raws)
    return _NOT_JSON.join(raws).replace(b"\n", b" ").replace(_NOT_JSON, b"\n")


def json_line(element: bytes) -> bytes:
    """*element*, JSON or not, as one line of the same length, by the rule of `ArrayCutter`."""
    return _STRING_OR_NEWLINE.sub(_without_newline, element) if b"\n" in element else element


def _without_newline(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return b" " if text == b"\n" else text.replace(b"\n", _NOT_JSON)


def _end(pattern: re.Pattern[bytes], text: bytes | bytearray, at: int = 0) -> int:
    """Where the run of *pattern* that begins at *at* ends."""
    found = pattern.match(text, at)
    assert found is not None
    return found.end()


def _decode(text: bytes) -> list[msgspec.Raw] | None:
    found = attempt(_ELEMENTS.decode, text)
    return None if isinstance(found, Refusal) else found


class ArraysCutter(ArrayCutter):
    """As `ArrayCutter`; other arrays may follow."""

    def _skip_separators(self) -> None:
        super()._skip_separators()
        while self._is_behind and self._held[:1] == b"[":
            self._begin_elements()
            self._drop(1)
            super()._skip_separators()

    def _look_behind(self) -> None:
        self._drop(_end(_SPACE, self._held))
        if self._held[:1] != b"[":
            super()._look_behind()


JSON_ARRAY = Format(name="array", title="a JSON array", cutter=ArraysCutter)
