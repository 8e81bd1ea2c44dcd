"""What was learned of all rows, as a finding; how they become bodies is measured on a sample of them."""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.encoding import RowPlan
from bulkup.model import Block
from bulkup.scan.counting import largest_line
from bulkup.scan.found import Found, Measure
from bulkup.scan.learned import Learned
from bulkup.scan.reasons import most_frequent_first

__all__ = ["found_of"]


def found_of(plan: RowPlan, learned: Learned) -> Found:
    """What was *learned*, where *plan* makes the rows."""
    return Found(
        plan=plan,
        rows=learned.rows,
        blank=learned.blank,
        rejected=learned.rejected,
        measure=_measured(plan, learned.sample, learned.largest),
        reasons=most_frequent_first(learned.reasons),
        keys={name: seen.as_told() for name, seen in learned.keys.items()},
        broke_off=learned.broke_off,
        skipped=learned.skipped,
        made=learned.made,
        files=learned.files,
        read=learned.read,
        counted=learned.counted,
    )


def _measured(plan: RowPlan, sample: Sequence[Block], largest: int) -> Measure:
    """What *plan* makes of *sample*. *largest* is the length of the largest row of the source, if that is known, else 0."""
    encoder = plan.encoder()
    raw = text = body = rows = 0
    for block in sample:
        made = encoder.encode(block)
        raw += block.end - block.start
        text += len(block.data)
        body += len(made.body) + (1 if made.rows else 0)
        rows += made.rows
    largest = largest or max((largest_line(block.data, 0) for block in sample), default=0)
    grown = largest * body // text if text and body > text else largest
    return Measure(raw, body, rows, grown, text)
