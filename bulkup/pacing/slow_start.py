"""Who goes ahead while nothing is known: at the start, and after each refusal."""

from __future__ import annotations

import anyio

__all__ = ["SlowStart"]

PATIENCE_S = 5.0
"""So long the others wait for an answer at most: a large body on a slow line, or a service that says nothing, holds nobody up."""


class SlowStart:
    """Lets as many under way as have been taken since the start or the last refusal, and one more: 1, 2, 4, 8, …

    So what the first answer says (a quota in its headers, a refusal) is known before the others go, and a closed service refuses
    one request, not as many as there are permits.
    """

    def __init__(self) -> None:
        self.waiting = 0
        """How many wait for those ahead."""
        self._taken = 0
        self._ahead = 0
        self._refused_s = float("-inf")
        self._changed = anyio.Event()

    @property
    def has_room(self) -> bool:
        """Whether `enter` would not wait."""
        return self._ahead <= self._taken

    async def enter(self) -> None:
        """Wait until one more may go. Give it back with `leave`."""
        if not self.has_room:
            self.waiting += 1
            try:
                with anyio.move_on_after(PATIENCE_S):
                    while not self.has_room:
                        await self._changed.wait()
            finally:
                self.waiting -= 1
        self._ahead += 1

    def leave(self) -> None:
        """It is over, or has not gone."""
        self._ahead -= 1
        self._tell()

    def taken(self, *, began_s: float) -> None:
        """The service has taken one that had begun at *began_s*. From before the last refusal it says nothing."""
        if began_s > self._refused_s:
            self._taken += 1
            self._tell()

    def refused(self, now: float) -> None:
        """The service has refused one: nothing is known any more."""
        self._taken, self._refused_s = 0, now

    def _tell(self) -> None:
        if self.waiting:
            self._changed.set()
            self._changed = anyio.Event()
