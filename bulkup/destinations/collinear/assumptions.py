"""What is taken for true of Collinear."""

from __future__ import annotations

from bulkup.destinations.assumptions import OTHER_REFUSALS, QUIET_PERIOD, TOLD_TO_WAIT, TOO_LARGE, Assumption, Ground

__all__ = ["ASSUMPTIONS"]

ASSUMPTIONS = (
    Assumption(
        "An upload under the name of a dataset that is there is appended to it, and its answer gives each row back with an id.",
        Ground.CONFIRMED,
    ),
    Assumption(
        "A 2xx that gives back as many rows as were sent, each with an id of its own, means that all of them are stored.",
        Ground.OPEN,
    ),
    TOLD_TO_WAIT,
    TOO_LARGE,
    Assumption("A 422 stores nothing.", Ground.OPEN),
    OTHER_REFUSALS,
    Assumption("A request is stored whole or not at all, unless it was answered 400.", Ground.OPEN),
    QUIET_PERIOD,
    Assumption(
        "A dataset's row count that has stood still for a quiet period counts every row that was stored before.",
        Ground.OPEN,
    ),
    Assumption("Nobody else writes to the dataset while the run lasts.", Ground.OPEN),
    Assumption("A row read back has the content and the id that its upload's answer gave.", Ground.OPEN),
)
"""In the order of the page."""
