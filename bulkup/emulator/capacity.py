"""How many uploads a service works on at once; the others wait in line. Adjustable while it runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Capacity"]


class Capacity:
    """So many places, first come, first served; None is as many as come."""

    def __init__(self, places: int | None = None) -> None:
        self._places = places
        self.taken = 0
        """How many are held."""
        self._line: deque[asyncio.Future[None]] = deque()

    def resize(self, places: int | None) -> None:
        """From now on there are so many. Who has a place keeps it."""
        self._places = places
        self._admit()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        if self._line or not self._is_free:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._leave()
                elif turn in self._line:
                    self._line.remove(turn)
                raise
        else:
            self.taken += 1
        try:
            yield
        finally:
            self._leave()

    @property
    def _is_free(self) -> bool:
        return self._places is None or self.taken < self._places

    def _leave(self) -> None:
        self.taken -= 1
        self._admit()

    def _admit(self) -> None:
        while self._line and self._is_free:
            turn = self._line.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)
