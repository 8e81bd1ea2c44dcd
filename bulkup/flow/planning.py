"""The lane's plan: taken from the journal, or decided once, on the scan of the source or, without one, on its first block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bulkup.doubt.naming import widest_name
from bulkup.encoding import RowPlan, decide
from bulkup.errors import BulkupError, UsageProblem
from bulkup.flow.context import LaneContext
from bulkup.flow.forecast import certain_chunks
from bulkup.flow.plan import LanePlan
from bulkup.flow.scanned import scanned
from bulkup.flow.tiling import tile_bytes
from bulkup.flow.user_code import in_user_thread
from bulkup.journal.facts import PLAN
from bulkup.light_dataclass import replace
from bulkup.model import Block
from bulkup.scan.advice import advice
from bulkup.scan.found import Measure
from bulkup.scan.sought import dropped_keys, renamed_keys, unmet_in
from bulkup.sources import Cursor
from bulkup.sources.format import Unit

__all__ = ["frozen_plan", "plan_lane"]

T = TypeVar("T")

MIN_ROOM_BYTES = 256


async def frozen_plan(lane: LaneContext) -> LanePlan | None:
    """The plan that the journal has; None where nothing was planned yet. Raises `JournalUnusable`; for the function that the user
    has named `SourceChanged` and `UsageProblem`."""
    record = await lane.journal.fact(PLAN)
    if record is None:
        return None
    plan = LanePlan.of_record(record, lane.destination.target, lane.chosen.rows.function)
    if plan.rows.function is not None:
        await in_user_thread(plan.rows.function.load)
    return plan


async def plan_lane(lane: LaneContext, cursor: Cursor) -> LanePlan:
    """The frozen plan, or one that is decided and frozen now; what follows from it is told. Raises `UsageProblem`."""
    plan = await frozen_plan(lane)
    if plan is None:
        plan = await _first_plan(lane, cursor)
        await lane.journal.set_fact(PLAN, plan.to_record())
    elif len(plan.segments) > 1:
        _announce(lane, lane.destination.policy.announcement_of_added(lane.destination.dataset_name))
    lane.limit.bytes = min(lane.limit.bytes, plan.max_body_bytes)
    lane.say(plan.rows.describe())
    return plan


async def _first_plan(lane: LaneContext, cursor: Cursor) -> LanePlan:
    """Rows, T and limits, decided on the scan, or on the first block."""
    wanted, target = lane.chosen.rows, lane.destination.target
    found = await scanned(lane.journal, target, wanted.function)
    if found is None:
        first = await cursor.peek()
        sample = first if isinstance(first, Block) else None
        rows = await _worked_out(lane, lambda: decide(sample, target, wanted))
        _warn_of_unmet(lane, sample)
        measure = await _worked_out(lane, lambda: _measured(rows, sample))
        # no dataset is promised of none
        may_hold_rows = sample is not None and (
            lane.source.size is None or sample.end < lane.source.size or measure.rows > 0
        )
    else:
        rows, measure, may_hold_rows = found.plan, found.measure, found.rows > 0
    max_body_bytes = min(lane.limit.bytes, lane.chosen.learned_limit or lane.limit.bytes)
    envelope_bytes = lane.destination.envelope(widest_name(lane.destination.dataset_name), rows).size
    if max_body_bytes - envelope_bytes < MIN_ROOM_BYTES:
        raise _too_small(lane.name, max_body_bytes, envelope_bytes)
    max_rows = lane.chosen.destination.max_chunk_rows or lane.destination.capabilities.max_chunk_rows
    max_row_bytes = lane.chosen.run.max_row_bytes
    plan = LanePlan(1, rows, max_body_bytes, max_rows, max_row_bytes)  # T follows
    limits = plan.limits(envelope_bytes=envelope_bytes, max_body_bytes=max_body_bytes)
    size = tile_bytes(
        limits,
        raw_bytes=measure.raw_bytes,
        body_bytes=measure.body_bytes,
        rows=measure.rows,
        largest_row=measure.largest_row,
        is_held=not lane.source.any_range,
        counts_rows=any(file.format.unit is Unit.ROW for file in lane.source.files),
    )
    chunks = max(1, -(-lane.source.size // size)) if lane.source.size is not None and may_hold_rows else 0
    if chunks:
        certain = None if found is None else certain_chunks(found, lane.source, tile_bytes=size, limits=limits)
        chunks = certain or chunks
        policy, name = lane.destination.policy, lane.destination.dataset_name
        _announce(lane, policy.announcement(name, chunks, is_exact=certain is not None))
    if found is not None:
        for line in advice(rows, found, chunks if lane.destination.policy.has_dataset_per_chunk else 0):
            lane.say(f"warning: {line}")
    return replace(plan, tile_bytes=size)


def _warn_of_unmet(lane: LaneContext, sample: Block | None) -> None:
    """Tell the options whose keys none of the first rows has, where nothing else was looked at."""
    if sample is None or not lane.source.files:
        return
    options = lane.chosen.rows
    sought = renamed_keys(lane.source.files[0].renames) + (() if options.makes_several else dropped_keys(options))
    for unmet in unmet_in(sample, sought):
        lane.say(f"warning: {unmet.said(of_all=False)}")


def _measured(rows: RowPlan, sample: Block | None) -> Measure:
    """What *sample* comes to."""
    if sample is None:
        return Measure(0, 0, 0, 0)
    made = [body for line in rows.line_encoder().encode_lines(sample) for body in line.bodies]
    return Measure(
        sample.end - sample.start, sum(map(len, made)) + len(made), len(made), max(map(len, made), default=0)
    )


async def _worked_out(lane: LaneContext, work: Callable[[], T]) -> T:
    """What *work* gives, which may call the user's function."""
    return work() if lane.chosen.rows.function is None else await in_user_thread(work)


def _announce(lane: LaneContext, text: str | None) -> None:
    if text is not None:
        lane.say(text)


def _too_small(lane: str, max_body_bytes: int, envelope_bytes: int) -> BulkupError:
    return UsageProblem(
        f"{lane}: --max-chunk-bytes {max_body_bytes:,} leaves no room for rows: the rest of the body takes "
        f"{envelope_bytes:,} bytes"
    )
