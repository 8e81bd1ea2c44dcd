"""Who may send while the dataset does not exist yet: one chunk at a time, until one has landed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

__all__ = ["Creation"]


class Creation:
    """Single-flight creation of a dataset that the first chunk creates and the others are appended to. Where each chunk creates
    its own, there is nothing to wait for, as if it existed.

    While nothing has landed, chunks take turns. After one of them ended in doubt the next waits for a quiet period since its
    last byte: two overlapping first uploads may make two datasets (open in the service's reference).
    """

    def __init__(
        self,
        *,
        exists: bool,
        quiet_s: float,
        last_byte_at: float | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """*last_byte_at*: when a byte of a chunk in doubt last left, by *clock* (Unix time), None if there is none."""
        self._exists = exists
        self._quiet_s = quiet_s
        self._last_byte_at = last_byte_at
        self._clock = clock
        self._sleep = sleep
        self._turn = anyio.Lock()

    @property
    def exists(self) -> bool:
        """Nobody need wait."""
        return self._exists

    async def enter(self) -> bool:
        """Wait for the right to send. True: the caller is alone and must call `leave`."""
        if self._exists:
            return False
        await self._turn.acquire()
        if self._has_landed():
            self._turn.release()
            return False
        try:
            while self._last_byte_at is not None and (wait_s := self._last_byte_at + self._quiet_s - self._clock()) > 0:
                await self._sleep(wait_s)
        except BaseException:
            self._turn.release()
            raise
        return True

    def _has_landed(self) -> bool:
        return self._exists

    def leave(self) -> None:
        """The turn is over."""
        self._turn.release()

    def landed(self) -> None:
        """The dataset exists: nobody need wait any more."""
        self._exists = True

    def in_doubt(self) -> bool:
        """A chunk's fate is not known; its last byte left now at the latest. Whether it may have created the dataset."""
        self._last_byte_at = self._clock()
        return not self._exists
