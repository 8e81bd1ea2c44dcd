"""A far worker within the test's own process: the messages are those of two machines, over a socket pair without TLS."""

from __future__ import annotations

import asyncio
import socket

from bulkup.authority import UNENDING, Authority
from bulkup.machine import machine_clock
from bulkup.run.wire import at_run, at_worker
from bulkup.run.worker import Worker
from bulkup.workers import Pool, Tell
from bulkup.workers.far import FarRun, FarWorker, Frames
from bulkup.workers.lease import Lease
from bulkup.workers.serving import Serving

__all__ = ["adopted", "frames_over"]

MOST_BYTES = 1 << 24


async def frames_over() -> tuple[Frames, Frames]:
    """The two ends of a stream."""
    ends = [await asyncio.open_unix_connection(sock=end) for end in socket.socketpair()]
    return Frames(*ends[0], MOST_BYTES), Frames(*ends[1], MOST_BYTES)


async def adopted(pool: Pool, authority: Authority = UNENDING) -> tuple[int, asyncio.Task[None]]:
    """The number of a far worker that *pool* has taken in, and its task."""
    mine, theirs = await frames_over()
    number = pool.adopt(FarWorker(mine, at_run, authority, lease_s=1e6, lost_s=1e6))  # its loop may stand still
    run = FarRun(theirs, at_worker, Lease(authority.epoch, machine_clock()))

    async def work() -> None:
        workers: list[Worker] = []

        def make(tell: Tell) -> Worker:
            workers.append(Worker(tell, is_far=True))
            return workers[0]

        serving = Serving(run, make)
        await serving.run()
        serving.cancel()
        await serving.idle()
        await workers[0].aclose()
        await run.finish()

    return number, asyncio.create_task(work())
