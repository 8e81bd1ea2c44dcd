"""A few blocks that are spread evenly over what was read, however long it is."""

from __future__ import annotations

from bulkup.model import Block

__all__ = ["Sample"]

_MOST = 16


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
        if len(self.blocks) > _MOST:
            self.blocks = self.blocks[::2]
            self._every *= 2
            self.is_whole = False
