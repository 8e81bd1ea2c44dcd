"""Pieces of a lane by themselves. Their clock says what was waited for: a `VirtualLoop`'s, or `counted` where threads work."""

from __future__ import annotations

import asyncio

from anyio.lowlevel import checkpoint

from bulkup.flow.clock import Clock
from bulkup.flow.halt import Halt
from bulkup.flow.requests import Requests
from bulkup.pacing import Concurrency, Gate, Pacing, Patience, Rate
from bulkup.tokens.token_source import TokenSource

__all__ = ["UNIX_S", "WITHIN_S", "Alone", "counted", "now_s", "virtual"]

UNIX_S = 1_800_000_000.0
"""The Unix time at which a virtual loop begins: 2027-01-15 08:00:00 UTC."""

WITHIN_S = 1e-4
"""How exact a virtual time is: each turn of the loop takes a little."""


def now_s() -> float:
    """The virtual time."""
    return asyncio.get_running_loop().time()


def _most(_: float, most: float) -> float:
    return most


def virtual() -> Clock:
    """The running loop's, at which chance always gives the most."""
    return Clock(monotonic=now_s, unix=lambda: UNIX_S + now_s(), sleep=asyncio.sleep, uniform=_most, since=UNIX_S)


def counted() -> Clock:
    """One that goes on only while somebody sleeps, by what each sleeps: for tests in which threads work and nobody else waits."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await checkpoint()

    return Clock(monotonic=lambda: now, unix=lambda: UNIX_S + now, sleep=sleep, uniform=_most, since=UNIX_S)


class Alone:
    """What most pieces of a lane are given. *said* is what the user was told."""

    def __init__(
        self,
        token: TokenSource | None = None,
        *,
        clock: Clock | None = None,
        retry_for_s: float = 600.0,
        max_wait_s: float = 3600.0,
        concurrency: int = 4,
        requests_per_minute: float | None = None,
    ) -> None:
        self.token = token or TokenSource(variable="T", file=None, environment={"T": "a-token-of-this-test"})
        self.clock = clock or virtual()
        now_s = self.clock.monotonic
        self.halt = Halt()
        self.said: list[str] = []
        self.patience = Patience(retry_for_s=retry_for_s, max_wait_s=max_wait_s, now=now_s())
        self.pacing = Pacing(
            concurrency=Concurrency(cap=concurrency),
            gate=Gate(clock=now_s, sleep=self.clock.sleep),
            rate=Rate(requests_per_minute=requests_per_minute),
            clock=now_s,
            uniform=self.clock.uniform,
            unix=self.clock.unix,
        )
        self.requests = Requests(
            token=self.token,
            pacing=self.pacing,
            patience=self.patience,
            halt=self.halt,
            clock=self.clock,
            say=self.said.append,
        )
