"""The bytes a lane may hold in memory at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

__all__ = ["ByteBudget"]


class ByteBudget:
    """A first-come, first-served budget of bytes. One request above the whole budget is granted when nothing else is held."""

    def __init__(self, total_bytes: int, *, more: Callable[[], int] = lambda: 0) -> None:
        """*more*: how many bytes there are besides at the moment."""
        self._least_bytes = total_bytes
        self._more = more
        self.held_bytes = 0
        self._queue: deque[tuple[int, anyio.Event]] = deque()

    @property
    def total_bytes(self) -> int:
        """How many bytes may be held."""
        return self._least_bytes + self._more()

    async def take(self, size: int) -> None:
        """Wait until *size* bytes fit, and hold them. Give them back with `give`."""
        if not self._queue and self._fits(size):
            self.held_bytes += size
            return
        turn = anyio.Event()
        entry = (size, turn)
        self._queue.append(entry)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give(size)
            else:
                self._queue.remove(entry)
                self._admit()
            raise

    def has_room(self, size: int) -> bool:
        """Whether `take` would not wait."""
        return not self._queue and self._fits(size)

    def give(self, size: int) -> None:
        """Hand *size* bytes back."""
        self.held_bytes -= size
        assert self.held_bytes >= 0, "more was given back than was taken"
        self._admit()

    def _fits(self, size: int) -> bool:
        return self.held_bytes == 0 or self.held_bytes + size <= self.total_bytes

    def _admit(self) -> None:
        while self._queue and self._fits(self._queue[0][0]):
            size, turn = self._queue.popleft()
            self.held_bytes += size
            turn.set()
