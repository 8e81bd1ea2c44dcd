"""Asking a service until it answers: looks store nothing, so they may be repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn, TypeVar, assert_never

from bulkup.destinations.seam import LookFailed
from bulkup.errors import ExitCode
from bulkup.flow.clock import Clock
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.outcome import CloseGate, StopLane, TokenRejected, TryAgain
from bulkup.pacing import Pacing, Patience, full_jitter_s
from bulkup.token_source import TokenSource

__all__ = ["Asker"]

T = TypeVar("T")


class Asker:
    """Puts questions to one lane's service. Each attempt takes a slot."""

    def __init__(
        self,
        *,
        token: TokenSource,
        pacing: Pacing,
        patience: Patience,
        halt: Halt,
        clock: Clock,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._token = token
        self._pacing = pacing
        self._patience = patience
        self._halt = halt
        self._clock = clock
        self._on_answer = on_answer

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer, however often it takes. Stops the lane (`Halted`) where patience ends, or nothing can be asked."""
        failures = 0
        while True:
            await self._halt.unless_halted(lambda: self._pacing.enter(rows=0, size=0))
            token = self._token.current
            try:
                answer = await question()
            except LookFailed as failed:
                failures += 1
                outcome = failed.outcome
            else:
                self._pacing.looked()
                self._on_answer()
                return answer
            finally:
                self._pacing.leave()
            wait_s = full_jitter_s(failures, self._clock.uniform)
            match outcome:
                case CloseGate(reason, ordered_s):
                    wait_s = wait_s if ordered_s is None else ordered_s
                    self._pacing.gate.close(wait_s, reason)
                    if ordered_s is not None:
                        self._patience.ordered_wait(ordered_s)
                case TokenRejected(reason):
                    if not await self._token.renew(token):
                        self._stop(f"the service does not take the token ({reason})", ExitCode.NO_PERMISSION)
                    if failures == 1:
                        continue
                case StopLane(reason, exit_code):
                    self._stop(reason, exit_code)
                case TryAgain():
                    pass
                case _:
                    assert_never(outcome)
            if self._patience.is_over(self._clock.monotonic()):
                self._stop(f"the service could not be asked for too long: {outcome.reason}", ExitCode.TRY_LATER)
            await self._halt.unless_halted(partial(self._clock.sleep, wait_s))

    def _stop(self, text: str, exit_code: ExitCode) -> NoReturn:
        self._halt.set(Reason(text, exit_code))
        raise Halted
