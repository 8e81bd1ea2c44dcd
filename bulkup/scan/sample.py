"""A few blocks that are spread evenly over what was read, however long it is."""

from __future__ import annotations

from bulkup.model import Block

__all__ = ["Sample"]

_MOST = 16
_MOST_BYTES = 8 * 1024 * 1024
"""Of several blocks: one may be a single row that is larger."""


class Sample:
    """Keeps every n-th block, n doubling as they come: up to 16 of them, the first always. *is_whole*: it has kept all."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.is_whole = True
        self._every = 1
        self._count = 0

    def add(self, block: Block) -> None:
        """The next block."""
        if self._count % self._every == 0:
            self.blocks.append(block)
        else:
            self.is_whole = False
        self._count += 1
        while len(self.blocks) > 1 and (len(self.blocks) > _MOST or self._bytes > _MOST_BYTES):
            self.blocks = self.blocks[::2]
            self._every *= 2
            self.is_whole = False

    @property
    def _bytes(self) -> int:
        return sum(len(block.data) for block in self.blocks)
