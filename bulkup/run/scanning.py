"""The scan of a run's source: before anything is planned, off the event loop, once for all of its lanes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import accumulate
from pathlib import Path

import anyio

from bulkup.errors import BulkupError, TooManyRejects, UsageProblem
from bulkup.event import Progress, Stage
from bulkup.flow.context import LaneContext
from bulkup.flow.planning import frozen_plan
from bulkup.flow.scanned import record_of, scanned
from bulkup.journal.facts import BASES, SCAN, ScanRecord
from bulkup.light_dataclass import dataclass
from bulkup.path_text import readable
from bulkup.run.kept_scans import LEAST_BYTES, KeptParts, KeptScans, key_of
from bulkup.run.opened import OpenRun
from bulkup.run.run_workers import RunWorkers, hand_count
from bulkup.run.scan_hands import ThisHand, WorkerHand
from bulkup.run.scan_worker import ScannedLane
from bulkup.scan.found import Found
from bulkup.scan.judging import Way
from bulkup.scan.reasons import Reason
from bulkup.scan.scanner import Hand, first_rows, made_way, scan
from bulkup.scan.seen import Place
from bulkup.scan.spread import Part, spread_over, whole_in_parts
from bulkup.settings.config import RejectLimit
from bulkup.sources import Source

__all__ = ["RowAt", "check_rejects", "look_at_all", "look_early", "reasons_said", "row_at", "too_many_rejects"]

_REASONS_SAID = 3
_FIRST_SHOWN_S, _SHOWN_EVERY_S = 0.5, 0.25

_COME_BY_THEN_S = 1.0
"""So long is waited for workers that are there before the run, until processes for the scan are started: to start one takes most of
a second of a core, which they may be about to use."""

_OF_SLOW_BYTES = 1024**3
"""So much is looked at of what is not on a local disk, or goes through the user's function, unless the user says otherwise."""

_KEPT_WHOLE_BYTES = 1024**3
"""On disk: of so much, packed as it may be, the rows are likely to have room where they are kept."""


@dataclass(frozen=True, slots=True)
class RowAt:
    """A row: its file, and its number there, from 1, blank lines counted; None where these were not all looked at. Then *byte* says
    where it begins, after decompression, if positions in the file count bytes."""

    file: str
    row: int | None
    byte: int | None

    @property
    def said(self) -> str:
        """In words."""
        if self.row is not None:
            return f"{self.file}, row {self.row:,}"
        return self.file if self.byte is None else f"{self.file}, the row at byte {self.byte:,}"


async def look_at_all(run: OpenRun, kept: KeptScans) -> None:
    """Read the source once, unless that was done or is not wanted, and keep what was found for each lane that has no plan yet. What
    an earlier command has *kept* of these files is taken.

    Raises `UsageProblem` where a destination cannot take these rows, and `SourceChanged`.
    """
    chosen = run.wish.upload.settings.scan
    beginning = run.source.beginning
    source = run.source if beginning is None else beginning.source
    if chosen == "none" or not (run.source.rereadable or beginning):
        return
    lanes = [lane for lane in await _unplanned(run) if await lane.journal.fact(SCAN) is None]
    if not lanes:
        return
    has_function = any(lane.chosen.rows.function is not None for lane in lanes)
    spread = _spread(source, chosen, has_function=has_function) if beginning is None else None
    goes_on = beginning is not None and not beginning.are_all
    is_large = sum(file.size or 0 for file in run.source.files) >= LEAST_BYTES
    keys = {lane.name: key for lane in lanes if is_large and (key := key_of(lane, spread)) is not None}
    records = {name: record for name, key in keys.items() if (record := kept.find(key)) is not None}
    if records:
        run.say("the source was checked before, and has not changed since")
    wanted = [lane for lane in lanes if lane.name not in records]
    if wanted:
        parts = _whole(source) if spread is None else spread
        keys_wanted = {lane.name: keys[lane.name] for lane in wanted if lane.name in keys}
        scanning = _Scanning(run, source, wanted, parts, is_whole=spread is None and not goes_on)
        found = await scanning.found(kept.parts(keys_wanted))
        if not all(one.is_whole for one in found.values()):
            run.say(
                "not all of the source was looked at (--scan all does that): a later row that does not fit is rejected"
            )
        _tell_unmet(run, found)
        if goes_on and not any(one.rows for one in found.values()):
            return  # too little has come: the first block decides, when it is there
        records |= {name: record_of(one) for name, one in found.items()}
    for lane in lanes:
        record = records[lane.name]
        await lane.journal.set_fact(SCAN, record)
        if lane.name in keys:
            kept.keep(keys[lane.name], record)
        if not run.source.any_range:
            run.source.learn(_bases(record))
            await lane.journal.set_fact(BASES, run.source.bases)


def _tell_unmet(run: OpenRun, found: Mapping[str, Found]) -> None:
    """Options whose keys no row has. Raises `UsageProblem` where all rows were looked at. Rejected rows that are sent again, which
    stand in the run's own folder, are few of those that the options were given for: nothing is said of these."""
    if any(Path(file.path).resolve().parent == run.folder.path.resolve() for file in run.source.files[:1]):
        return
    said: dict[str, None] = {}
    for one in found.values():
        of_all = one.is_whole and one.broke_off is None
        for unmet in one.unmet:
            if of_all:
                raise UsageProblem(unmet.said(of_all=True))
            said[unmet.said(of_all=False)] = None
    for text in said:
        run.say(f"warning: {text}")


def _whole(source: Source) -> list[Part]:
    """What is not on disk under a name is one part."""
    return whole_in_parts(source.files) if source.rereadable else [Part(0, files=len(source.files))]


def _bases(record: ScanRecord) -> list[int]:
    """Where files begin, as far as all before them were read to their ends."""
    if record.bytes_looked_at is not None:
        return []
    ends = [file.end for file in record.files[: -1 if record.broke_off else None]]
    return list(accumulate(ends, initial=0))[: len(record.files)]


async def look_early(run: OpenRun) -> None:
    """Before a source is read that takes its time: whether the destinations are free, and the tokens good. They are looked at once
    more behind that. Raises as `FirstLook.once`."""
    if sum(file.size or 0 for file in run.source.files) < LEAST_BYTES or run.wish.upload.settings.scan == "none":
        return
    for lane in run.lanes:
        if await frozen_plan(lane.context) is None:
            await lane.take_up()
            await lane.first_look.once()


async def check_rejects(run: OpenRun) -> None:
    """Raise `TooManyRejects` where the scan shows that more rows would be rejected than the user allows."""
    for lane in await _unplanned(run):
        refused = await too_many_rejects(lane, run.source)
        if refused is not None:
            raise refused


async def _unplanned(run: OpenRun) -> list[LaneContext]:
    return [lane.context for lane in run.lanes if await frozen_plan(lane.context) is None]


def _spread(source: Source, chosen: int | str | None, *, has_function: bool) -> list[Part] | None:
    """What is looked at; None: all."""
    if chosen is None:
        is_slow = has_function or any(file.remote is not None for file in source.files)
        chosen = _OF_SLOW_BYTES if is_slow else "all"
    return spread_over(source.files, chosen) if isinstance(chosen, int) else None


class _Scanning:
    """The scan of *parts* of *source* for *lanes*. *is_whole*: that is all of the run's source."""

    def __init__(
        self, run: OpenRun, source: Source, lanes: Sequence[LaneContext], parts: Sequence[Part], *, is_whole: bool
    ) -> None:
        self._run = run
        self._source = source
        self._lanes = lanes
        self._parts = parts
        self._is_whole = is_whole
        self._max_row_bytes = lanes[0].chosen.run.max_row_bytes
        self._scanners = RunWorkers(say=lambda lane, text: run.say(text, lane), on_quota=lambda _lane, _headers: None)
        self._are_started = False
        self._progress = _Progress(run, parts if not is_whole else None)
        self._has_function = any(lane.chosen.rows.function is not None for lane in lanes)
        self._here = ThisHand(
            source,
            self._max_row_bytes,
            self._progress.reached,
            goes_on=not is_whole,
            runs_user_code=self._has_function,
            keeps=run.kept_rows,
        )

    async def found(self, kept: KeptParts) -> dict[str, Found]:
        """What was found for each lane. Raises `UsageProblem`, `SourceChanged`."""
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            tasks.start_soon(self._progress.show)
            workers = await self._started(stack)
            scanned_lanes = {lane.name: await self._lane(lane) for lane in self._lanes}
            ways = {lane.name: await self._way(lane, scanned_lanes[lane.name]) for lane in self._lanes}
            hands = [*self._workers(workers, scanned_lanes), self._here]
            come: list[Callable[[], AsyncIterator[Hand]]] = []
            if self._may_come:
                come.append(partial(self._far, scanned_lanes))
            if self._scans_at_once:
                hands = [self._here, *hands]
                come.append(partial(self._near, scanned_lanes, stack))
            found = await scan(ways, self._parts, hands, kept, self._here, is_whole=self._is_whole, come=come)
            tasks.cancel_scope.cancel()
        return found

    async def _lane(self, lane: LaneContext) -> ScannedLane:
        target, options = lane.destination.target, lane.chosen.rows
        first = await self._here.check(lambda check: first_rows(self._source, target, options, check))
        return ScannedLane(lane.chosen.destination.dataset(lane.chosen.run.name), options, first)

    async def _way(self, lane: LaneContext, scanned_lane: ScannedLane) -> Way:
        target, renames = lane.destination.target, self._source.files[0].renames
        return await self._here.do(partial(made_way, target, lane.chosen.rows, scanned_lane.first, renames=renames))

    async def _started(self, stack: AsyncExitStack) -> RunWorkers:
        """The run's workers; or some for the scan alone, where the run has none: a check, or packed files.

        Raises `UsageProblem`."""
        run = self._run
        if run.workers.near or len(self._parts) == 1 or self._keeps_all or self._scans_at_once:
            return run.workers
        if (wanted := self._hands_wanted) > 1:
            await self._start(wanted, stack)
        return self._scanners

    @property
    def _hands_wanted(self) -> int:
        """How many processes of this machine are to scan: with workers of other machines to be kept waiting, one for each core."""
        chosen = self._run.wish.upload.settings
        at_least = hand_count("auto", self._source) if chosen.listen is not None else 1
        return min(max(hand_count(chosen.workers, self._source), at_least), len(self._parts))

    async def _start(self, count: int, stack: AsyncExitStack) -> None:
        """*count* processes for the scan alone. Raises `UsageProblem`."""
        await self._scanners.start(count, stack, keep_fds=(), prints=self._has_function)

    @property
    def _may_come(self) -> bool:
        """Whether workers of other machines, which are to send, scan too: they need the files for that anyway."""
        can_be_cut = self._source.any_range and self._source.rereadable and len(self._parts) > 1
        return self._run.wish.upload.settings.listen is not None and can_be_cut and not self._keeps_all

    @property
    def _scans_at_once(self) -> bool:
        """Whether this process scans from the beginning, before any others are started for that."""
        return self._may_come and not self._run.workers.near

    @property
    def _keeps_all(self) -> bool:
        """Whether this process keeps what it scans: it decodes once then, where two would decode twice."""
        is_small = sum(file.size or 0 for file in self._source.files) <= _KEPT_WHOLE_BYTES
        return self._run.kept_rows is not None and is_small and not self._has_function

    def _workers(self, workers: RunWorkers, lanes: Mapping[str, ScannedLane]) -> list[Hand]:
        if len(self._parts) == 1:
            return []
        return [self._hand(workers, number, lanes) for number in workers.near]

    async def _far(self, lanes: Mapping[str, ScannedLane]) -> AsyncIterator[Hand]:
        """Workers of other machines, as they come."""
        workers = self._run.workers
        async for number in workers.far_arrivals():
            yield self._hand(workers, number, lanes)

    async def _near(self, lanes: Mapping[str, ScannedLane], stack: AsyncExitStack) -> AsyncIterator[Hand]:
        """Processes for the cores that are free beside this process and the workers of this machine, if these have come in time."""
        if not self._are_started:
            await anyio.sleep(_COME_BY_THEN_S)
            self._are_started = True
            if (count := self._hands_wanted - 1 - self._run.workers.far_here) > 0:
                with anyio.CancelScope(shield=True):
                    await self._start(count, stack)
        for number in self._scanners.near:
            yield self._hand(self._scanners, number, lanes)

    def _hand(self, workers: RunWorkers, number: int, lanes: Mapping[str, ScannedLane]) -> Hand:
        reached, goes_on = self._progress.reached, not self._is_whole
        return WorkerHand(workers, number, lanes, self._source, self._max_row_bytes, reached, goes_on=goes_on)


class _Progress:
    """How far the scan is, for the display."""

    def __init__(self, run: OpenRun, parts: Sequence[Part] | None) -> None:
        self._run = run
        files = run.source.files
        self._total = sum(file.size or 0 for file in files) if parts is None else sum(map(_size, parts))
        self._done: dict[object, int] = {}

    def reached(self, part: object, done: int) -> None:
        """*done* bytes of *part* were read. May be called by another thread."""
        self._done[part] = done

    async def show(self) -> None:
        """Tell it four times a second, from the second half second on."""
        await anyio.sleep(_FIRST_SHOWN_S)
        while True:
            stage = Stage("", "checked", sum(self._done.copy().values()), self._total, are_bytes=True)
            self._run.wish.tell(Progress(time.monotonic() - self._run.began_s, (stage,)))
            await anyio.sleep(_SHOWN_EVERY_S)


def _size(part: Part) -> int:
    return min(part.stop - part.start, part.most_bytes)


async def too_many_rejects(lane: LaneContext, source: Source) -> BulkupError | None:
    """What is to be said if the scan of *lane* shows more rejected rows than the user allows."""
    limit, record = lane.chosen.run.max_rejects, await lane.journal.fact(SCAN)
    if limit is None or record is None or not record.rejected:
        return None
    found = await scanned(lane.journal, lane.destination.target, lane.chosen.rows.function)
    if found is not None and limit.is_passed(rejected=found.rejected, read=found.rows_read + found.made):
        return _too_many(lane.name, found, limit, source)
    return None


def _too_many(lane: str, found: Found, limit: RejectLimit, source: Source) -> BulkupError:
    share = f" ({100 * found.rejected / (found.rows_read + found.made):.1f} %)"
    looked_at = "" if found.is_whole else " looked at"
    return TooManyRejects(
        f"{lane}: {found.rejected:,} of {found.rows_read + found.made:,} rows{looked_at} would be rejected{share}, more than "
        f"--max-rejects {limit} allows, so nothing was sent. "
        f"{reasons_said(found.reasons, source)}. Fix the rows or the options, or give a larger "
        "--max-rejects (100% never stops)"
    )


def reasons_said(reasons: Sequence[Reason], source: Source) -> str:
    """The first three of *reasons* in words, each with its first place."""
    said = "; ".join(_said(reason, source) for reason in reasons[:_REASONS_SAID])
    more = len(reasons) - _REASONS_SAID
    return said + (f"; and {more} other reasons" if more > 0 else "")


def _said(reason: Reason, source: Source) -> str:
    return f"{reason.count:,}: {reason.text} (first: {row_at(reason.places[0], source).said})"


def row_at(place: Place, source: Source) -> RowAt:
    """The row at *place*, as a person finds it."""
    file = source.files[place.file]
    return RowAt(readable(file.uri), place.line, file.byte_offset(place.at))
