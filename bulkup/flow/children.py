"""Numbers for the children of a tile, each given out once."""

from __future__ import annotations

import anyio

from bulkup.journal import LaneJournal

__all__ = ["ChildNumbers"]


class ChildNumbers:
    """Planning and splitting take a tile's child numbers from here, so that no two children get the same."""

    def __init__(self, journal: LaneJournal) -> None:
        self._journal = journal
        self._next: dict[int, int] = {}
        self._asking = anyio.Lock()

    async def take(self, tile: int, count: int = 1) -> int:
        """The first of *count* consecutive numbers of *tile* that nothing has used."""
        if tile not in self._next:
            async with self._asking:
                if tile not in self._next:
                    self._next[tile] = await self._journal.next_child(tile)
        first = self._next[tile]
        self._next[tile] = first + count
        return first
