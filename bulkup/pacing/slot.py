"""The right to send now: a permit, an open gate, a place in the slow start and the rate, in that order; and what attempts teach."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, StrEnum

import anyio

from bulkup.outcome import Accepted, CloseGate, InDoubt, Outcome, TryAgain
from bulkup.pacing.backoff import Refusals
from bulkup.pacing.concurrency import Concurrency
from bulkup.pacing.gate import Gate
from bulkup.pacing.limiting import Limiting, Spent
from bulkup.pacing.measured import Ending, RoundTrip
from bulkup.pacing.quota import Quota
from bulkup.pacing.rate import Rate
from bulkup.pacing.slow_start import SlowStart
from bulkup.pacing.told import quotas_told

__all__ = ["Pacing", "Waiting"]


class Waiting(StrEnum):
    """What a lane is waiting for."""

    NOTHING = ""
    GATE = "the service's Retry-After"
    RATE = "the rate limit"
    PAUSED = "`bulkup continue`: it is paused"


class _Spending(Enum):
    """What the time of a lane goes to."""

    NOTHING = "not begun, ended, paused, or waiting for evidence"
    QUOTA = "something is held back by the gate or the rate"
    FULL = "every permit is taken"
    IDLE = "there is room for more than there is to send"


class Pacing:
    """Grants slots. A slot is held for one attempt: whoever has to wait before the next attempt gives it back first."""

    def __init__(
        self,
        *,
        concurrency: Concurrency,
        gate: Gate,
        rate: Rate,
        clock: Callable[[], float],
        uniform: Callable[[float, float], float] = random.uniform,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.concurrency = concurrency
        self.gate = gate
        self.refusals = Refusals(uniform)
        self.limiting = Limiting()
        self._slow_start = SlowStart()
        self._rate = rate
        self._clock = clock
        self._unix = unix
        self._least_trip_s: float | None = None
        self._entered_s = clock()
        self._throttled = 0
        self._has_begun = False
        self._since = clock()
        self._spent = dict.fromkeys(_Spending, 0.0)
        self._spending = _Spending.NOTHING
        self._body_s = self._answer_s = 0.0
        self._waiting_for_evidence = ""
        self.next_look = 0.0
        """The Unix time until which evidence is waited for, while it is."""
        self.waiting = Waiting.NOTHING
        self._goes_on: anyio.Event | None = None
        """Where it is paused, what is set when it goes on."""

    @property
    def is_paused(self) -> bool:
        """A person wants no request now."""
        return self._goes_on is not None

    def pause(self) -> None:
        """Grant no slot until `go_on`. What is under way goes on."""
        if self._goes_on is None:
            self._goes_on = anyio.Event()
            self._account()

    def go_on(self) -> None:
        """Grant slots again."""
        if self._goes_on is not None:
            self._goes_on.set()
            self._goes_on = None
            self._account()

    def change(
        self,
        *,
        concurrency: int | None = None,
        requests_per_minute: float | None = None,
        bytes_per_second: float | None = None,
    ) -> None:
        """From now on others of these limits hold; None leaves one as it is."""
        if concurrency is not None:
            self.concurrency.change_cap(concurrency)
        self._rate.change(requests_per_minute=requests_per_minute, bytes_per_second=bytes_per_second)

    async def enter(self, *, rows: int, size: int) -> None:
        """Wait for a slot for *size* bytes with that many rows. Give it back with `leave`."""
        self._has_begun = True
        await self.concurrency.enter()
        self._account()
        try:
            if self._rate.is_limited or self.refusals.in_a_row:
                with self._throttling(Waiting.RATE):
                    await self._follow(rows, size)
            else:
                await self._follow(rows, size)
        except BaseException:
            self.concurrency.leave()
            self._account()
            raise

        self._entered_s = self._clock()

    def leave(self) -> None:
        """Hand the slot back."""
        self._slow_start.leave()
        self.concurrency.leave()
        self._account()

    def answered(self, outcome: Outcome | None, *, began_s: float, body_ended_s: float, size: int) -> None:
        """A request is over, whatever it was: it had its slot at *began_s*, and the last of its *size* bytes of body (0 for a look)
        was handed on at *body_ended_s*. *outcome* is None where it stores nothing, and was answered.

        Comes before `leave`, so that who follows finds the gate closed.
        """
        now = self._clock()
        if size:  # what a service can take at once is measured by what is stored
            self._measure(outcome, began_s, body_ended_s, now, size)
        match outcome:
            case CloseGate(reason, told_s, over_quota):
                if over_quota:
                    self.quota.refused(now, began_s=began_s, wait_s=told_s)
                self._slow_start.refused(now)
                self.gate.close(self.refusals.refused(now, began_s=began_s, told_s=told_s), reason)
            case TryAgain() | InDoubt():
                pass
            case _:
                self.quota.accepted(now, began_s=began_s, stores=bool(size))
                self.refusals.accepted(began_s=began_s)
                self._slow_start.taken(began_s=began_s)
        self._account()

    def _measure(self, outcome: Outcome | None, began_s: float, body_ended_s: float, now: float, size: int) -> None:
        trip_s = max(0.0, now - began_s)
        self._least_trip_s = trip_s if self._least_trip_s is None else min(trip_s, self._least_trip_s)
        self._body_s += max(0.0, body_ended_s - began_s)
        self._answer_s += max(0.0, now - max(began_s, body_ended_s))
        trip = RoundTrip(began_s, now, size, _ending(outcome))
        self.concurrency.adaptive.client_is_limit = self.limiting.is_client
        self.concurrency.ended(
            trip, is_full=self.concurrency.is_full and not self._throttled and not self._slow_start.waiting
        )

    def headers(self, headers: Mapping[str, str]) -> None:
        """What an answer to whatever request of the lane says of quotas: headers with names in lower case."""
        if told := quotas_told(headers, self._unix()):
            now = self._clock()
            late_s = now - self._entered_s if self._least_trip_s is None else self._least_trip_s
            self.quota.headers(now, *told, late_s=late_s)

    def finish(self) -> None:
        """The lane has ended: its time is spent."""
        self._has_begun = False
        self._account()

    def take_stock(self, *, cpu_s: float, processes: int = 1) -> None:
        """Find out what limits the lane. *cpu_s*: what all of the *processes* have computed since they began."""
        self._account()
        spent = self._spent
        self.limiting.take(
            Spent(
                lane_s=sum(spent.values()) - spent[_Spending.NOTHING],
                quota_s=spent[_Spending.QUOTA],
                full_s=spent[_Spending.FULL],
                body_s=self._body_s,
                answer_s=self._answer_s,
                cpu_s=cpu_s,
                wall_s=self._clock(),
                processes=processes,
            )
        )

    @property
    def quota(self) -> Quota:
        """What is known of the requests a minute."""
        return self._rate.quota

    @property
    def waiting_for_evidence(self) -> str:
        """Which evidence is waited for, with nothing being sent."""
        return self._waiting_for_evidence

    @waiting_for_evidence.setter
    def waiting_for_evidence(self, what: str) -> None:
        self._waiting_for_evidence = what
        self._account()

    @property
    def throttled_s(self) -> float:
        """Seconds in which at least one request was held back by the gate or the rate."""
        self._account()
        return self._spent[_Spending.QUOTA]

    @contextmanager
    def _throttling(self, waiting: Waiting) -> Iterator[None]:
        """Meanwhile somebody is held back by the service."""
        self._throttled += 1
        self.waiting = waiting
        self._account()
        try:
            yield
        finally:
            self._throttled -= 1
            self._account()
            if self._throttled == 0:
                self.waiting = Waiting.NOTHING

    async def _follow(self, rows: int, size: int) -> None:
        while True:
            while (goes_on := self._goes_on) is not None:
                with self._throttling(Waiting.PAUSED):
                    await goes_on.wait()
            if self.gate.wait_s > 0:
                with self._throttling(Waiting.GATE):
                    await self.gate.opened()
                if self._throttled:
                    self.waiting = Waiting.RATE
            await self._slow_start.enter()
            try:
                await self._rate.acquire(rows=rows, size=size)
            except BaseException:
                self._slow_start.leave()
                raise
            if self.gate.wait_s == 0 and not self.is_paused:
                return
            self._slow_start.leave()  # and what was taken from the rate is forgone: no burst when the gate opens

    def _account(self) -> None:
        """Add the time since the last change to what it went to, and see what it goes to from now on."""
        now = self._clock()
        self._spent[self._spending] += now - self._since
        self._since = now
        if self.is_paused:
            self._spending = _Spending.NOTHING
        elif self._throttled:
            self._spending = _Spending.QUOTA
        elif not self._has_begun or self._waiting_for_evidence:
            self._spending = _Spending.NOTHING
        else:
            self._spending = _Spending.FULL if self.concurrency.is_full else _Spending.IDLE


def _ending(outcome: Outcome | None) -> Ending:
    match outcome:
        case Accepted():
            return Ending.TAKEN
        case CloseGate() | TryAgain():
            return Ending.PRESSED
        case InDoubt(was_answered=False):
            return Ending.PRESSED
        case _:
            return Ending.OTHER
