"""What bulkup takes for true of each service and cannot prove: a run's guarantee rests on it.

`docs/guarantees.md` has the same sentences; a test keeps them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ASSUMPTIONS", "Assumption", "Ground", "assumptions_for"]

BOTH = ("nebius", "collinear")


class Ground(StrEnum):
    """How surely it is known."""

    CONFIRMED = "confirmed"
    """The vendor's published reference or OpenAPI says so in words. The shape of an answer is not yet what it proves."""

    OPEN = "open"
    """No document says so."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """One sentence, and the services of which it is assumed."""

    text: str
    services: tuple[str, ...]
    ground: Ground


ASSUMPTIONS = (
    Assumption(
        "An upload under the name of a dataset that is there is appended to it, and its answer gives each row back with an id.",
        ("collinear",),
        Ground.CONFIRMED,
    ),
    Assumption(
        "Each create makes one dataset, and its answer is that dataset's record.", ("nebius",), Ground.CONFIRMED
    ),
    Assumption(
        "A 2xx with a dataset's record and status READY means that all of its rows are stored.",
        ("nebius",),
        Ground.OPEN,
    ),
    Assumption(
        "A 2xx that gives back as many rows as were sent, each with an id of its own, means that all of them are stored.",
        ("collinear",),
        Ground.OPEN,
    ),
    Assumption("A 429, and a 503 with Retry-After, stores nothing.", BOTH, Ground.OPEN),
    Assumption("A 413 stores nothing.", BOTH, Ground.OPEN),
    Assumption("A 400 or a 422 stores nothing.", ("nebius",), Ground.OPEN),
    Assumption("A 422 stores nothing.", ("collinear",), Ground.OPEN),
    Assumption("A 401, 402, 403, 404, 405, 3xx or other 4xx stores nothing.", BOTH, Ground.OPEN),
    Assumption("A request is stored whole or not at all.", ("nebius",), Ground.OPEN),
    Assumption("A request is stored whole or not at all, unless it was answered 400.", ("collinear",), Ground.OPEN),
    Assumption(
        "What is stored without an answer is stored within the quiet period (--settle-after) after its last byte, or is found "
        "by the audit at the run's end.",
        BOTH,
        Ground.OPEN,
    ),
    Assumption(
        "A list of datasets that shows one stored later shows those stored earlier, and read to its end it leaves out none of the "
        "folder's.",
        ("nebius",),
        Ground.OPEN,
    ),
    Assumption(
        "Nobody else makes datasets with this run's names (NAME, or NAME, tile and hash) in the folder.",
        ("nebius",),
        Ground.OPEN,
    ),
    Assumption(
        "A dataset's row count that has stood still for a quiet period counts every row that was stored before.",
        ("collinear",),
        Ground.OPEN,
    ),
    Assumption("Nobody else writes to the dataset while the run lasts.", ("collinear",), Ground.OPEN),
    Assumption(
        "A row read back has the content that was sent; null and an absent column are the same.",
        ("nebius",),
        Ground.OPEN,
    ),
    Assumption(
        "A row read back has the content and the id that its upload's answer gave.", ("collinear",), Ground.OPEN
    ),
)
"""In the order of the page."""


def assumptions_for(service: str) -> tuple[str, ...]:
    """The sentences that hold for *service*."""
    return tuple(a.text for a in ASSUMPTIONS if service in a.services)
