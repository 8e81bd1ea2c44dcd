"""The scan of a run's source: before anything is planned, off the event loop, once for all of its lanes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from bulkup.encoding import RowOptions, Target
from bulkup.errors import BulkupError, TooManyRejects
from bulkup.flow.context import LaneContext
from bulkup.flow.planning import frozen_plan
from bulkup.flow.scanned import record_of, scanned
from bulkup.flow.user_code import in_user_thread
from bulkup.journal.facts import BASES, SCAN
from bulkup.path_text import readable
from bulkup.run.open_run import OpenRun
from bulkup.scan.found import Found
from bulkup.scan.rejects import Reason
from bulkup.scan.scanner import scan
from bulkup.scan.seen import Place
from bulkup.settings.config import RejectLimit, Scan
from bulkup.sources import Source

__all__ = ["RowAt", "check_rejects", "look_at_all", "row_at", "too_many_rejects"]

_REASONS_SAID = 3


@dataclass(frozen=True, slots=True)
class RowAt:
    """A row: its file, and its number there, from 1, blank lines counted."""

    file: str
    row: int

    @property
    def said(self) -> str:
        """In words."""
        return f"{self.file}, row {self.row:,}"


async def look_at_all(run: OpenRun) -> None:
    """Read the source once, unless that was done or is not wanted, and keep what was found for each lane that has no plan yet.

    Raises `UsageProblem` where a destination cannot take these rows, and `SourceChanged`.
    """
    if run.wish.upload.settings.scan is Scan.NONE or not run.source.rereadable:
        return
    lanes = [lane for lane in await _unplanned(run) if await lane.journal.fact(SCAN) is None]
    if lanes:
        wanted = {lane.name: (lane.destination.target, lane.chosen.rows) for lane in lanes}
        found = await _scanned_in_a_thread(run.source, wanted)
        for lane in lanes:
            await lane.journal.set_fact(SCAN, record_of(found[lane.name]))
            if not run.source.any_range:
                await lane.journal.set_fact(BASES, run.source.bases)


async def check_rejects(run: OpenRun) -> None:
    """Raise `TooManyRejects` where the scan shows that more rows would be rejected than the user allows."""
    for lane in await _unplanned(run):
        refused = await too_many_rejects(lane, run.source)
        if refused is not None:
            raise refused


async def _unplanned(run: OpenRun) -> list[LaneContext]:
    return [lane.context for lane in run.lanes if await frozen_plan(lane.context) is None]


class _Unwanted(BaseException):
    """Nobody waits for the scan any more."""


async def _scanned_in_a_thread(source: Source, lanes: Mapping[str, tuple[Target, RowOptions]]) -> dict[str, Found]:
    """The scan has an event loop of its own, since it keeps that from everything else."""
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise _Unwanted

    def work() -> dict[str, Found]:
        try:
            return asyncio.run(scan(source, lanes, check, lambda _: None))
        except _Unwanted:
            return {}

    try:
        if any(options.function is not None for _, options in lanes.values()):
            return await in_user_thread(work)
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    finally:
        stopped.set()


async def too_many_rejects(lane: LaneContext, source: Source) -> BulkupError | None:
    """What is to be said if the scan of *lane* shows more rejected rows than the user allows."""
    found = await scanned(lane.journal, lane.destination.target, lane.chosen.rows.function)
    limit = lane.chosen.run.max_rejects
    if found is not None and limit is not None and limit.is_passed(rejected=found.rejected, read=found.rows_read):
        return _too_many(lane.name, found, limit, source)
    return None


def _too_many(lane: str, found: Found, limit: RejectLimit, source: Source) -> BulkupError:
    share = f" ({100 * found.rejected / found.rows_read:.1f} %)"
    reasons = "; ".join(_said(reason, source) for reason in found.reasons[:_REASONS_SAID])
    more = len(found.reasons) - _REASONS_SAID
    return TooManyRejects(
        f"{lane}: {found.rejected:,} of {found.rows_read:,} rows would be rejected{share}, more than --max-rejects {limit} "
        f"allows, so nothing was sent. {reasons}{f'; and {more} other reasons' if more > 0 else ''}. Fix the rows or the "
        "options, or give a larger --max-rejects (100% never stops)"
    )


def _said(reason: Reason, source: Source) -> str:
    return f"{reason.count:,}: {reason.text} (first: {row_at(reason.places[0], source).said})"


def row_at(place: Place, source: Source) -> RowAt:
    """The row at *place*, as a person finds it."""
    return RowAt(readable(source.files[place.file].uri), place.line)
