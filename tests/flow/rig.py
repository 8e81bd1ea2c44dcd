"""A lane's planning by itself: a source on disk, a journal, a destination in memory, and somebody who takes the chunks."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from bulkup import Nebius
from bulkup.chunk import Chunk, Totals
from bulkup.destinations.base import Capabilities
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.doubt.by_name import BY_NAME
from bulkup.doubt.naming import widest_name
from bulkup.doubt.policy import Policy
from bulkup.doubt.settlement import Others
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.errors import ExitCode
from bulkup.flow.children import ChildNumbers
from bulkup.flow.chunker import Chunker
from bulkup.flow.clock import Clock
from bulkup.flow.context import Chosen, LaneContext, PlannedLane, SendingRound
from bulkup.flow.creation import Creation
from bulkup.flow.executors import Executors
from bulkup.flow.fence import Fence
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.limit import BodyLimit
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepare import Preparer
from bulkup.flow.prepared import Prepared
from bulkup.flow.processes import LaneWorkers, ThisProcess
from bulkup.flow.stop_rules import StopRules
from bulkup.flow.tally import Tally
from bulkup.journal.memory import MemoryJournal
from bulkup.model import Block, EncodedRow
from bulkup.outcome import InDoubt
from bulkup.pacing import ByteBudget
from bulkup.run.worker import LaneOpening
from bulkup.settings.config import RunSettings
from bulkup.sources import Source, open_source
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Timeouts
from bulkup.workers import Pool
from tests.destinations.memory import MemoryDestination
from tests.flow.alone import Alone, counted
from tests.workers.echo_lane import Echo, body_of

MEMORY = Path("/dev/shm")
NAME = "set"
MAX_ROW = 400
LANE = "memory"


def scratch_dir() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


def rows_plan() -> RowPlan:
    sample = b'{"t":"a"}\n'
    return decide(Block(sample, 0, len(sample)), NEBIUS, RowOptions(preset="identity", max_row_bytes=MAX_ROW))


def no_workers() -> LaneWorkers:
    return LaneWorkers(Pool(news=lambda *_: None, lost=lambda _: None), LANE, None)


def chosen(**settings: Any) -> Chosen:
    """What a user chooses who chooses nothing but *settings* of the run."""
    run = RunSettings.model_validate({"name": NAME, **settings})
    return Chosen(run, Nebius(), RowOptions(max_row_bytes=MAX_ROW), 1 << 20)


def created(clock: Clock) -> Creation:
    """There is nothing to be created first."""
    return Creation(exists=True, quiet_s=0, last_byte_at=None, clock=clock.unix, sleep=clock.sleep)


async def no_others(_: float) -> Others:
    return Others()


def destination(policy: Policy = BY_NAME) -> MemoryDestination:
    return MemoryDestination(*_destination(policy))


def echo(policy: Policy = BY_NAME) -> Echo:
    return Echo(*_destination(policy))


def _destination(policy: Policy) -> tuple[str, TokenSource, Capabilities, Policy]:
    capabilities = Capabilities(gives_row_ids=True, max_chunk_bytes=1 << 20, max_chunk_rows=None)
    token = TokenSource(variable="T", file=None, environment={"T": "tok"})
    return NAME, token, capabilities, policy


@dataclass(frozen=True)
class Made:
    """A chunk as it was handed on, and its rows as they would be sent."""

    chunk: Chunk
    body: bytes


@dataclass(frozen=True)
class Setting:
    """*tile* bytes, *room* bytes of rows in a request, *rows* rows in it."""

    tile: int
    room: int
    rows: int | None = None
    block_bytes: int = 64
    memory: int = 1 << 20
    policy: Policy = BY_NAME


@dataclass
class Planned:
    """What became of one run of planning."""

    made: list[Made]
    totals: Totals
    stored: Totals
    rejects: list[dict[str, object]]
    budget: ByteBudget


def write_source(folder: Path, contents: Sequence[bytes], how: str) -> list[str]:
    """Files with these contents, as they are, compressed, or their lines as an array."""
    paths = []
    if how == "array":
        path = folder / "rows.json"
        path.write_bytes(b"[\n" + b" ,\n ".join(line for one in contents for line in one.split(b"\n")) + b"]")
        return [str(path)]
    for number, content in enumerate(contents):
        path = folder / f"{number}.jsonl{'.gz' if how == 'gzip' else ''}"
        path.write_bytes(gzip.compress(content, 1) if how == "gzip" else content)
        paths.append(str(path))
    return paths


def expected(contents: Sequence[bytes]) -> list[EncodedRow]:
    """Every line encoded by itself, with positions in the byte space."""
    encoder, base, found = rows_plan().encoder(), 0, []
    for content in contents:
        if content:
            found += encoder.encode_rows(Block(content, base, base + len(content)))
        base += len(content)
    return found


async def plan(
    journal: MemoryJournal,
    paths: Sequence[str],
    setting: Setting,
    *,
    stop_after: int | None = None,
    pool: Pool | None = None,
    on_chunk: Callable[[int], None] = lambda _: None,
) -> Planned:
    """Plan the source into *journal* and take every chunk, or stop the lane after so many. *pool*'s workers draft and send.

    *on_chunk* is told before each is sent how many were.
    """
    source = open_source(paths, max_row_bytes=MAX_ROW, block_bytes=setting.block_bytes)
    async with AsyncExitStack() as stack:
        stack.callback(source.close)
        return await _plan(source, journal, setting, stop_after, stack, pool, on_chunk)


async def _plan(
    source: Source,
    journal: MemoryJournal,
    setting: Setting,
    stop_after: int | None,
    stack: AsyncExitStack,
    pool: Pool | None,
    on_chunk: Callable[[int], None],
) -> Planned:
    halt, lane, to, rows = Halt(), journal.lane(LANE), echo(setting.policy), rows_plan()
    envelope = to.envelope(widest_name(NAME), rows).size
    limit = envelope + setting.room
    cursor = source.cursor()
    stack.push_async_callback(cursor.aclose)
    budget, reading = ByteBudget(setting.memory), ByteBudget(setting.memory)
    totals = await lane.totals()
    chunker = Chunker(source, rows.line_encoder(), halt)
    frozen = LanePlan(setting.tile, rows, limit, setting.rows, MAX_ROW)
    workers = no_workers()
    if pool is not None:
        opening = LaneOpening(Nebius(url="http://127.0.0.1:1").dataset(NAME), Timeouts(), MAX_ROW, setting.block_bytes)
        workers = LaneWorkers(pool, LANE, opening)
        await stack.enter_async_context(workers.opening(frozen, source))
        while len(workers.ready) < workers.count:
            await anyio.sleep(0.001)
    here = LaneWorker(to, rows, chunker, cursor)
    executors = Executors(LANE, ThisProcess(here), workers, source, cursor, to.token)
    alone = Alone(to.token, clock=counted())
    context = LaneContext(
        destination=to,
        source=source,
        journal=lane,
        workers=workers,
        chosen=chosen(),
        clock=alone.clock,
        requests=alone.requests,
        halt=halt,
        tally=Tally(totals),
        limit=BodyLimit(limit),
        others=no_others,
        say=alone.said.append,
    )
    sending = SendingRound(
        cursor=cursor,
        executors=executors,
        budget=budget,
        reading=budget if pool is None else reading,
        numbers=ChildNumbers(lane),
        fence=Fence(),
        creation=created(alone.clock),
        rules=StopRules(totals=totals, limit=None, halt=halt),
        settle_now=lambda: None,
    )
    preparer = Preparer(PlannedLane(context, frozen, chunker), sending)
    made: list[Made] = []
    send, receive = anyio.create_memory_object_stream[Prepared](0)

    async def prepare() -> None:
        try:
            await preparer.run(send)
        except Halted:
            assert stop_after is not None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prepare)
        async with receive:
            async for prepared in receive:
                on_chunk(len(made))
                body = await _sent(executors, prepared)
                again = await _sent(executors, prepared)
                assert body == again, "a payload is read as often as it is sent"
                made.append(Made(prepared.chunk, body))
                budget.give(prepared.held_bytes)
                executors.forget(prepared.hold)
                if len(made) == stop_after:
                    halt.set(Reason("stopped", ExitCode.INTERRUPTED))
    assert reading.held_bytes == 0
    assert stop_after is not None or not here._held
    stored = await lane.totals()
    return Planned(made, totals, stored, [json.loads(line) for line in journal.rejects.splitlines()], budget)


async def _sent(executors: Executors, prepared: Prepared) -> bytes:
    """The rows, sent again for as long as whoever sends them ends meanwhile."""
    while isinstance((came := await executors.send(prepared, 1, lambda _: None)).outcome, InDoubt):
        pass
    return body_of(came)


def planned(chunk: Chunk) -> Chunk:
    """*chunk* as it was planned, whatever has become of it."""
    return replace(chunk, attempts=0, reason=None, remote_id=None, last_byte_at=None)
