"""Which of the JSON shapes a text has, from its beginning: lines, an array, values one after the other, or what is not sent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from operator import itemgetter

import msgspec

from bulkup.encoding.utf8 import Utf8
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.element_ends import ObjectScanner
from bulkup.sources.format import Format
from bulkup.sources.head import SPACE, Head
from bulkup.sources.json_array import JSON_ARRAY
from bulkup.sources.json_lines import JSON_LINES, RETURN_LINES
from bulkup.sources.json_values import OBJECTS, ROWS_AT
from bulkup.sources.lone_object import fault_of_lone
from bulkup.sources.not_rows import (
    NotRows,
    another_encoding,
    another_kind,
    bulk_actions,
    is_row,
    no_json,
    no_table,
    python_repr,
)
from bulkup.sources.reading import Reading
from bulkup.sources.separated.dialect import Dialect, dialect_of, is_named_separated
from bulkup.sources.separated.format import SEPARATED

__all__ = ["SURE_BYTES", "are_plainly_lines", "is_plainly_lines", "shape_of"]


class _AnyObject(msgspec.Struct, gc=False):
    """An object, of which nothing is kept."""


_ARRAY = msgspec.json.Decoder(list[msgspec.Raw]).decode
_VALUES = msgspec.json.Decoder(msgspec.Raw).decode_lines
_ROWS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode_lines
_OBJECTS = msgspec.json.Decoder(_AnyObject).decode_lines
_BEGINS, _ENDS = {ord("{")}, {ord("}")}
_first, _before_break = itemgetter(0), itemgetter(-2)  # a line that begins with `{` has a byte before its break
_SURE_ROWS = 1
SURE_BYTES = 16 * 1024
_LONGEST_LOOK_BYTES = 64 * 1024 * 1024
_COUNTED_BYTES = 16 * 1024 * 1024
"""In so many bytes the rows under each key are counted; of a larger object only its beginning is looked into."""


def shape_of(head: Head, name: str, reading: Reading) -> Format | NotRows:
    """The format of the text that begins with *head*, in a file of that *name* (as it would be unpacked).

    Decided on the head, as far as that can be: where it is not seen whether the first object is all that the file holds, more is
    read, up to 64 MiB or the largest row.
    """
    if reading.as_lines:
        return JSON_LINES
    text = head.text()
    if not text:
        return no_table(name) or JSON_LINES
    found = another_kind(text)
    if found is not None:
        return found
    if reading.rows_at:
        return ROWS_AT
    if text.startswith(b"["):
        return _array_or_lines(head)
    if not text.startswith(b"{") and (reading.is_separated or is_named_separated(name)):
        separated = _separated(head, name, reading)
        if separated is not None:
            return separated
    if not text.startswith(b"{"):
        return _lines_or_nothing(head, name, reading)
    if b"\n" not in text and b"\r" not in text.rstrip(SPACE):
        text = head.text() if not _grown_to_line(head) else head.whole().lstrip(SPACE)
    while len(text) < SURE_BYTES and not head.is_pipe and head.grow():
        text = head.text()
    if is_plainly_lines(text[:SURE_BYTES]):
        return JSON_LINES
    if (found := bulk_actions(text)) is not None:
        return found
    shape = _objects(head, reading)
    if shape not in (JSON_LINES, RETURN_LINES):
        return shape
    lines = _lines(head)
    return another_encoding(lines) or python_repr(lines) or shape


def is_plainly_lines(text: bytes, *, is_all: bool = False) -> bool:
    """Whether a file's first `SURE_BYTES` show it without a look at each line: each break stands between two objects, the first
    one is a row, and all is UTF-8. *is_all*: nothing comes behind; then two rows are enough, but not one."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    # Of many small files this is most of the work. Breaks are found by memchr, which is faster than to count.
    lines = io.BytesIO(text).readlines()
    is_short = is_all and 1 < len(lines) <= _SURE_ROWS + 1
    if is_short and not lines[-1].endswith(b"\n"):
        return False
    if not is_short and len(lines) - (not text.endswith(b"\n")) <= _SURE_ROWS:
        return False
    if set(map(_first, lines)) != _BEGINS or not set(map(_before_break, lines if is_short else lines[:-1])) <= _ENDS:
        return False
    if bulk_actions(text) is not None or isinstance(attempt(_utf8, text), Refusal):
        return False
    sure = lines if is_short else lines[:_SURE_ROWS]
    rows = attempt(_ROWS, b"".join(sure))
    return not isinstance(rows, Refusal) and len(rows) == len(sure)


def are_plainly_lines(beginnings: Sequence[tuple[bytes, bool]], utf8: Utf8) -> bool:
    """Whether `is_plainly_lines` holds for each of *beginnings*, each with whether it is all. It is found out for all of them
    together, by *utf8* and others; where that is not sure it is False."""
    whole: list[bytes] = []
    sure: list[bytes] = []
    rows = 0
    for text, is_all in beginnings:
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        end = text.rfind(b"\n") + 1
        count = before = at = 0
        while at < end and count <= _SURE_ROWS:
            before, at, count = at, text.index(b"\n", at) + 1, count + 1
        is_short = is_all and at == end == len(text) and count > 1
        if not is_short and count <= _SURE_ROWS:
            return False
        if bulk_actions(text) is not None or text[end : end + 1] not in (b"", b"{"):
            return False
        whole.append(text[:end])
        sure.append(text[: at if is_short else before])
        rows += count if is_short else _SURE_ROWS
    together = b"".join(whole)
    lines = io.BytesIO(together).readlines()
    if set(map(_first, lines)) != _BEGINS or set(map(_before_break, lines)) != _ENDS:
        return False
    if not utf8.holds(together):
        return False
    found = attempt(_OBJECTS, b"".join(sure))
    return not isinstance(found, Refusal) and len(found) == rows


def _utf8(text: bytes) -> None:
    if not text.isascii():
        text[: text.rindex(b"\n")].decode()


def _grown_to_line(head: Head) -> bool:
    """Have a first line; whether all of the head was needed for it."""
    while b"\n" not in head.text():
        if not head.grow():
            return True
    return False


def _lines(head: Head, break_: bytes = b"\n") -> list[bytes]:
    """The lines that are there whole and not blank."""
    lines = head.decoded.split(break_)
    if not head.is_all:
        lines.pop()
    return [line for line in lines if not line.isspace() and line]


def _objects(head: Head, reading: Reading) -> Format | NotRows:
    """The text begins with an object."""
    if not head.is_pipe:
        head.whole()
    data = head.text()
    if b"\n" not in data and b"\r" in data:
        lines = _lines(head, b"\r")
        if len(lines) > 1 and 2 * sum(map(is_row, lines)) >= len(lines):
            return RETURN_LINES
    lines = _lines(head)
    rows = sum(map(is_row, lines))
    if len(lines) > 1 and 2 * rows >= len(lines):
        return JSON_LINES
    if len(lines) == 1 and rows and not head.is_all:  # of a pipe, or of a file with one more row that is large
        return _if_more_follows(head, reading, lines[0])
    return _by_first(head, reading, lines)


def _if_more_follows(head: Head, reading: Reading, line: bytes) -> Format | NotRows:
    """The first line is an object. Where it would be sent by itself as well, nobody has to wait for what follows."""
    fault = _fault(line, reading, is_whole=True)
    if fault is None or head.text()[len(line) :].lstrip(SPACE):
        return JSON_LINES
    while head.grow():
        if head.decoded.strip(SPACE) != line.strip(SPACE):
            return JSON_LINES
    return JSON_LINES if any(piece.strip(SPACE) for piece in head.behind()) else fault


@dataclass(slots=True)
class _First:
    """The first value of a text: whether it was seen to *end*, on the line on which it begins (*is_line*), and what follows."""

    text: bytes
    end: int | None
    is_line: bool
    following: bytes
    is_all: bool
    """Whether everything has been seen."""
    is_kept: bool = True
    """Whether *text* has all of it."""


def _by_first(head: Head, reading: Reading, lines: list[bytes]) -> Format | NotRows:
    """By where the first object ends, and what follows it."""
    first = _first_value(head, reading)
    look_like_rows = 2 * sum(map(_looks_like_row, lines)) > len(lines)
    is_lines = first.is_line or look_like_rows
    if first.end is None:  # it was cut off, or is larger than what is looked at
        fault = None if is_lines and len(lines) > 1 else _fault(first.text, reading, is_whole=False)
        return fault or (JSON_LINES if is_lines else OBJECTS)
    if not first.following and first.is_all:
        fault = _fault(first.text[: first.end], reading, is_whole=first.is_kept)
        return fault or (JSON_LINES if first.is_line else OBJECTS)
    if _are_values(lines, head) or (not look_like_rows and (not first.is_line or _spans_lines(head))):
        return OBJECTS
    return JSON_LINES


def _spans_lines(head: Head) -> bool:
    """Whether one of the objects that stand one after the other goes over several lines."""
    text, at = bytearray(head.text()), 0
    while text[at : at + 1] == b"{":
        scanner = ObjectScanner()
        scanner.pos = at
        end = scanner.end_of_element(text, len(text))
        if not _is_line(text[at:end]):
            return True
        if end is None:
            return False
        at = end + len(text[end:]) - len(text[end:].lstrip(SPACE + b","))
    return False


def _first_value(head: Head, reading: Reading) -> _First:
    text = bytearray(head.text())
    scanner = ObjectScanner()
    end = scanner.end_of_element(text, len(text))
    if end is None:
        head.whole()
        text = bytearray(head.text())
        end = scanner.end_of_element(text, len(text))
    if end is not None:
        following = bytes(text[end:].lstrip(SPACE))
        while not following and head.grow():
            following = head.text()[end:].lstrip(SPACE)
        if not following and not head.is_all:
            following = next((piece.lstrip(SPACE) for piece in head.behind() if piece.strip(SPACE)), b"")
        return _First(bytes(text), end, _is_line(text[:end]), following, is_all=True)
    if head.is_all:
        return _First(bytes(text), None, _is_line(text), b"", is_all=True)
    return _large_first(head, reading, text, scanner)


def _large_first(head: Head, reading: Reading, text: bytearray, scanner: ObjectScanner) -> _First:
    """The first value is larger than the head: its end is looked for, and what stands behind it."""
    bound = max(_LONGEST_LOOK_BYTES if not head.is_pipe else 0, reading.max_row_bytes + len(text))
    is_line, seen, end, is_kept = _is_line(text), len(text), None, True
    held = bytearray()
    start = scanner.pos  # where `held` begins in the text
    held += text[start:]
    scanner.dropped(start)
    for piece in head.behind():
        seen += len(piece)
        if end is None:
            held += piece
            found = scanner.end_of_element(held, len(held))
            if is_kept and len(text) + len(piece) <= _COUNTED_BYTES:
                text += piece
            else:
                is_kept = False
            is_line = is_line and _is_line(held[: found or len(held)])
            if found is None:
                count = scanner.pos
                del held[:count]
                scanner.dropped(count)
            else:
                following = bytes(held[found:].lstrip(SPACE))
                end = len(text) - (len(held) - found) if is_kept else len(text)
        else:
            following = piece.lstrip(SPACE)
        if end is not None and following:
            return _First(bytes(text), end, is_line, following, is_all=False, is_kept=is_kept)
        if seen > bound:
            return _First(bytes(text), end, is_line, b"", is_all=False, is_kept=is_kept)
    return _First(bytes(text), end, is_line, b"", is_all=True, is_kept=is_kept)


def _is_line(text: bytes | bytearray) -> bool:
    return b"\n" not in text and b"\r" not in text.rstrip(b"\r")


def _looks_like_row(line: bytes) -> bool:
    line = line.strip(SPACE)
    return line.startswith(b"{") and line.endswith((b"}", b"},"))


def _are_values(lines: list[bytes], head: Head) -> bool:
    """Whether most lines are several objects, or objects with commas behind them."""
    some = lines or [head.text()]
    return 2 * sum(map(_is_values, some)) > len(some)


def _is_values(line: bytes) -> bool:
    line = line.strip(SPACE)
    text = line.removesuffix(b",")
    found = attempt(_VALUES, text)
    if isinstance(found, Refusal):
        found = attempt(_ARRAY, b"[" + text + b"]")
    if isinstance(found, Refusal) or (len(found) < 2 and text == line):
        return False
    return all(bytes(raw).startswith(b"{") for raw in found)


def _fault(text: bytes, reading: Reading, *, is_whole: bool) -> NotRows | None:
    if reading.rows_at is not None:
        return None
    return fault_of_lone(text, reading.row_keys, is_whole=is_whole)


def _array_or_lines(head: Head) -> Format | NotRows:
    """It begins with `[`: an array, unless its first line is a whole one with other lines behind it."""
    text = head.text()
    while b"\n" not in text and head.grow():
        text = head.text()
    line, _, _ = text.partition(b"\n")
    if isinstance(attempt(_ARRAY, line), Refusal):
        return JSON_ARRAY
    _, *rest = head.whole().lstrip(SPACE).split(b"\n")
    if any(map(is_row, rest)):
        return JSON_LINES
    others = [other for other in rest if other.strip(SPACE)]
    if others and not isinstance(attempt(_ARRAY, others[0]), Refusal):
        return NotRows(
            "has an array in each line, and a row is an object. If each array is a row, name its parts: "
            "jq -c '{messages: .}'; if it holds rows: jq -c '.[]'"
        )
    return JSON_ARRAY


def _separated(head: Head, name: str, reading: Reading) -> Format | NotRows | None:
    """Separated text, if it is that, or why it cannot be read."""
    found = dialect_of(head.whole(), name, reading, is_all=head.is_all)
    return SEPARATED if isinstance(found, Dialect) else found


def _lines_or_nothing(head: Head, name: str, reading: Reading) -> Format | NotRows:
    """It begins with something else: lines, if there is a row among them. What stands before that is rejected rows."""
    lines = head.whole().split(b"\n")
    if any(map(is_row, lines)):
        return another_encoding([line for line in lines if line.strip(SPACE)]) or JSON_LINES
    if head.text().strip(SPACE) == b"null":
        return no_json(head.text(), name)
    return _separated(head, name, reading) or no_json(head.text(), name)
