"""The right to send now: a permit, an open gate and the rate, in that order."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from bulkup.pacing.concurrency import Concurrency
from bulkup.pacing.gate import Gate
from bulkup.pacing.rate import Rate

__all__ = ["Pacing", "Waiting"]


class Waiting(StrEnum):
    """What a lane is waiting for."""

    NOTHING = ""
    GATE = "the service's Retry-After"
    RATE = "the rate limit"


class Pacing:
    """Grants slots. A slot is held for one attempt: whoever has to wait before the next attempt gives it back first."""

    def __init__(self, *, concurrency: Concurrency, gate: Gate, rate: Rate, clock: Callable[[], float]) -> None:
        self.concurrency = concurrency
        self.gate = gate
        self._rate = rate
        self._clock = clock
        self._throttled_s = 0.0
        self._throttled_since: float | None = None
        self._throttled = 0
        self.waiting = Waiting.NOTHING
        self.waiting_for_evidence = ""

    async def enter(self, *, rows: int, size: int) -> None:
        """Wait for a slot for *size* bytes with that many rows. Give it back with `leave`."""
        await self.concurrency.enter()
        try:
            if self.gate.wait_s > 0 or self._rate.is_limited:
                await self._throttle(rows, size)
        except BaseException:
            self.concurrency.leave()
            raise

    def leave(self) -> None:
        """Hand the slot back."""
        self.concurrency.leave()

    @property
    def throttled_s(self) -> float:
        """Seconds in which at least one request was held back by the gate or the rate."""
        since = self._throttled_since
        return self._throttled_s + (self._clock() - since if since is not None else 0.0)

    async def _throttle(self, rows: int, size: int) -> None:
        if self._throttled == 0:
            self._throttled_since = self._clock()
        self._throttled += 1
        try:
            while True:
                self.waiting = Waiting.GATE if self.gate.wait_s > 0 else Waiting.RATE
                await self.gate.opened()
                await self._rate.acquire(rows=rows, size=size)
                if self.gate.wait_s == 0:  # else what was taken from the rate is forgone: no burst when it opens
                    return
        finally:
            self._throttled -= 1
            if self._throttled == 0:
                self._throttled_s = self.throttled_s
                self._throttled_since = None
                self.waiting = Waiting.NOTHING
