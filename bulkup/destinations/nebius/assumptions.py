"""What is taken for true of Nebius."""

from __future__ import annotations

from bulkup.destinations.assumptions import OTHER_REFUSALS, QUIET_PERIOD, TOLD_TO_WAIT, TOO_LARGE, Assumption, Ground

__all__ = ["ASSUMPTIONS"]

ASSUMPTIONS = (
    Assumption("Each create makes one dataset, and its answer is that dataset's record.", Ground.CONFIRMED),
    Assumption(
        "A 2xx with a dataset's record and status READY means that all of its rows are stored.",
        Ground.OPEN,
    ),
    TOLD_TO_WAIT,
    TOO_LARGE,
    Assumption("A 400 or a 422 stores nothing.", Ground.OPEN),
    OTHER_REFUSALS,
    Assumption("A request is stored whole or not at all.", Ground.OPEN),
    QUIET_PERIOD,
    Assumption(
        "A list of datasets that shows one stored later shows those stored earlier, and read to its end it leaves out none of the "
        "folder's.",
        Ground.OPEN,
    ),
    Assumption(
        "Nobody else makes datasets with this run's names (NAME, or NAME, tile and hash) in the folder.",
        Ground.OPEN,
    ),
    Assumption(
        "A row read back has the content that was sent; null and an absent column are the same.",
        Ground.OPEN,
    ),
)
"""In the order of the page."""
