"""Settling one lane's doubts: looks, verdicts, and what follows from them in the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import assert_never

from anyio import CancelScope

from bulkup.chunk import FAILED_ONCE, Chunk, ChunkState, Evidence
from bulkup.destinations.base import ReadBackUnavailable
from bulkup.doubt.settlement import (
    PATIENCE_QUIET_PERIODS,
    Absent,
    Doubt,
    FailedThere,
    Held,
    Known,
    Look,
    NotYet,
    PageBack,
    Present,
    Verdict,
)
from bulkup.flow.clock import Clock
from bulkup.flow.context import PlannedLane
from bulkup.flow.looking import dated_look, expect_datasets
from bulkup.flow.orders import KeptAnswer
from bulkup.flow.stored_rows import StoredRows
from bulkup.journal import LaneJournal
from bulkup.journal.facts import FAILED_DATASETS, REFUSALS_STORE_NOTHING, SURVEY
from bulkup.light_dataclass import dataclass, replace
from bulkup.outcome import RemoteStatus

__all__ = ["Audit", "Settler", "count_out"]

MIN_WAIT_S = 0.01


@dataclass(frozen=True, slots=True)
class Audit:
    """What a last look came to: *late* says what is wrong; *unseen* why there was no look to be had. Both None: all is well."""

    late: str | None = None
    unseen: str | None = None


class Settler:
    """Decides what became of one lane's chunks in doubt. Its requests take slots like any other."""

    def __init__(self, planned: PlannedLane, on_present: Callable[[], None]) -> None:
        """*on_present* is called for each chunk that turns out to be there."""
        self._lane = lane = planned.lane
        self._on_present = on_present
        self._destination = lane.destination
        self._policy = lane.destination.policy
        self._journal = lane.journal
        self._requests = lane.requests
        self._halt = lane.halt
        self._tally = lane.tally
        self._clock = lane.clock
        self._quiet_s = lane.chosen.run.settle_after_s
        self._kept = lane.kept
        self._rows = StoredRows(planned)

    async def settle(self, *, patience_s: float = inf) -> None:
        """Settle what can be settled within *patience_s* seconds. What is not stored is planned again.

        What needs longer stays in doubt for the next time: something may have landed by then that decides it. Nothing may be
        in flight meanwhile.
        """
        deadline = self._clock.unix() + patience_s
        page_backs = self._tally.page_backs
        looks: list[Look] = []
        resendable = held = landed = 0
        told: Counter[ChunkState] = Counter()
        while chunks := await self._journal.open_chunks(ChunkState.IN_DOUBT):
            self._kept.heard()
            if found := [(chunk, answer) for chunk in chunks if (answer := self._kept_of(chunk)) is not None]:
                for chunk, answer in found:
                    told[await self._take_answer(chunk, answer)] += 1
                continue
            looks.append(await self._polled(await self._look(), {chunk.name for chunk in chunks}))
            verdicts = await self._judge(chunks, looks)
            if any(self._kept_of(chunk) is not None for chunk in chunks):
                continue  # judged without what is known now: one that is stored takes no other's place
            by_id = {chunk.id: chunk for chunk in chunks}
            for verdict in verdicts:
                await self._carry_out(by_id[verdict.chunk], verdict)
            resendable += sum(isinstance(v, Absent | FailedThere) for v in verdicts)
            landed += sum(isinstance(v, Present) for v in verdicts)
            held = sum(isinstance(v, Held) for v in verdicts)
            waits = [v for v in verdicts if isinstance(v, NotYet) and v.at <= deadline]
            if not waits:
                break
            await self._wait(waits)
        for state, words in (
            (ChunkState.LANDED, "had landed"),
            (ChunkState.ANSWERED, "were taken, and are asked about"),
        ):
            if told[state]:
                self._lane.say(
                    f"{told[state]:,} of the chunks in doubt {words}: workers had kept the service's answers"
                )
        if looks:
            paged = ", rows paged back" if self._tally.page_backs > page_backs else ""
            counts = [
                f"{count:,} {words}"
                for count, words in (
                    (landed, "had landed"),
                    (resendable, "had not, and will be sent again"),
                    (held, "held"),
                )
                if count
            ]
            looked = f"{len(looks):,} look" + ("" if len(looks) == 1 else "s")
            self._lane.say(
                f"looked for chunks in doubt ({looked}{paged}): {', '.join(counts) or 'nothing found out yet'}"
            )

    async def audit(self) -> Audit:
        """What a last look shows of chunks that were called absent and sent again: whether each is there once.

        Source: the design's rule that a late arrival is found and its rows named, never silent.
        """
        again = await self._journal.called_absent()
        if not again:
            return Audit()
        known = await self._known()
        if known is None:
            return _unseen(again, "what the destination held before the run could not be seen")
        look = await self._whole_look(known)
        if look.unavailable is not None:
            return _unseen(again, look.unavailable)
        doubts = await self._journal.open_chunks(ChunkState.IN_DOUBT)
        return Audit(late=self._policy.trouble(look, known, again, doubts))

    async def _whole_look(self, known: Known) -> Look:
        """A look that shows all that has landed, a quiet period or more after the last of it; the last one, if none does."""
        for _ in range(PATIENCE_QUIET_PERIODS):
            await self._halt.unless_halted(lambda: self._clock.sleep(max(MIN_WAIT_S, self._quiet_s)))
            look = await self._look()
            if look.unavailable is not None or self._policy.shows_all(look, known):
                break
        return look

    async def _judge(self, chunks: Sequence[Chunk], looks: Sequence[Look]) -> list[Verdict]:
        doubts = [_doubt(chunk, self._clock) for chunk in chunks]
        known = await self._known()
        if known is None:
            return [Held(d.chunk, "what the destination held before the run could not be seen") for d in doubts]
        matches = await self._rows.matches(self._policy.to_compare(chunks, looks[-1], known))
        judged = self._policy.judge(doubts, looks, known, matches, self._quiet_s)
        if isinstance(judged, PageBack):
            return await self._rows.judge(judged, chunks, looks, known)
        return judged

    async def _polled(self, look: Look, names: set[str]) -> Look:
        """*look* with the latest status of what it shows as PENDING under *names*: a list may say so for longer than it is."""
        latest = {one.id: one for one in look.seen if one.status == RemoteStatus.PENDING and one.name in names}
        if not latest:
            return look
        for pending in list(latest.values()):
            with suppress(ReadBackUnavailable):
                status = await self._destination.poll(self._requests.ask, pending.id)
                latest[pending.id] = replace(pending, status=status)
        return replace(look, seen=[latest.get(one.id, one) for one in look.seen])

    async def _known(self) -> Known | None:
        survey = await self._journal.fact(SURVEY)
        if survey is None or survey.unavailable is not None:
            return None
        others = await self._lane.others(survey.at)
        totals, failed = await self._journal.totals(), await self._journal.fact(FAILED_DATASETS)
        return Known(
            before=survey.ids.union(failed),
            base_rows=survey.rows + others.rows,
            landed=await self._journal.landings(),
            landed_rows=totals.rows_landed,
            unclear=others.unclear,
        )

    async def _look(self) -> Look:
        made = self._tally.totals.chunks + self._tally.requests
        expect_datasets(self._destination, await self._journal.fact(SURVEY), made)
        return await dated_look(self._requests.ask, self._destination, self._clock)

    async def _wait(self, waits: Sequence[NotYet]) -> None:
        until = min(wait.at for wait in waits)
        pacing = self._requests.pacing
        pacing.waiting_for_evidence, pacing.next_look = waits[0].why, until
        try:
            wait_s = max(MIN_WAIT_S, until - self._clock.unix())
            await self._halt.unless_halted(lambda: self._kept.or_news(self._clock.sleep(wait_s)))
        finally:
            pacing.waiting_for_evidence = ""

    def _kept_of(self, chunk: Chunk) -> KeptAnswer | None:
        """What a worker has kept about *chunk*, where that helps: one with which the service was not done is asked about in a round
        of its own, and a source that is read once has no other round."""
        answer = self._kept.of(chunk)
        return answer if answer is not None and (answer.is_ready or self._lane.source.rereadable) else None

    async def _take_answer(self, chunk: Chunk, answer: KeptAnswer) -> ChunkState:
        """*chunk* is stored, as *answer* says, or the service was not done with it, and is asked about it in the next round. The
        chunk's state then."""
        state = ChunkState.LANDED if answer.is_ready else ChunkState.ANSWERED
        with CancelScope(shield=True):
            if answer.is_ready:
                await self._landed(chunk, answer.remote_id, Evidence.KEPT_ANSWER, answer.ids)
            else:
                await self._journal.answered(chunk.id, answer.remote_id)
                self._tally.totals.move(chunk, ChunkState.IN_DOUBT, state)
        self._kept.recorded(answer)
        return state

    async def _landed(self, chunk: Chunk, remote_id: str, evidence: Evidence, ids: bytes = b"") -> None:
        await self._journal.landed(chunk.id, remote_id, evidence=evidence, ids=ids)
        self._tally.totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.LANDED)
        self._tally.rows_landed += chunk.rows
        self._on_present()

    async def _carry_out(self, chunk: Chunk, verdict: Verdict) -> None:
        with CancelScope(shield=True):  # journal and totals must not part when the lane ends in between
            await self._follow(chunk, verdict)

    async def _follow(self, chunk: Chunk, verdict: Verdict) -> None:
        totals = self._tally.totals
        match verdict:
            case Present(_, remote_id):
                await self._landed(chunk, remote_id, self._policy.evidence)
            case Absent() if chunk.was_answered:
                await self._journal.set_fact(REFUSALS_STORE_NOTHING, True)
                await self._journal.plan_again(chunk.id)
                totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
            case Absent():
                await self._journal.absent(chunk.id)
                totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
            case FailedThere(_, remote_id):
                await count_out(self._journal, remote_id)
                await self._journal.plan_again(chunk.id, FAILED_ONCE)
                totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
            case Held(_, why):
                await self._journal.held(chunk.id, why)
            case NotYet():
                pass
            case _:
                assert_never(verdict)


def _doubt(chunk: Chunk, clock: Clock) -> Doubt:
    return Doubt(chunk.id, chunk.name, chunk.rows, clock.sent_at(chunk.last_byte_at), chunk.was_answered)


async def count_out(journal: LaneJournal, remote_id: str) -> None:
    """The service failed on this dataset: from now on it is none of ours, lest it pass for the next attempt's."""
    known = await journal.fact(FAILED_DATASETS)
    if remote_id not in known:
        await journal.set_fact(FAILED_DATASETS, (*known, remote_id))


def _unseen(again: Sequence[Chunk], why: str) -> Audit:
    return Audit(
        unseen=f"whether each chunk that was sent again ({len(again):,} in all) is there once could not be checked at the end "
        f"({why}); run the same command to check again"
    )
