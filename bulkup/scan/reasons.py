"""Why rows would be rejected: each reason with a count and its first places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bulkup.account.reasons import kind_of_reason
from bulkup.light_dataclass import dataclass
from bulkup.model import Reject
from bulkup.scan.seen import Place

__all__ = ["PLACES", "Reason", "Rejects", "joined_reasons", "most_frequent_first"]

PLACES = 3
"""Of each reason."""

_MOST_REASONS = 1000
_OTHERS = ("", "", "other reasons")
"""What comes after so many different reasons is counted as one."""


@dataclass(frozen=True, slots=True)
class Reason:
    """*text* is what was said of the first row, *count* of how many rows the like was said, *places* are the first of these. *kind*
    is what they have in common."""

    text: str
    count: int
    places: tuple[Place, ...]
    kind: tuple[str, str, str] = ("", "", "")


class Rejects:
    """Counts rejected rows by reason, in their order. Reasons that differ in values alone are one."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str, str], Reason] = {}

    def add(self, reject: Reject, place: Place) -> None:
        """Count *reject*, the row at *place*."""
        kind = kind_of_reason(reject.stage, reject.field, reject.reason)
        _add(self._reasons, Reason(reject.reason, 1, (place,), kind))

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """In the order of their first rows."""
        return tuple(self._reasons.values())


def joined_reasons(left: Sequence[Reason], right: Sequence[Reason]) -> tuple[Reason, ...]:
    """Those of two parts of a source, *right* behind *left*."""
    found = {reason.kind: reason for reason in left}
    for reason in right:
        _add(found, reason)
    return tuple(found.values())


def most_frequent_first(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """As they are shown."""
    return tuple(sorted(reasons, key=lambda reason: (-reason.count, reason.places[0])))


def _add(found: dict[tuple[str, str, str], Reason], more: Reason) -> None:
    if more.kind not in found and len(found) >= _MOST_REASONS:
        more = replace(more, text=_OTHERS[2], kind=_OTHERS)
    known = found.get(more.kind)
    if known is not None:
        places = known.places
        if len(places) < PLACES or more.places[0] < places[-1]:
            places = tuple(sorted((*places, *more.places))[:PLACES])
        more = replace(known, count=known.count + more.count, places=places)
    found[more.kind] = more
