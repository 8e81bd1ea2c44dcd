"""The planning of a lane by itself: what an upload would send, chunk by chunk, and none of it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio

from bulkup.chunk import Totals
from bulkup.flow.chunker import Chunker
from bulkup.flow.context import PlannedLane
from bulkup.flow.creation import Creation
from bulkup.flow.prepare import Preparer
from bulkup.flow.prepared import Prepared
from bulkup.flow.rounds import new_round
from bulkup.flow.stop_rules import StopRules
from bulkup.flow.tally import Tally
from bulkup.journal.facts import PLANNED_WHOLE, UNREADABLE
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.pacing.quota import time_for_s
from bulkup.scan.found import Found
from bulkup.sources import Cursor, Item
from bulkup.sources.positions import with_the_rest

__all__ = ["Rehearsed", "estimate", "first_row", "rehearse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What an upload would send: *requests*, with *body_bytes* in all, which fill *mean_fill* (0 to 1; None without any) of what is
    allowed and make *datasets*. *changes*: in how many rows each kind of change would be made. *time_s* is what the rates that
    the user has given make of it; None where there are none. *is_estimate*: not all of the source was looked at."""

    requests: int
    rows: int
    body_bytes: int
    datasets: int
    mean_fill: float | None
    changes: tuple[tuple[str, int], ...]
    time_s: float | None
    is_estimate: bool = False


def estimate(planned: PlannedLane, found: Found) -> tuple[Rehearsed, Totals]:
    """What an upload would send, and what it would read, judged by the part of the source that was looked at."""
    total = sum(file.size or 0 for file in planned.lane.source.files)
    share = min(1.0, (found.bytes_looked_at or 0) / total) if total else 1.0

    def grown(count: float) -> int:
        return round(count / share) if share else 0

    measure, plan, lane = found.measure, planned.plan, planned.lane
    rows = grown(found.rows)
    body_bytes = rows * measure.body_bytes // max(1, measure.rows)
    a_tile = max(1, plan.tile_bytes * measure.body_bytes // max(1, measure.raw_bytes))
    requests = -(-body_bytes // a_tile)
    sent = Rehearsed(
        requests=requests,
        rows=rows,
        body_bytes=body_bytes,
        datasets=requests if lane.destination.policy.has_dataset_per_chunk else min(requests, 1),
        mean_fill=min(1.0, body_bytes / requests / lane.limit.bytes) if requests else None,
        changes=(),
        time_s=_time_s(planned, requests, rows, body_bytes),
        is_estimate=True,
    )
    rejected, blank = grown(found.rejected), grown(found.blank)
    skipped, made = grown(found.skipped), grown(found.made)
    totals = Totals(
        lines=rows + rejected + blank + skipped - made,
        rows_blank=blank,
        rows_rejected=rejected,
        rows_skipped=skipped,
        rows_made=made,
        rows_left=rows,
    )
    return sent, totals


async def rehearse(planned: PlannedLane, cursor: Cursor) -> Rehearsed:
    """Plan all of the source, in the lane's journal, as an upload would that nothing stops. Raises as `Preparer.run` does."""
    lane = planned.lane
    creation = Creation(exists=True, quiet_s=0, last_byte_at=None, clock=lane.clock.unix, sleep=lane.clock.sleep)
    rules = StopRules(totals=lane.tally.totals, limit=None, halt=lane.halt)
    sending = new_round(planned, cursor, creation=creation, rules=rules)
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
        await lane.journal.set_fact(UNREADABLE, with_the_rest(preparer.unreadable))
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
