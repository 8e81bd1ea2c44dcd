"""Datasets that a service has taken and is not done with: asked about until they are ready, have failed, or time is up."""

from __future__ import annotations

from bulkup.chunk import FAILED_ONCE, Chunk
from bulkup.destinations.base import ReadBackUnavailable
from bulkup.flow.context import PlannedLane
from bulkup.flow.isolation import Splitter
from bulkup.flow.prepared import Prepared
from bulkup.flow.recorder import Recorder
from bulkup.flow.settler import count_out
from bulkup.light_dataclass import dataclass
from bulkup.outcome import Accepted, RemoteStatus
from bulkup.pacing import ByteBudget

__all__ = ["PendingDatasets", "Share"]

FIRST_POLL_S, LAST_POLL_S = 0.5, 10.0


class Share:
    """One root chunk's share of the memory budget: given back when the last of those who use it lets go."""

    def __init__(self, budget: ByteBudget, prepared: Prepared) -> None:
        self._budget = budget
        self._size = prepared.held_bytes
        self._users = 1

    def keep(self) -> None:
        """One more uses it."""
        self._users += 1

    def drop(self) -> None:
        """One of them lets go."""
        self._users -= 1
        if self._users == 0:
            self._budget.give(self._size)


@dataclass(frozen=True, slots=True)
class Followed:
    """A chunk that the service has taken. *prepared* and *share* are there only where its rows are kept."""

    chunk: Chunk
    content_length: int
    prepared: Prepared | None
    share: Share | None


class PendingDatasets:
    """Follows one lane's pending datasets. It holds no slot between two questions."""

    def __init__(self, planned: PlannedLane, splitter: Splitter, recorder: Recorder) -> None:
        self._planned = planned
        self._lane = lane = planned.lane
        self._splitter = splitter
        self._recorder = recorder
        self._journal = lane.journal
        self._clock = lane.clock
        self._pending_s = lane.chosen.destination.pending_s()

    def to_follow(self, prepared: Prepared, share: Share) -> Followed:
        """A chunk whose rows may be needed again keeps them, and its share with them; any other lets go: it is read from the source
        again in the lane's next round should the service fail on it."""
        size = self._planned.content_length(prepared.chunk)
        if prepared.chunk.reason == FAILED_ONCE:
            share.keep()
            return Followed(prepared.chunk, size, prepared, share)
        return Followed(prepared.chunk, size, None, None)

    async def follow(self, followed: Followed, accepted: Accepted) -> None:
        """A dataset that the service has taken and is not done with: ask until it is ready, has failed, or time is up."""
        try:
            with self._lane.halt.on_trouble():  # stopped, it stays answered: the next invocation asks on
                await self._settle_status(followed, accepted)
        finally:
            if followed.share is not None:
                followed.share.drop()

    async def _settle_status(self, followed: Followed, accepted: Accepted) -> None:
        chunk, remote_id = followed.chunk, accepted.remote_id
        status = accepted.status
        if status is RemoteStatus.PENDING:
            status = await self._polled(remote_id)
        match status:
            case RemoteStatus.READY:
                await self._recorder.landed(chunk, remote_id, followed.content_length)
            case RemoteStatus.FAILED:
                await self._failed(followed, remote_id)
            case RemoteStatus.PENDING:
                await self._recorder.doubt(
                    chunk, f"dataset {remote_id} was still not READY after {self._pending_s:.0f} s"
                )

    async def _polled(self, remote_id: str) -> RemoteStatus:
        deadline = self._clock.monotonic() + self._pending_s
        wait_s = FIRST_POLL_S
        while self._clock.monotonic() < deadline:
            await self._lane.requests.wait(wait_s)
            wait_s = min(LAST_POLL_S, wait_s * 2)
            try:
                status = await self._lane.destination.poll(self._lane.requests.ask, remote_id)
            except ReadBackUnavailable:
                return RemoteStatus.PENDING
            if status is not RemoteStatus.PENDING:
                return status
        return RemoteStatus.PENDING

    async def _failed(self, followed: Followed, remote_id: str) -> None:
        """The service took the chunk and then failed on it: once more, in the lane's next round, then its rows are set aside."""
        await count_out(self._journal, remote_id)
        if followed.prepared is not None:
            await self._splitter.set_aside(followed.prepared, f"dataset {remote_id} FAILED at the service")
        else:
            await self._journal.plan_again(followed.chunk.id, FAILED_ONCE)
