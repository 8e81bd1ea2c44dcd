"""Blocks of JSON lines made into bodies for one destination, and the rows that cannot be sent set aside.

`decide` looks at the first block and gives a `RowPlan`, which the journal keeps; `plan.encoder()` carries it out.
"""

from bulkup.encoding.decision import decide
from bulkup.encoding.plan import DEFAULT_MAX_ROW_BYTES, RowOptions, RowPlan
from bulkup.encoding.rows import BlockEncoder
from bulkup.encoding.target import ColumnRows, FixedRows, LineEncoder, Preset, Target

__all__ = [
    "DEFAULT_MAX_ROW_BYTES",
    "BlockEncoder",
    "ColumnRows",
    "FixedRows",
    "LineEncoder",
    "Preset",
    "RowOptions",
    "RowPlan",
    "Target",
    "decide",
]
