"""Everything for one destination, from its first look to its last outcome."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from bulkup.chunk import ChunkState
from bulkup.config import OnDoubt, RunSettings
from bulkup.destinations.base import Asking, Destination, LookFailed
from bulkup.destinations.settings import DestinationSettings
from bulkup.encoding import RowOptions, decide
from bulkup.errors import BulkupError, DestinationNotEmpty, ExitCode, TokenRefused, UsageProblem
from bulkup.flow.children import ChildNumbers
from bulkup.flow.chunker import Chunker
from bulkup.flow.clock import Clock
from bulkup.flow.creation import Creation
from bulkup.flow.delivery import Delivery
from bulkup.flow.executors import Executors
from bulkup.flow.fence import Fence
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.flow.isolation import Splitter
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.limit import BodyLimit
from bulkup.flow.looking import dated_look
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepare import Preparer
from bulkup.flow.prepared import Prepared
from bulkup.flow.processes import LaneWorkers, ThisProcess
from bulkup.flow.reaction import Failure
from bulkup.flow.requests import Requests
from bulkup.flow.sent_rows import SentRows
from bulkup.flow.settler import Settler
from bulkup.flow.stop_rules import StopRules
from bulkup.flow.tally import Tally
from bulkup.flow.verifier import Verifier
from bulkup.journal import LaneJournal
from bulkup.journal.facts import (
    AUDITED,
    LANE_END,
    LARGEST_BODY,
    LATE,
    PLAN,
    PLANNED_WHOLE,
    REFUSALS_STORE_NOTHING,
    SURVEY,
    UNREADABLE,
    Found,
)
from bulkup.journal.facts import Survey as SurveyRecord
from bulkup.model import Block
from bulkup.naming import widest_name
from bulkup.outcome import CloseGate, StopLane, TokenRejected, TryAgain
from bulkup.pacing import ByteBudget, Concurrency, Eta, Gate, Pacing, Patience, Rate
from bulkup.settlement import Look, Others
from bulkup.sources import Cursor, Source
from bulkup.tiling import tile_bytes
from bulkup.verdict import LaneEnd

__all__ = ["Chosen", "Lane"]

T = TypeVar("T")

MIN_ROOM_BYTES = 256

logger = logging.getLogger("bulkup")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the user chose, as one lane has it: the run's settings, the destination's, and how *rows* are made by both.

    *memory_bytes* is the lane's share of the memory.
    """

    run: RunSettings
    destination: DestinationSettings
    rows: RowOptions
    memory_bytes: int

    @property
    def rate(self) -> Rate:
        """What is not to be exceeded."""
        own = self.destination
        return Rate(
            requests_per_minute=own.requests_per_minute,
            rows_per_second=own.rows_per_second,
            bytes_per_second=own.bytes_per_second,
        )


class Lane:
    """One destination's lane. `prepare` comes before anything is sent anywhere, then `run`."""

    def __init__(
        self,
        *,
        destination: Destination,
        source: Source,
        journal: LaneJournal,
        workers: LaneWorkers,
        chosen: Chosen,
        clock: Clock,
        learned_limit: int | None,
        others: Callable[[float], Others],
        say: Callable[[str], None],
    ) -> None:
        """*learned_limit*: the largest body that the destination is known to take from earlier runs, if it is. *others*: what other
        runs have put into the same dataset since a Unix time; it reads files."""
        self.name = destination.name
        self.destination = destination
        self.halt = Halt()
        self.tally = Tally()
        self.ended = False
        self.is_done = False
        self._source = source
        self._journal = journal
        self._chosen = chosen
        self._options = options = chosen.run
        self._clock = clock
        self._workers = workers
        self._say = say
        self._cursor: Cursor = source.cursor()
        self._plan: LanePlan | None = None
        self._learned_limit = learned_limit
        self._read_others = others
        self._others: Others | None = None
        self.limit = BodyLimit(self._max_body_bytes)
        self._survey: Look | None = None
        self._look_failed: Failure | None = None
        self._unseen: str | None = None
        self._planned_whole = False
        self._rules = self._stop_rules()
        patience = Patience(retry_for_s=options.retry_for_s, max_wait_s=options.max_wait_s, now=clock.monotonic())
        self.pacing = Pacing(
            concurrency=Concurrency(cap=chosen.destination.concurrency),
            gate=Gate(clock=clock.monotonic, sleep=clock.sleep),
            rate=chosen.rate,
            clock=clock.monotonic,
            uniform=clock.uniform,
            unix=clock.unix,
        )
        self._requests = Requests(
            token=destination.token, pacing=self.pacing, patience=patience, halt=self.halt, clock=clock, say=say
        )
        self._eta = Eta()

    @property
    def _max_body_bytes(self) -> int:
        return self._chosen.destination.max_chunk_bytes or self.destination.capabilities.max_chunk_bytes

    @property
    def _max_rows(self) -> int | None:
        return self._chosen.destination.max_chunk_rows or self.destination.capabilities.max_chunk_rows

    @property
    def quota_per_minute(self) -> float | None:
        """The pace in requests that the quota sets now; None where none is known."""
        return self.pacing.quota.per_minute(self._clock.monotonic())

    @property
    def told_per_minute(self) -> float | None:
        """The quota as it was told, where the pace keeps just below it; else that pace."""
        told = self.pacing.quota.told_per_minute(self._clock.monotonic())
        return told if told is not None else self.quota_per_minute

    def left_s(self, elapsed_s: float, share: float | None) -> float | None:
        """Seconds left *elapsed_s* after the start, when *share* of the source (0 to 1) is done; None where nobody can say."""
        return self._eta.left_s(
            elapsed_s,
            share,
            chunks=self.tally.totals.chunks_landed,
            per_minute=self.quota_per_minute,
            growth=self.pacing.quota.growth(self._clock.monotonic()),
            limited_by=self.pacing.limiting.now,
        )

    async def prepare(self) -> None:
        """Take up what an earlier process left, decide how rows are made, and look whether the destination is free.

        Nothing is sent. Raises `UsageProblem`, `DestinationNotEmpty`, `TokenRefused`, `SourceUnreadable`. A destination that
        cannot be asked just now is asked again by `run`.
        """
        await self._take_up()
        if self._options.on_doubt is OnDoubt.RESEND and self.tally.totals.chunks_in_doubt:
            self._say(
                f"sending {self.tally.totals.chunks_in_doubt} chunks in doubt again, as --on-doubt resend accepts doubles"
            )
            self.tally.totals = await self._journal.totals()
        self._rules = self._stop_rules()
        totals = self.tally.totals
        self.is_done = (
            self._planned_whole
            and not totals.chunks_left
            and not totals.chunks_in_doubt
            and await self._journal.absences() == await self._journal.fact(AUDITED)
        )
        if self.is_done:
            return
        await self._decide()
        if await self._is_untouched():
            try:
                await self._look(self._requests.once)
            except LookFailed as failed:
                if not _may_pass(failed.outcome):
                    raise _refused(self.name, failed) from None
                self._look_failed = failed.outcome

    async def _take_up(self) -> None:
        """What an earlier process left: doubts, totals, and whether the source was planned whole."""
        if lost := await self._journal.recover(self._clock.unix()):
            self._say(f"{lost} chunks were being sent when the last process ended; they are in doubt")
        self.tally.totals = await self._journal.totals()
        self._planned_whole = await self._journal.fact(PLANNED_WHOLE)

    async def run(self) -> None:
        """Send until the source ends or the lane stops. What happened stands in the journal, `tally` and `halt`."""
        await self._see_through(self._run)

    async def _run(self) -> None:
        if self.is_done:
            self._rules.check_rejects()
        else:
            await self._send_all()

    async def settle(self) -> None:
        """Settle what is in doubt, instead of `prepare` and `run`: nothing is sent, and what is not stored is planned again."""
        await self._see_through(self._settle_only)

    async def _settle_only(self) -> None:
        await self._take_up()
        frozen = await self._journal.fact(PLAN)
        if frozen is not None and self.tally.totals.chunks_in_doubt:
            plan = LanePlan.of_record(frozen, self.destination.target)
            chunker = Chunker(self._source, plan.rows.encoder(), self.halt)
            await self._settler(plan, chunker, await self._creation()).settle()

    async def verifier(self, *, scratch: Path, sample: float, seed: int) -> Verifier | None:
        """What compares the lane's chunks with the destination; None where none was planned."""
        await self._cursor.aclose()
        await self._take_up()
        frozen = await self._journal.fact(PLAN)
        if frozen is None:
            return None
        plan = LanePlan.of_record(frozen, self.destination.target)
        chunker = Chunker(self._source, plan.rows.encoder(), self.halt)
        survey = await self._journal.fact(SURVEY)
        return Verifier(
            destination=self.destination,
            plan=plan.rows,
            journal=self._journal,
            totals=self.tally.totals,
            read_whole=self._planned_whole,
            survey=survey,
            others=await self._others_since(survey.at) if survey else Others(),
            sent=SentRows(self._source, chunker, plan.rows, self.destination.row_key),
            asking=self._ask_patiently,
            halt=self.halt,
            scratch=scratch,
            sample=sample,
            seed=seed,
            say=self._say,
        )

    async def _ask_patiently(self, request: Callable[[], Awaitable[T]], /) -> T:
        """As `Requests.ask`, where answers are all that is wanted: each is a success. (Who sends has none before rows land.)"""
        answer = await self._requests.ask(request)
        self._requests.patience.succeeded(self._clock.monotonic())
        return answer

    async def _others_since(self, at: float) -> Others:
        """Read once: the dataset's lock keeps other runs out of it while this process has it."""
        if self._others is None:
            self._others = await anyio.to_thread.run_sync(self._read_others, at)
        return self._others

    async def _see_through(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except BulkupError as error:
            self.halt.set(Reason(str(error), error.exit_code))
        except Halted:
            pass
        except Exception as error:
            logger.error("%s: internal error", self.name, exc_info=True)
            self.halt.set(Reason(f"internal error: {_innermost(error)!r}", ExitCode.INTERNAL))
        finally:
            self.ended = True
            self.pacing.finish()
            with anyio.CancelScope(shield=True):
                await self._cursor.aclose()
                await self._record_end()

    async def _record_end(self) -> None:
        """What this process's work on the lane came to, for the receipt and `status`."""
        stop = self.halt.reason
        end = LaneEnd(
            reason=stop.text if stop else None, exit_code=stop.exit_code if stop else None, unseen=self._unseen
        )
        with suppress(BulkupError):  # a journal that fails goes on failing: the run's own end is what tells
            largest = max(self.tally.largest_body, await self._journal.fact(LARGEST_BODY))
            await self._journal.set_fact(LARGEST_BODY, largest)
            await self._journal.set_fact(LANE_END, end)

    @property
    def source_done(self) -> float | None:
        """The share of the source's bytes that has been read, where its size is known."""
        if self.is_done:
            return 1.0
        size = sum(file.size or 0 for file in self._source.files)
        return min(1.0, self._cursor.progress / size) if size else None

    async def _decide(self) -> None:
        frozen = await self._journal.fact(PLAN)
        if frozen is not None:
            self._plan = LanePlan.of_record(frozen, self.destination.target)
            self._announce_appending(self._plan)
        else:
            self._plan = await self._first_plan()
            await self._journal.set_fact(PLAN, self._plan.to_record())
        self.limit.bytes = min(self.limit.bytes, self._plan.max_body_bytes)
        self._say(self._plan.rows.describe())

    async def _first_plan(self) -> LanePlan:
        """Rows, T and limits, decided on the first block."""
        first = await self._cursor.peek()
        sample = first if isinstance(first, Block) else None
        rows = decide(sample, self.destination.target, self._chosen.rows)
        max_body_bytes = min(self._max_body_bytes, self._learned_limit or self._max_body_bytes)
        envelope = self.destination.envelope(widest_name(self.destination.dataset_name), rows).size
        if max_body_bytes - envelope < MIN_ROOM_BYTES:
            raise _too_small(self.name, max_body_bytes, envelope)
        plan = LanePlan(1, rows, max_body_bytes, self._max_rows, self._options.max_row_bytes)
        limits = plan.limits(envelope_bytes=envelope, max_body_bytes=max_body_bytes)
        raw = body = count = largest = 0
        if sample is not None:
            made = [row.body for row in rows.encoder().encode_rows(sample) if row.body is not None]
            raw, body, count = sample.end - sample.start, sum(map(len, made)) + len(made), len(made)
            largest = max(map(len, made), default=0)
        size = tile_bytes(
            limits, raw_bytes=raw, body_bytes=body, rows=count, largest_row=largest, is_held=not self._source.any_range
        )
        if count or (sample is not None and sample.end < (self._source.size or 0)):  # else perhaps there is no row
            self._announce_datasets(size)
        return LanePlan(size, rows, max_body_bytes, self._max_rows, self._options.max_row_bytes)

    def _announce_datasets(self, tile_size: int) -> None:
        if self._source.size is not None:
            chunks = max(1, -(-self._source.size // tile_size))
            self._announce(self.destination.policy.announcement(self.destination.dataset_name, chunks))

    def _announce_appending(self, plan: LanePlan) -> None:
        if len(plan.segments) > 1:
            self._announce(self.destination.policy.announcement_of_added(self.destination.dataset_name))

    def _announce(self, text: str | None) -> None:
        if text is not None:
            self._say(text)

    async def _is_untouched(self) -> bool:
        """Nothing of this run can be at the destination: what is planned was never sent, or not stored, for sure. (A chunk that was
        only called absent may still be stored late.)"""
        if self.tally.totals.chunks_landed or self.tally.totals.chunks_in_doubt:
            return False
        open_chunks = await self._journal.open_chunks(ChunkState.PLANNED, ChunkState.ANSWERED)
        return not any(chunk.state is ChunkState.ANSWERED or chunk.absences for chunk in open_chunks)

    async def _look(self, asking: Asking) -> None:
        """One look at what the destination holds. Raises `DestinationNotEmpty`, `LookFailed`."""
        survey = await dated_look(asking, self.destination, self._clock)
        await self._journal.set_fact(
            SURVEY,
            SurveyRecord(
                at=survey.at,
                found=tuple(Found(f.id, f.name, f.rows) for f in survey.seen),
                unavailable=survey.unavailable,
                listed=survey.listed,
            ),
        )
        self._survey = survey
        if survey.unavailable is not None and (self._options.append or not survey.seen):
            self._say(
                f"cannot look whether the destination holds this dataset already ({survey.unavailable}); going on"
            )
        elif survey.seen and not self._options.append:
            held = ", ".join(f"{f.name} ({f.id})" for f in survey.seen[:3]) + (
                " and more" if len(survey.seen) > 3 else ""
            )
            raise DestinationNotEmpty(
                f"{self.name}: the destination already holds {held}, which this run did not put there. "
                "If an earlier run of these rows did, go on with that run (its --state-dir, or bulkup resume). For other rows "
                "choose another --name, or give --append to put them beside what is there"
            )

    async def _send_all(self) -> None:
        assert self._plan is not None, "prepare comes first"
        if self._survey is None and await self._is_untouched():
            if self._look_failed is not None:
                await self._requests.tries().failed(self._look_failed)
            await self._look(self._requests.ask)
        async with self._workers.opening(self._plan, self._source):
            await self._send_planned(self._plan)

    async def _send_planned(self, plan: LanePlan) -> None:
        chunker = Chunker(self._source, plan.rows.encoder(), self.halt)
        creation = await self._creation()
        settler = self._settler(plan, chunker, creation)
        await self._settle_at_start(settler)
        while True:
            await self._send_round(plan, chunker, creation, settler)
            if self.halt.reason is not None:
                return
            if self._options.on_doubt is OnDoubt.HOLD:
                await settler.settle()
            if not self.tally.totals.chunks_left or not self._source.rereadable:
                break
            await self._cursor.aclose()
            self._cursor = self._source.cursor()
        audit = await settler.audit()
        self._unseen = audit.unseen
        await self._journal.set_fact(LATE, audit.late)
        if audit.unseen is None:
            await self._journal.set_fact(AUDITED, await self._journal.absences())

    async def _settle_at_start(self, settler: Settler) -> None:
        """Doubts that an earlier process left, as far as they are to be settled before anything is sent."""
        totals = self.tally.totals
        if totals.chunks_in_doubt and self._options.on_doubt is OnDoubt.HOLD:
            patience_s = self.destination.policy.patience_at_start_s(totals, self._options.settle_after_s)
            if patience_s is not None:
                await settler.settle(patience_s=patience_s)

    async def _send_round(self, plan: LanePlan, chunker: Chunker, creation: Creation, settler: Settler) -> None:
        """Everything that is planned, and whatever the source still holds, once."""
        budget = reading = ByteBudget(self._chosen.memory_bytes)
        if self._workers.count:  # half of it for what is read ahead
            budget, reading = (ByteBudget(self._chosen.memory_bytes // 2) for _ in range(2))
        numbers = ChildNumbers(self._journal)
        fence = Fence()
        wanted = _Bell()
        executors = self._executors(plan, chunker)
        preparer = self._preparer(plan, executors, budget, reading, numbers)
        delivery = await self._delivery(plan, chunker, executors, budget, numbers, creation, fence, wanted.ring)
        sending, incoming = anyio.create_memory_object_stream[Prepared](0)
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._settle_on_demand, settler, fence, wanted)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._prepare_all, preparer, sending)
                async with incoming:
                    for _ in range(self._chosen.destination.concurrency):
                        tasks.start_soon(delivery.run, incoming.clone(), tasks)
            beside.cancel_scope.cancel()
        if preparer.unreadable is not None:
            await self._journal.set_fact(UNREADABLE, str(preparer.unreadable))

    async def _settle_on_demand(self, settler: Settler, fence: Fence, wanted: _Bell) -> None:
        """Settle whenever enough is in doubt, with nothing in flight."""
        with suppress(Halted):
            while True:
                await wanted.rung()
                await fence.close()
                try:
                    patience_s = 3 * self._options.settle_after_s if self.tally.totals.chunks_landed else inf
                    await settler.settle(patience_s=patience_s)
                except BulkupError as error:
                    self.halt.set(Reason(str(error), error.exit_code))
                finally:
                    await fence.open()

    async def _prepare_all(self, preparer: Preparer, sending: MemoryObjectSendStream[Prepared]) -> None:
        try:
            await preparer.run(sending)
            await self._journal.set_fact(PLANNED_WHOLE, True)
        except Halted:
            pass
        except BulkupError as error:  # what is in flight finishes
            self.halt.set(Reason(str(error), error.exit_code))

    def _preparer(
        self, plan: LanePlan, executors: Executors, budget: ByteBudget, reading: ByteBudget, numbers: ChildNumbers
    ) -> Preparer:
        return Preparer(
            lane=self.name,
            source=self._source,
            cursor=self._cursor,
            executors=executors,
            plan=plan,
            destination=self.destination,
            journal=self._journal,
            budget=budget,
            reading=reading,
            halt=self.halt,
            numbers=numbers,
            totals=self.tally.totals,
            limit=self.limit,
            rules=self._rules,
            on_doubt=self._options.on_doubt,
            with_rejected_rows=self._options.rejects_content,
        )

    def _executors(self, plan: LanePlan, chunker: Chunker) -> Executors:
        here = ThisProcess(LaneWorker(self.destination, plan.rows, chunker, self._cursor))
        return Executors(self.name, here, self._workers, self._source, self._cursor, self.destination.token)

    def _stop_rules(self) -> StopRules:
        options = self._options
        return StopRules(totals=self.tally.totals, limit=options.max_rejects, halt=self.halt)

    def _settler(self, plan: LanePlan, chunker: Chunker, creation: Creation) -> Settler:
        return Settler(
            destination=self.destination,
            plan=plan,
            journal=self._journal,
            source=self._source,
            chunker=chunker,
            requests=self._requests,
            halt=self.halt,
            tally=self.tally,
            clock=self._clock,
            quiet_s=self._options.settle_after_s,
            on_present=creation.landed,
            others=self._others_since,
            say=self._say,
        )

    async def _delivery(
        self,
        plan: LanePlan,
        chunker: Chunker,
        executors: Executors,
        budget: ByteBudget,
        numbers: ChildNumbers,
        creation: Creation,
        fence: Fence,
        settle_now: Callable[[], None],
    ) -> Delivery:
        splitter = Splitter(
            source=self._source,
            chunker=chunker,
            executors=executors,
            plan=plan,
            destination=self.destination,
            journal=self._journal,
            numbers=numbers,
            totals=self.tally.totals,
            rules=self._rules,
            with_rejected_rows=self._options.rejects_content,
        )
        return Delivery(
            destination=self.destination,
            executors=executors,
            plan=plan,
            journal=self._journal,
            requests=self._requests,
            budget=budget,
            creation=creation,
            fence=fence,
            settle_now=settle_now,
            refusals_store_nothing=await self._journal.fact(REFUSALS_STORE_NOTHING),
            splitter=splitter,
            rules=self._rules,
            halt=self.halt,
            tally=self.tally,
            limit=self.limit,
            clock=self._clock,
            on_doubt=self._options.on_doubt,
            pending_timeout_s=self._chosen.destination.pending_s(),
        )

    async def _creation(self) -> Creation:
        doubts = await self._journal.open_chunks(ChunkState.IN_DOUBT)
        return Creation(
            exists=self.destination.policy.has_dataset_per_chunk
            or self.tally.totals.chunks_landed > 0
            or bool(self._survey and self._survey.seen),
            quiet_s=self._options.settle_after_s,
            last_byte_at=max((self._clock.sent_at(chunk.last_byte_at) for chunk in doubts), default=None),
            clock=self._clock.unix,
            sleep=self._clock.sleep,
        )


class _Bell:
    """Rung by anybody, heard by one."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        self._event.set()

    async def rung(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _may_pass(failure: Failure) -> bool:
    """The first look may be made later, while the other lane goes on."""
    return isinstance(failure, TryAgain | CloseGate) or (isinstance(failure, StopLane) and failure.may_pass)


def _refused(lane: str, failed: LookFailed) -> BulkupError:
    if isinstance(failed.outcome, TokenRejected):
        return TokenRefused(f"{lane}: the service does not take the token ({failed.outcome.reason})")
    if isinstance(failed.outcome, StopLane) and failed.outcome.exit_code is ExitCode.USAGE:
        return UsageProblem(f"{lane}: {failed}")
    return TokenRefused(f"{lane}: {failed}")


def _too_small(lane: str, max_body_bytes: int, envelope: int) -> BulkupError:
    return UsageProblem(
        f"{lane}: --max-chunk-bytes {max_body_bytes:,} leaves no room for rows: what stands around them takes {envelope:,} bytes"
    )
