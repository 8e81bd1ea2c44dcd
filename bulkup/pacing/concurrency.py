"""How many requests are in flight at once: a limit that grows while rounds come back clean."""

from __future__ import annotations

from collections import deque

import anyio

__all__ = ["Concurrency"]

START = 4


class Concurrency:
    """Permits to be in flight, first come, first served.

    The limit starts at 4 (or the cap, if lower) and grows by one for each *clean window*, up to *cap*. A window is one round
    of as many requests as the limit allows; it is clean when none of them was refused or lost.
    """

    def __init__(self, *, cap: int) -> None:
        self.cap = cap
        self.limit = min(START, cap)
        self.in_flight = 0
        self._queue: deque[anyio.Event] = deque()
        self._ended_in_window = 0
        self._window_is_clean = True

    async def enter(self) -> None:
        """Wait for a permit. Give it back with `leave`."""
        if not self._queue and self.in_flight < self.limit:
            self.in_flight += 1
            return
        turn = anyio.Event()
        self._queue.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.leave()
            else:
                self._queue.remove(turn)
            raise

    def leave(self) -> None:
        """Hand the permit back."""
        self.in_flight -= 1
        self._admit()

    def ended(self, *, clean: bool) -> None:
        """A request came back; *clean* unless it was refused or lost."""
        self._window_is_clean &= clean
        self._ended_in_window += 1
        if self._ended_in_window < self.limit:
            return
        if self._window_is_clean and self.limit < self.cap:
            self.limit += 1
            self._admit()
        self._ended_in_window, self._window_is_clean = 0, True

    def _admit(self) -> None:
        while self._queue and self.in_flight < self.limit:
            self.in_flight += 1
            self._queue.popleft().set()
