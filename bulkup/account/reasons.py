"""Rejected rows by reason: what a person fixes first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from functools import lru_cache

from bulkup.light_dataclass import dataclass

__all__ = [
    "MOST_KINDS",
    "OTHER_REASONS",
    "REASONS_SHOWN",
    "ReasonKind",
    "Reasons",
    "RejectedFor",
    "coarser",
    "is_coarse",
    "kind_of_reason",
]

REASONS_SHOWN = 5

MOST_KINDS = 1000
"""A source whose every reason is of its own kind must not fill the memory. Where there are more, places within rows do not count;
if that are more too, what comes later is counted as one kind."""

OTHER_REASONS = ("", "", "other reasons")

ReasonKind = tuple[str, str, str]

_VALUE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|the (?:number|integer) \S+|\d+(?:[.,]\d+)*""")
_INDEX = re.compile(r"\[\d+\]")
_ANYWHERE = "\0"  # no place holds it: control characters are escaped there
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
def kind_of_reason(stage: str, place: str | None, reason: str) -> ReasonKind:
    """What two reasons have in common that are the same to a person: all but the values and the places within a row."""
    words = reason if place is None else reason.removeprefix(f"{place}: ")
    return stage, _INDEX.sub("[…]", place or ""), _VALUE.sub("…", _OPTION.sub("…", words))


def coarser(kind: ReasonKind) -> ReasonKind:
    """*kind* wherever in a row it is: of keys that are values each has a kind of its own."""
    return kind[0], _ANYWHERE, kind[2]


def is_coarse(kind: ReasonKind) -> bool:
    """Whether *kind* was made by `coarser`, or is what else there was."""
    return kind[1] == _ANYWHERE or kind == OTHER_REASONS


@dataclass(slots=True)
class Reasons:
    """Counts rejected rows, in any order."""

    _kinds: dict[ReasonKind, _Kind] = field(default_factory=dict)
    _is_coarse: bool = False

    def add(self, *, stage: str, place: str | None, reason: str, position: int, first: object = None) -> None:
        """One rejected row. *first* is handed out again with the row of its kind that stands first in the source."""
        kind = kind_of_reason(stage, place, reason)
        if not self._is_coarse and kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            self._is_coarse = True
            kinds, self._kinds = self._kinds, {}
            for known, found in kinds.items():
                self._put(coarser(known), found)
        self._put(coarser(kind) if self._is_coarse else kind, _Kind(1, position, reason, first))

    def _put(self, kind: ReasonKind, more: _Kind) -> None:
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind, more = OTHER_REASONS, _Kind(more.rows, more.position, OTHER_REASONS[2], None)
        found = self._kinds.setdefault(kind, more)
        if found is more:
            return
        found.rows += more.rows
        if more.position < found.position and kind != OTHER_REASONS:
            found.position, found.reason, found.first = more.position, more.reason, more.first

    def __len__(self) -> int:
        return len(self._kinds)

    def commonest(self, at_most: int = REASONS_SHOWN) -> list[tuple[RejectedFor, object]]:
        """The kinds with most rows, each with what was given as *first* of its first row."""
        most: Iterable[_Kind] = sorted(self._kinds.values(), key=lambda kind: (-kind.rows, kind.position))[:at_most]
        return [(RejectedFor(kind.rows, kind.reason), kind.first) for kind in most]
