"""How long a worker on another machine may go on without a word from its run."""

from __future__ import annotations

from collections.abc import Callable

from bulkup.machine import machine_clock

__all__ = ["LEASE_S", "LOST_S", "Lease"]

LEASE_S = 10.0
"""A worker sends nothing to its end once its run has been silent for so long."""

LOST_S = 12.0
"""A worker of which nothing was heard for so long is lost: by then its lease has run out, whatever it does."""


class Lease:
    """A worker's right to end a request, on its own clock (`bulkup.authority.Authority`).

    The worker asks, and its run answers only while it has that right itself. A lease runs from the moment of the question, not of
    the answer: an answer may have waited in a socket while the worker, or the network, stood still.
    """

    def __init__(
        self, epoch: int, asked_at: float, lease_s: float = LEASE_S, *, clock: Callable[[], float] = machine_clock
    ) -> None:
        """*epoch*: of the run's process that gave it for *lease_s*, when it was asked for the first time at *asked_at*."""
        self._epoch = epoch
        self._lease_s = lease_s
        self._clock = clock
        self._until = asked_at + lease_s
        self.answered = asked_at
        """When the last question was asked that has been answered."""

    @property
    def epoch(self) -> int:
        """As an authority has it."""
        return self._epoch

    @property
    def ask_every_s(self) -> float:
        """How often to ask for it: ten times while it lasts."""
        return self._lease_s / 10

    @property
    def left_s(self) -> float:
        """How long it still holds, unless it is renewed. Not above 0: it has run out."""
        return self._until - self._clock()

    def holds(self) -> bool:
        """As an authority has it."""
        return self.left_s > 0

    def renew(self, asked_at: float, for_s: float) -> None:
        """An answer came to the question of *asked_at*: it holds for *for_s* from then. A lease that has run out stays so."""
        self.answered = max(self.answered, asked_at)
        if self.holds():
            self._until = max(self._until, min(asked_at, self._clock()) + for_s)
