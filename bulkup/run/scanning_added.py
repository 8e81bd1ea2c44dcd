"""The scan of what was added to a source whose plan is frozen: which of it would be rejected by that plan, before any is sent."""

from __future__ import annotations

from functools import partial

from bulkup.errors import TooManyRejects
from bulkup.flow.context import LaneContext
from bulkup.flow.plan import LanePlan
from bulkup.flow.planning import frozen_plan
from bulkup.flow.scanned import reasons_of, reasons_recorded
from bulkup.journal.facts import ADDED, AddedRecord
from bulkup.run.kept_scans import KeptParts
from bulkup.run.opened import OpenRun
from bulkup.run.scan_hands import ThisHand
from bulkup.run.scanning import reasons_said
from bulkup.scan.scanner import planned_way, scan
from bulkup.scan.spread import behind
from bulkup.sources.positions import file_at

__all__ = ["look_at_added"]


async def look_at_added(run: OpenRun) -> None:
    """Read what was added to the source, unless that was done or is not wanted, and say what of it would be rejected.

    Raises `TooManyRejects` where that is more than the user allows, and `SourceChanged`.
    """
    if run.wish.upload.settings.scan == "none":
        return
    for lane in (lane.context for lane in run.lanes):
        plan = await frozen_plan(lane)
        if plan is None or len(plan.segments) < 2:
            continue
        base = plan.segments[-1][1]
        record = await lane.journal.fact(ADDED)
        if record is None or record.base != base:
            record = await _looked_at(run, lane, plan, base)
            await lane.journal.set_fact(ADDED, record)
        await _judge(run, lane, record)


async def _looked_at(run: OpenRun, lane: LaneContext, plan: LanePlan, base: int) -> AddedRecord:
    source = run.source
    here = ThisHand(
        source,
        plan.max_row_bytes,
        lambda _part, _bytes: None,
        goes_on=False,
        runs_user_code=plan.rows.function is not None,
        keeps=run.kept_rows,
    )
    way = await here.do(partial(planned_way, plan.rows))
    parts = behind(source.files, *file_at(base, source.bases))
    found = (await scan({lane.name: way}, parts, [here], KeptParts(run.state.path, {}), here, is_whole=True))[lane.name]
    return AddedRecord(base, found.rows, found.rejected, reasons_recorded(found.reasons))


async def _judge(run: OpenRun, lane: LaneContext, record: AddedRecord) -> None:
    planned_to = await lane.journal.planned_to()
    if not record.rejected or (planned_to or 0) > record.base:  # else some of them are counted already
        return
    total = record.rows + record.rejected
    said = f"{record.rejected:,} of {total:,} rows that were added would be rejected"
    why = reasons_said(reasons_of(record.reasons), run.source)
    limit, totals = lane.chosen.run.max_rejects, await lane.journal.totals()
    rejected, read = totals.rows_rejected + record.rejected, totals.rows_read + totals.rows_made + total
    if limit is not None and limit.is_passed(rejected=rejected, read=read):
        raise TooManyRejects(
            f"{lane.name}: {said}: with those before, more than --max-rejects {limit} allows, so nothing was sent of them. {why}. "
            "Fix the rows, or give a larger --max-rejects (100% never stops)"
        )
    run.say(f"{said}. {why}", lane.name)
