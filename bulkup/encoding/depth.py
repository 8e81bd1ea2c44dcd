"""How deep a row may be nested: a fixed number, so that the same row is taken wherever it is looked at.

Codecs count their own depth and the calls that led to them together, and stop at Python's recursion limit. So the same row may pass
in an upload and not in `verify`, which stands a few calls deeper. What they do not take for that reason is tried again with room
enough.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MOST_NESTED", "depth_of", "room_to_recurse"]

MOST_NESTED = 1000
"""Brackets within each other, the row's own among them. More than Python's recursion limit lets a codec take without
`room_to_recurse` (994), less than simdjson's and orjson's 1,024."""

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]++|[\]}]++', re.DOTALL)
_CALLS = 8 * MOST_NESTED


def depth_of(row: bytes) -> int:
    """How many brackets stand open at once in *row*; looked at until there are more than `MOST_NESTED`."""
    depth = most = 0
    for found in _TOKEN.finditer(row):
        token = found[0]
        if token[0] in b"[{":
            depth += len(token)
            most = max(most, depth)
            if most > MOST_NESTED:
                break
        elif token[0] in b"]}":
            depth -= len(token)
    return most


@contextmanager
def room_to_recurse() -> Iterator[None]:
    """Room for what recurses as deep as `MOST_NESTED`, however deep the caller stands."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + _CALLS)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
