"""Asking a service until it answers: looks store nothing, so they may be repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bulkup.destinations.base import LookFailed
from bulkup.flow.clock import Clock
from bulkup.flow.halt import Halt
from bulkup.flow.reaction import Reaction
from bulkup.outcome import CloseGate
from bulkup.pacing import Pacing
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
        reaction: Reaction,
        halt: Halt,
        clock: Clock,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._token = token
        self._pacing = pacing
        self._reaction = reaction
        self._halt = halt
        self._clock = clock
        self._on_answer = on_answer

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer, however often it takes. Stops the lane (`Halted`) where patience ends, or nothing can be asked."""
        failures = 0
        while True:
            token = self._token.current
            try:
                return await self.once(question)
            except LookFailed as failed:
                failures += 1
                outcome = failed.outcome
            await self._reaction.after(outcome, failures=failures, token=token)

    async def once(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to one attempt. Raises `LookFailed`, and `Halted` where the lane stops before."""
        await self._halt.unless_halted(lambda: self._pacing.enter(rows=0, size=0))
        began_s = self._clock.monotonic()
        try:
            answer = await question()
        except LookFailed as failed:
            if isinstance(failed.outcome, CloseGate):
                self._pacing.refused(failed.outcome, began_s=began_s)
            raise
        else:
            self._pacing.looked(began_s=began_s)
            self._on_answer()
            return answer
        finally:
            self._pacing.leave()
