"""Rejected rows by reason: what a person fixes first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from functools import lru_cache

from bulkup.light_dataclass import dataclass

__all__ = ["REASONS_SHOWN", "Reasons", "RejectedFor", "kind_of_reason"]

REASONS_SHOWN = 5

_MOST_KINDS = 10_000
"""A source whose every reason is of its own kind must not fill the memory; what comes later is counted as one kind."""

_VALUE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|the (?:number|integer) \S+|\d+(?:[.,]\d+)*""")
_INDEX = re.compile(r"\[\d+\]")
_OPTION = re.compile(r"--[a-z-]+ '[^']*'")


@dataclass(frozen=True, slots=True)
class RejectedFor:
    """*rows* rows were rejected for reasons that differ in nothing but values. *reason* is the first one's, as it stands there, and
    *file* and *row_number* say where that row is (None where that is not known)."""

    rows: int
    reason: str
    file: str | None = None
    row_number: int | None = None


@dataclass(slots=True)
class _Kind:
    rows: int
    position: int
    reason: str
    first: object


@lru_cache(maxsize=4096)
def kind_of_reason(stage: str, place: str | None, reason: str) -> tuple[str, str, str]:
    """What two reasons have in common that are the same to a person: all but the values and the places within a row."""
    words = reason if place is None else reason.removeprefix(f"{place}: ")
    return stage, _INDEX.sub("[…]", place or ""), _VALUE.sub("…", _OPTION.sub("…", words))


@dataclass(slots=True)
class Reasons:
    """Counts rejected rows, in any order."""

    _kinds: dict[tuple[str, str, str], _Kind] = field(default_factory=dict)

    def add(self, *, stage: str, place: str | None, reason: str, position: int, first: object = None) -> None:
        """One rejected row. *first* is handed out again with the row of its kind that stands first in the source."""
        kind = kind_of_reason(stage, place, reason)
        found = self._kinds.get(kind)
        if found is None and len(self._kinds) >= _MOST_KINDS:
            kind, reason = ("", "", ""), "other reasons"
            found = self._kinds.get(kind)
        if found is None:
            self._kinds[kind] = _Kind(1, position, reason, first)
            return
        found.rows += 1
        if position < found.position and kind[0]:
            found.position, found.reason, found.first = position, reason, first

    def __len__(self) -> int:
        return len(self._kinds)

    def commonest(self, at_most: int = REASONS_SHOWN) -> list[tuple[RejectedFor, object]]:
        """The kinds with most rows, each with what was given as *first* of its first row."""
        most: Iterable[_Kind] = sorted(self._kinds.values(), key=lambda kind: (-kind.rows, kind.position))[:at_most]
        return [(RejectedFor(kind.rows, kind.reason), kind.first) for kind in most]
