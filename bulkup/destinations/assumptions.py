"""What is taken for true of a service and cannot be proved: a run's guarantee rests on it.

Each service has its own; here are the sentences that are assumed of more than one. `docs/guarantees.md` has them all, and a test
keeps the two equal.
"""

from __future__ import annotations

from enum import StrEnum

from bulkup.light_dataclass import dataclass

__all__ = ["OTHER_REFUSALS", "QUIET_PERIOD", "TOLD_TO_WAIT", "TOO_LARGE", "Assumption", "Ground"]


class Ground(StrEnum):
    """How surely it is known."""

    CONFIRMED = "confirmed"
    """The vendor's published reference or OpenAPI says so in words. The shape of an answer is not yet what it proves."""

    OPEN = "open"
    """No document says so."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """One sentence."""

    text: str
    ground: Ground


TOLD_TO_WAIT = Assumption("A 429, and a 503 with Retry-After, stores nothing.", Ground.OPEN)

TOO_LARGE = Assumption("A 413 stores nothing.", Ground.OPEN)

OTHER_REFUSALS = Assumption("A 401, 402, 403, 404, 405, 3xx or other 4xx stores nothing.", Ground.OPEN)

QUIET_PERIOD = Assumption(
    "What is stored without an answer is stored within the quiet period (--settle-after) after its last byte, or is found "
    "by the audit at the run's end.",
    Ground.OPEN,
)
