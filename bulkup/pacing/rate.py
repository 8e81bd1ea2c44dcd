"""Requests, rows and bytes a second, without a burst at the start.

Requests go evenly spaced at the pace of the quota, which may change while they wait. Rows and bytes are aiolimiter's: its
`acquire(n)` above the bucket raises and small waiters overtake large ones (both read off aiolimiter 1.2), so amounts are taken in
portions, in a queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

import anyio
from aiolimiter import AsyncLimiter

from bulkup.pacing.quota import Quota
from bulkup.pacing.spacing import Spacing

__all__ = ["Rate"]

LOOK_EVERY_S = 0.2
"""Who waits for the quota looks this often whether it has changed."""

FIRST, FIRST_SLOWER = 3, 1.5
"""So many requests under a quota go half as far apart again. A service may begin with no more than one to spare, and requests do
not take equally long to arrive: what this leaves, one request's worth or so, lets them come early."""


class Rate:
    """The rates of one lane: *quota* holds what is known of the requests; None for the others means no limit."""

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        rows_per_second: float | None = None,
        bytes_per_second: float | None = None,
        clock: Callable[[], float] = anyio.current_time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.quota = Quota(told_per_minute=requests_per_minute)
        self._clock = clock
        self._sleep = sleep
        self._spacing = Spacing()
        self._rows = _Amount(rows_per_second) if rows_per_second else None
        self._bytes = _Amount(bytes_per_second) if bytes_per_second else None
        self._queue = anyio.Lock()
        self._turns = 0

    def change(self, *, requests_per_minute: float | None, bytes_per_second: float | None) -> None:
        """From now on these hold; None leaves one as it is. Who waits for bytes already waits as it was."""
        if requests_per_minute is not None:
            self.quota.tell(requests_per_minute)
        if bytes_per_second is not None:
            self._bytes = _Amount(bytes_per_second)

    @property
    def is_limited(self) -> bool:
        """Some rate is set."""
        return bool(self._rows or self._bytes) or self.quota.is_known

    @property
    def _interval_s(self) -> float | None:
        per_minute = self.quota.per_minute(self._clock())
        if per_minute is None:
            return None
        return 60.0 / per_minute * (FIRST_SLOWER if self._turns < FIRST else 1.0)

    async def acquire(self, *, rows: int, size: int) -> None:
        """Wait until one request with that many rows and bytes may go. First come, first served."""
        if not self.is_limited:
            now = self._clock()
            self._spacing.took(now, 0.0, waited=False)  # whatever is known by then, the next one comes after this one
            return
        async with self._queue:
            if self._bytes:
                await self._bytes.acquire(size)
            if self._rows:
                await self._rows.acquire(rows)
            await self._turn()

    async def _turn(self) -> None:
        waited = False
        while (interval_s := self._interval_s) is not None:
            now = self._clock()
            wait_s = self._spacing.wait_s(now, interval_s)
            if wait_s <= 0:
                self._spacing.took(now, interval_s, waited=waited)
                self._turns += 1
                return
            waited = True
            changes_s = self.quota.changes_s(now)
            await self._sleep(min(wait_s, LOOK_EVERY_S, inf if changes_s is None else changes_s - now))


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
