"""Why rows would be rejected: each reason with a count and its first places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from bulkup.account.reasons import MOST_KINDS, OTHER_REASONS, ReasonKind, coarser, is_coarse, kind_of_reason
from bulkup.light_dataclass import dataclass
from bulkup.model import Reject
from bulkup.scan.seen import Place

__all__ = ["PLACES", "Reason", "Rejects", "joined_reasons", "most_frequent_first"]

PLACES = 3
"""Of each reason."""


@dataclass(frozen=True, slots=True)
class Reason:
    """*text* is what was said of the first row, *count* of how many rows the like was said, *places* are the first of these. *kind*
    is what they have in common."""

    text: str
    count: int
    places: tuple[Place, ...]
    kind: ReasonKind = ("", "", "")


class Rejects:
    """Counts rejected rows by reason, in their order. Reasons that differ in values alone are one."""

    def __init__(self) -> None:
        self._reasons: dict[ReasonKind, Reason] = {}

    def add(self, reject: Reject, place: Place) -> None:
        """Count *reject*, the row at *place*."""
        kind = kind_of_reason(reject.stage, reject.field, reject.reason)
        self._reasons = _with(self._reasons, Reason(reject.reason, 1, (place,), kind))

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """In the order of their first rows."""
        return tuple(self._reasons.values())


def joined_reasons(left: Sequence[Reason], right: Sequence[Reason]) -> tuple[Reason, ...]:
    """Those of two parts of a source, *right* behind *left*."""
    found = {reason.kind: reason for reason in left}
    for reason in right:
        found = _with(found, reason)
    return tuple(found.values())


def most_frequent_first(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """As they are shown."""
    return tuple(sorted(reasons, key=lambda reason: (-reason.count, reason.places[0])))


def _with(found: dict[ReasonKind, Reason], more: Reason) -> dict[ReasonKind, Reason]:
    """*found* with *more* added; another one, of coarser kinds, where there are too many, or *more* is of one."""
    if not any(map(is_coarse, islice(found, 1))) and (
        is_coarse(more.kind) or (more.kind not in found and len(found) >= MOST_KINDS)
    ):
        fine, found = found, {}
        for reason in fine.values():
            _add(found, replace(reason, kind=coarser(reason.kind)))
    if any(map(is_coarse, islice(found, 1))) and not is_coarse(more.kind):
        more = replace(more, kind=coarser(more.kind))
    _add(found, more)
    return found


def _add(found: dict[ReasonKind, Reason], more: Reason) -> None:
    if more.kind not in found and len(found) >= MOST_KINDS:
        more = replace(more, text=OTHER_REASONS[2], kind=OTHER_REASONS)
    known = found.get(more.kind)
    if known is not None:
        places, text = known.places, known.text
        if len(places) < PLACES or more.places[0] < places[-1]:
            text = text if places[0] <= more.places[0] else more.text
            places = tuple(sorted((*places, *more.places))[:PLACES])
        more = replace(known, text=text, count=known.count + more.count, places=places)
    found[more.kind] = more
