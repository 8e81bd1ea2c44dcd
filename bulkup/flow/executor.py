"""The seam between what is decided and what is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bulkup.flow.orders import LaneOrder
from bulkup.workers import Attempt, Tell

__all__ = ["Executor", "Hold"]


class Executor(Protocol):
    """Carries one lane's orders out in this process or in another. It decides nothing.

    One that is lost takes no knowledge with it: what it drafted is drafted by another, and what it was sending is in doubt.
    """

    @property
    def is_there(self) -> bool:
        """False once it is lost, with everything that it held."""
        ...

    async def ask(self, order: LaneOrder, told: Tell = lambda _: None) -> object:
        """What it answers to *order*; *told* gets its words before that. Cancelled, it has stopped, or may be taken to have.

        Raises `WorkerLost` where it is lost, and what the carrying out raises.
        """
        ...

    async def ship(self, order: LaneOrder) -> None:
        """An order that is large and has no answer; it waits while the other side takes it in slowly. Raises `WorkerLost`."""
        ...

    def forget(self, key: int) -> None:
        """Let go of what is under *key*, if anything is."""
        ...

    def recorded(self, attempt: Attempt) -> None:
        """What came of that *attempt* (lane, tile, child, number) is in the journal: nobody need keep it."""
        ...


@dataclass(slots=True, eq=False)
class Hold:
    """Encoded rows that *executor* keeps in its memory under *key*. Both change where they had to be made anew elsewhere."""

    executor: Executor
    key: int
