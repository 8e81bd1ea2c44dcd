"""How many chunks a plan will make, where that is certain before anything is read again."""

from __future__ import annotations

from bulkup.flow.tiling import Limits
from bulkup.rows.schema import Holds, Kind
from bulkup.scan.counting import SMALL_ROW
from bulkup.scan.found import Found
from bulkup.sources import Source

__all__ = ["certain_chunks"]


def certain_chunks(found: Found, source: Source, *, tile_bytes: int, limits: Limits) -> int | None:
    """How many chunks the rows come to, None where that is not certain.

    It is certain where all rows were looked at, all are sent as their own bytes, and each tile holds one and fits into one request:
    then each tile up to the one in which the last row begins is one chunk.
    """
    last = found.read[-1] if found.read else None
    if not source.verbatim or not found.is_whole or found.broke_off is not None or last is None:
        return None
    if found.blank or found.rejected or not _are_sent_as_they_are(found):
        return None
    largest = max([SMALL_ROW, *(counts.largest for counts in found.files)])
    if largest >= tile_bytes or tile_bytes + largest > limits.body_bytes:
        return None
    if limits.rows is not None and found.rows > limits.rows:
        return None
    if last.last_line is None or last.file != len(source.files) - 1:
        return None
    return (source.bases[-1] + last.last_line) // tile_bytes + 1


def _are_sent_as_they_are(found: Found) -> bool:
    plan = found.plan
    if plan.rewrite or plan.mapping is not None or plan.function is not None or plan.sides is not None:
        return False
    if plan.column_preset is not None or any(Kind.ABSENT in seen.first for seen in found.keys.values()):
        return False
    return not any(column.holds in (Holds.TEXT, Holds.CHARACTERS) for column in plan.columns or ())
