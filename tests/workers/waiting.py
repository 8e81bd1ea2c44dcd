"""Uploads that wait for their workers: else the run's own process has sent what a test sends before they are ready."""

from __future__ import annotations

import anyio

from bulkup.flow.lane import Lane
from bulkup.flow.plan import LanePlan

__all__ = ["wait_for_workers"]


def wait_for_workers() -> None:
    """From now on a lane in this process sends nothing before every worker knows it. Of use where there are workers only."""
    send_planned = Lane._send_planned
    if send_planned.__name__ == "waiting":
        return

    async def waiting(self: Lane, plan: LanePlan) -> None:
        while self._help is not None and len(self._help.ready) < self._help.pool.alive:
            await anyio.sleep(0.005)
        await send_planned(self, plan)

    Lane._send_planned = waiting  # type: ignore[method-assign]
