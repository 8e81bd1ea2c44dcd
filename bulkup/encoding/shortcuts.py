"""Ways to a body that make nothing of the values: what stands between them is replaced, in a whole block at once.

Where all rows of a block have one form, written in one style, which an automaton finds out (`bulkup.encoding.language`), the bytes
between their values are known. None of these can stand inside a string: each holds a quote with no backslash before it, or a break.
Nor can one begin at another quote than its own, which would make a key of what stands between two strings: that has a comma, a
colon or a break in it, and keys with one of these are left to the codecs. So replacing makes the destination's rows of the
source's, with the values' own tokens, as the codecs do; a test holds both to the same bytes. Measured in pairs against them: twice
as fast for chat turns as text, 1.6 times for rows of 150 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from bulkup.encoding.language import STRING, Form, ending_with, exactly, record
from bulkup.encoding.row_types import is_odd
from bulkup.light_dataclass import dataclass

__all__ = ["STYLES", "Shortcut", "Style", "as_they_are", "strings_moved", "turns_as_text"]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """*body* makes of rows of *form*, a line each with no break behind the last, what a codec makes of them, joined by commas.
    All of them begin with *begins*."""

    form: Form
    begins: bytes
    body: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Style:
    """What a writer of JSON puts between values, and behind keys."""

    comma: bytes
    colon: bytes


STYLES = (Style(b",", b":"), Style(b", ", b": "))
"""Of orjson, jq and JavaScript; and of Python's json."""


def as_they_are(form: Form) -> Shortcut:
    """Rows of *form* as their own bytes."""
    return Shortcut(form, b"{", lambda data: data.replace(b"\n", b","))


def strings_moved(keys: Sequence[str], literals: Sequence[bytes]) -> tuple[Shortcut, ...]:
    """Rows of just *keys*, in that order, all with strings; their tokens go between *literals*, one more, in the same order.

    Nothing where a key is there twice or has to be escaped, or where one could be mistaken: for what stands between two strings
    (keys with a comma or a colon), or for what *literals* put beside it.
    """
    if len(set(keys)) < len(keys) or not keys or is_odd(keys) or any("," in key or ":" in key for key in keys):
        return ()
    found = [_moved(keys, literals, style) for style in STYLES]
    return tuple(shortcut for shortcut in found if shortcut is not None)


def _moved(keys: Sequence[str], literals: Sequence[bytes], style: Style) -> Shortcut | None:
    first, *others = [
        (style.comma if place else b"{") + msgspec.json.encode(key) + style.colon for place, key in enumerate(keys)
    ]
    begin, *between, end = literals
    pairs = [(b'"%b"' % source, b'"%b"' % target) for source, target in zip(others, between, strict=True)]
    pairs.append((b'"}\n%b"' % first, b'"%b,%b"' % (end, begin)))
    if any(later in target for place, (_, target) in enumerate(pairs) for later, _ in pairs[place + 1 :]):
        return None

    def body(data: bytes) -> bytes:
        for source, target in pairs:
            data = data.replace(source, target)
        return b"".join((begin, memoryview(data)[len(first) : -1], end))

    pattern = b"".join(exactly(key) + STRING.pattern for key in (first, *others)) + exactly(b"}")
    return Shortcut(Form(pattern), first + b'"', body)


_TURN_KEYS = (("role", "content"), ("content", "role"), ("from", "value"), ("value", "from"))


def turns_as_text(key: str) -> tuple[Shortcut, ...]:
    """Rows of nothing but *key* with an array of chat turns, all with their keys in one order: the array's own text in a string.

    An automaton does not see that two keys are the same, so these are keys that are known.
    """
    return tuple(_as_text(msgspec.json.encode(key), keys, style) for keys in _TURN_KEYS for style in STYLES)


def _as_text(name: bytes, keys: Sequence[str], style: Style) -> Shortcut:
    turn = record([(inner, STRING) for inner in keys])
    first, array = b"{" + name + style.colon, ending_with(turn, turn)
    begin, end = b"{%b:" % name + b'"', b'"}'
    escaped_first = _escaped(first)

    def body(data: bytes) -> bytes:
        data = _escaped(data).replace(b"]}\n" + escaped_first + b"[", b"]" + end + b"," + begin + b"[")
        return b"".join((begin, memoryview(data)[len(escaped_first) : -1], end))

    form = Form(exactly(first) + array.pattern + exactly(b"}"))
    return Shortcut(form, first + b"[{" + msgspec.json.encode(keys[0]), body)


def _escaped(data: bytes) -> bytes:
    return data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
