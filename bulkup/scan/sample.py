"""A few blocks that are spread evenly over what was read, however long it is."""

from __future__ import annotations

from bulkup.model import Block

__all__ = ["MOST_BLOCKS", "Sample"]

MOST_BLOCKS = 16
_MOST_BYTES = 8 * 1024 * 1024
"""Of several blocks: one may be a single row that is larger."""


class Sample:
    """Keeps every n-th block, n doubling as they come: up to *most* of them, the first always unless *most* is 0."""

    def __init__(self, most: int = MOST_BLOCKS) -> None:
        self.blocks: list[Block] = []
        self._most = most
        self._every = 1
        self._count = 0

    def add(self, block: Block) -> None:
        """The next block."""
        if self._most and self._count % self._every == 0:
            self.blocks.append(block)
        self._count += 1
        while len(self.blocks) > 1 and (len(self.blocks) > self._most or self._bytes > self._most_bytes):
            self.blocks = self.blocks[::2]
            self._every *= 2

    @property
    def _bytes(self) -> int:
        return sum(len(block.data) for block in self.blocks)

    @property
    def _most_bytes(self) -> int:
        return _MOST_BYTES * self._most // MOST_BLOCKS
