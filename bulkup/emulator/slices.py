"""The elements of a JSON array as the bytes that they are: what was sent is what is stored, digit by digit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

__all__ = ["elements", "rows_of"]

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)


class _Body(msgspec.Struct):
    rows: msgspec.Raw


_BODY = msgspec.json.Decoder(_Body)


def rows_of(body: bytes | bytearray) -> list[bytes] | None:
    """The elements of the array under `rows` in *body*, valid JSON; None where it is nested too deeply to say."""
    try:
        return elements(_BODY.decode(body).rows)
    except (msgspec.MsgspecError, RecursionError):
        return None


def elements(array: bytes | bytearray | memoryview | msgspec.Raw) -> list[bytes]:
    """The elements of *array*, which is valid JSON."""
    try:
        return list(map(bytes, _ELEMENTS.decode(array)))
    except (msgspec.MsgspecError, RecursionError):  # deeper than the decoder goes
        return list(_counted(bytes(array)))


def _counted(array: bytes) -> Iterator[bytes]:
    depth = start = 0
    for found in _MARK.finditer(array):
        mark = found[0]
        if mark in (b"[", b"{"):
            depth += 1
            start = found.end() if depth == 1 else start
        elif mark in (b"]", b"}"):
            depth -= 1
        if depth == (0 if mark == b"]" else 1) and mark in (b",", b"]"):
            element = array[start : found.start()].strip(b" \t\r\n")
            start = found.end()
            if element:
                yield element
