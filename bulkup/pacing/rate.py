"""Requests, rows and bytes a second, without a burst at the start.

aiolimiter's bucket is free at the start: 60 a minute would let 60 through at once and 60 more within that minute. So a rate of
requests is expressed as one request per interval. `acquire(n)` above the bucket raises and small waiters overtake large
ones (both read off aiolimiter 1.2), so amounts are taken in portions, in a queue.
"""

from __future__ import annotations

import anyio
from aiolimiter import AsyncLimiter

__all__ = ["Rate"]


class Rate:
    """The configured rates of one lane; None means no limit."""

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        rows_per_second: float | None = None,
        bytes_per_second: float | None = None,
    ) -> None:
        self._requests = AsyncLimiter(1, 60.0 / requests_per_minute) if requests_per_minute else None
        self._rows = _Amount(rows_per_second) if rows_per_second else None
        self._bytes = _Amount(bytes_per_second) if bytes_per_second else None
        self._queue = anyio.Lock()

    @property
    def is_limited(self) -> bool:
        """Some rate is set."""
        return bool(self._requests or self._rows or self._bytes)

    async def acquire(self, *, rows: int, size: int) -> None:
        """Wait until one request with that many rows and bytes may go. First come, first served."""
        if not self.is_limited:
            return
        async with self._queue:
            if self._bytes:
                await self._bytes.acquire(size)
            if self._rows:
                await self._rows.acquire(rows)
            if self._requests:
                await self._requests.acquire()


class _Amount:
    """A rate of divisible things: the bucket holds a tenth of a second's worth, and large amounts are taken in portions."""

    def __init__(self, per_second: float) -> None:
        self._bucket = max(1.0, per_second / 10)
        self._limiter = AsyncLimiter(self._bucket, self._bucket / per_second)

    async def acquire(self, amount: float) -> None:
        while amount > 0:
            portion = min(amount, self._bucket)
            await self._limiter.acquire(portion)
            amount -= portion
