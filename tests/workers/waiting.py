"""Uploads that wait for their workers: else the run's own process has sent what a test sends before they are ready."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from bulkup.flow.plan import LanePlan
from bulkup.flow.processes import LaneWorkers
from bulkup.sources import Source

__all__ = ["wait_for_workers"]


def wait_for_workers() -> None:
    """From now on a lane in this process sends nothing before every worker knows it. Of use where there are workers only."""
    opening = LaneWorkers.opening
    if opening.__name__ == "waiting":
        return

    @asynccontextmanager
    async def waiting(self: LaneWorkers, plan: LanePlan, source: Source) -> AsyncIterator[None]:
        async with opening(self, plan, source):
            while len(self.ready) < self.count:
                await anyio.sleep(0.005)
            yield

    LaneWorkers.opening = waiting  # type: ignore[method-assign]
