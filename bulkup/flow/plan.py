"""What is frozen for a lane at a run's start, and kept in the journal."""

from __future__ import annotations

from bisect import bisect_right

from bulkup.encoding import RowPlan, Target
from bulkup.errors import JournalUnusable
from bulkup.flow.tiling import Limits
from bulkup.journal.facts import PlanRecord
from bulkup.light_dataclass import dataclass
from bulkup.rows.function import Function

__all__ = ["LanePlan"]


@dataclass(frozen=True, slots=True)
class LanePlan:
    """T in bytes, how rows are made, and what one request may hold (*max_body_bytes* counts the envelope)."""

    tile_bytes: int
    rows: RowPlan
    max_body_bytes: int
    max_rows: int | None
    max_row_bytes: int
    segments: tuple[tuple[int, int], ...] = ((0, 0),)
    """(first tile, position): from there on tiles are counted anew, T apart. More than one where the source was appended to."""

    def span(self, tile: int) -> tuple[int, int]:
        """The positions [start, stop) of *tile*."""
        place = bisect_right(self.segments, tile, key=lambda segment: segment[0]) - 1
        first, base = self.segments[place]
        end = self.segments[place + 1][1] if place + 1 < len(self.segments) else None
        start, stop = base + (tile - first) * self.tile_bytes, base + (tile + 1 - first) * self.tile_bytes
        return (start, stop) if end is None else (min(start, end), min(stop, end))

    def limits(self, *, envelope_bytes: int, max_body_bytes: int) -> Limits:
        """What one request may hold besides an envelope of *envelope_bytes*, if bodies must not pass *max_body_bytes* now."""
        body_bytes = min(self.max_body_bytes, max_body_bytes) - envelope_bytes
        return Limits(max(1, body_bytes), self.max_rows)

    def to_record(self) -> PlanRecord:
        """For the journal."""
        return PlanRecord(
            tile_bytes=self.tile_bytes,
            rows=self.rows.to_json(),
            max_body_bytes=self.max_body_bytes,
            max_rows=self.max_rows,
            max_row_bytes=self.max_row_bytes,
            segments=self.segments,
        )

    @classmethod
    def of_record(cls, record: PlanRecord, target: Target, function: Function | None = None) -> LanePlan:
        """From the journal, for *function* if the user has named one. Raises `JournalUnusable` where the rows' plan makes no sense,
        `SourceChanged` where it is of another function."""
        try:
            return cls(
                record.tile_bytes,
                RowPlan.from_json(record.rows, target, function),
                record.max_body_bytes,
                record.max_rows,
                record.max_row_bytes,
                record.segments,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            said = " ".join(str(error).split())
            raise JournalUnusable(
                f"the plan in the run's journal makes no sense ({said}); restore the run's folder from a copy"
            ) from error
