"""Rejected rows of a lane as the lines that `rejects.jsonl` gets, whoever rejected them."""

from __future__ import annotations

from collections.abc import Iterable

from bulkup.flow.context import LaneContext
from bulkup.flow.draft import Placed
from bulkup.journal.dead_letter import dead_letter

__all__ = ["dead_letters"]


def dead_letters(lane: LaneContext, rows: Iterable[Placed], *, isolated: bool = True) -> bytes:
    """A line for each of *rows*. *isolated* as in `dead_letter`."""
    return b"".join(
        dead_letter(
            lane.name,
            placed.reject,
            file=lane.source.files[placed.file].uri,
            byte_offset=lane.source.locate(placed.reject.position)[1],
            line_in_chunk=placed.line,
            with_row=lane.chosen.run.rejects_content,
            isolated=isolated,
        )
        for placed in rows
    )
