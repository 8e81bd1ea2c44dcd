"""The one construction site: builds a run's parts, sees it through, and says what it came to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any

import anyio

from bulkup.config import OnSourceChange, RunSettings
from bulkup.destinations.registry import nowhere, service_named
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import BulkupError, ExitCode, worst
from bulkup.event import Event, Finished, LaneSnapshot, Note, Snapshot
from bulkup.flow.clock import Clock
from bulkup.flow.halt import Reason
from bulkup.flow.lane import Chosen, Lane
from bulkup.journal import Journal, Lock
from bulkup.journal.facts import FILES, LIMITED_BY, STARTED_AT, UPLOAD
from bulkup.model import BLOCK_BYTES
from bulkup.receipt import Invocation, Receipt
from bulkup.sources import Source, open_source
from bulkup.stalls import again_s
from bulkup.token_source import TokenSource
from bulkup.transport import Timeouts, Transport, check_base_url
from bulkup.verification import LaneVerification, Verification
from bulkup.version import USER_AGENT
from bulkup.wiring.build import reading_of, refuse_secrets, row_options, token_of
from bulkup.wiring.changed_source import open_journal
from bulkup.wiring.fingerprint import to_records
from bulkup.wiring.folder import RunFolder, StateDir
from bulkup.wiring.interrupt import Interrupt
from bulkup.wiring.lifetime import begin, conclude
from bulkup.wiring.neighbours import others_since
from bulkup.wiring.run_clock import run_clock
from bulkup.wiring.run_workers import RunWorkers, worker_count
from bulkup.wiring.wish import Upload, run_id
from bulkup.wiring.worker import LaneOpening

__all__ = ["Purpose", "Run", "execute", "settle", "verify"]

SNAPSHOT_EVERY_S = 0.25
NOTE_EVERY_S = 5.0


class Purpose(StrEnum):
    """What a run is opened for."""

    SEND = "send"
    SETTLE = "settle"
    VERIFY = "verify"


async def execute(
    upload: Upload, *, tell: Callable[[Event], None], interrupt: Interrupt | None = None, resume: str | None = None
) -> Receipt:
    """Carry *upload* out and return its receipt, which also stands in the run's folder.

    *resume* names the run to go on with, where it is not the one that *upload* makes. Raises `BulkupError` where nothing can
    be sent at all: bad options, a destination that is not empty, a changed source, an unusable journal, a lock, no token.
    """
    interrupt = interrupt or Interrupt()
    run: Run | None = None
    is_sending = False
    try:
        async with AsyncExitStack() as stack:
            try:
                run = await interrupt.unless_requested(lambda: Run.open(upload, stack, tell, resume))
                await interrupt.unless_requested(run.prepare)
            except ExceptionGroup as group:  # a task group's wrapping of one error
                raise sole_error(group) from None
            is_sending = True
            return await run.carry_out(interrupt)
    finally:
        if run is not None and run.is_new and not is_sending:
            run.discard()


async def settle(
    upload: Upload, *, tell: Callable[[Event], None], interrupt: Interrupt | None = None, resume: str
) -> Receipt:
    """Settle what is in doubt in the run named *resume*, sending nothing; its receipt. Raises `BulkupError` as `execute` does."""
    interrupt = interrupt or Interrupt()
    async with AsyncExitStack() as stack:
        run = await _opened(upload, stack, tell, interrupt, resume, Purpose.SETTLE)
        return await run.carry_out(interrupt, Purpose.SETTLE)


async def verify(
    upload: Upload,
    *,
    tell: Callable[[Event], None],
    interrupt: Interrupt | None = None,
    resume: str,
    sample: float,
    seed: int,
) -> Verification:
    """Compare what the destinations hold with what the run named *resume* has sent. Raises `BulkupError` as `execute` does, and
    `SourceChanged` where the source is not what was sent."""
    interrupt = interrupt or Interrupt()
    async with AsyncExitStack() as stack:
        run = await _opened(upload, stack, tell, interrupt, resume, Purpose.VERIFY)
        try:
            return await run.verify(interrupt, sample=sample, seed=seed)
        except ExceptionGroup as group:
            raise sole_error(group) from None


async def _opened(
    upload: Upload,
    stack: AsyncExitStack,
    tell: Callable[[Event], None],
    interrupt: Interrupt,
    resume: str,
    purpose: Purpose,
) -> Run:
    try:
        return await interrupt.unless_requested(lambda: Run.open(upload, stack, tell, resume, purpose=purpose))
    except ExceptionGroup as group:
        raise sole_error(group) from None


class Run:
    """One run, open: its folder, journal, source and lanes."""

    def __init__(
        self,
        upload: Upload,
        folder: RunFolder,
        state: StateDir,
        journal: Journal,
        clock: Clock,
        source: Source,
        tell: Callable[[Event], None],
    ) -> None:
        self._upload = upload
        self._folder = folder
        self._state = state
        self._journal = journal
        self._clock = clock
        self._source = source
        self._tell = tell
        self._lanes: list[Lane] = []
        self._locks: list[Lock] = []
        self._workers = RunWorkers(say=lambda lane, text: tell(Note(lane, text)), on_quota=self._on_quota)
        self.is_new = False
        self._began = time.monotonic()

    @classmethod
    async def open(
        cls,
        upload: Upload,
        stack: AsyncExitStack,
        tell: Callable[[Event], None],
        resume: str | None,
        *,
        purpose: Purpose = Purpose.SEND,
    ) -> Run:
        """Tokens, locks, journal, source and lanes, in that order; *stack* closes them."""
        if not upload.destinations:
            raise nowhere()
        for destination in upload.destinations:  # before anything is written down: a URL may hold a password
            check_base_url(destination.url)
        tokens = [token_of(d) for d in upload.destinations]
        refuse_secrets(upload)
        state = StateDir(upload.settings.state_dir)
        source = await anyio.to_thread.run_sync(partial(_open_source, upload, state), abandon_on_cancel=True)
        stack.callback(source.close)
        for note in source.notes:
            tell(Note("", note))
        state.create()
        folder = state.run(resume or run_id(upload))
        choice = upload.settings.on_source_change if purpose is Purpose.SEND else OnSourceChange.REFUSE
        journal = await open_journal(
            folder,
            stack,
            source,
            [d.service for d in upload.destinations],
            choice,
            tell,
            append=upload.settings.append,
        )
        await journal.set_fact(FILES, to_records(source.files))
        run = cls(upload, folder, state, journal, await run_clock(journal), source, tell)
        run.is_new = purpose is Purpose.SEND and await journal.fact(STARTED_AT) is None and await journal.is_blank()
        if purpose is Purpose.SEND:  # else the run keeps the options that it was last sent with
            await journal.set_fact(UPLOAD, upload.to_record())
        try:
            for settings, token in zip(upload.destinations, tokens, strict=True):
                await run._add_lane(settings, token, stack)
            if purpose is Purpose.SEND:
                await run._start_workers(stack)
        except BaseException:
            if run.is_new:
                stack.callback(run.discard)
            raise
        return run

    def discard(self) -> None:
        """Leave nothing behind of a run that was refused before it had planned anything."""
        shutil.rmtree(self._folder.path, ignore_errors=True)

    async def carry_out(self, interrupt: Interrupt, purpose: Purpose = Purpose.SEND) -> Receipt:
        """From the first request to the receipt."""
        await begin(self._journal, [lane.name for lane in self._lanes])
        if all(lane.is_done for lane in self._lanes):
            self._tell(Note("", "this run is done: nothing is left to send"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._snapshots)
            await self._see_through(interrupt, Lane.run if purpose is Purpose.SEND else Lane.settle)
            tasks.cancel_scope.cancel()
        self._take_stock()
        duration_s = time.monotonic() - self._began
        receipt = await conclude(
            self._folder,
            self._journal,
            interrupted=interrupt.code,
            this_invocation={lane.name: _invocation(lane, duration_s) for lane in self._lanes},
        )
        self._learn_limits()
        self._tell(self._snapshot())
        self._tell(Finished(receipt))
        return receipt

    async def _start_workers(self, stack: AsyncExitStack) -> None:
        """Worker processes, where there are to be several: they get ready while the run does."""
        count = worker_count(self._upload.settings.workers, self._source)
        if count > 1:
            locks = [*([self._folder.held] if self._folder.held is not None else []), *self._locks]
            await self._workers.start(count, stack, keep_fds=[lock.fd for lock in locks])

    async def verify(self, interrupt: Interrupt, *, sample: float, seed: int) -> Verification:
        """Compare every lane's datasets with the source. Raises `SourceChanged`, `SourceUnreadable`, `LocalDisk`."""
        found = {lane.name: LaneVerification(read_whole=False) for lane in self._lanes}

        async def compare(lane: Lane) -> None:
            verifier = await lane.verifier(scratch=self._folder.path, sample=sample, seed=seed)
            if verifier is not None:
                found[lane.name] = verifier.found
                await verifier.verify()

        await self._see_through(interrupt, compare)
        if interrupt.code is not None:
            for lane in found.values():
                lane.stopped = lane.stopped or ("interrupted", interrupt.code)
        return Verification(self._folder.run_id, sample, seed, found)

    async def prepare(self) -> None:
        """Every lane's look before anything is sent anywhere. Raises the gravest of what they find."""
        self._tell(Note("", f"run {self._folder.run_id}, kept in {self._folder.path}"))
        if not self._upload.is_resumable:
            self._tell(Note("", "standard input cannot be read again: this run cannot be resumed"))
        found: list[BulkupError] = []

        async def prepare(lane: Lane) -> None:
            try:
                await lane.prepare()
            except BulkupError as error:
                found.append(error)

        async with anyio.create_task_group() as tasks:
            for lane in self._lanes:
                tasks.start_soon(prepare, lane)
        if found:
            gravest = worst([error.exit_code for error in found])
            first = next(error for error in found if error.exit_code == gravest)
            for error in found:
                if error is not first:
                    self._tell(Note("", str(error)))
            raise first

    async def _see_through(self, interrupt: Interrupt, work: Callable[[Lane], Coroutine[Any, Any, None]]) -> None:
        async with anyio.create_task_group() as watching:
            with anyio.CancelScope() as sending:
                watching.start_soon(self._drain_on, interrupt, sending)
                watching.start_soon(self._abort_on, interrupt, sending)
                async with anyio.create_task_group() as lanes:
                    for lane in self._lanes:
                        lanes.start_soon(work, lane)
            watching.cancel_scope.cancel()

    async def _drain_on(self, interrupt: Interrupt, sending: anyio.CancelScope) -> None:
        await interrupt.drain_requested()
        timeout_s = self._upload.settings.drain_timeout_s
        self._tell(Note("", f"stopping: waiting up to {timeout_s:.0f} s for what is in flight (once more aborts it)"))
        for lane in self._lanes:
            lane.halt.set(Reason("interrupted", interrupt.code or ExitCode.INTERRUPTED))
        until = anyio.current_time() + timeout_s
        await anyio.sleep(timeout_s)
        await anyio.sleep(again_s(anyio.current_time() - until, timeout_s))
        sending.cancel()

    async def _abort_on(self, interrupt: Interrupt, sending: anyio.CancelScope) -> None:
        await interrupt.abort_requested()
        sending.cancel()

    async def _snapshots(self) -> None:
        self._take_stock()
        noted: dict[str, tuple[str, float]] = {}
        while True:
            self._take_stock()
            self._tell(self._snapshot())
            await self._note_limits(noted)
            await anyio.sleep(SNAPSHOT_EVERY_S)

    def _take_stock(self) -> None:
        for lane in self._lanes:
            cpu_s = time.process_time() + self._workers.cpu_s
            lane.pacing.take_stock(cpu_s=cpu_s, processes=max(1, self._workers.count))

    async def _note_limits(self, noted: dict[str, tuple[str, float]]) -> None:
        """Let `status` know what limits each lane, where that has changed, not more often than every few seconds."""
        now = time.monotonic()
        for lane in self._lanes:
            limit = lane.pacing.limiting.now
            before, at = noted.get(lane.name, ("", float("-inf")))
            if limit is not None and limit != before and now - at >= NOTE_EVERY_S:
                noted[lane.name] = (limit, now)
                await self._journal.lane(lane.name).set_fact(LIMITED_BY, limit)

    def _snapshot(self) -> Snapshot:
        elapsed_s = time.monotonic() - self._began
        return Snapshot(elapsed_s, tuple(_lane_snapshot(lane, elapsed_s) for lane in self._lanes))

    async def _add_lane(self, settings: DestinationSettings, token: TokenSource, stack: AsyncExitStack) -> None:
        chosen = self._upload.settings
        name = settings.service
        transport = await stack.enter_async_context(
            Transport(
                settings.url,
                user_agent=USER_AGENT,
                timeouts=_timeouts(chosen),
                ca_file=settings.ca_file,
                on_stall=lambda text: self._tell(Note(name, text)),
                on_quota=partial(self._on_quota, name),
            )
        )
        destination = service_named(name).destination(settings.dataset(chosen.name), transport, token)
        lock = self._state.lock_dataset(destination.identity)
        stack.callback(lock.release)
        self._locks.append(lock)
        opening = LaneOpening(
            settings.dataset(chosen.name), _timeouts(chosen), chosen.max_row_bytes, BLOCK_BYTES, settings.ca_file
        )
        self._lanes.append(
            Lane(
                destination=destination,
                source=self._source,
                journal=self._journal.lane(destination.name),
                workers=self._workers.of(name, opening),
                chosen=self._chosen(settings),
                clock=self._clock,
                learned_limit=self._state.learned_limit(_service(settings)),
                others=partial(others_since, self._state, self._folder, settings, chosen.name),
                say=lambda text, lane=destination.name: self._tell(Note(lane, text)),  # type: ignore[misc]
            )
        )

    def _on_quota(self, name: str, headers: Mapping[str, str]) -> None:
        for lane in self._lanes:
            if lane.name == name:
                lane.pacing.headers(headers)

    def _chosen(self, settings: DestinationSettings) -> Chosen:
        run = self._upload.settings
        memory_bytes = worker_count(run.workers, self._source) * run.memory_bytes // len(self._upload.destinations)
        return Chosen(run, settings, row_options(settings, run), memory_bytes)

    def _learn_limits(self) -> None:
        for settings, lane in zip(self._upload.destinations, self._lanes, strict=True):
            if lane.limit.learned is not None:
                self._state.learn_limit(_service(settings), lane.limit.learned)


def sole_error(error: Exception) -> Exception:
    """The first error that *error* wraps, itself where it wraps none."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _open_source(upload: Upload, state: StateDir) -> Source:
    if not upload.is_resumable:  # standard input is spooled there; a missing file leaves no directory behind
        state.create()
    return open_source(
        upload.sources,
        max_row_bytes=upload.settings.max_row_bytes,
        reading=reading_of(upload.settings),
        lanes=len(upload.destinations),
        spool_dir=state.path,
    )


def _timeouts(chosen: RunSettings) -> Timeouts:
    return Timeouts(connect_s=chosen.connect_timeout_s, stall_s=chosen.stall_timeout_s)


def _service(settings: DestinationSettings) -> str:
    return f"{settings.service} {settings.url}"


def _lane_snapshot(lane: Lane, elapsed_s: float) -> LaneSnapshot:
    totals, limited_by = lane.tally.totals, lane.pacing.limiting.now
    snapshot = LaneSnapshot(
        lane=lane.name,
        rows_read=totals.rows_read,
        rows_landed=totals.rows_landed,
        rows_rejected=totals.rows_rejected,
        rows_in_doubt=totals.rows_in_doubt,
        chunks_landed=totals.chunks_landed,
        chunks_in_doubt=totals.chunks_in_doubt,
        bytes_sent=lane.tally.bytes_sent,
        in_flight=lane.tally.in_flight,
        concurrency_limit=lane.pacing.concurrency.limit,
        retries=lane.tally.retries,
        waiting_for=_waiting_for(lane),
        source_done=lane.source_done,
        ended=lane.ended,
        limited_by=limited_by or "",
        quota_per_minute=lane.told_per_minute,
    )
    return replace(snapshot, left_s=lane.left_s(elapsed_s, snapshot.done_share))


def _invocation(lane: Lane, duration_s: float) -> Invocation:
    return Invocation(
        requests=lane.tally.requests,
        attempts_by_outcome=dict(sorted(lane.tally.outcomes.items())),
        bytes_sent=lane.tally.bytes_sent,
        throttled_s=round(lane.pacing.throttled_s, 3),
        duration_s=round(duration_s, 3),
        limited_by=lane.pacing.limiting.overall,
        mean_fill=_rounded(lane.tally.mean_fill, 4),
        quota_per_minute=_rounded(lane.quota_per_minute, 1),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _waiting_for(lane: Lane) -> str:
    why = lane.pacing.waiting_for_evidence
    return f"evidence: {why}" if why else lane.pacing.waiting
