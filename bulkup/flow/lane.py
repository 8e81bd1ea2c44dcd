"""One destination's lane: what it is made of, and how far it has come. `bulkup.run.story` says what happens to it when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from bulkup.account.verdict import LaneEnd
from bulkup.chunk import Chunk, ChunkState
from bulkup.errors import BulkupError, ExitCode, sole_error
from bulkup.flow.context import LaneContext, PlannedLane
from bulkup.flow.first_look import FirstLook
from bulkup.flow.halt import Halted, Reason
from bulkup.flow.plan import LanePlan
from bulkup.flow.planning import frozen_plan, plan_lane
from bulkup.flow.sending import Sending
from bulkup.flow.settler import Settler
from bulkup.flow.stop_rules import StopRules
from bulkup.flow.tally import ToldTotals
from bulkup.journal import LaneJournal
from bulkup.journal.facts import AUDITED, FAR_LEASE_S, LANE_END, LARGEST_BODY, LAST_TROUBLE, PLANNED_WHOLE
from bulkup.light_dataclass import as_dict
from bulkup.settings.config import OnDoubt

if TYPE_CHECKING:
    from bulkup.doubt.verification import Sample
    from bulkup.flow.verifier import Verifier

__all__ = ["Lane", "others_send_s", "recovered"]

logger = logging.getLogger("bulkup")


async def recovered(journal: LaneJournal, now: float) -> int:
    """What stood as sending when the last process ended is in doubt; how many chunks that is. *now*: Unix time."""
    return await journal.recover(now + await others_send_s(journal))


async def others_send_s(journal: LaneJournal) -> float:
    """For how long, s, a byte may still leave of what was begun before this process had the run: workers of other machines may
    go on to send for as long as their lease, and so may a process that was taken over before it had ended."""
    return max(await journal.fact(FAR_LEASE_S), journal.earlier_s)


class Lane:
    """One destination's lane."""

    def __init__(self, context: LaneContext) -> None:
        self.context = context
        self.first_look = FirstLook(context)
        self.cursor = context.source.cursor()
        self.is_done = False
        """An earlier process has done all there was to do."""
        self.has_ended = False
        """This process is done with it."""
        self._plan: LanePlan | None = None
        self._planned_whole = False
        self._unseen: str | None = None

    @property
    def name(self) -> str:
        """The service's."""
        return self.context.name

    @property
    def chunks_expected(self) -> int | None:
        """How many chunks the source comes to, as far as its size tells; None where nobody can say."""
        size, chunks = self.context.source.size, self.context.tally.totals.chunks
        if self._planned_whole or self.is_done:
            return chunks
        if self._plan is None or size is None:
            return None
        return max(chunks, -(-size // self._plan.tile_bytes))

    async def take_up(self) -> None:
        """What an earlier process left: doubts, totals, and whether the source was planned whole."""
        lane = self.context
        if lost := await recovered(lane.journal, lane.clock.unix()):
            what = "1 chunk was" if lost == 1 else f"{lost:,} chunks were"
            lane.say(f"{what} being sent when the last process ended: in doubt")
        lane.tally.totals = ToldTotals.of(await lane.journal.totals(), self._log_move)
        if (planned_to := await lane.journal.planned_to()) is not None:
            self.cursor.reached(planned_to)  # so that the share shown does not begin at 0 again
        lane.log("taken_up", as_dict(await lane.journal.totals()))
        self._planned_whole = await lane.journal.fact(PLANNED_WHOLE)

    def _log_move(self, chunk: Chunk, old: ChunkState | None, new: ChunkState) -> None:
        self.context.log(
            "chunk",
            {
                "chunk": str(chunk.id),
                "name": chunk.name,
                "from": old,
                "to": new,
                "rows": chunk.rows,
                "lines": chunk.line_count,
                "blank": chunk.blank,
                "rejected": chunk.rejected,
                "body_bytes": chunk.body_bytes,
            },
        )

    async def see_whether_done(self) -> bool:
        """Whether nothing is left to send, settle or look up."""
        lane, totals = self.context, self.context.tally.totals
        if lane.chosen.run.on_doubt is OnDoubt.RESEND and totals.chunks_in_doubt:
            lane.say(
                f"sending {totals.chunks_in_doubt} chunks in doubt again (--on-doubt resend): may create duplicates"
            )
        self.is_done = (
            self._planned_whole
            and not totals.chunks_left
            and not totals.chunks_in_doubt
            and await lane.journal.absences() == await lane.journal.fact(AUDITED)
        )
        return self.is_done

    def check_rejects(self) -> None:
        """Stop the lane where more rows were rejected than the user allows."""
        lane = self.context
        StopRules(totals=lane.tally.totals, limit=lane.chosen.run.max_rejects, halt=lane.halt).check_rejects()

    async def plan(self) -> None:
        """Decide how rows are made and where the source is cut, unless an earlier process did. Raises `UsageProblem`."""
        self._plan = await plan_lane(self.context, self.cursor)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Sending]:
        """What sends the lane's chunks; meanwhile the workers get ready for it."""
        assert self._plan is not None, "it is planned first"
        lane, seen = self.context, self.first_look.found
        async with lane.workers.opening(self._plan, lane.source):
            planned = PlannedLane.of(lane, self._plan)
            yield await Sending.begin(planned, is_there=bool(seen and seen.seen))

    async def begin_anew(self) -> bool:
        """Go back to the source's beginning, if chunks are left and that can be done."""
        lane = self.context
        if not lane.tally.totals.chunks_left or not lane.source.rereadable:
            return False
        await self.cursor.aclose()
        self.cursor = lane.source.cursor()
        return True

    async def audit(self, sending: Sending) -> None:
        """The last look."""
        self._unseen = (await sending.audit()).unseen

    async def settler(self) -> Settler | None:
        """What settles the lane's doubts without sending anything; None where none are left."""
        plan = await frozen_plan(self.context)
        if plan is None or not self.context.tally.totals.chunks_in_doubt:
            return None
        return Settler(PlannedLane.of(self.context, plan), lambda: None)

    async def verifier(self, sample: Sample, scratch: Path) -> Verifier | None:
        """What compares the lane's chunks with the destination; None where none was planned. *scratch* is a folder."""
        plan = await frozen_plan(self.context)
        if plan is None:
            return None
        planned = PlannedLane.of(self.context, plan)
        from bulkup.flow.verifier import Verifier  # an upload needs nothing of it

        return await Verifier.begin(planned, sample, scratch, read_whole=self._planned_whole)

    @asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Whatever ends the work on the lane is the reason why it stops; what the work came to is recorded."""
        halt = self.context.halt
        try:
            yield
        except BulkupError as error:
            halt.set(Reason(str(error), error.exit_code))
        except Halted:
            pass
        except Exception as error:
            logger.error("%s: internal error", self.name, exc_info=True)
            halt.set(Reason(f"internal error: {sole_error(error)!r}", ExitCode.INTERNAL))
        finally:
            self.has_ended = True
            self.context.requests.pacing.finish()
            with anyio.CancelScope(shield=True):
                await self.cursor.aclose()
                await self._record_end()

    async def _record_end(self) -> None:
        """What this process's work on the lane came to, for the receipt and `status`."""
        lane, stop = self.context, self.context.halt.reason
        end = LaneEnd(
            reason=stop.text if stop else None, exit_code=stop.exit_code if stop else None, unseen=self._unseen
        )
        with suppress(BulkupError):  # a journal that fails goes on failing: the run's own end is what tells
            largest = max(lane.tally.largest_body, await lane.journal.fact(LARGEST_BODY))
            recorded = [lane.journal.set_fact(LARGEST_BODY, largest), lane.journal.set_fact(LANE_END, end)]
            if lane.requests.troubles.last is not None:
                recorded.append(lane.journal.set_fact(LAST_TROUBLE, lane.requests.troubles.last))
            await asyncio.gather(*recorded)
