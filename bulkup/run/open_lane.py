"""Opening a lane of a run: its connections, its destination with the lock on its dataset, its pace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import anyio

from bulkup.authority import UNENDING
from bulkup.destinations.base import Destination
from bulkup.destinations.registry import service_named
from bulkup.destinations.settings import DestinationSettings
from bulkup.doubt.settlement import Others
from bulkup.flow.context import Chosen, LaneContext
from bulkup.flow.halt import Halt
from bulkup.flow.kept_answers import KeptAnswers
from bulkup.flow.lane import Lane
from bulkup.flow.limit import BodyLimit
from bulkup.flow.orders import KeptAnswer
from bulkup.flow.requests import Requests
from bulkup.flow.tally import Tally
from bulkup.flow.user_code import PrintsToStderr
from bulkup.journal import Lock
from bulkup.model import BLOCK_BYTES
from bulkup.pacing import Concurrency, Gate, Pacing, Patience
from bulkup.run.build import row_options
from bulkup.run.neighbours import others_since, owners
from bulkup.run.opened import OpenRun
from bulkup.run.run_workers import worker_count
from bulkup.run.worker import LaneOpening
from bulkup.settings.config import RunSettings
from bulkup.settings.run import Engine
from bulkup.sources import Source
from bulkup.tokens.secret import holds_secret
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Timeouts, Transport
from bulkup.version import USER_AGENT

__all__ = ["hear_kept", "hear_quota", "near_workers", "open_lane", "service_at"]


async def open_lane(
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
            on_quota=partial(hear_quota, run.lanes, name),
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
        kept=KeptAnswers(may_come=options.listen is not None),
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
    memory_bytes = near_workers(upload.settings, run.source) * upload.settings.memory_bytes
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


def near_workers(chosen: RunSettings, source: Source) -> int:
    """How many processes of this machine do the work. 1: this one."""
    return 1 if chosen.engine is Engine.RAY else worker_count(chosen.workers, source)


def hear_kept(lanes: list[Lane], answer: KeptAnswer, ack: Callable[[], None]) -> None:
    """A worker has kept that *answer*. One with a secret in it is not taken: its worker may not have known that it is one."""
    for lane in lanes:
        if lane.name == answer.lane and not holds_secret([answer.remote_id, answer.ids.decode("utf-8", "replace")]):
            lane.context.kept.put(answer, ack)


def hear_quota(lanes: list[Lane], name: str, headers: Mapping[str, str]) -> None:
    """Tell the lane of that *name* what the *headers* of an answer say of the quota."""
    for lane in lanes:
        if lane.name == name:
            lane.context.requests.pacing.headers(headers)


def _timeouts(chosen: RunSettings) -> Timeouts:
    return Timeouts(connect_s=chosen.connect_timeout_s, stall_s=chosen.stall_timeout_s)
