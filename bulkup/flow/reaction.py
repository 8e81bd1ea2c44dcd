"""What a lane does after a request that came to nothing: the one place for uploads, looks, pages and polls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import NoReturn

from bulkup.errors import ExitCode
from bulkup.flow.clock import Clock
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.outcome import CloseGate, StopLane, TokenRejected, TryAgain
from bulkup.pacing import Impatience, Pacing, Patience, full_jitter_s
from bulkup.secret import Token
from bulkup.token_source import TokenSource

__all__ = ["Failure", "Reaction", "told_too_long", "until_text"]

Failure = TryAgain | CloseGate | TokenRejected | StopLane
"""What is left to be decided here: every other outcome is an answer."""

TOLD_S = 10.0
"""A wait as long as this is told to the user, with the time at which it ends."""


def until_text(wait_s: float, unix_now: float) -> str:
    """The moment *wait_s* seconds after *unix_now*, for a person: `2026-11-29 18:54:06 UTC`."""
    return datetime.fromtimestamp(round(unix_now + wait_s), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def told_too_long(wait_s: float, unix_now: float, max_wait_s: float, reason: str) -> str:
    """Why a lane ends that is told to wait longer than the user allows, in one line, and when to come back."""
    return (
        f"the service asks for no requests until {until_text(wait_s, unix_now)}: that is more than --max-wait "
        f"({max_wait_s:,.0f} s) allows. Run the command again after that time ({reason})"
    )


class Reaction:
    """Decides for one lane. Who waits for an open gate does so in `Pacing.enter`; the other waits are here."""

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
        self._token = token
        self._pacing = pacing
        self._patience = patience
        self._halt = halt
        self._clock = clock
        self._say = say
        self._told_until = -inf

    async def after(self, failure: Failure, *, failures: int, token: Token) -> None:
        """Return when another attempt may ask for a slot. *failures*: how many there have been in a row, this one included.

        *token* is the one that the request had. For a `CloseGate` the gate must be closed already (`Pacing.ended`,
        `Pacing.refused`). Raises `Halted` where the lane stops.
        """
        match failure:
            case CloseGate(reason, told_s):
                self._refused(reason, told_s)
            case TryAgain(reason):
                await self.back_off(failures, reason)
            case TokenRejected(reason):
                if not await self._token.renew(token):
                    self._stop(f"the service does not take the token ({reason})", ExitCode.NO_PERMISSION)
                if failures > 1:
                    await self.back_off(failures, reason)
            case StopLane(reason, exit_code):
                self._stop(reason, exit_code)

    async def back_off(self, failures: int, reason: str) -> None:
        """Wait after the *failures*-th failure in a row that says nothing of how long. Raises `Halted` where patience is over."""
        if self._patience.is_over(self._clock.monotonic()):
            self._stop(f"nothing got through for too long; the last answer: {reason}", ExitCode.TRY_LATER)
        wait_s = full_jitter_s(failures, self._clock.uniform)
        await self._halt.unless_halted(partial(self._clock.sleep, wait_s))

    def _refused(self, reason: str, told_s: float | None) -> None:
        now = self._clock.monotonic()
        if told_s is not None:
            self._patience.ordered_wait(now, told_s)
        match self._patience.ended(now):
            case Impatience.TOLD_TO_WAIT:
                wait_s, most_s = self._pacing.gate.wait_s, self._patience.max_wait_s
                self._stop(told_too_long(wait_s, self._clock.unix(), most_s, reason), ExitCode.TRY_LATER)
            case Impatience.NO_SUCCESS:
                self._stop(f"the service refused for too long: {reason}", ExitCode.TRY_LATER)
            case None:
                self._tell(now, reason, told_s)

    def _tell(self, now: float, reason: str, told_s: float | None) -> None:
        """Say until when nothing is sent, once where several requests were told the same."""
        if told_s is not None and told_s >= TOLD_S and now + told_s > self._told_until + 1:
            self._told_until = now + told_s
            self._say(f"waiting until {until_text(told_s, self._clock.unix())}, as the service asks ({reason})")

    def _stop(self, text: str, exit_code: ExitCode) -> NoReturn:
        self._halt.set(Reason(text, exit_code))
        raise Halted
