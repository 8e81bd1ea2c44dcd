"""The keys by which rows are compared: what was sent and what is stored have the same key exactly where they mean the same.

Numbers are compared by their exact values, so 1.0 and 1.00 are equal, and what a double keeps of a longer number is not. An object
in which a key stands twice is equal only to one with both values.
"""

from __future__ import annotations

from typing import Any

import xxhash

from bulkup.rows.exact import written

__all__ = ["key_of", "unreadable_key"]


def key_of(value: Any) -> bytes:
    """The key of a row that came to *value*, as `bulkup.rows.exact.read` gives it."""
    return xxhash.xxh3_128_digest(written(value))


def unreadable_key(row: bytes) -> bytes:
    """The key of a row that is no JSON or not in its destination's shape (sent unread, under `trust`): the same bytes only."""
    return xxhash.xxh3_128_digest(b"\0" + row)  # no JSON begins so
