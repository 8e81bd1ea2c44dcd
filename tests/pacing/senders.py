"""Sixteen who send through one `Pacing` to a simulated service, on a clock that jumps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bulkup.outcome import Accepted, CloseGate
from bulkup.pacing import Concurrency, Gate, Pacing, Rate

__all__ = ["Answer", "Senders"]

WOKEN_LATE_S = 0.001
SENDERS = 16


@dataclass(frozen=True)
class Answer:
    """What the service makes of one request."""

    is_taken: bool
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Senders:
    """*answer* gets the moment at which a request comes (half of *latency_s* and up to *jitter_s* later)."""

    def __init__(
        self,
        answer: Callable[[float], Answer],
        *,
        told: float | None = None,
        latency_s: float = 0.05,
        jitter_s: float = 0.0,
        seed: int = 3,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock, self.dice = loop.time, random.Random(seed)
        self.answer, self.latency_s, self.jitter_s = answer, latency_s, jitter_s
        self.pacing = Pacing(
            concurrency=Concurrency(cap=SENDERS),
            gate=Gate(clock=loop.time, sleep=self.sleep),
            rate=Rate(requests_per_minute=told, clock=loop.time, sleep=self.sleep),
            clock=loop.time,
            uniform=self.dice.uniform,
        )
        self.left = self.refused = 0
        self.went: list[float] = []
        self.log: list[tuple[float, bool, float | None]] = []

    async def sleep(self, seconds: float) -> None:
        """Woken late, as on a real machine."""
        await asyncio.sleep(seconds + WOKEN_LATE_S)

    async def send(self, requests: int) -> float:
        """So many requests. How long that took, in seconds."""
        self.left, began = requests, self.clock()
        self.refused, self.went = 0, []
        await asyncio.gather(*(self.worker() for _ in range(SENDERS)))
        return self.clock() - began

    async def worker(self) -> None:
        while self.left > 0:
            self.left -= 1
            while True:
                await self.pacing.enter(rows=1, size=1000)
                try:
                    outcome = await self.attempt()
                finally:
                    self.pacing.leave()
                if isinstance(outcome, Accepted):
                    break
                self.refused += 1

    async def attempt(self) -> Accepted | CloseGate:
        began_s = self.clock()
        self.went.append(began_s)
        await asyncio.sleep(self.latency_s / 2 + self.dice.uniform(0, self.jitter_s))
        answer = self.answer(self.clock())
        await asyncio.sleep(self.latency_s / 2)
        self.pacing.headers(answer.headers)
        outcome = Accepted("id", "n") if answer.is_taken else CloseGate("429", answer.retry_after_s, True)
        self.pacing.answered(outcome, began_s=began_s, body_ended_s=began_s, size=1000)
        self.log.append((self.clock(), answer.is_taken, self.pacing.quota.per_minute(self.clock())))
        return outcome
