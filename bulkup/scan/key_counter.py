"""How often keys are there in the rows that would be sent, and null."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from bulkup.encoding.depth import room_to_recurse
from bulkup.rows.schema import Kind
from bulkup.scan.learned import KeyCounts
from bulkup.scan.look import tokens_in
from bulkup.scan.seen import Seen

__all__ = ["KeyCounter", "rows_of"]


def rows_of(body: bytes) -> list[dict[str, msgspec.Raw]]:
    """The rows of *body*, an array without its brackets: each row's values by key, as they are written."""
    with room_to_recurse():
        return tokens_in(b"[" + body + b"]")


class KeyCounter:
    """Counts keys, and nulls, in the rows of one block of *every* so many: that costs more than the look."""

    def __init__(self, every: int) -> None:
        self.counts = False
        self._every = every
        self._blocks = 0
        self._rows = 0
        self._present: Counter[str] = Counter()
        self._null: Counter[str] = Counter()

    def next_block(self) -> None:
        """Another block begins."""
        self.counts = self._blocks % self._every == 0
        self._blocks += 1

    def add(self, rows: list[dict[str, msgspec.Raw]]) -> None:
        """Count *rows* of the block."""
        self._rows += len(rows)
        for row in rows:
            self._present.update(row.keys())
            self._null.update([key for key, token in row.items() if token == _NULL])

    def add_full(self, keys: Iterable[str], rows: int) -> None:
        """Count *rows* rows, each of which has all *keys*, and none of them null."""
        self._rows += rows
        self._present.update(dict.fromkeys(keys, rows))

    @property
    def of_all(self) -> KeyCounts:
        """Of all keys that there were."""
        return KeyCounts(self._rows, dict(self._present), +self._null)

    def found(self, seen: Mapping[str, Seen]) -> KeyCounts:
        """Of the keys that were *seen*."""
        return KeyCounts(
            self._rows,
            {name: self._present[name] for name in seen},
            {name: self._null[name] for name in seen if Kind.NULL in seen[name].first},
        )


_NULL = msgspec.Raw(b"null")
