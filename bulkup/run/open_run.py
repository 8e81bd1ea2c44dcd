"""Opening a run: its tokens, locks, journal, source and lanes. The one construction site of the run's own process."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from math import inf
from secrets import token_hex
from typing import TYPE_CHECKING

import anyio

from bulkup.destinations.registry import nowhere
from bulkup.errors import UsageProblem, as_one_error
from bulkup.event import Note
from bulkup.flow.lane import Lane
from bulkup.journal import Journal, Lock
from bulkup.journal.facts import BASES, FILES, STARTED_AT, UPLOAD
from bulkup.journal.postgres.wanted import Wanted
from bulkup.journal.state_files import filesystem_of
from bulkup.light_dataclass import replace
from bulkup.run.build import reading_of, refuse_secrets, token_of
from bulkup.run.changed_source import open_journal
from bulkup.run.cpus import usable_cpus
from bulkup.run.fingerprint import to_records
from bulkup.run.folder import RunFolder, StateDir
from bulkup.run.journals import said_in_the_loop
from bulkup.run.kept_looks import LEAST_FILES, KeptLooks
from bulkup.run.open_lane import hear_kept, hear_quota, near_workers, open_lane
from bulkup.run.opened import OpenRun, Wish
from bulkup.run.overseeing import MOST_AT_ONCE_HERE, overseen
from bulkup.run.record import RunRecord, checked_log_file
from bulkup.run.run_clock import run_clock
from bulkup.run.run_workers import RunWorkers
from bulkup.run.wish import Upload, full_name, known_run_id
from bulkup.settings.config import OnSourceChange, RunSettings
from bulkup.settings.quantities import host_and_port
from bulkup.settings.run import Engine
from bulkup.sources import Held, KeptRows, KeptSource, PlaceAccess, Selection, Source, is_worth_keeping, open_source
from bulkup.tokens.secret import LONG, Token
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import check_base_url
from bulkup.version import VERSION

if TYPE_CHECKING:
    from bulkup.run.launching import Launcher

__all__ = ["open_run"]


_HELD_BYTES, _HELD_WAIT_S = 64 * 1024 * 1024, 5.0
"""Of standard input so much is held, or what has come by then, unless the user wants it whole."""


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
    _refuse_destinations(upload)
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
    journal = await _open_journal(wish, folder, source, stack)
    for note in source.notes:
        wish.tell(Note("", note))
    kept = _keeping(wish, source, state)
    if kept is not None:
        source = KeptSource(source, kept)
        stack.callback(kept.close)
    if upload.is_resumable and wish.is_to_send and len(source.files) >= LEAST_FILES:
        await anyio.to_thread.run_sync(looks.keep, source.files)
    lanes: list[Lane] = []
    run = OpenRun(
        wish=wish,
        folder=folder,
        state=state,
        journal=journal,
        clock=await run_clock(journal),
        source=source,
        kept_rows=kept,
        workers=RunWorkers(
            say=lambda lane, text: wish.tell(Note(lane, text)),
            on_quota=partial(hear_quota, lanes),
            on_kept=partial(hear_kept, lanes),
        ),
        record=record,
        is_new=wish.is_to_send and await journal.fact(STARTED_AT) is None and await journal.is_blank(),
        began_s=time.monotonic(),
        lanes=lanes,
        other_name=other_name,
    )
    recorded = [journal.set_fact(FILES, to_records(source.files))]
    if wish.is_to_send:
        recorded.append(journal.set_fact(UPLOAD, upload.to_record()))
    await asyncio.gather(*recorded)
    try:
        locks = [
            await open_lane(run, settings, token, stack)
            for settings, token in zip(upload.destinations, tokens, strict=True)
        ]
        if wish.is_to_send:
            await _start_workers(run, locks, stack)
    except BaseException:
        if run.is_new:
            stack.callback(run.discard)
        raise
    return run


async def _open_journal(wish: Wish, folder: RunFolder, source: Source, stack: AsyncExitStack) -> Journal:
    """The journal of the run in *folder*, which describes *source*; the source learns what the journal knows of it."""
    upload = wish.upload
    services = [destination.service for destination in upload.destinations]
    journal = await open_journal(
        folder,
        stack,
        source,
        services,
        upload.settings.on_source_change if wish.is_to_send else OnSourceChange.REFUSE,
        wish.tell,
        append=upload.settings.append,
        wanted=_wanted(wish),
    )
    for service in services:
        known = await journal.lane(service).fact(BASES)
        source.learn(known)
    return journal


def _keeping(wish: Wish, source: Source, state: StateDir) -> KeptRows | None:
    """Where rows are kept that are slow to read again; None where none are, or others read them than this process."""
    chosen = wish.upload.settings
    if not (wish.is_to_send and source.rereadable and any(map(is_worth_keeping, source.files))):
        return None
    if source.any_range and (near_workers(chosen, source) > 1 or chosen.listen is not None):
        return None
    if filesystem_of(state.path).is_networked:  # writing there may take longer than reading again
        return None
    return KeptRows(state.path, whole_files=not source.any_range)


def _refuse_destinations(upload: Upload) -> None:
    """Raise `UsageProblem` where *upload* has no destination, or one with which nothing can be sent. Nothing is written down before
    that: a URL may hold a password."""
    if not upload.destinations:
        raise nowhere()
    for destination in upload.destinations:
        check_base_url(destination.url)
        if destination.concurrency > MOST_AT_ONCE_HERE and upload.settings.listen is None:
            raise UsageProblem(
                f"--concurrency {destination.concurrency:,}: more than {MOST_AT_ONCE_HERE} needs workers on other machines "
                "(--listen)"
            )


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


async def _start_workers(run: OpenRun, locks: list[Lock | None], stack: AsyncExitStack) -> None:
    """Worker processes, where there are to be several: they get ready while the run does."""
    chosen = run.wish.upload.settings
    is_by_ray = chosen.engine is Engine.RAY
    if is_by_ray and chosen.listen is None:
        raise UsageProblem("--engine ray needs --listen HOST:PORT: an address of this machine that Ray's nodes reach")
    count = near_workers(chosen, run.source)
    if count > 1:
        held = [
            *([run.folder.held] if run.folder.held is not None else []),
            *(lock for lock in locks if lock is not None),
        ]
        prints = any(lane.context.chosen.rows.function is not None for lane in run.lanes)
        await run.workers.start(count, stack, keep_fds=[lock.fd for lock in held], prints=prints)
    launcher: Launcher | None = None
    if is_by_ray:
        from bulkup.run.launching import RayLauncher

        processes = usable_cpus() if chosen.workers == "auto" else int(chosen.workers)
        launcher = RayLauncher(run.say, processes=processes, key_file=chosen.worker_key)
        # It is closed last: workers are sent away before it kills what is left.
        stack.push_async_callback(launcher.close)
    if chosen.listen is not None:
        from bulkup.run.far_workers import expected_in

        listening = run.workers.listen(
            host_and_port(chosen.listen),
            stack,
            folder=run.folder,
            key_file=chosen.worker_key,
            authority=run.journal.authority,
            token=await expected_in(run.journal, [lane.name for lane in run.lanes]),
            max_row_bytes=chosen.max_row_bytes,
        )
        if launcher is not None:
            await launcher.start(listening)
