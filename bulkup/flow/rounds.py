"""What one round of a lane works with: made anew for each, whether it sends or only rehearses."""

from __future__ import annotations

from collections.abc import Callable

from bulkup.flow.children import ChildNumbers
from bulkup.flow.context import PlannedLane, SendingRound
from bulkup.flow.creation import Creation
from bulkup.flow.executors import Executors
from bulkup.flow.fence import Fence
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.processes import ThisProcess
from bulkup.flow.stop_rules import StopRules
from bulkup.pacing import ByteBudget
from bulkup.sources import Cursor

__all__ = ["new_round"]


def new_round(
    planned: PlannedLane,
    cursor: Cursor,
    *,
    creation: Creation,
    rules: StopRules,
    settle_now: Callable[[], None] = lambda: None,
) -> SendingRound:
    """A round of *planned* that reads by *cursor*. *creation* and *rules* outlive it."""
    lane = planned.lane
    budget = reading = ByteBudget(lane.chosen.memory_bytes)
    if lane.workers.may_help:  # half of it for what is read ahead

        def of_far_workers() -> int:
            """What they hold they hold there; of a source that is read here the lines are held here too, whoever encodes them."""
            return lane.workers.far * lane.chosen.far_memory_bytes // 2 if lane.source.any_range else 0

        budget, reading = (ByteBudget(lane.chosen.memory_bytes // 2, more=of_far_workers) for _ in range(2))
    here = ThisProcess(LaneWorker(lane.destination, planned.plan.rows, planned.chunker, cursor))
    return SendingRound(
        cursor=cursor,
        executors=Executors(
            lane.name, here, lane.workers, lane.source, cursor, lane.destination.token, planned.plan.rows.function
        ),
        budget=budget,
        reading=reading,
        numbers=ChildNumbers(lane.journal),
        fence=Fence(),
        creation=creation,
        rules=rules,
        settle_now=settle_now,
    )
