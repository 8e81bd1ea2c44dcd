"""Nothing in flight while the rows are counted."""

from __future__ import annotations

import anyio

__all__ = ["Fence"]


class Fence:
    """Many may be inside to send, or one alone to count. Whoever wants to be alone is not overtaken."""

    def __init__(self) -> None:
        self._sending = 0
        self._alone = False
        self._changed = anyio.Condition()

    async def enter(self) -> None:
        """Wait until nobody counts or wants to."""
        async with self._changed:
            while self._alone:
                await self._changed.wait()
            self._sending += 1

    async def leave(self) -> None:
        """The request is over."""
        with anyio.CancelScope(shield=True):
            async with self._changed:
                self._sending -= 1
                self._changed.notify_all()

    async def close(self) -> None:
        """Keep senders out, and wait until the last one inside has left. Open it with `open`."""
        async with self._changed:
            while self._alone:
                await self._changed.wait()
            self._alone = True
            try:
                while self._sending:
                    await self._changed.wait()
            except BaseException:
                self._alone = False
                raise

    async def open(self) -> None:
        """Let senders in again."""
        with anyio.CancelScope(shield=True):
            async with self._changed:
                self._alone = False
                self._changed.notify_all()
