"""From a prepared chunk to its outcome: slot, journal, send, and what follows from the answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn, assert_never

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkup.chunk import FAILED_ONCE, Chunk, ChunkState, Evidence
from bulkup.config import OnDoubt
from bulkup.destinations.base import ReadBackUnavailable
from bulkup.doubt.policy import DOUBTS_TO_SETTLE
from bulkup.errors import BulkupError, ExitCode, SourceChanged
from bulkup.flow.context import PlannedLane, SendingRound
from bulkup.flow.halt import Halted, Reason
from bulkup.flow.isolation import Splitter
from bulkup.flow.prepared import Prepared
from bulkup.flow.requests import Slot
from bulkup.flow.settler import count_out
from bulkup.outcome import (
    Accepted,
    CloseGate,
    InDoubt,
    Outcome,
    RemoteStatus,
    RowsRefused,
    StopLane,
    TokenRejected,
    TooLarge,
    TryAgain,
)
from bulkup.pacing import ByteBudget

__all__ = ["Delivery"]

LOSSES_TO_SPLIT = 2
"""A chunk that was lost so often and was not there afterwards is halved: something on the way may not let so much through."""

FIRST_POLL_S, LAST_POLL_S = 0.5, 10.0


class _Share:
    """One root chunk's share of the memory budget: given back when the last of those who use it lets go."""

    def __init__(self, budget: ByteBudget, prepared: Prepared) -> None:
        self._budget = budget
        self._size = prepared.held_bytes
        self._users = 1

    def keep(self) -> None:
        self._users += 1

    def drop(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._budget.give(self._size)


@dataclass(frozen=True, slots=True)
class _Followed:
    """A chunk that the service has taken. *prepared* and *share* are there only where its rows are kept."""

    chunk: Chunk
    content_length: int
    prepared: Prepared | None
    share: _Share | None


class Delivery:
    """Sends one lane's chunks. Whoever waits holds no slot; whoever holds one finishes even when the lane stops."""

    def __init__(
        self, planned: PlannedLane, sending: SendingRound, splitter: Splitter, *, refusals_store_nothing: bool
    ) -> None:
        self._planned = planned
        self._lane = lane = planned.lane
        self._round = sending
        self._splitter = splitter
        self._refusals_store_nothing = refusals_store_nothing
        self._journal = lane.journal
        self._requests = lane.requests
        self._clock = lane.clock
        self._halt = lane.halt
        self._tally = lane.tally
        self._on_doubt = lane.chosen.run.on_doubt
        self._pending_s = lane.chosen.destination.pending_s()
        self._doubts = 0

    async def run(self, incoming: MemoryObjectReceiveStream[Prepared], tasks: TaskGroup) -> None:
        """Deliver what comes until the stream ends or the lane stops. Several of these run side by side."""
        async with incoming:
            async for prepared in incoming:
                with self._stopping_on_trouble():
                    await self._deliver_tree(prepared, tasks)
                del prepared  # its rows must not stay in memory, uncounted, while this waits for the next chunk

    @contextmanager
    def _stopping_on_trouble(self) -> Iterator[None]:
        """A full disk or a changed source stops the lane; what is in flight elsewhere in it finishes."""
        try:
            yield
        except Halted:
            pass
        except BulkupError as error:
            self._halt.set(Reason(str(error), error.exit_code))

    async def _deliver_tree(self, root: Prepared, tasks: TaskGroup) -> None:
        """One prepared chunk, and whatever it is cut into. Its share of the budget is held until all of it is settled."""
        waiting = deque([root])
        isolation = self._splitter.budget(root.chunk.rows)
        refused: RowsRefused | None = None
        nothing_landed = True
        share = _Share(self._round.budget, root)
        try:
            while waiting:
                prepared = waiting.popleft()
                try:
                    outcome = await self._outcome(prepared)
                finally:
                    self._round.executors.forget(prepared.hold)
                match outcome:
                    case Accepted(status=RemoteStatus.PENDING | RemoteStatus.FAILED):
                        nothing_landed = False
                        tasks.start_soon(self._follow, self._to_follow(prepared, share), outcome)
                    case TooLarge() | RowsRefused():
                        if isinstance(outcome, RowsRefused):
                            refused = refused or outcome
                        # the largest pieces first: when the budget ends, what is left is small
                        waiting.extend(await self._splitter.split(prepared, outcome, self._lane.limit.bytes, isolation))
                    case _:
                        nothing_landed = False
            if refused is not None and nothing_landed:
                self._round.rules.nothing_landed(root.chunk.id.tile, refused.reason)
        finally:
            for prepared in waiting:
                self._round.executors.forget(prepared.hold)
            share.drop()

    async def _outcome(self, prepared: Prepared) -> Outcome:
        """The chunk's outcome in the end, after as many attempts as may be made."""
        chunk = prepared.chunk
        if chunk.state is ChunkState.ANSWERED:
            assert chunk.remote_id is not None
            return Accepted(chunk.remote_id, chunk.name, RemoteStatus.PENDING)
        size = self._planned.content_length(chunk)
        if size > self._lane.limit.bytes and chunk.rows > 1 and chunk.state is ChunkState.PLANNED:
            return TooLarge(f"planned before bodies were limited to {self._lane.limit.bytes:,} bytes")
        if chunk.absences >= LOSSES_TO_SPLIT and chunk.rows > 1 and chunk.state is ChunkState.PLANNED:
            return TooLarge(f"lost on the way {chunk.absences} times, with nothing stored: it goes in smaller pieces")
        if self._round.creation.exists:
            return await self._attempts(prepared, size)
        alone = await self._halt.unless_halted(self._round.creation.enter)
        try:
            return await self._attempts(prepared, size)
        finally:
            if alone:
                self._round.creation.leave()

    async def _attempts(self, prepared: Prepared, size: int) -> Outcome:
        """The chunk may be in doubt already, where the user accepts doubles: then it stays so until it has landed."""
        chunk = prepared.chunk
        tries = self._requests.tries()
        while True:
            outcome = await self._attempt(chunk, prepared, size)
            if isinstance(outcome, Accepted | TooLarge | RowsRefused):
                return outcome
            if isinstance(outcome, InDoubt):
                if self._on_doubt is OnDoubt.HOLD:
                    return outcome
                chunk = replace(chunk, state=ChunkState.IN_DOUBT)
            await tries.failed(outcome)
            self._tally.retries += 1

    async def _attempt(self, chunk: Chunk, prepared: Prepared, size: int) -> Outcome:
        """One attempt, journaled before its first byte and after its last."""
        await self._halt.unless_halted(self._round.fence.enter)
        try:
            async with self._requests.slot(rows=chunk.rows, size=size) as slot:
                return await self._send(slot, chunk, prepared, size)
        finally:
            await self._round.fence.leave()

    async def _send(self, slot: Slot, chunk: Chunk, prepared: Prepared, size: int) -> Outcome:
        def sent(count: int) -> None:
            slot.sent()
            self._tally.sent(count)

        await self._journal.sending(chunk.id, self._clock.unix())
        if chunk.state is ChunkState.IN_DOUBT:
            self._tally.totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
        self._tally.requests += 1
        self._tally.in_flight += 1
        slot.begin()
        try:
            came = await self._round.executors.send(prepared, sent)
        except SourceChanged as error:
            self._tally.outcomes["source_changed"] += 1
            await self._not_stored(chunk)
            self._stop(Reason(str(error), ExitCode.SOURCE_CHANGED))
        except anyio.get_cancelled_exc_class():
            self._tally.outcomes["cancelled"] += 1
            with anyio.CancelScope(shield=True):
                if not slot.has_sent:
                    await self._not_stored(chunk)
                else:
                    await self._doubt(chunk, "cancelled while it was being sent")
            raise
        finally:
            self._tally.in_flight -= 1
        outcome = came.outcome
        if isinstance(outcome, InDoubt) and outcome.was_answered and self._refusals_store_nothing:
            outcome = RowsRefused(outcome.reason, outcome.rows)
        slot.answered(outcome)
        await self._record(chunk, size, outcome, came.ids)
        return outcome

    async def _record(self, chunk: Chunk, size: int, outcome: Outcome, ids: bytes) -> None:
        """What one attempt came to, durable."""
        self._tally.outcomes[_label(outcome)] += 1
        match outcome:
            case Accepted(status=RemoteStatus.READY):
                await self._landed(chunk, outcome.remote_id, size, ids=ids)
            case Accepted():
                await self._journal.answered(chunk.id, outcome.remote_id)
                self._requests.patience.succeeded(self._clock.monotonic())
            case InDoubt(reason):
                await self._doubt(chunk, reason, was_answered=outcome.was_answered)
            case TooLarge():
                if chunk.rows > 1:  # one large row says little of what the service takes
                    self._lane.limit.refused(size)
                await self._not_stored(chunk)
            case _:
                await self._not_stored(chunk)

    async def _landed(self, chunk: Chunk, remote_id: str, body_bytes: int, *, ids: bytes = b"") -> None:
        await self._journal.landed(chunk.id, remote_id, evidence=Evidence.ANSWER, ids=ids)
        self._tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.LANDED)  # as which an answered one counts, too
        self._round.rules.landed()
        self._tally.rows_landed += chunk.rows
        self._tally.body_landed(body_bytes, self._lane.limit.bytes)
        self._requests.patience.succeeded(self._clock.monotonic())
        self._round.creation.landed()

    async def _doubt(self, chunk: Chunk, reason: str, *, was_answered: bool = False) -> None:
        await self._journal.in_doubt(chunk.id, reason, self._clock.unix(), was_answered=was_answered)
        self._tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.IN_DOUBT)
        is_creating = self._round.creation.in_doubt()
        self._doubts += 1
        if self._on_doubt is OnDoubt.RESEND:
            return
        if self._requests.patience.is_over(self._clock.monotonic()):
            self._halt.set(Reason(f"nothing got through for too long; the last doubt: {reason}", ExitCode.TRY_LATER))
        elif is_creating or self._doubts >= DOUBTS_TO_SETTLE:
            self._doubts = 0
            self._round.settle_now()

    async def _not_stored(self, chunk: Chunk) -> None:
        """This attempt stored nothing. Where an earlier one is in doubt, so is the chunk."""
        if chunk.state is ChunkState.IN_DOUBT:
            await self._doubt(chunk, chunk.reason or "an earlier attempt is in doubt")
        else:
            await self._journal.plan_again(chunk.id, chunk.reason)

    def _to_follow(self, prepared: Prepared, share: _Share) -> _Followed:
        """A chunk whose rows may be needed again keeps them, and its share with them; any other lets go: it is read from the source
        again in the lane's next round should the service fail on it."""
        size = self._planned.content_length(prepared.chunk)
        if prepared.chunk.reason == FAILED_ONCE:
            share.keep()
            return _Followed(prepared.chunk, size, prepared, share)
        return _Followed(prepared.chunk, size, None, None)

    async def _follow(self, followed: _Followed, accepted: Accepted) -> None:
        """A dataset that the service has taken and is not done with: ask until it is ready, has failed, or time is up."""
        try:
            with self._stopping_on_trouble():  # stopped, it stays answered: the next invocation asks on
                await self._settle_status(followed, accepted)
        finally:
            if followed.share is not None:
                followed.share.drop()

    async def _settle_status(self, followed: _Followed, accepted: Accepted) -> None:
        chunk, remote_id = followed.chunk, accepted.remote_id
        status = accepted.status
        if status is RemoteStatus.PENDING:
            status = await self._polled(remote_id)
        match status:
            case RemoteStatus.READY:
                await self._landed(chunk, remote_id, followed.content_length)
            case RemoteStatus.FAILED:
                await self._failed(followed, remote_id)
            case RemoteStatus.PENDING:
                await self._doubt(chunk, f"dataset {remote_id} was still not READY after {self._pending_s:.0f} s")

    async def _polled(self, remote_id: str) -> RemoteStatus:
        deadline = self._clock.monotonic() + self._pending_s
        wait_s = FIRST_POLL_S
        while self._clock.monotonic() < deadline:
            await self._sleep(wait_s)
            wait_s = min(LAST_POLL_S, wait_s * 2)
            try:
                status = await self._lane.destination.poll(self._requests.ask, remote_id)
            except ReadBackUnavailable:
                return RemoteStatus.PENDING
            if status is not RemoteStatus.PENDING:
                return status
        return RemoteStatus.PENDING

    async def _failed(self, followed: _Followed, remote_id: str) -> None:
        """The service took the chunk and then failed on it: once more, in the lane's next round, then its rows are set aside."""
        await count_out(self._journal, remote_id)
        if followed.prepared is not None:
            await self._splitter.set_aside(followed.prepared, f"dataset {remote_id} FAILED at the service")
        else:
            await self._journal.plan_again(followed.chunk.id, FAILED_ONCE)

    async def _sleep(self, seconds: float) -> None:
        await self._halt.unless_halted(lambda: self._clock.sleep(seconds))

    def _stop(self, reason: Reason) -> NoReturn:
        self._halt.set(reason)
        raise Halted


def _label(outcome: Outcome) -> str:
    match outcome:
        case Accepted(status=RemoteStatus.READY):
            return "landed"
        case Accepted():
            return "accepted_not_ready"
        case TryAgain():
            return "not_sent"
        case CloseGate():
            return "told_to_wait"
        case InDoubt():
            return "in_doubt"
        case TooLarge():
            return "too_large"
        case RowsRefused():
            return "rows_refused"
        case TokenRejected():
            return "token_rejected"
        case StopLane():
            return "stopped"
        case _:
            assert_never(outcome)
