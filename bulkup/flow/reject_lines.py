"""Rejected rows of a lane as the lines that `rejects.jsonl` gets, whoever rejected them."""

from __future__ import annotations

from collections.abc import Iterable

from bulkup.flow.context import LaneContext
from bulkup.flow.draft import Placed
from bulkup.journal.reject_line import reject_line

__all__ = ["reject_lines"]


def reject_lines(lane: LaneContext, rows: Iterable[Placed], *, isolated: bool = True) -> bytes:
    """A line for each of *rows*. *isolated* as in `reject_line`."""
    return b"".join(
        reject_line(
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
