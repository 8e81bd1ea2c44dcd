"""The planning of a lane by itself: what an upload would send, chunk by chunk, and none of it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import anyio

from bulkup.flow.children import ChildNumbers
from bulkup.flow.chunker import Chunker
from bulkup.flow.context import PlannedLane, SendingRound
from bulkup.flow.creation import Creation
from bulkup.flow.executors import Executors
from bulkup.flow.fence import Fence
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.prepare import Preparer
from bulkup.flow.prepared import Prepared
from bulkup.flow.processes import ThisProcess
from bulkup.flow.stop_rules import StopRules
from bulkup.flow.tally import Tally
from bulkup.journal.facts import PLANNED_WHOLE, UNREADABLE
from bulkup.model import Block
from bulkup.pacing import ByteBudget
from bulkup.pacing.quota import time_for_s
from bulkup.sources import Cursor, Item

__all__ = ["Rehearsed", "first_row", "rehearse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What an upload would send: *requests*, with *body_bytes* in all, which fill *mean_fill* (0 to 1; None without any) of what is
    allowed and make *datasets*. *changes*: in how many rows each kind of change would be made. *time_s* is what the rates that
    the user has given make of it; None where there are none."""

    requests: int
    rows: int
    body_bytes: int
    datasets: int
    mean_fill: float | None
    changes: tuple[tuple[str, int], ...]
    time_s: float | None


async def rehearse(planned: PlannedLane, cursor: Cursor) -> Rehearsed:
    """Plan all of the source, in the lane's journal, as an upload would that nothing stops. Raises as `Preparer.run` does."""
    lane = planned.lane
    sending = _round(planned, cursor)
    preparer = Preparer(planned, sending)
    outgoing, incoming = anyio.create_memory_object_stream[Prepared](0)
    fill, rows, size = Tally(), 0, 0
    changes: Counter[str] = Counter()

    async def prepare() -> None:
        await preparer.run(outgoing)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prepare)
        async with incoming:
            async for prepared in incoming:
                chunk, length = prepared.chunk, planned.content_length(prepared.chunk)
                fill.body_landed(length, lane.limit.bytes)
                rows += chunk.rows
                size += length
                changes.update(dict(chunk.changes))
                sending.budget.give(prepared.held_bytes)
                sending.executors.forget(prepared.hold)
    if preparer.unreadable is not None:
        await lane.journal.set_fact(UNREADABLE, str(preparer.unreadable))
    await lane.journal.set_fact(PLANNED_WHOLE, True)
    return Rehearsed(
        requests=fill.bodies,
        rows=rows,
        body_bytes=size,
        datasets=fill.bodies if lane.destination.policy.has_dataset_per_chunk else min(fill.bodies, 1),
        mean_fill=fill.mean_fill,
        changes=tuple(sorted(changes.items())),
        time_s=_time_s(planned, fill.bodies, rows, size),
    )


def _round(planned: PlannedLane, cursor: Cursor) -> SendingRound:
    lane = planned.lane
    budget = ByteBudget(lane.chosen.memory_bytes)
    here = ThisProcess(LaneWorker(lane.destination, planned.plan.rows, planned.chunker, cursor))
    return SendingRound(
        cursor=cursor,
        executors=Executors(
            lane.name, here, lane.workers, lane.source, cursor, lane.destination.token, planned.plan.rows.function
        ),
        budget=budget,
        reading=budget,
        numbers=ChildNumbers(lane.journal),
        fence=Fence(),
        creation=Creation(exists=True, quiet_s=0, last_byte_at=None, clock=lane.clock.unix, sleep=lane.clock.sleep),
        rules=StopRules(totals=lane.tally.totals, limit=None, halt=lane.halt),
        settle_now=lambda: None,
    )


def _time_s(planned: PlannedLane, requests: int, rows: int, size: int) -> float | None:
    """The longest that one of the rates takes."""
    rate = planned.lane.chosen.destination
    times = [
        None if rate.requests_per_minute is None else time_for_s(requests, rate.requests_per_minute, None),
        None if rate.rows_per_second is None else rows / rate.rows_per_second,
        None if rate.bytes_per_second is None else size / rate.bytes_per_second,
    ]
    return max((time for time in times if time is not None), default=None)


async def first_row(items: AsyncGenerator[Item, None], chunker: Chunker) -> bytes | None:
    """The first row of *items* as it would be sent; None where there is none."""
    async with aclosing(items) as stream:
        async for item in stream:
            for line in await chunker.encode_lines(item) if isinstance(item, Block) else ():
                if line.bodies:
                    return line.bodies[0]
    return None
