"""How rows become bodies, measured on a sample of the source."""

from __future__ import annotations

from bulkup.encoding import RowPlan
from bulkup.scan.counting import SMALL_ROW, largest_line
from bulkup.scan.found import Measure
from bulkup.scan.sample import Sample

__all__ = ["measure"]


def measure(plan: RowPlan, sample: Sample, largest: int) -> Measure:
    """What *plan* makes of *sample*. *largest* is the length of the largest row of the source, if that is over `SMALL_ROW`."""
    encoder = plan.encoder()
    raw = text = body = rows = 0
    for block in sample.blocks:
        made = encoder.encode(block)
        raw += block.end - block.start
        text += len(block.data)
        body += len(made.body) + (1 if made.rows else 0)
        rows += made.rows
    if largest <= SMALL_ROW:
        largest = max((largest_line(block.data, 0) for block in sample.blocks), default=0)
    grown = largest * body // text if text and body > text else largest
    return Measure(raw, body, rows, grown, text)
