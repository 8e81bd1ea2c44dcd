"""Opening a run: its tokens, locks, journal, source and lanes. The one construction site of the run's own process."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import field, replace
from enum import StrEnum
from functools import partial
from math import inf
from secrets import token_hex
from typing import Any

import anyio

from bulkup.account.finished import Event
from bulkup.authority import UNENDING
from bulkup.destinations.base import Destination
from bulkup.destinations.registry import nowhere, service_named
from bulkup.destinations.settings import DestinationSettings
from bulkup.doubt.settlement import Others
from bulkup.errors import BulkupError, UsageProblem, as_one_error
from bulkup.event import Logged, Note
from bulkup.flow.clock import Clock
from bulkup.flow.context import Chosen, LaneContext
from bulkup.flow.halt import Halt
from bulkup.flow.lane import Lane
from bulkup.flow.limit import BodyLimit
from bulkup.flow.requests import Requests
from bulkup.flow.tally import Tally
from bulkup.flow.user_code import PrintsToStderr
from bulkup.journal import Journal, Lock
from bulkup.journal.facts import BASES, FILES, STARTED_AT, UPLOAD
from bulkup.journal.place import kept_in
from bulkup.journal.postgres.wanted import Wanted
from bulkup.light_dataclass import dataclass
from bulkup.model import BLOCK_BYTES
from bulkup.pacing import Concurrency, Gate, Pacing, Patience
from bulkup.run.build import reading_of, refuse_secrets, row_options, token_of
from bulkup.run.changed_source import open_journal
from bulkup.run.cpus import usable_cpus
from bulkup.run.fingerprint import to_records
from bulkup.run.folder import RunFolder, StateDir
from bulkup.run.interrupt import Interrupt
from bulkup.run.journals import said_in_the_loop
from bulkup.run.kept_looks import LEAST_FILES, KeptLooks
from bulkup.run.neighbours import others_since, owners
from bulkup.run.overseeing import MOST_AT_ONCE_HERE, overseen
from bulkup.run.record import RunRecord, checked_log_file
from bulkup.run.run_clock import run_clock
from bulkup.run.run_workers import RunWorkers, worker_count
from bulkup.run.wish import Upload, full_name, known_run_id
from bulkup.run.worker import LaneOpening
from bulkup.settings.config import OnSourceChange, RunSettings
from bulkup.settings.quantities import host_and_port
from bulkup.settings.run import Engine
from bulkup.sources import Held, PlaceAccess, Selection, Source, open_source
from bulkup.tokens.secret import LONG, Token
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Timeouts, Transport, check_base_url
from bulkup.version import USER_AGENT, VERSION

__all__ = ["OpenRun", "Purpose", "Wish", "open_run", "service_at"]


_HELD_BYTES, _HELD_WAIT_S = 64 * 1024 * 1024, 5.0
"""Of standard input so much is held, or what has come by then, unless the user wants it whole."""


class Purpose(StrEnum):
    """What a run is opened for."""

    SEND = "send"
    SETTLE = "settle"
    VERIFY = "verify"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done with a run, who hears of it and who may stop it. *resume* names the run, where it is not the one that
    *upload* makes."""

    upload: Upload
    purpose: Purpose
    resume: str | None
    tell: Callable[[Event], None]
    interrupt: Interrupt

    @property
    def is_to_send(self) -> bool:
        """Else nothing is sent, and the run keeps the options that it was last sent with."""
        return self.purpose is Purpose.SEND

    @property
    def is_to_check(self) -> bool:
        """Nothing is asked of a service, so no token is needed."""
        return self.purpose is Purpose.CHECK


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run, open: what is constant for it. *is_new*: nothing was ever planned or asked. *began_s* is of the monotonic clock."""

    wish: Wish
    folder: RunFolder
    state: StateDir
    journal: Journal
    clock: Clock
    source: Source
    workers: RunWorkers
    record: RunRecord
    is_new: bool
    began_s: float
    lanes: list[Lane] = field(default_factory=list)
    other_name: str | None = None

    def say(self, text: str, lane: str = "") -> None:
        """Tell the user a line, about *lane* or about the run."""
        self.wish.tell(Note(lane, text))

    async def keep(self) -> None:
        """Something will be sent, so the run is to be found again, however the paths of its sources are written then."""
        if self.other_name is not None and self.other_name != self.folder.run_id:
            await anyio.to_thread.run_sync(self.state.call, self.folder.run_id, self.other_name)

    def log(self, kind: str, fields: dict[str, Any], lane: str = "") -> None:
        """Write into the log what happened."""
        self.wish.tell(Logged(kind, lane, fields))

    def discard(self) -> None:
        """Leave nothing behind of a run that was refused before it had planned anything."""
        address = kept_in(self.folder.path)
        if address is not None:
            from bulkup.journal.postgres.runs import discard_run

            with suppress(BulkupError):  # then it stays, with nothing in it
                discard_run(address, self.folder.run_id)
        shutil.rmtree(self.folder.path, ignore_errors=True)


@asynccontextmanager
async def open_run(wish: Wish) -> AsyncIterator[OpenRun]:
    """The run that *wish* is about, open until the block ends.

    Raises `BulkupError` where nothing can be sent at all: bad options, a changed source, an unusable journal, a lock, no token;
    `Interrupted` where that is asked for.
    """
    async with AsyncExitStack() as stack:
        with as_one_error():
            run = await wish.interrupt.unless_requested(lambda: _open(wish, stack))
        if wish.is_to_check:
            yield run
            return
        await run.record.start()
        run.log(
            "began", {"version": VERSION, "pid": os.getpid(), "host": socket.gethostname(), "purpose": wish.purpose}
        )
        with as_one_error():
            async with overseen(run):
                yield run


async def _open(wish: Wish, stack: AsyncExitStack) -> OpenRun:
    """Tokens, locks, journal, source and lanes, in that order; *stack* closes them."""
    upload = wish.upload
    if not upload.destinations:
        raise nowhere()
    for destination in upload.destinations:  # before anything is written down: a URL may hold a password
        check_base_url(destination.url)
        if destination.concurrency > MOST_AT_ONCE_HERE and upload.settings.listen is None:
            raise UsageProblem(
                f"--concurrency {destination.concurrency:,}: more than {MOST_AT_ONCE_HERE} needs workers on other machines "
                "(--listen)"
            )
    tokens = [_no_token() if wish.is_to_check else token_of(d) for d in upload.destinations]
    refuse_secrets(upload)
    state = StateDir(upload.settings.state_dir, upload.settings.journal)
    looks = KeptLooks(state.path, upload.sources, reading_of(upload.settings, upload.destinations))
    source = await anyio.to_thread.run_sync(partial(_open_source, upload, state, looks), abandon_on_cancel=True)
    stack.callback(source.close)
    log_file = None if wish.is_to_check else await anyio.to_thread.run_sync(checked_log_file, upload.settings, source)
    state.create()
    folder = state.run(wish.resume or known_run_id(upload, state.called))
    other_name = None if wish.resume else full_name(upload)
    record = RunRecord(folder, log_file=log_file, log_format=upload.settings.log_format)
    stack.push_async_callback(record.close)
    wish = replace(wish, tell=record.heard_by(wish.tell))
    journal = await open_journal(
        folder,
        stack,
        source,
        [d.service for d in upload.destinations],
        upload.settings.on_source_change if wish.is_to_send else OnSourceChange.REFUSE,
        wish.tell,
        append=upload.settings.append,
        wanted=_wanted(wish),
    )
    for note in source.notes:
        wish.tell(Note("", note))
    await journal.set_fact(FILES, to_records(source.files))
    if upload.is_resumable and wish.is_to_send and len(source.files) >= LEAST_FILES:
        await anyio.to_thread.run_sync(looks.keep, source.files)
    for destination in upload.destinations:
        known = await journal.lane(destination.service).fact(BASES)
        source.learn(known)
    lanes: list[Lane] = []
    run = OpenRun(
        wish=wish,
        folder=folder,
        state=state,
        journal=journal,
        clock=await run_clock(journal),
        source=source,
        workers=RunWorkers(say=lambda lane, text: wish.tell(Note(lane, text)), on_quota=partial(_hear_quota, lanes)),
        record=record,
        is_new=wish.is_to_send and await journal.fact(STARTED_AT) is None and await journal.is_blank(),
        began_s=time.monotonic(),
        lanes=lanes,
        other_name=other_name,
    )
    if wish.is_to_send:
        await journal.set_fact(UPLOAD, upload.to_record())
    try:
        locks = [
            await _open_lane(run, settings, token, stack)
            for settings, token in zip(upload.destinations, tokens, strict=True)
        ]
        if wish.is_to_send:
            await _start_workers(run, locks, stack)
    except BaseException:
        if run.is_new:
            stack.callback(run.discard)
        raise
    return run


def _wanted(wish: Wish) -> Wanted:
    """How the run is taken where its journal is in a database."""
    chosen = wish.upload.settings
    return Wanted(
        stands_by=chosen.stand_by and wish.is_to_send,
        lease_s=chosen.lease_s,
        retry_for_s=chosen.retry_for_s,
        open_for_s=chosen.retry_for_s if wish.is_to_send else 0.0,
        say=said_in_the_loop(lambda text: wish.tell(Note("", text))),
    )


def _no_token() -> TokenSource:
    """What stands for a token where none is needed."""
    return TokenSource.of(Token(token_hex(LONG)))


def _open_source(upload: Upload, state: StateDir, looks: KeptLooks) -> Source:
    if not upload.is_resumable:  # standard input is spooled there; a missing file leaves no directory behind
        state.create()
    return open_source(
        upload.sources,
        max_row_bytes=upload.settings.max_row_bytes,
        reading=reading_of(upload.settings, upload.destinations),
        lanes=len(upload.destinations),
        spool_dir=state.path,
        stdin_held=_held(upload.settings),
        selection=Selection(upload.settings.include, upload.settings.exclude),
        access=PlaceAccess(upload.settings.anonymous, upload.settings.endpoint_url),
        agrees_later=True,
        known=looks.find() if upload.is_resumable else None,
    )


def _held(chosen: RunSettings) -> Held | None:
    """How much of standard input is looked at before anything is sent."""
    match chosen.scan:
        case "none":
            return None
        case "all":
            return Held(2**62, inf)
        case size:
            return Held(min(size or _HELD_BYTES, _HELD_BYTES), _HELD_WAIT_S)


async def _open_lane(
    run: OpenRun, settings: DestinationSettings, token: TokenSource, stack: AsyncExitStack
) -> Lock | None:
    """Add a lane to *run*; the lock on its dataset, where that is what tells runs apart."""
    chosen, name = run.wish.upload.settings, settings.service
    transport = await stack.enter_async_context(
        Transport(
            settings.url,
            user_agent=USER_AGENT,
            timeouts=_timeouts(chosen),
            ca_file=settings.ca_file,
            on_stall=lambda text: run.say(text, name),
            on_quota=partial(_hear_quota, run.lanes, name),
            authority=run.journal.authority,
        )
    )
    destination = service_named(name).destination(settings.dataset(chosen.name), transport, token)
    if run.journal.authority is UNENDING:
        lock = run.state.lock_dataset(destination.identity)
        stack.callback(lock.release)
    else:
        await run.journal.claim_dataset(destination.identity)
        lock = None
    run.lanes.append(Lane(_lane_context(run, settings, destination)))
    return lock


def _lane_context(run: OpenRun, settings: DestinationSettings, destination: Destination) -> LaneContext:
    options = run.wish.upload.settings
    chosen = _chosen(run, settings)
    if chosen.rows.function is not None:
        PrintsToStderr.install()
    clock, halt = run.clock, Halt()
    say = partial(run.say, lane=destination.name)
    pacing = Pacing(
        concurrency=Concurrency(cap=settings.concurrency),
        gate=Gate(clock=clock.monotonic, sleep=clock.sleep),
        rate=chosen.rate,
        clock=clock.monotonic,
        uniform=clock.uniform,
        unix=clock.unix,
    )
    patience = Patience(retry_for_s=options.retry_for_s, max_wait_s=options.max_wait_s, now=clock.monotonic())
    opening = LaneOpening(
        settings.dataset(options.name),
        _timeouts(options),
        options.max_row_bytes,
        BLOCK_BYTES,
        settings.ca_file,
        chosen.rows.function,
        run.journal.shared_lease,
    )
    return LaneContext(
        destination=destination,
        source=run.source,
        journal=run.journal.lane(destination.name),
        authority=run.journal.authority,
        workers=run.workers.of(destination.name, opening),
        chosen=chosen,
        clock=clock,
        requests=Requests(token=destination.token, pacing=pacing, patience=patience, halt=halt, clock=clock, say=say),
        halt=halt,
        tally=Tally(),
        limit=BodyLimit(settings.max_chunk_bytes or destination.capabilities.max_chunk_bytes),
        owners=partial(anyio.to_thread.run_sync, owners, run.state, run.folder, settings, options.name),
        others=_read_once(partial(others_since, run.state, run.folder, settings, options.name)),
        say=say,
        log=partial(run.log, lane=destination.name),
    )


def _chosen(run: OpenRun, settings: DestinationSettings) -> Chosen:
    upload = run.wish.upload
    memory_bytes = _near_workers(upload.settings, run.source) * upload.settings.memory_bytes
    return Chosen(
        run=upload.settings,
        destination=settings,
        rows=row_options(settings, upload.settings),
        memory_bytes=memory_bytes // len(upload.destinations),
        learned_limit=run.state.learned_limit(service_at(settings)),
        far_memory_bytes=upload.settings.memory_bytes // len(upload.destinations),
    )


def service_at(settings: DestinationSettings) -> str:
    """The service and its address: what `StateDir.learn_limit` remembers a limit by."""
    return f"{settings.service} {settings.url}"


def _read_once(read: Callable[[float], Others]) -> Callable[[float], Awaitable[Others]]:
    """What *read* reads from files, the first time: the dataset's lock keeps other runs out of it while this process has it."""
    known: list[Others] = []

    async def others(at: float) -> Others:
        if not known:
            known.append(await anyio.to_thread.run_sync(read, at))
        return known[0]

    return others


def _near_workers(chosen: RunSettings, source: Source) -> int:
    """How many processes of this machine do the work. 1: this one."""
    return 1 if chosen.engine is Engine.RAY else worker_count(chosen.workers, source)


async def _start_workers(run: OpenRun, locks: list[Lock | None], stack: AsyncExitStack) -> None:
    """Worker processes, where there are to be several: they get ready while the run does."""
    chosen = run.wish.upload.settings
    is_by_ray = chosen.engine is Engine.RAY
    if is_by_ray and chosen.listen is None:
        raise UsageProblem("--engine ray needs --listen HOST:PORT: an address of this machine that Ray's nodes reach")
    count = _near_workers(chosen, run.source)
    if count > 1:
        held = [
            *([run.folder.held] if run.folder.held is not None else []),
            *(lock for lock in locks if lock is not None),
        ]
        prints = any(lane.context.chosen.rows.function is not None for lane in run.lanes)
        await run.workers.start(count, stack, keep_fds=[lock.fd for lock in held], prints=prints)
    if chosen.listen is not None:
        listening = run.workers.listen(
            host_and_port(chosen.listen),
            stack,
            folder=run.folder,
            key_file=chosen.worker_key,
            authority=run.journal.authority,
            max_row_bytes=chosen.max_row_bytes,
        )
        if is_by_ray:
            from bulkup.run.launching import RayLauncher

            processes = usable_cpus() if chosen.workers == "auto" else int(chosen.workers)
            launcher = RayLauncher(run.say, processes=processes, key_file=chosen.worker_key)
            stack.push_async_callback(launcher.close)
            await launcher.start(listening)


def _hear_quota(lanes: list[Lane], name: str, headers: Mapping[str, str]) -> None:
    for lane in lanes:
        if lane.name == name:
            lane.context.requests.pacing.headers(headers)


def _timeouts(chosen: RunSettings) -> Timeouts:
    return Timeouts(connect_s=chosen.connect_timeout_s, stall_s=chosen.stall_timeout_s)
