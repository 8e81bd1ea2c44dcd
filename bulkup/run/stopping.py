"""Seeing all lanes of a run through their work, stopped where a person asks for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from bulkup.errors import ExitCode
from bulkup.flow.halt import Reason
from bulkup.flow.lane import Lane
from bulkup.run.opened import OpenRun
from bulkup.transport.stalls import again_s

__all__ = ["see_through"]


async def see_through(run: OpenRun, work: Callable[[Lane], Coroutine[Any, Any, None]]) -> None:
    """Do *work* on every lane at once, until all have ended.

    The first interrupt halts the lanes, and what is in flight ends within the time that the user gives it; the second aborts it.
    """
    async with anyio.create_task_group() as watching:
        with anyio.CancelScope() as sending:
            watching.start_soon(_drain_on_request, run, sending)
            watching.start_soon(_abort_on_request, run, sending)
            async with anyio.create_task_group() as lanes:
                for lane in run.lanes:
                    lanes.start_soon(work, lane)
        watching.cancel_scope.cancel()


async def _drain_on_request(run: OpenRun, sending: anyio.CancelScope) -> None:
    interrupt = run.wish.interrupt
    await interrupt.drain_requested()
    timeout_s = run.wish.upload.settings.drain_timeout_s
    run.say(
        f"stopping: waiting up to {timeout_s:.0f} s for requests that are under way (press Ctrl-C again to abort them)"
    )
    for lane in run.lanes:
        lane.context.halt.set(Reason(interrupt.why, interrupt.code or ExitCode.INTERRUPTED))
    until = anyio.current_time() + timeout_s
    await anyio.sleep(timeout_s)
    await anyio.sleep(again_s(anyio.current_time() - until, timeout_s))
    sending.cancel()


async def _abort_on_request(run: OpenRun, sending: anyio.CancelScope) -> None:
    await run.wish.interrupt.abort_requested()
    sending.cancel()
