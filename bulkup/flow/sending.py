"""Sending what one lane has planned: round by round, with doubts settled in between, and a last look."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from bulkup.chunk import ChunkState
from bulkup.errors import BulkupError
from bulkup.flow.context import PlannedLane
from bulkup.flow.creation import Creation
from bulkup.flow.delivery import Delivery
from bulkup.flow.fence import Fence
from bulkup.flow.halt import Halted, Reason
from bulkup.flow.isolation import Splitter
from bulkup.flow.prepare import Preparer
from bulkup.flow.prepared import Prepared
from bulkup.flow.rounds import new_round
from bulkup.flow.settler import Audit, Settler
from bulkup.flow.stop_rules import StopRules
from bulkup.journal.facts import AUDITED, LATE, PLANNED_WHOLE, REFUSALS_STORE_NOTHING, UNREADABLE
from bulkup.settings.config import OnDoubt
from bulkup.sources import Cursor
from bulkup.sources.positions import with_the_rest

__all__ = ["Sending"]

QUIET_PERIODS_BETWEEN = 3
"""A settlement in mid-run waits so many quiet periods at most: what needs longer waits for the next one."""


class Sending:
    """One lane's sending, from the first round to the audit."""

    def __init__(self, planned: PlannedLane, creation: Creation) -> None:
        self._planned = planned
        self._lane = lane = planned.lane
        self._creation = creation
        self._settler = Settler(planned, creation.landed)
        self._rules = StopRules(totals=lane.tally.totals, limit=lane.chosen.run.max_rejects, halt=lane.halt)

    @classmethod
    async def begin(cls, planned: PlannedLane, *, is_there: bool) -> Sending:
        """*is_there*: the first look saw a dataset that rows may be appended to."""
        lane = planned.lane
        doubts = await lane.journal.open_chunks(ChunkState.IN_DOUBT)
        creation = Creation(
            exists=lane.destination.policy.has_dataset_per_chunk or lane.tally.totals.chunks_landed > 0 or is_there,
            quiet_s=lane.chosen.run.settle_after_s,
            last_byte_at=max((lane.clock.sent_at(chunk.last_byte_at) for chunk in doubts), default=None),
            clock=lane.clock.unix,
            sleep=lane.clock.sleep,
        )
        return cls(planned, creation)

    async def settle_at_start(self) -> None:
        """Doubts that an earlier process left, as far as they are to be settled before anything is sent."""
        totals, run = self._lane.tally.totals, self._lane.chosen.run
        if totals.chunks_in_doubt and run.on_doubt is OnDoubt.HOLD:
            patience_s = self._lane.destination.policy.patience_at_start_s(totals, run.settle_after_s)
            if patience_s is not None:
                await self._settler.settle(patience_s=patience_s)

    async def settle(self) -> None:
        """All doubts, however long it takes, unless they are sent again anyway."""
        if self._lane.chosen.run.on_doubt is OnDoubt.HOLD:
            await self._settler.settle()

    async def audit(self) -> Audit:
        """A last look at what was sent again, which is recorded."""
        found, journal = await self._settler.audit(), self._lane.journal
        recorded = [journal.set_fact(LATE, found.late)]
        if found.unseen is None:
            recorded.append(journal.set_fact(AUDITED, await journal.absences()))
        await asyncio.gather(*recorded)
        return found

    async def send_round(self, cursor: Cursor) -> None:
        """Send everything that is planned, and whatever the source still holds by *cursor*, once.

        Ends early where the lane stops; what is in flight finishes.
        """
        wanted = _AutoResetEvent()
        sending = new_round(self._planned, cursor, creation=self._creation, rules=self._rules, settle_now=wanted.set)
        preparer = Preparer(self._planned, sending)
        delivery = Delivery(
            self._planned,
            sending,
            Splitter(self._planned, sending),
            refusals_store_nothing=await self._lane.journal.fact(REFUSALS_STORE_NOTHING),
        )
        prepared, incoming = anyio.create_memory_object_stream[Prepared](0)
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._settle_on_demand, sending.fence, wanted)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._prepare_all, preparer, prepared)
                async with incoming:
                    at_once = self._lane.chosen.destination.concurrency
                    for _ in range(at_once):
                        tasks.start_soon(delivery.run, incoming.clone(), tasks)
                    beside.start_soon(self._widen, delivery, incoming.clone(), tasks, at_once)
            beside.cancel_scope.cancel()
        if preparer.unreadable is not None:
            await self._lane.journal.set_fact(UNREADABLE, with_the_rest(preparer.unreadable))

    async def _prepare_all(self, preparer: Preparer, prepared: MemoryObjectSendStream[Prepared]) -> None:
        with self._lane.halt.on_trouble():
            await preparer.run(prepared)
            await self._lane.journal.set_fact(PLANNED_WHOLE, True)

    async def _widen(
        self, delivery: Delivery, incoming: MemoryObjectReceiveStream[Prepared], tasks: TaskGroup, at_once: int
    ) -> None:
        """More deliverers, where a person allows more requests at once meanwhile."""
        concurrency = self._lane.requests.pacing.concurrency
        async with incoming:
            while True:
                cap = concurrency.adaptive.cap
                for _ in range(at_once, cap):
                    tasks.start_soon(delivery.run, incoming.clone(), tasks)
                at_once = max(at_once, cap)
                concurrency.cap_changed = changed = anyio.Event()
                await changed.wait()

    async def _settle_on_demand(self, fence: Fence, wanted: _AutoResetEvent) -> None:
        """Settle whenever enough is in doubt, with nothing in flight."""
        quiet_s = self._lane.chosen.run.settle_after_s
        with suppress(Halted):
            while True:
                await wanted.wait()
                await fence.close()
                try:
                    patience_s = QUIET_PERIODS_BETWEEN * quiet_s if self._lane.tally.totals.chunks_landed else inf
                    await self._settler.settle(patience_s=patience_s)
                except BulkupError as error:
                    self._lane.halt.set(Reason(str(error), error.exit_code))
                finally:
                    await fence.open()


class _AutoResetEvent:
    """Set by anybody, waited for by one. Set several times before it is waited for, it is set once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()
