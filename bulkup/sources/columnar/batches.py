"""How many rows of a file of columns are taken at once. Where many rows share a value, a file has it once: what they come to is
known only when some have been read."""

from __future__ import annotations

__all__ = ["BATCH_BYTES", "FIRST_ROWS", "TOO_MANY", "rows_of"]

BATCH_BYTES = 1024 * 1024
"""So much is decoded and made JSON at once, about."""

FIRST_ROWS = 64
"""So many rows tell how large the others are."""

_MOST_ROWS = 4096
"""Of small rows: large ones may follow, and of these so many come at once before that is seen."""

TOO_MANY = 8
"""A batch may be so many times larger than wanted."""


def rows_of(row_bytes: int) -> int:
    """How many rows of *row_bytes* bytes make a batch: one at least."""
    return min(max(BATCH_BYTES // max(row_bytes, 1), 1), _MOST_ROWS)
