"""Why rows would be rejected: each reason with a count and its first places."""

from __future__ import annotations

from dataclasses import replace

from bulkup.account.reasons import kind_of_reason
from bulkup.light_dataclass import dataclass
from bulkup.model import Reject
from bulkup.scan.seen import Place

__all__ = ["PLACES", "Reason", "Rejects"]

PLACES = 3
"""Of each reason."""

_MOST_REASONS = 1000
_OTHERS = ("", "", "other reasons")
"""What comes after so many different reasons is counted as one."""


@dataclass(frozen=True, slots=True)
class Reason:
    """*text* is what was said of the first row, *count* of how many rows the like was said, *places* are the first of these."""

    text: str
    count: int
    places: tuple[Place, ...]


class Rejects:
    """Counts rejected rows by reason, in their order. Reasons that differ in values alone are one."""

    def __init__(self) -> None:
        self.count = 0
        self._reasons: dict[tuple[str, str, str], Reason] = {}

    def add(self, reject: Reject, place: Place) -> None:
        """Count *reject*, the row at *place*."""
        self.count += 1
        kind, text = kind_of_reason(reject.stage, reject.field, reject.reason), reject.reason
        if kind not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            kind, text = _OTHERS, _OTHERS[2]
        known = self._reasons.get(kind)
        if known is None:
            self._reasons[kind] = Reason(text, 1, (place,))
            return
        places = known.places if len(known.places) == PLACES else (*known.places, place)
        self._reasons[kind] = replace(known, count=known.count + 1, places=places)

    def reasons(self) -> tuple[Reason, ...]:
        """The most frequent first."""
        return tuple(sorted(self._reasons.values(), key=lambda reason: (-reason.count, reason.places[0])))
