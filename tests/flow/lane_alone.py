"""A lane's journal and source, and a destination in memory: chunks that are planned, and nobody who sends them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from bulkup import Nebius
from bulkup.chunk import Chunk, ChunkState, Evidence
from bulkup.destinations.base import PAGE_ROWS, Asking, StoredRow
from bulkup.doubt.by_name import BY_NAME
from bulkup.doubt.policy import Policy
from bulkup.doubt.settlement import Look, Match, Others
from bulkup.encoding import RowPlan
from bulkup.flow.children import ChildNumbers
from bulkup.flow.chunker import Chunker
from bulkup.flow.context import LaneContext, PlannedLane, SendingRound
from bulkup.flow.creation import Creation
from bulkup.flow.delivery import Delivery
from bulkup.flow.draft import Keep
from bulkup.flow.executors import Executors
from bulkup.flow.fence import Fence
from bulkup.flow.isolation import Splitter
from bulkup.flow.kept_answers import KeptAnswers
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.limit import BodyLimit
from bulkup.flow.orders import Sent
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepared import Prepared, listed
from bulkup.flow.processes import ThisProcess
from bulkup.flow.settler import Settler
from bulkup.flow.stop_rules import StopRules
from bulkup.flow.tally import Tally
from bulkup.journal.facts import SURVEY, Found, Survey
from bulkup.journal.memory import MemoryJournal
from bulkup.outcome import RemoteStatus
from bulkup.pacing import ByteBudget
from bulkup.settings.config import OnDoubt, RejectLimit
from bulkup.sources import Source, open_source
from tests.destinations.memory import MemoryDestination
from tests.flow import rig
from tests.flow.alone import UNIX_S, Alone, counted

__all__ = ["QUIET_S", "LaneAlone", "Listed", "lane_of"]

QUIET_S = 30.0
Send = Callable[[Prepared, Callable[[int], None]], Coroutine[Any, Any, Sent]]

HELD_BYTES = 1000
"""What a chunk is said to hold of the lane's memory."""


@dataclass(slots=True)
class Listed(MemoryDestination):
    """A destination in memory, of which the list may say otherwise than it is. *looks* and *polled* are what was asked."""

    clock: Any = None
    hidden: set[str] = field(default_factory=set)
    """Ids that no look shows."""
    listed_as: dict[str, str] = field(default_factory=dict)
    """Another status than the dataset's own, by id."""
    known_datasets: int = -1
    looks: int = 0
    polled: list[str] = field(default_factory=list)
    unreadable: Exception | None = None
    """What reading rows raises."""
    shown: int | None = None
    """How many rows at most are read back."""
    page_rows: list[int] = field(default_factory=list)
    """How many rows each page was asked for."""
    twice: bool = False
    """Row ids are given twice."""

    async def look(self, asking: Asking) -> Look:
        self.looks += 1
        look = await MemoryDestination.look(self, asking)
        seen = tuple(
            replace(d, status=self.listed_as.get(d.id, d.status)) for d in look.seen if d.id not in self.hidden
        )
        return replace(look, seen=seen)

    async def match(self, asking: Asking, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        assert plan == rig.rows_plan()
        return await MemoryDestination.match(self, asking, dataset_id, rows=rows, plan=plan)

    async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
        self.polled.append(remote_id)
        return await MemoryDestination.poll(self, asking, remote_id)

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        self.page_rows.append(page_rows)
        if self.unreadable is not None:
            raise self.unreadable
        found = await MemoryDestination.read_rows(self, asking, dataset_id, page, page_rows=page_rows)
        found = [replace(row, id=int(row.id or 0) // 2) for row in found] if self.twice else found
        return found if self.shown is None else found[: self.shown]


class LaneAlone(Alone):
    """Chunks of *each* rows, by number from 0, all planned. What the lane does is done by hand."""

    def __init__(self, source: Source, journal: MemoryJournal, to: Listed, each: int) -> None:
        super().__init__(to.token, clock=counted())
        self.source, self.journal, self.to, self.each = source, journal.lane(rig.LANE), to, each
        self.whole_journal = journal
        self.tally = Tally()
        self.plan = LanePlan(1 << 16, rig.rows_plan(), 1 << 16, each, rig.MAX_ROW)
        self.chunker = Chunker(source, self.plan.rows.line_encoder(), self.halt)
        self.cursor = source.cursor()
        self.worker = LaneWorker(to, self.plan.rows, self.chunker, self.cursor)
        here = ThisProcess(self.worker)
        self.executors = Executors(rig.LANE, here, rig.no_workers(), source, self.cursor, to.token)
        self.chunks: list[Chunk] = []
        self.was_found = self.to_settle = 0
        self.logged: list[tuple[str, dict[str, Any]]] = []
        self.kept = KeptAnswers()
        self.budget, self.fence, self.limit = ByteBudget(1 << 20), Fence(), BodyLimit(1 << 16)

    async def begin(self) -> None:
        """As a lane that finds nothing at the destination."""
        self.tally.totals = await self.journal.totals()
        self.chunks = await self.journal.open_chunks(ChunkState.PLANNED)
        await self.survey()

    async def survey(self, *found: tuple[str, str, int | None], unavailable: str | None = None) -> None:
        """What the first look saw."""
        seen = tuple(Found(*one) for one in found)
        survey = Survey(at=UNIX_S - 1, found=seen, unavailable=unavailable, listed=len(found))
        await self.journal.set_fact(SURVEY, survey)

    def rows(self, number: int) -> list[Any]:
        return [{"t": f"{row}"} for row in range(self.each * number, self.each * (number + 1))]

    def store(self, number: int, *, rows: int | None = None, ends: RemoteStatus = RemoteStatus.READY) -> str:
        """The service stores *rows* of a chunk's rows; the dataset's id."""
        stored = self.to._store(self.chunks[number].name, self.rows(number)[:rows])
        stored.ends = ends
        return stored.id

    async def doubt(self, *numbers: int, at: float = 0.0, answered: bool = False) -> None:
        """Sent, and the answer was lost."""
        for number in numbers:
            chunk = self.chunks[number]
            await self.journal.sending(chunk.id, UNIX_S + at)
            await self.journal.in_doubt(chunk.id, "the answer was lost", UNIX_S + at, was_answered=answered)
            self.tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.IN_DOUBT)

    async def land(self, number: int, *, at: float = 0.0, ids: bytes = b"") -> str:
        """Sent from *at* on, stored and answered."""
        id_, chunk = self.store(number), self.chunks[number]
        await self.journal.sending(chunk.id, UNIX_S + at)
        await self.journal.landed(chunk.id, id_, evidence=Evidence.ANSWER, ids=ids)
        self.tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.LANDED)
        return id_

    def writes_take_time(self) -> None:
        """Others run while the journal writes. Whoever waits for it may be cancelled; it has written all the same."""
        for name in ("sending", "plan_again", "in_doubt", "answered", "landed"):
            write = getattr(self.journal, name)

            async def written(*given: Any, write: Callable[..., Awaitable[None]] = write, **how: Any) -> None:
                await write(*given, **how)
                await checkpoint()

            setattr(self.journal, name, written)

    async def now(self, number: int) -> Chunk:
        """A chunk as it stands in the journal."""
        id_ = self.chunks[number].id
        found = await self.journal.chunk(id_.tile, id_.child)
        assert found is not None
        return found

    async def states(self) -> list[str]:
        """How all chunks stand; the totals agree with it."""
        assert self.tally.totals == await self.journal.totals()
        return [(await self.now(number)).state.value for number in range(len(self.chunks))]

    async def prepared(self, number: int) -> Prepared:
        """A chunk with its rows, as it stands in the journal; its share of the memory is taken."""
        chunk = await self.now(number)
        cursor = self.source.cursor()
        items = [item async for item in cursor.read(chunk.start, chunk.stop)]
        await cursor.aclose()
        drafted = await self.chunker.whole(listed(items), Keep(encoded=True, raw=True))
        await self.budget.take(HELD_BYTES)
        return Prepared(chunk, listed(items), HELD_BYTES, self.executors.hold(drafted.encoded), items)

    async def deliver(self, *chunks: int | Prepared, at_once: int = 1, **how: Any) -> None:
        """Give these to a `delivery`, so many *at_once*, until all is done."""
        delivery = self.delivery(**how)
        send, receive = anyio.create_memory_object_stream[Prepared](len(chunks))
        async with send:
            for one in chunks:
                await send.send(await self.prepared(one) if isinstance(one, int) else one)
        async with anyio.create_task_group() as tasks, receive:
            for _ in range(at_once):
                tasks.start_soon(delivery.run, receive.clone(), tasks)
        assert (self.budget.held_bytes, self.worker._held) == (0, {}), "what was held is given back"
        assert (self.tally.in_flight, self.pacing.concurrency.in_flight) == (0, 0)

    def delivery(
        self,
        *,
        on_doubt: OnDoubt = OnDoubt.HOLD,
        creation: Creation | None = None,
        refusals_store_nothing: bool = False,
        pending_timeout_s: float = 60.0,
        max_rejects: str | None = None,
        send: Send | None = None,
    ) -> Delivery:
        totals = self.tally.totals
        rules = StopRules(
            totals=totals, limit=None if max_rejects is None else RejectLimit.parse(max_rejects), halt=self.halt
        )
        planned = self.planned(on_doubt=on_doubt, pending_timeout_s=pending_timeout_s)
        sending = self.sending(rules, creation)
        if send is not None:
            self.executors.send = lambda prepared, _, on_bytes: send(prepared, on_bytes)  # type: ignore[method-assign, assignment]

        return Delivery(planned, sending, Splitter(planned, sending), refusals_store_nothing=refusals_store_nothing)

    def planned(
        self,
        *,
        on_doubt: OnDoubt = OnDoubt.HOLD,
        pending_timeout_s: float = 60.0,
        with_rejected_rows: bool = True,
        quiet_s: float = QUIET_S,
        others: Callable[[float], Awaitable[Others]] = rig.no_others,
    ) -> PlannedLane:
        """The lane, as a user has chosen."""
        chosen = rig.chosen(on_doubt=on_doubt, rejects_content=with_rejected_rows, settle_after_s=quiet_s)
        lane = LaneContext(
            destination=self.to,
            source=self.source,
            journal=self.journal,
            workers=rig.no_workers(),
            chosen=replace(chosen, destination=Nebius(pending_timeout_s=pending_timeout_s)),
            clock=self.clock,
            requests=self.requests,
            halt=self.halt,
            tally=self.tally,
            limit=self.limit,
            others=others,
            say=self.said.append,
            log=lambda event, found: self.logged.append((event, found)),
            kept=self.kept,
        )
        return PlannedLane(lane, self.plan, self.chunker)

    def sending(self, rules: StopRules | None = None, creation: Creation | None = None) -> SendingRound:
        """One round."""

        def settle_now() -> None:
            self.to_settle += 1

        return SendingRound(
            cursor=self.cursor,
            executors=self.executors,
            budget=self.budget,
            reading=self.budget,
            numbers=ChildNumbers(self.journal),
            fence=self.fence,
            creation=creation or rig.created(self.clock),
            rules=rules or StopRules(totals=self.tally.totals, limit=None, halt=self.halt),
            settle_now=settle_now,
        )

    def splitter(self, *, with_rejected_rows: bool = True) -> Splitter:
        return Splitter(self.planned(with_rejected_rows=with_rejected_rows), self.sending())

    async def rejects(self) -> list[dict[str, Any]]:
        """The rejected rows so far."""
        return [json.loads(line) for line in self.whole_journal.rejects.splitlines()]

    def settler(self, *, quiet_s: float = QUIET_S, others: Others | None = None) -> Settler:
        async def read_others(at: float) -> Others:
            assert at == UNIX_S - 1
            return others or Others()

        def found() -> None:
            self.was_found += 1

        return Settler(self.planned(quiet_s=quiet_s, others=read_others), found)


_planned: dict[tuple[int, Policy, int, int, bytes | None], tuple[tempfile.TemporaryDirectory[str], MemoryJournal]] = {}
"""Folders with a source, and the journal in which it is planned."""


@asynccontextmanager
async def lane_of(
    chunks: int,
    *,
    policy: Policy = BY_NAME,
    each: int = 2,
    tile_bytes: int = 1 << 16,
    content: bytes | None = None,
) -> AsyncIterator[LaneAlone]:
    """A lane of so many chunks of *each* rows, by default of one tile. Its source is *content* if that is given. It is planned
    once in a process, and copied."""
    key = (chunks, policy, each, tile_bytes, content)
    if key not in _planned:
        _planned[key] = folder, journal = rig.scratch_dir(), MemoryJournal()
        rows = (b'{"t":"%d"}\n' % row for row in range(each * chunks))
        paths = rig.write_source(Path(folder.name), [b"".join(rows) if content is None else content], "plain")
        await rig.plan(journal, paths, rig.Setting(tile_bytes, 1 << 15, rows=each, policy=policy))
    folder, journal = _planned[key]
    paths = [str(path) for path in Path(folder.name).glob("*.jsonl")]
    like = rig.destination(policy)
    with closing(open_source(paths, max_row_bytes=rig.MAX_ROW, block_bytes=64)) as source:
        to = Listed(like.dataset_name, like.token, like.capabilities, like.policy)
        lane = LaneAlone(source, deepcopy(journal), to, each)
        await lane.begin()
        assert len(lane.chunks) == chunks
        yield lane
