"""What each attempt of one lane came to: made durable, counted, and told to whoever waits for it."""

from __future__ import annotations

from typing import assert_never

import anyio

from bulkup.chunk import Chunk, ChunkState, Evidence
from bulkup.doubt.policy import DOUBTS_TO_SETTLE
from bulkup.errors import ExitCode, SourceChanged, SourceUnreadable
from bulkup.flow.context import PlannedLane, SendingRound
from bulkup.flow.halt import Reason
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
from bulkup.settings.config import OnDoubt

__all__ = ["Recorder"]


DOUBTED = "these rows are in doubt: bulkup looks whether they are stored before it sends them again"


class Recorder:
    """Writes down what became of chunks that were sent in one round."""

    def __init__(self, planned: PlannedLane, sending: SendingRound) -> None:
        self._lane = lane = planned.lane
        self._round = sending
        self._journal = lane.journal
        self._tally = lane.tally
        self._doubts = 0

    async def outcome(self, chunk: Chunk, size: int, outcome: Outcome, ids: bytes, took_s: float) -> None:
        """What one attempt came to in *took_s* seconds, durable."""
        self._tally.outcomes[_label(outcome)] += 1
        self._log(chunk, size, outcome, took_s)
        match outcome:
            case Accepted(status=RemoteStatus.READY):
                await self.landed(chunk, outcome.remote_id, size, ids=ids)
            case Accepted():
                await self._journal.answered(chunk.id, outcome.remote_id)
                self._lane.requests.patience.succeeded(self._lane.clock.monotonic())
            case InDoubt(reason):
                if self._lane.chosen.run.on_doubt is OnDoubt.HOLD:
                    self._lane.requests.troubles.failed(reason, DOUBTED)
                await self.doubt(chunk, reason, was_answered=outcome.was_answered)
            case TooLarge():
                if chunk.rows > 1:  # one large row says little of what the service takes
                    self._lane.limit.refused(size)
                await self.not_stored(chunk)
            case _:
                await self.not_stored(chunk)

    async def broke_off(self, chunk: Chunk, error: BaseException, *, has_sent: bool) -> None:
        """*error* ended an attempt that has no outcome. Nothing is stored where no byte may have left (*has_sent* is False), nor
        where its rows could not be read again: the body's end was kept back."""
        match error:
            case SourceChanged():
                label = "source_changed"
            case SourceUnreadable():
                label = "source_unreadable"
            case _:
                label = "cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else "broken_off"
        self._tally.outcomes[label] += 1
        if not has_sent or isinstance(error, SourceChanged | SourceUnreadable):
            await self.not_stored(chunk)
        else:
            await self.doubt(chunk, f"{label.replace('_', ' ')} while it was being sent")

    def _log(self, chunk: Chunk, size: int, outcome: Outcome, took_s: float) -> None:
        found = {
            "chunk": str(chunk.id),
            "outcome": _label(outcome),
            "rows": chunk.rows,
            "bytes": size,
            "took_s": round(took_s, 3),
            "reason": outcome.reason or None,
        }
        if isinstance(outcome, Accepted):
            found |= {"remote_id": outcome.remote_id, "remote_name": outcome.remote_name}
        self._lane.log("request", found)

    async def landed(self, chunk: Chunk, remote_id: str, body_bytes: int, *, ids: bytes = b"") -> None:
        """It is stored, as the service says; *body_bytes* were sent."""
        evidence = Evidence.KEPT_ANSWER if chunk.was_in_doubt else Evidence.ANSWER
        await self._journal.landed(chunk.id, remote_id, evidence=evidence, ids=ids)
        self._tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.LANDED)  # as which an answered one counts, too
        self._round.rules.landed()
        self._tally.rows_landed += chunk.rows
        self._tally.body_landed(body_bytes, self._lane.limit.bytes)
        self._lane.requests.patience.succeeded(self._lane.clock.monotonic())
        self._round.creation.landed()

    async def doubt(self, chunk: Chunk, reason: str, *, was_answered: bool = False) -> None:
        """Nobody knows whether it is stored. What stands in doubt too long, or is too much, is settled or stops the lane."""
        await self._journal.in_doubt(chunk.id, reason, self._lane.clock.unix(), was_answered=was_answered)
        self._tally.totals.move(chunk, ChunkState.PLANNED, ChunkState.IN_DOUBT)
        is_creating = self._round.creation.in_doubt()
        self._doubts += 1
        if self._lane.chosen.run.on_doubt is OnDoubt.RESEND:
            return
        if self._lane.requests.patience.is_over(self._lane.clock.monotonic()):
            self._lane.halt.set(
                Reason(f"no request succeeded for too long; the last doubt: {reason}", ExitCode.TRY_LATER)
            )
        elif is_creating or self._doubts >= DOUBTS_TO_SETTLE:
            self._doubts = 0
            self._round.settle_now()

    async def not_stored(self, chunk: Chunk) -> None:
        """This attempt stored nothing. Where an earlier one is in doubt, so is the chunk."""
        if chunk.state is ChunkState.IN_DOUBT:
            await self.doubt(chunk, chunk.reason or "an earlier attempt is in doubt")
        else:
            await self._journal.plan_again(chunk.id, chunk.reason)


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
