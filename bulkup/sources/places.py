"""Where a position lies: in which file, and where in it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

__all__ = ["place_of"]


def place_of(position: int, bases: Sequence[int]) -> tuple[int, int]:
    """The number of the file that holds *position*, and the byte offset in it. *bases*: the positions at which the files begin."""
    index = max(bisect_right(bases, position) - 1, 0)
    return index, position - bases[index]
