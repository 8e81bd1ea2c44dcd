"""One request followed through its phases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import anyio

from bulkup.authority import LAST_WORD_BYTES, UNENDING, USER_TIMEOUT_S, Authority
from bulkup.light_dataclass import dataclass
from bulkup.transport.failure import Phase, TransportFailure, Withheld
from bulkup.transport.sockets import Line
from bulkup.transport.stalls import GIVE_UP_TIMES, GiveUp, RoundTrips, SlowAnswer, StallWatch, Tell, Wait, quiet_s

__all__ = ["Body", "Progress", "Timeouts"]


_DRAINED_EVERY_S = 0.002
"""How often to look whether what was handed to the connection has left this process."""


class Body(Protocol):
    """A request's body: exactly *content_length* bytes, made anew by each call of `blocks`."""

    @property
    def content_length(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    def blocks(self) -> AsyncIterator[bytes | bytearray]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for each phase. None of them cuts a transfer that moves at 1 KiB/s or more (`bulkup.transport.stalls.SlowAnswer`)."""

    connect_s: float = 30.0
    stall_s: float = 120.0
    """No block of the body taken, or no byte of the answer come, for this long or ten times the p99 of the round trips, is told;
    three times that ends the request."""
    answer_bytes_per_s: float = 128 * 1024
    """For the first byte of the answer both begin later, by the body's size at this speed: buffers in between drain."""


class Progress:
    """Follows one request through its phases; its one timer ends it when nothing has moved for too long."""

    def __init__(
        self,
        timeouts: Timeouts,
        trips: RoundTrips,
        body: Body | None,
        on_bytes: Callable[[int], None] | None,
        on_stall: Callable[[str, Tell], None],
        authority: Authority = UNENDING,
    ) -> None:
        self._timeouts = timeouts
        self._trips = trips
        self._quiet_s = quiet_s(timeouts.stall_s, trips)
        self._body = body
        self._size = 0 if body is None else body.content_length
        self._on_bytes = on_bytes
        self._on_stall = on_stall
        self._authority = authority
        self._loop = asyncio.get_running_loop()
        self._watch = StallWatch(self._loop.time(), give_up_s=timeouts.connect_s * 2)
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._body_ended_at: float | None = None
        self._is_answered = False
        self._scope: anyio.CancelScope | None = None
        self.phase = Phase.CONNECT
        self.failure: BaseException | None = None
        self.waited_s = 0.0
        self.is_early = False
        """Whether the answer came before the whole body was sent."""
        # A quiet more than is waited for here: the kernel's turn comes only where this process does not run.
        give_up_s = (GIVE_UP_TIMES + 1) * self._quiet_s
        if authority is not UNENDING:
            give_up_s = min(give_up_s, USER_TIMEOUT_S)
        self.line = Line(handed_over=self._is_handed_over, give_up_s=give_up_s)

    def watch(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._look()

    def close(self) -> None:
        """Watch no more, and let go of the body: this and its line refer to each other, so both may stay for a while."""
        if self._timer is not None:
            self._timer.cancel()
        self._body = None

    def _look(self) -> None:
        assert self._scope is not None
        match self._watch.check(self._loop.time()):
            case Wait(seconds):
                self._timer = self._loop.call_later(seconds, self._look)
            case Tell(left_s=left_s) as tell:
                self._on_stall(self._what(), tell)
                self._timer = self._loop.call_later(left_s, self._look)
            case GiveUp(waited_s):
                self.waited_s = waited_s
                self._scope.cancel()

    def _what(self) -> str:
        if self.phase is Phase.BODY:
            return f"the service to take more of the body ({self._sent:,} of {self._size:,} bytes are sent)"
        of_body = f" to a body of {self._size:,} bytes" if self._body is not None else ""
        return ("the rest of the answer" if self._is_answered else "an answer") + of_body

    def _is_handed_over(self) -> bool:
        return self._sent >= self._size

    def moved(self) -> None:
        self._expect(0.0)

    def slow_answer(self) -> SlowAnswer:
        """What watches that the answer, whose head is there, does not come ever so slowly for ever."""
        return SlowAnswer(self._loop.time(), self._quiet_s)

    def came(self, watch: SlowAnswer, count: int) -> None:
        """*count* bytes of the answer came. Raises `TransportFailure` where it has been too slow for too long."""
        self.moved()
        if (took_s := watch.came(self._loop.time(), count)) is not None:
            raise TransportFailure(Phase.ANSWER, f"the answer has come too slowly for {took_s:,.0f} s")

    def answered(self) -> None:
        """The answer's head is there. Where it is early, nothing more of the body is sent."""
        self._is_answered = True
        self.is_early = not self.line.body_was_whole()
        if not self.is_early:
            self.phase = Phase.ANSWER
        if self._body_ended_at is not None:
            self._trips.add(self._loop.time() - self._body_ended_at)
        self.moved()

    async def blocks(self) -> AsyncIterator[memoryview]:
        assert self._body is not None
        try:
            async for block in self._under_authority(self._body):
                self.phase = Phase.BODY
                self.moved()
                self._sent += len(block)
                if self._on_bytes is not None:
                    self._on_bytes(len(block))
                yield memoryview(block)  # what the socket doesn't take at once is cut off without a copy
                if self.is_early:
                    await asyncio.Event().wait()  # until the request ends
        except Exception as error:
            self.failure = error
            raise
        self.phase = Phase.ANSWER
        self._body_ended_at = self._loop.time()
        drain_s = self._size / self._timeouts.answer_bytes_per_s
        self._expect(drain_s)

    async def _under_authority(self, body: Body) -> AsyncIterator[bytes | bytearray | memoryview]:
        """The body's blocks. Where authority may end, the last piece waits until all before it is out of this process's hands, so
        that it leaves at once or not at all: a process that was stopped meanwhile finds its authority gone when it wakes."""
        if self._authority is UNENDING:
            async for block in body.blocks():
                yield block
            return
        left = body.content_length
        async for block in body.blocks():
            left -= len(block)
            if left > 0 or not block:
                yield block
                continue
            cut = max(0, len(block) - LAST_WORD_BYTES)
            if cut:
                yield memoryview(block)[:cut]
            while not self.line.has_room():  # noqa: ASYNC110 - the kernel tells nobody
                await anyio.sleep(_DRAINED_EVERY_S)
            if not self._authority.holds():
                raise Withheld("the right to send was lost in mid-request, so the end of the body was kept back")
            yield memoryview(block)[cut:]

    def _expect(self, extra_s: float) -> None:
        now = self._loop.time()
        self._watch.expect(now, quiet_s=self._quiet_s, extra_s=extra_s)
        if self._timer is not None and self._timer.when() > now + self._quiet_s + extra_s:  # else it looks soon enough
            self._timer.cancel()
            self._look()
