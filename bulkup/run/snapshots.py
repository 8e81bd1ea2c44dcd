"""How far a run's lanes are, for the display, and what this invocation did, for the receipt."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from bulkup.account.receipt import Invocation
from bulkup.event import LaneSnapshot, Progress, Snapshot, Stage, Trouble
from bulkup.flow.lane import Lane
from bulkup.flow.trouble import duration_text
from bulkup.journal.facts import LAST_TROUBLE, LIMITED_BY
from bulkup.light_dataclass import replace
from bulkup.pacing import Eta, Waiting
from bulkup.run.opened import OpenRun

__all__ = ["Snapshots", "stages_shown"]

SNAPSHOT_EVERY_S = 0.25
NOTE_EVERY_S = 5.0
NOTE_TROUBLE_EVERY_S = 1.0


class Snapshots:
    """Watches a run's lanes."""

    def __init__(self, run: OpenRun) -> None:
        self._run = run
        self._source_bytes = sum(file.size or 0 for file in run.source.files)  # once: there may be very many
        self._etas = {lane.name: Eta() for lane in run.lanes}
        self._noted: dict[str, tuple[str, float]] = {}
        self._troubles: dict[str, tuple[Trouble | None, float]] = {}

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Meanwhile somebody hears four times a second how far the lanes are; and once more at the end."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._show)
            yield
            tasks.cancel_scope.cancel()
        self._take_stock()

    async def _show(self) -> None:
        self._take_stock()
        while True:
            self._take_stock()
            self.show()
            await self._note_limits()
            await self._note_troubles()
            await anyio.sleep(SNAPSHOT_EVERY_S)

    def show(self) -> None:
        """Tell how far the lanes are now."""
        self._run.wish.tell(self._snapshot())

    def invocations(self) -> Mapping[str, Invocation]:
        """What was done on each lane so far."""
        duration_s = time.monotonic() - self._run.began_s
        return {lane.name: _invocation(lane, duration_s) for lane in self._run.lanes}

    def _take_stock(self) -> None:
        workers = self._run.workers
        for lane in self._run.lanes:
            cpu_s = time.process_time() + workers.cpu_s
            lane.context.requests.pacing.take_stock(cpu_s=cpu_s, processes=max(1, workers.count))

    async def _note_limits(self) -> None:
        """Let `status` know what limits each lane, where that has changed, not more often than every few seconds."""
        now = time.monotonic()
        for lane in self._run.lanes:
            limit = lane.context.requests.pacing.limiting.now
            before, at = self._noted.get(lane.name, ("", float("-inf")))
            if limit is not None and limit != before and now - at >= NOTE_EVERY_S:
                self._noted[lane.name] = (limit, now)
                await lane.context.journal.set_fact(LIMITED_BY, limit)

    async def _note_troubles(self) -> None:
        """Let `status` know what goes wrong, where that has changed, not more often than once a second."""
        now = time.monotonic()
        for lane in self._run.lanes:
            trouble = lane.context.requests.troubles.last
            before, at = self._troubles.get(lane.name, (None, float("-inf")))
            if trouble is not before and now - at >= NOTE_TROUBLE_EVERY_S:
                self._troubles[lane.name] = (trouble, now)
                await lane.context.journal.set_fact(LAST_TROUBLE, trouble)

    def _snapshot(self) -> Snapshot:
        elapsed_s = time.monotonic() - self._run.began_s
        found = tuple(
            _lane_snapshot(lane, self._etas[lane.name], elapsed_s, self._source_bytes) for lane in self._run.lanes
        )
        return Snapshot(elapsed_s, found)


@asynccontextmanager
async def stages_shown(run: OpenRun) -> AsyncIterator[None]:
    """Meanwhile somebody hears what the lanes are at, where nothing is sent."""

    async def show() -> None:
        while True:
            await anyio.sleep(SNAPSHOT_EVERY_S)
            at = [(lane.name, lane.context.tally) for lane in run.lanes if not lane.has_ended]
            stages = tuple(Stage(name, t.stage, t.stage_done, t.stage_total) for name, t in at if t.stage)
            if stages:
                run.wish.tell(Progress(time.monotonic() - run.began_s, stages))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show)
        yield
        tasks.cancel_scope.cancel()


def _lane_snapshot(lane: Lane, eta: Eta, elapsed_s: float, source_bytes: int) -> LaneSnapshot:
    tally, pacing = lane.context.tally, lane.context.requests.pacing
    totals, limited_by = tally.totals, None if pacing.is_paused else pacing.limiting.now
    now, trouble = lane.context.clock.monotonic(), lane.context.requests.troubles.last
    per_minute = pacing.quota.per_minute(now)
    snapshot = LaneSnapshot(
        lane=lane.name,
        rows_read=totals.rows_read,
        rows_landed=totals.rows_landed,
        rows_rejected=totals.rows_rejected,
        rows_skipped=totals.rows_skipped,
        rows_made=totals.rows_made,
        rows_in_doubt=totals.rows_in_doubt,
        chunks_landed=totals.chunks_landed,
        chunks_in_doubt=totals.chunks_in_doubt,
        bytes_sent=tally.bytes_sent,
        in_flight=tally.in_flight,
        concurrency_limit=pacing.concurrency.limit,
        retries=tally.retries,
        waiting_for=_waiting_for(lane),
        source_done=_source_done(lane, source_bytes),
        ended=lane.has_ended,
        limited_by=limited_by or "",
        quota_per_minute=pacing.quota.shown_per_minute(now),
        chunks_expected=lane.chunks_expected,
        trouble=trouble,
        trouble_left_s=None if trouble is None or trouble.until is None else trouble.until - lane.context.clock.unix(),
    )
    left_s = eta.left_s(
        elapsed_s,
        snapshot.done_share,
        chunks=totals.chunks_landed,
        per_minute=per_minute,
        growth=pacing.quota.growth(now),
        limited_by=limited_by,
    )
    return replace(snapshot, left_s=None if pacing.is_paused else left_s)


def _invocation(lane: Lane, duration_s: float) -> Invocation:
    tally, pacing = lane.context.tally, lane.context.requests.pacing
    return Invocation(
        requests=tally.requests,
        attempts_by_outcome=dict(sorted(tally.outcomes.items())),
        bytes_sent=tally.bytes_sent,
        throttled_s=round(pacing.throttled_s, 3),
        duration_s=round(duration_s, 3),
        limited_by=pacing.limiting.overall,
        mean_fill=_rounded(tally.mean_fill, 4),
        quota_per_minute=_rounded(pacing.quota.shown_per_minute(lane.context.clock.monotonic()), 1),
    )


def _source_done(lane: Lane, size: int) -> float | None:
    """The share of the source's bytes, *size* in all, that has been read, where that is known."""
    if lane.is_done:
        return 1.0
    return min(1.0, lane.cursor.progress / size) if size else None


def _waiting_for(lane: Lane) -> str:
    pacing = lane.context.requests.pacing
    if pacing.is_paused:
        return Waiting.PAUSED
    if not pacing.waiting_for_evidence:
        return pacing.waiting
    left_s = pacing.next_look - lane.context.clock.unix()
    return f"evidence: {pacing.waiting_for_evidence} ({duration_text(left_s)} more)"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
