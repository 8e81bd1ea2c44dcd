"""One lane's requests: slot → request → what it teaches the pacing → `reaction` → wait, renew the token, or stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import NoReturn, TypeVar, assert_never

from bulkup.destinations.base import LookFailed, ReadBackUnavailable
from bulkup.flow.clock import Clock
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.flow.reaction import Failure, Reaction, RenewToken, RetryAfter, Standing, Stop, reaction, until_text
from bulkup.flow.trouble import Troubles
from bulkup.light_dataclass import dataclass
from bulkup.outcome import (
    Accepted,
    CloseGate,
    InDoubt,
    Outcome,
    RowsRefused,
    StopLane,
    TokenRejected,
    TooLarge,
    TryAgain,
)
from bulkup.pacing import Pacing, Patience
from bulkup.tokens.token_source import TokenSource

__all__ = ["InARow", "Requests", "Slot", "Tries"]

T = TypeVar("T")

TOLD_S = 10.0
"""A wait as long as this is told to the user, with the time at which it ends."""


class Slot:
    """The right to make one request, and what becomes of it. Moments are of the lane's monotonic clock."""

    def __init__(self, pacing: Pacing, troubles: Troubles, clock: Clock, size: int) -> None:
        self._pacing = pacing
        self._troubles = troubles
        self._monotonic = clock.monotonic
        self._size = size
        self.has_sent = False
        """Some of a body was handed to the connection."""
        self.began_s = self.body_ended_s = self._monotonic()

    def begin(self) -> None:
        """The request begins now; without this it began with the slot."""
        self.began_s = self.body_ended_s = self._monotonic()

    def sent(self) -> None:
        """One more piece of the body was handed to the connection."""
        self.has_sent = True
        self.body_ended_s = self._monotonic()

    def answered(self, outcome: Outcome | None) -> None:
        """The request is over (None: it stored nothing, and was answered). Tell it before the slot is handed back."""
        self._pacing.answered(outcome, began_s=self.began_s, body_ended_s=self.body_ended_s, size=self._size)
        match outcome:
            case None | Accepted() | RowsRefused() | TooLarge():
                self._troubles.passed()
            case _:
                pass


@dataclass(slots=True)
class InARow:
    """What has come to nothing since the last answer. Refusals (429, 503) are counted by the pacing, for all of the lane."""

    failures: int = 0
    pages: int = 0
    """Pages of a gateway."""

    def add(self, failure: Failure) -> None:
        """One more."""
        match failure:
            case CloseGate():
                pass
            case StopLane():
                self.pages += 1
            case _:
                self.failures += 1

    def answered(self) -> None:
        """The row has ended."""
        self.failures = self.pages = 0


class Requests:
    """Makes one lane's requests, whatever is asked."""

    def __init__(
        self,
        *,
        token: TokenSource,
        pacing: Pacing,
        patience: Patience,
        halt: Halt,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self.token = token
        self.pacing = pacing
        self.patience = patience
        self._halt = halt
        self._clock = clock
        self.troubles = Troubles(clock, say)
        self._say = say
        self._told_until = -inf

    @asynccontextmanager
    async def slot(self, *, rows: int = 0, size: int = 0) -> AsyncIterator[Slot]:
        """A slot for one request of *size* bytes with so many rows. Raises `Halted` where the lane stops before there is one."""
        self.patience.tries(self._clock.monotonic())
        await self._halt.unless_halted(lambda: self.pacing.enter(rows=rows, size=size))
        try:
            yield Slot(self.pacing, self.troubles, self._clock, size)
        finally:
            self.pacing.leave()

    def go_on(self) -> None:
        """After a pause, which is not time without a success."""
        self.patience.succeeded(self._clock.monotonic())
        self.pacing.go_on()

    def tries(self, row: InARow | None = None) -> Tries:
        """For the attempts at one thing. *row*: what has come to nothing before, where several things count together."""
        return Tries(self, row or InARow())

    async def ask(self, request: Callable[[], Awaitable[T]], /) -> T:
        """The answer to a *request* that stores nothing, however often it takes. Each attempt has a slot of its own.

        Raises `ReadBackUnavailable` where a gateway goes on answering in the service's place, `Halted` where nothing can be asked.
        """
        tries = self.tries()
        while True:
            try:
                return await self.once(request)
            except LookFailed as failed:
                failure = failed.outcome
            next_ = tries.reaction_to(failure)
            if isinstance(next_, Stop) and isinstance(failure, StopLane) and failure.may_pass:
                raise ReadBackUnavailable(failure.reason)
            await tries.follow(next_)

    async def ask_patiently(self, request: Callable[[], Awaitable[T]], /) -> T:
        """As `ask`, where answers are all that is wanted: each is a success. (Who sends has none before rows land.)"""
        answer = await self.ask(request)
        self.patience.succeeded(self._clock.monotonic())
        return answer

    async def once(self, request: Callable[[], Awaitable[T]], /) -> T:
        """The answer to one attempt at such a *request*. Raises `LookFailed`, and `Halted` where the lane stops before."""
        async with self.slot() as slot:
            try:
                answer = await request()
            except LookFailed as failed:
                slot.answered(failed.outcome)
                raise
            except ReadBackUnavailable:
                slot.answered(None)
                raise
            slot.answered(None)
            return answer

    def reaction_to(self, failure: Failure, row: InARow) -> Reaction:
        """What `reaction` makes of it as matters stand; a wait that the service orders counts from here on, and is told."""
        now = self._clock.monotonic()
        if isinstance(failure, CloseGate) and failure.wait_s is not None:
            self.patience.ordered_wait(now, failure.wait_s)
        standing = Standing(
            failures=row.failures,
            pages=row.pages,
            impatience=self.patience.ended(now, failures=row.failures),
            gate_s=self.pacing.gate.wait_s,
            unix_s=self._clock.unix(),
            max_wait_s=self.patience.max_wait_s,
            token_place=self.token.place,
        )
        found = reaction(failure, standing, self._clock.uniform)
        self._tell(failure, found)
        return found

    async def wait(self, wait_s: float) -> None:
        """Wait so long. Raises `Halted` where the lane stops meanwhile."""
        await self._halt.unless_halted(partial(self._clock.sleep, wait_s))

    def stop(self, stop: Stop) -> NoReturn:
        """Stop the lane."""
        self._halt.set(Reason(stop.reason, stop.exit_code))
        raise Halted

    def _tell(self, failure: Failure, found: Reaction) -> None:
        """Say what went wrong and what follows from it."""
        told_s = failure.wait_s if isinstance(failure, CloseGate) else None
        match failure, found:
            case CloseGate(reason), RetryAfter(wait_s) if told_s is not None and told_s >= TOLD_S:
                self._tell_wait(reason, told_s)
                self.troubles.failed(reason, "the service asks bulkup to wait", for_s=wait_s, quietly=True)
            case CloseGate(reason), RetryAfter(wait_s) if wait_s >= 1:
                self.troubles.failed(reason, "waiting", for_s=wait_s)
            case CloseGate(reason), RetryAfter():
                self.troubles.failed(reason, "trying again in a moment")
            case TryAgain(reason) | InDoubt(reason) | StopLane(reason), RetryAfter():
                left_s = self.patience.left_s(self._clock.monotonic())
                self.troubles.failed(reason, "retrying, giving up in", for_s=left_s)
            case TokenRejected(reason), _:
                self.troubles.failed(reason, f"asking for {self.token.place} again", quietly=True)
            case _, _:
                self.troubles.failed(failure.reason, "stopping", quietly=True)

    def _tell_wait(self, reason: str, told_s: float) -> None:
        """Say until when nothing is sent, once where several requests were told the same."""
        now = self._clock.monotonic()
        if now + told_s > self._told_until + 1:
            self._told_until = now + told_s
            self._say(f"waiting until {until_text(told_s, self._clock.unix())}, as the service asked for it ({reason})")


class Tries:
    """The attempts at one thing up to its answer: what follows from each that comes to nothing."""

    def __init__(self, requests: Requests, row: InARow) -> None:
        self._requests = requests
        self._row = row
        self._token = requests.token.current

    async def failed(self, failure: Failure) -> None:
        """One has come to nothing. Return when the next may ask for a slot. Raises `Halted`."""
        await self.follow(self.reaction_to(failure))

    def reaction_to(self, failure: Failure) -> Reaction:
        """What follows from one that has come to nothing."""
        self._row.add(failure)
        return self._requests.reaction_to(failure, self._row)

    async def follow(self, reaction: Reaction) -> None:
        """Carry it out."""
        match reaction:
            case RenewToken(renewed, refused):
                has_another = await self._requests.token.renew(self._token)
                await self.follow(renewed if has_another else refused)
            case RetryAfter(wait_s, at_gate):
                if wait_s and not at_gate:
                    await self._requests.wait(wait_s)
                self._token = self._requests.token.current
            case Stop():
                self._requests.stop(reaction)
            case _:
                assert_never(reaction)
