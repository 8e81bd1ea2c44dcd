"""From a prepared chunk to its outcome: slot, journal, send, and what follows from the answer."""

from __future__ import annotations

from collections import deque

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkup.chunk import Chunk, ChunkState
from bulkup.flow.context import PlannedLane, SendingRound
from bulkup.flow.isolation import Splitter
from bulkup.flow.pending import PendingDatasets, Share
from bulkup.flow.prepared import Prepared
from bulkup.flow.recorder import Recorder
from bulkup.flow.requests import Slot
from bulkup.light_dataclass import replace
from bulkup.outcome import Accepted, InDoubt, Outcome, RemoteStatus, RowsRefused, TooLarge, TryAgain
from bulkup.settings.config import OnDoubt

__all__ = ["Delivery"]

LOSSES_TO_SPLIT = 2
"""A chunk that was lost so often and was not there afterwards is halved: something on the way may not let so much through."""


_LOOKS_FOR_AUTHORITY, _LOOK_S = 50, 0.05
"""How often, and after how long each, it is asked whether this process may send again."""


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
        self._recorder = Recorder(planned, sending)
        self._pending = PendingDatasets(planned, splitter, self._recorder)

    async def run(self, incoming: MemoryObjectReceiveStream[Prepared], tasks: TaskGroup) -> None:
        """Deliver what comes until the stream ends or the lane stops. Several of these run side by side."""
        async with incoming:
            async for prepared in incoming:
                with self._halt.on_trouble():
                    await self._deliver_tree(prepared, tasks)
                del prepared  # its rows must not stay in memory, uncounted, while this waits for the next chunk

    async def _deliver_tree(self, root: Prepared, tasks: TaskGroup) -> None:
        """One prepared chunk, and whatever it is cut into. Its share of the budget is held until all of it is settled."""
        waiting = deque([root])
        isolation = self._splitter.budget(root.chunk.rows)
        refused: RowsRefused | None = None
        nothing_landed = True
        share = Share(self._round.budget, root)
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
                        tasks.start_soon(self._pending.follow, self._pending.to_follow(prepared, share), outcome)
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
            return TooLarge(
                f"lost on the way {chunk.absences} times, with nothing stored: it is sent in smaller pieces"
            )
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
            chunk = replace(chunk, attempts=chunk.attempts + 1)
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

    async def _may_send(self) -> bool:
        """Whether this process has the right to send. Where the database was away for longer than the lease, it is renewed soon."""
        for _ in range(_LOOKS_FOR_AUTHORITY):
            if self._lane.authority.holds():
                return True
            await self._clock.sleep(_LOOK_S)
        return False

    async def _send(self, slot: Slot, chunk: Chunk, prepared: Prepared, size: int) -> Outcome:
        def sent(count: int) -> None:
            slot.sent()
            self._tally.sent(count)

        with anyio.CancelScope(
            shield=True
        ):  # a write that is given up is done all the same, and must not be the last one
            await self._journal.sending(chunk.id, self._clock.unix())
        if chunk.state is ChunkState.IN_DOUBT:
            self._tally.totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
        if not await self._may_send():
            await self._recorder.not_stored(chunk)
            return TryAgain("the journal's database has not renewed this run's right to send")
        self._tally.requests += 1
        self._tally.in_flight += 1
        slot.begin()
        try:
            await checkpoint_if_cancelled()
            came = await self._round.executors.send(prepared, chunk.attempts, sent)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._recorder.broke_off(chunk, error, has_sent=slot.has_sent)
            raise
        finally:
            self._tally.in_flight -= 1
        outcome = came.outcome
        if isinstance(outcome, InDoubt) and outcome.was_answered and self._refusals_store_nothing:
            outcome = RowsRefused(outcome.reason, outcome.rows)
        slot.answered(outcome)
        took_s = self._clock.monotonic() - slot.began_s
        with anyio.CancelScope(shield=True):  # journal and totals must not part when the lane ends in between
            await self._recorder.outcome(chunk, size, outcome, came.ids, took_s)
        self._round.executors.recorded(chunk.id, chunk.attempts)
        return outcome
