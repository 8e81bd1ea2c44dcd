"""The lane's one gate: closed while the service wants quiet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ["Gate"]


class Gate:
    """Open, or closed until a moment of the injected monotonic clock. Closing again can only prolong."""

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._closed_until = float("-inf")
        self.reason = ""

    def close(self, wait_s: float, reason: str) -> float:
        """Close for *wait_s* seconds from now; the moment at which the gate will open."""
        until = self._clock() + wait_s
        if until > self._closed_until:
            self._closed_until, self.reason = until, reason
        return self._closed_until

    @property
    def wait_s(self) -> float:
        """Seconds until it opens, 0 if it is open."""
        return max(0.0, self._closed_until - self._clock())

    async def opened(self) -> None:
        """Wait until it is open, however often it is closed anew in between."""
        while (wait_s := self.wait_s) > 0:
            await self._sleep(wait_s)
