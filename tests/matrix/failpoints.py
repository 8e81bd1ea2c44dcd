"""`kill -9` at a chosen point of an upload: the product's methods are wrapped, its code knows nothing of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from functools import wraps
from typing import Any

from bulkup.destinations.base import Payload
from bulkup.flow.executors import Executors
from bulkup.flow.settler import Settler
from bulkup.journal.postgres.keeper import PostgresLane
from bulkup.journal.sqlite import SqliteLane

__all__ = ["POINTS", "arm"]

Kill = Callable[[], None]
KEEPERS: tuple[type, ...] = (SqliteLane, PostgresLane)


def arm(point: str, number: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Kill this process the *number*-th time (from 1) that *point* is reached, or stop it (*by* SIGSTOP). `none` never does."""
    left = number

    def kill() -> None:
        nonlocal left
        left -= 1
        if left == 0 or (left < 0 and by is signal.SIGKILL):
            os.kill(os.getpid(), by)

    POINTS[point](kill)


def _around(owner: type, name: str, kill: Kill, *, after: bool) -> None:
    inner = getattr(owner, name)

    @wraps(inner)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not after:
            kill()
        result = await inner(*args, **kwargs)
        if after:
            kill()
        return result

    setattr(owner, name, wrapped)


def _before(owner: type, name: str) -> Callable[[Kill], None]:
    return lambda kill: _around(owner, name, kill, after=False)


def _after(owner: type, name: str) -> Callable[[Kill], None]:
    return lambda kill: _around(owner, name, kill, after=True)


def _lane(name: str, *, after: bool) -> Callable[[Kill], None]:
    """Around a method of the journal's lane, wherever the journal is."""

    def point(kill: Kill) -> None:
        for keeper in KEEPERS:
            _around(keeper, name, kill, after=after)

    return point


def _planned(kill: Kill) -> None:
    for keeper in KEEPERS:
        _plan_of(keeper, kill)


def _plan_of(keeper: Any, kill: Kill) -> None:
    inner = keeper.plan

    def plan(self: Any, *args: Any, **kwargs: Any) -> asyncio.Future[None]:
        future: asyncio.Future[None] = inner(self, *args, **kwargs)
        future.add_done_callback(lambda _: kill())
        return future

    keeper.plan = plan


def _body(blocks: int) -> Callable[[Kill], None]:
    """Dead once *blocks* blocks of a body have been handed to the connection: envelope, rows, envelope."""

    def point(kill: Kill) -> None:
        inner = Payload.blocks

        async def wrapped(self: Payload) -> AsyncIterator[bytes | bytearray]:
            count = 0
            async for block in inner(self):
                if count == blocks:
                    kill()
                count += 1
                yield block
            if count == blocks:
                kill()

        Payload.blocks = wrapped  # type: ignore[method-assign]

    return point


def _whole_body(kill: Kill) -> None:
    """Dead a moment after the last byte: nobody hears the answer."""
    inner = Payload.blocks

    async def wrapped(self: Payload) -> AsyncIterator[bytes | bytearray]:
        async for block in inner(self):
            yield block
        asyncio.get_running_loop().call_later(0.005, kill)

    Payload.blocks = wrapped  # type: ignore[method-assign]


POINTS: dict[str, Callable[[Kill], None]] = {
    "none": lambda kill: None,
    "surveyed": _lane("set_fact", after=True),
    "planned": _planned,
    "before sending": _lane("sending", after=False),
    "sending": _lane("sending", after=True),
    "envelope sent": _body(1),
    "rows sent": _body(2),
    "body sent": _whole_body,
    "answer come": _after(Executors, "send"),
    "answered": _lane("answered", after=True),
    "in doubt": _lane("in_doubt", after=True),
    "before landed": _lane("landed", after=False),
    "landed": _lane("landed", after=True),
    "looking": _before(Settler, "_look"),
    "looked": _after(Settler, "_look"),
    "before a verdict": _before(Settler, "_carry_out"),
    "after a verdict": _after(Settler, "_carry_out"),
    "before the audit": _before(Settler, "audit"),
}
"""Where a process may be killed, each by what has just happened."""
