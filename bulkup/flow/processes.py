"""The two kinds of executor, this process and worker processes, and the run's workers as one lane sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from bulkup.flow.executor import Hold
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.orders import Forget, LaneOrder, LastWord, OpenLane, SendChunk
from bulkup.flow.plan import LanePlan
from bulkup.sources import Source
from bulkup.workers import Attempt, Pool, Tell, WorkerLost

__all__ = ["LaneWorkers", "ThisProcess", "WorkerProcess"]


class ThisProcess:
    """Carries orders out itself, by *worker*."""

    def __init__(self, worker: LaneWorker) -> None:
        self._worker = worker
        self.is_there = True

    async def ask(self, order: LaneOrder, told: Tell = lambda _: None) -> object:
        """As the seam says."""
        return await self._worker.carry_out(order, told)

    async def ship(self, order: LaneOrder) -> None:
        """As the seam says."""
        await self._worker.carry_out(order, lambda _: None)

    def forget(self, key: int) -> None:
        """As the seam says."""
        self._worker.forget(key)

    def recorded(self, attempt: Attempt) -> None:
        """As the seam says: it keeps nothing."""

    def hold(self, key: int, encoded: list[bytes]) -> Hold:
        """Encoded rows that are here already, held as if they had been drafted by an order."""
        self._worker.hold(key, encoded)
        return Hold(self, key)


class WorkerProcess:
    """Passes *lane*'s orders on to worker number *number* of *pool*, which knows the lane."""

    def __init__(self, pool: Pool, number: int, lane: str) -> None:
        self._pool = pool
        self._number = number
        self._lane = lane

    @property
    def is_there(self) -> bool:
        """As the seam says."""
        return self._pool.is_alive(self._number)

    @property
    def is_far(self) -> bool:
        """Whether it came by itself, maybe from another machine."""
        return self._pool.is_far(self._number)

    @property
    def asked(self) -> int:
        """How many orders it has under way, of all lanes."""
        return self._pool.asked(self._number)

    async def ask(self, order: LaneOrder, told: Tell = lambda _: None) -> object:
        """As the seam says. A worker that does not stop sending when it is told to is killed."""
        is_over = False

        def heard(word: object) -> None:
            nonlocal is_over
            is_over |= isinstance(word, LastWord)
            told(word)

        try:
            return await self._pool.ask(self._number, order, told=heard)
        except anyio.get_cancelled_exc_class():
            if isinstance(order, SendChunk) and not is_over:  # nobody knows what has left, nor what still would
                self._pool.kill(self._number)
                told(0)
                with anyio.CancelScope(shield=True):
                    await self._pool.silence(self._number)
            raise

    async def ship(self, order: LaneOrder) -> None:
        """As the seam says."""
        await self._pool.send(self._number, order)

    def forget(self, key: int) -> None:
        """As the seam says."""
        self._pool.tell(self._number, Forget(self._lane, key))

    def recorded(self, attempt: Attempt) -> None:
        """As the seam says."""
        self._pool.recorded(self._number, attempt)


class LaneWorkers:
    """The workers of *pool* as one lane sees them. *opening* is what a worker makes the lane's destination of."""

    def __init__(self, pool: Pool, lane: str, opening: object) -> None:
        self._pool = pool
        self._lane = lane
        self._opening = opening
        self._opened: list[WorkerProcess] = []

    @property
    def count(self) -> int:
        """How many there are, whether or not they are ready yet."""
        return self._pool.alive

    @property
    def may_help(self) -> bool:
        """Whether some are there, or may come."""
        return bool(self._pool.alive) or self._pool.expects_more

    @property
    def far(self) -> int:
        """How many know the lane and came by themselves."""
        return sum(worker.is_far for worker in self.ready)

    @property
    def ready(self) -> list[WorkerProcess]:
        """Those that know the lane."""
        return [worker for worker in self._opened if worker.is_there]

    def least_asked(self) -> WorkerProcess | None:
        """The one of these that has the fewest orders under way; None where none is ready."""
        return min(self.ready, key=lambda worker: worker.asked, default=None)

    @asynccontextmanager
    async def opening(self, plan: LanePlan, source: Source) -> AsyncIterator[None]:
        """Meanwhile they get ready for the lane, one by one."""
        opening = asyncio.create_task(self._open(OpenLane(self._lane, self._opening, source.files, plan.to_record())))
        try:
            yield
        finally:
            opening.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({opening})

    async def _open(self, order: OpenLane) -> None:
        async def open_one(number: int) -> None:
            try:
                await self._pool.ask(number, order)
            except WorkerLost:  # one that cannot be opened is no help, and no harm
                return
            except Exception as error:
                if not self._pool.is_far(number):
                    raise
                self._pool.dismiss(number, f"{self._lane}: {error}")
            else:
                self._opened.append(WorkerProcess(self._pool, number, self._lane))

        async with anyio.create_task_group() as tasks:
            async for number in self._pool.arrivals():
                tasks.start_soon(open_one, number)
