"""The look at a destination before anything is sent: whether it holds already what this run did not put there."""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.chunk import ChunkState
from bulkup.destinations.base import Asking, KnowsItsPath, LookFailed
from bulkup.doubt.settlement import Look
from bulkup.errors import BulkupError, DestinationNotEmpty, ExitCode, TokenRefused, UsageProblem
from bulkup.flow.context import LaneContext
from bulkup.flow.looking import dated_look
from bulkup.flow.reaction import Failure
from bulkup.journal.facts import SURVEY, Found, Survey
from bulkup.outcome import CloseGate, StopLane, TokenRejected, TryAgain

__all__ = ["FirstLook"]

SHOWN_DATASETS = 3


class FirstLook:
    """One lane's first look. It is made only while nothing of this run can be at the destination."""

    def __init__(self, lane: LaneContext) -> None:
        self._lane = lane
        self._failed: Failure | None = None
        self.found: Look | None = None
        """What it showed; None where it was not made by this process."""

    async def once(self) -> None:
        """Try it once. Where the destination cannot be asked just now, `insist` asks again.

        Raises `DestinationNotEmpty`, `TokenRefused`, `UsageProblem`.
        """
        if await self._is_untouched():
            try:
                await self._look(self._lane.requests.once)
            except LookFailed as failed:
                if not _may_pass(failed.outcome):
                    raise _refused(self._lane.name, self._lane.destination.token.place, failed) from None
                self._failed = failed.outcome

    async def insist(self) -> None:
        """Make it, however often it takes, unless it was made. Raises `DestinationNotEmpty`, `Halted`."""
        if self.found is None and await self._is_untouched():
            if self._failed is not None:
                await self._lane.requests.tries().failed(self._failed)
            await self._look(self._lane.requests.ask)

    async def _is_untouched(self) -> bool:
        """Nothing of this run can be at the destination: what is planned was never sent, or not stored, for sure. (A chunk that was
        only called absent may still be stored late.)"""
        totals = self._lane.tally.totals
        if totals.chunks_landed or totals.chunks_in_doubt:
            return False
        open_chunks = await self._lane.journal.open_chunks(ChunkState.PLANNED, ChunkState.ANSWERED)
        return not any(chunk.state is ChunkState.ANSWERED or chunk.absences for chunk in open_chunks)

    async def _look(self, asking: Asking) -> None:
        lane = self._lane
        look = await dated_look(asking, lane.destination, lane.clock)
        await lane.journal.set_fact(
            SURVEY,
            Survey(
                at=look.at,
                found=tuple(Found(f.id, f.name, f.rows) for f in look.seen),
                unavailable=look.unavailable,
                listed=look.listed,
            ),
        )
        if (look.unavailable or "").startswith("HTTP 404") and not look.seen and not await self._is_there(asking):
            url = lane.chosen.destination.url
            raise UsageProblem(
                f"{lane.name}: the service at {url} answered 404 to every path that bulkup asked it for: check the base URL "
                f"(--{lane.name}-url, or url in [{lane.name}]). Nothing was sent"
            )
        self.found = look
        append = lane.chosen.run.append
        if look.unavailable is not None and (append or not look.seen):
            lane.say(f"cannot look whether the destination holds this dataset already ({look.unavailable}); going on")
        elif look.seen and not append:
            raise _not_empty(lane, look, await lane.owners())
        elif look.seen:
            lane.say(f"--append {lane.destination.policy.adding(lane.destination.dataset_name)}")

    async def _is_there(self, asking: Asking) -> bool:
        destination = self._lane.destination
        return not isinstance(destination, KnowsItsPath) or await destination.is_there(asking)


def _may_pass(failure: Failure) -> bool:
    """The first look may be made later, while the other lane goes on."""
    return isinstance(failure, TryAgain | CloseGate) or (isinstance(failure, StopLane) and failure.may_pass)


def _refused(lane: str, token_place: str, failed: LookFailed) -> BulkupError:
    if isinstance(failed.outcome, TokenRejected):
        return TokenRefused(f"{lane}: the service rejected {token_place} ({failed.outcome.reason})")
    if isinstance(failed.outcome, StopLane) and failed.outcome.exit_code is ExitCode.USAGE:
        return UsageProblem(f"{lane}: {failed}")
    return TokenRefused(f"{lane}: {failed}")


def _not_empty(lane: LaneContext, look: Look, owners: Sequence[str]) -> BulkupError:
    held = ", ".join(f"{f.name} ({f.id})" for f in look.seen[:SHOWN_DATASETS])
    more = " and more" if len(look.seen) > SHOWN_DATASETS else ""
    if owners:
        others = f" (and {len(owners) - 1:,} other runs)" if len(owners) > 1 else ""
        whose = f"Run {owners[0]}{others} did: to go on with it, bulkup resume {owners[0]}. "
    else:
        whose = "If an earlier run of these rows did, continue that run (its --state-dir, or bulkup resume). "
    adding = lane.destination.policy.adding(lane.destination.dataset_name)
    return DestinationNotEmpty(
        f"{lane.name}: the destination already holds {held}{more}, which this run did not put there. {whose}"
        f"For other rows choose another --name, or give --append, which {adding}"
    )
