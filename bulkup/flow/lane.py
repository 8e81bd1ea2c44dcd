"""Everything for one destination, from its first look to its last outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from bulkup.chunk import ChunkState, Totals
from bulkup.config import OnDoubt, RejectLimit
from bulkup.destinations.seam import Creates, Destination, LookFailed, Survey
from bulkup.encoding import RowOptions, decide
from bulkup.errors import BulkupError, DestinationNotEmpty, ExitCode, TokenRefused, UsageProblem, worst
from bulkup.flow.children import ChildNumbers
from bulkup.flow.chunker import Chunker
from bulkup.flow.creation import Creation
from bulkup.flow.delivery import Clock, Delivery
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.flow.isolation import Splitter
from bulkup.flow.limit import BodyLimit
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepare import Preparer
from bulkup.flow.prepared import Prepared
from bulkup.flow.tally import Tally
from bulkup.journal import LaneJournal
from bulkup.model import Block
from bulkup.naming import widest_name
from bulkup.outcome import CloseGate, StopLane, TokenRejected, TryAgain
from bulkup.pacing import ByteBudget, Concurrency, Gate, Pacing, Patience, Rate, full_jitter_s
from bulkup.sources import Cursor, Source
from bulkup.tiling import tile_bytes

__all__ = ["Lane", "LaneOptions"]

MIN_ROOM_BYTES = 256

logger = logging.getLogger("bulkup")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """What the user chose for one lane. Sizes in bytes, times in seconds."""

    rows: RowOptions
    max_body_bytes: int
    max_rows: int | None
    max_row_bytes: int
    concurrency: int
    rate: Callable[[], Rate]
    memory_bytes: int
    retry_for_s: float
    settle_after_s: float
    pending_timeout_s: float
    on_doubt: OnDoubt
    append: bool
    max_rejects: RejectLimit | None
    with_rejected_rows: bool


class Lane:
    """One destination's lane. `prepare` comes before anything is sent anywhere, then `run`."""

    def __init__(
        self,
        *,
        destination: Destination,
        source: Source,
        journal: LaneJournal,
        options: LaneOptions,
        clock: Clock,
        learned_limit: int | None,
        say: Callable[[str], None],
    ) -> None:
        """*learned_limit*: the largest body that the destination is known to take from earlier runs, if it is."""
        self.name = destination.name
        self.destination = destination
        self.halt = Halt()
        self.tally = Tally()
        self.ended = False
        self.is_done = False
        self._source = source
        self._journal = journal
        self._options = options
        self._clock = clock
        self._say = say
        self._cursor: Cursor = source.cursor()
        self._plan: LanePlan | None = None
        self._learned_limit = learned_limit
        self.limit = BodyLimit(options.max_body_bytes)
        self._survey: Survey | None = None
        self._unreadable: str | None = None
        self._patience = Patience(retry_for_s=options.retry_for_s, now=clock.monotonic())
        self.pacing = Pacing(
            concurrency=Concurrency(cap=options.concurrency),
            gate=Gate(clock=clock.monotonic, sleep=clock.sleep),
            rate=options.rate(),
            clock=clock.monotonic,
        )

    async def prepare(self) -> None:
        """Take up what an earlier process left, decide how rows are made, and look whether the destination is free.

        Nothing is sent. Raises `UsageProblem`, `DestinationNotEmpty`, `TokenRefused`, `SourceUnreadable`. A destination that
        cannot be asked just now is asked again by `run`.
        """
        if lost := await self._journal.recover():
            self._say(f"{lost} chunks were being sent when the last process ended; they are in doubt")
        self.tally.totals = await self._journal.totals()
        if self._options.on_doubt is OnDoubt.RESEND and self.tally.totals.chunks_in_doubt:
            self._say(
                f"sending {self.tally.totals.chunks_in_doubt} chunks in doubt again, as --on-doubt resend accepts doubles"
            )
        self._unreadable = await self._journal.fact("unreadable")
        resendable = self.tally.totals.chunks_in_doubt if self._options.on_doubt is OnDoubt.RESEND else 0
        self.is_done = (
            bool(await self._journal.fact("planned whole")) and self.tally.totals.chunks_left == 0 and not resendable
        )
        if self.is_done:
            return
        await self._decide()
        if await self._is_untouched():
            try:
                await self._look()
            except LookFailed as failed:
                if not isinstance(failed.outcome, TryAgain | CloseGate):
                    raise _refused(self.name, failed) from None

    async def run(self) -> None:
        """Send until the source ends or the lane stops. What happened stands in the journal, `tally` and `halt`."""
        try:
            if not self.is_done:
                await self._send_all()
        except BulkupError as error:
            self.halt.set(Reason(str(error), error.exit_code))
        except Halted:
            pass
        except Exception as error:
            logger.error("%s: internal error", self.name, exc_info=True)
            self.halt.set(Reason(f"internal error: {_innermost(error)!r}", ExitCode.INTERNAL))
        finally:
            self.ended = True
            with anyio.CancelScope(shield=True):
                await self._cursor.aclose()

    def exit_code(self, totals: Totals) -> ExitCode:
        """What the lane ends with."""
        codes = [self.halt.reason.exit_code] if self.halt.reason else []
        if totals.rows_in_doubt:
            codes.append(ExitCode.IN_DOUBT)
        if self._unreadable is not None:
            codes.append(ExitCode.SOURCE_UNREADABLE)
        if totals.rows_rejected:
            codes.append(ExitCode.SOME_REJECTED)
        if totals.rows_left and not codes:
            codes.append(ExitCode.TRY_LATER)
        return worst(codes)

    @property
    def reason(self) -> str | None:
        """Why the lane ended before everything had landed, in one line."""
        if self.halt.reason is not None:
            return self.halt.reason.text
        return self._unreadable

    @property
    def source_done(self) -> float | None:
        """The share of the source's bytes that has been read, where its size is known."""
        if self.is_done:
            return 1.0
        size = sum(file.size or 0 for file in self._source.files)
        return min(1.0, self._cursor.progress / size) if size else None

    async def _decide(self) -> None:
        frozen = await self._journal.fact("plan")
        if frozen is not None:
            self._plan = LanePlan.from_json(frozen, self.destination.target)
        else:
            self._plan = await self._first_plan()
            await self._journal.set_fact("plan", self._plan.to_json())
        self.limit.bytes = min(self.limit.bytes, self._plan.max_body_bytes)
        self._say(self._plan.rows.describe())

    async def _first_plan(self) -> LanePlan:
        """Rows, T and limits, decided on the first block."""
        first = await self._cursor.peek()
        sample = first if isinstance(first, Block) else None
        rows = decide(sample, self.destination.target, self._options.rows)
        max_body_bytes = min(self._options.max_body_bytes, self._learned_limit or self._options.max_body_bytes)
        envelope = self.destination.envelope(widest_name(self.destination.dataset_name), rows).size
        if max_body_bytes - envelope < MIN_ROOM_BYTES:
            raise _too_small(self.name, max_body_bytes, envelope)
        plan = LanePlan(1, rows, max_body_bytes, self._options.max_rows, self._options.max_row_bytes)
        limits = plan.limits(envelope_bytes=envelope, max_body_bytes=max_body_bytes)
        raw = body = count = largest = 0
        if sample is not None:
            made = [row.body for row in rows.encoder().encode_rows(sample) if row.body is not None]
            raw, body, count = len(sample.data), sum(map(len, made)) + len(made), len(made)
            largest = max(map(len, made), default=0)
        size = tile_bytes(
            limits, raw_bytes=raw, body_bytes=body, rows=count, largest_row=largest, is_held=not self._source.splittable
        )
        self._announce_datasets(size)
        return LanePlan(size, rows, max_body_bytes, self._options.max_rows, self._options.max_row_bytes)

    def _announce_datasets(self, tile_size: int) -> None:
        if self.destination.capabilities.creates is Creates.EACH_CHUNK and self._source.size is not None:
            count = max(1, -(-self._source.size // tile_size))
            name = self.destination.dataset_name
            self._say(
                f"one dataset, {name}"
                if count == 1
                else f"about {count:,} datasets, named {name}-<tile>-<hash>: each request makes one"
            )

    async def _is_untouched(self) -> bool:
        """Nothing of this run can be at the destination: what is planned was never sent, or not stored, for sure."""
        if self.tally.totals.chunks_landed or self.tally.totals.chunks_in_doubt:
            return False
        return not await self._journal.open_chunks(ChunkState.ANSWERED)

    async def _look(self) -> None:
        """One look at what the destination holds. Raises `DestinationNotEmpty`, `LookFailed`."""
        survey = await self.destination.survey()
        await self._journal.set_fact(
            "survey",
            {"found": [[f.id, f.name, f.rows] for f in survey.found], "unavailable": survey.unavailable},
        )
        self._survey = survey
        if survey.unavailable is not None:
            self._say(
                f"cannot look whether the destination holds this dataset already ({survey.unavailable}); going on"
            )
        elif survey.found and not self._options.append:
            held = ", ".join(f"{f.name} ({f.id})" for f in survey.found[:3]) + (
                " and more" if len(survey.found) > 3 else ""
            )
            raise DestinationNotEmpty(
                f"{self.name}: the destination already holds {held}, which this run did not put there. "
                "Choose another --name, or give --append to add to it"
            )

    async def _look_patiently(self) -> None:
        failures = 0
        while self._survey is None:
            try:
                await self._look()
            except LookFailed as failed:
                failures += 1
                await self._wait_for_look(failed, failures)

    async def _wait_for_look(self, failed: LookFailed, failures: int) -> None:
        now = self._clock.monotonic()
        wait_s = full_jitter_s(failures, self._clock.uniform)
        match failed.outcome:
            case CloseGate(reason, ordered_s) if ordered_s is not None:
                self.pacing.gate.close(ordered_s, reason)
                self._patience.ordered_wait(ordered_s)
                wait_s = ordered_s
            case TokenRejected() | StopLane():
                raise _refused(self.name, failed) from None
            case _:
                pass
        if self._patience.is_over(now):
            self.halt.set(Reason(f"the service could not be asked for too long: {failed}", ExitCode.TRY_LATER))
        await self.halt.unless_halted(lambda: self._clock.sleep(wait_s))

    async def _send_all(self) -> None:
        assert self._plan is not None, "prepare comes first"
        if await self._is_untouched():
            await self._look_patiently()
        budget = ByteBudget(self._options.memory_bytes)
        encoder = self._plan.rows.encoder()
        chunker = Chunker(self._source, encoder, self.halt)
        numbers = ChildNumbers(self._journal)
        preparer = self._preparer(self._plan, chunker, budget, numbers)
        delivery = await self._delivery(self._plan, chunker, budget, numbers)
        sending, incoming = anyio.create_memory_object_stream[Prepared](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._prepare_all, preparer, sending)
            async with incoming:
                for _ in range(self._options.concurrency):
                    tasks.start_soon(delivery.run, incoming.clone(), tasks)
        if preparer.unreadable is not None:
            self._unreadable = str(preparer.unreadable)
            await self._journal.set_fact("unreadable", self._unreadable)

    async def _prepare_all(self, preparer: Preparer, sending: MemoryObjectSendStream[Prepared]) -> None:
        try:
            await preparer.run(sending)
            await self._journal.set_fact("planned whole", True)
        except Halted:
            pass
        except BulkupError as error:  # what is in flight finishes
            self.halt.set(Reason(str(error), error.exit_code))

    def _preparer(self, plan: LanePlan, chunker: Chunker, budget: ByteBudget, numbers: ChildNumbers) -> Preparer:
        return Preparer(
            lane=self.name,
            source=self._source,
            cursor=self._cursor,
            chunker=chunker,
            plan=plan,
            destination=self.destination,
            journal=self._journal,
            budget=budget,
            halt=self.halt,
            numbers=numbers,
            totals=self.tally.totals,
            limit=self.limit,
            max_rejects=self._options.max_rejects,
            on_doubt=self._options.on_doubt,
            with_rejected_rows=self._options.with_rejected_rows,
        )

    async def _delivery(self, plan: LanePlan, chunker: Chunker, budget: ByteBudget, numbers: ChildNumbers) -> Delivery:
        splitter = Splitter(
            source=self._source,
            chunker=chunker,
            plan=plan,
            destination=self.destination,
            journal=self._journal,
            numbers=numbers,
            totals=self.tally.totals,
            with_rejected_rows=self._options.with_rejected_rows,
        )
        return Delivery(
            destination=self.destination,
            plan=plan,
            journal=self._journal,
            pacing=self.pacing,
            patience=self._patience,
            budget=budget,
            creation=await self._creation(),
            splitter=splitter,
            halt=self.halt,
            tally=self.tally,
            limit=self.limit,
            clock=self._clock,
            on_doubt=self._options.on_doubt,
            pending_timeout_s=self._options.pending_timeout_s,
        )

    async def _creation(self) -> Creation | None:
        if self.destination.capabilities.creates is Creates.EACH_CHUNK:
            return None
        doubts = await self._journal.open_chunks(ChunkState.IN_DOUBT)
        return Creation(
            exists=self.tally.totals.chunks_landed > 0 or bool(self._survey and self._survey.found),
            quiet_s=self._options.settle_after_s,
            last_byte_at=max((chunk.last_byte_at or 0.0 for chunk in doubts), default=None),
            clock=self._clock.unix,
            sleep=self._clock.sleep,
        )


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _refused(lane: str, failed: LookFailed) -> BulkupError:
    if isinstance(failed.outcome, TokenRejected):
        return TokenRefused(f"{lane}: the service does not take the token ({failed.outcome.reason})")
    return TokenRefused(f"{lane}: {failed}")


def _too_small(lane: str, max_body_bytes: int, envelope: int) -> BulkupError:
    return UsageProblem(
        f"{lane}: --max-chunk-bytes {max_body_bytes:,} leaves no room for rows: what stands around them takes {envelope:,} bytes"
    )
