"""A quota that nobody tells, learned from 429s: additive growth, multiplicative decrease. Pure: times come in as arguments."""

from __future__ import annotations

__all__ = ["LearnedRate"]

EVIDENCE = 8
"""So many requests must have been taken before a rate is made of them."""

GROWTH = 0.0005
"""The share by which the rate grows with each request that is taken: a tenth is won back in 200, so 0.5 % are refused."""

BACK = 0.9
UNDER = 0.99
DISTRUST = 0.5
"""A rate that was measured over a burst, with a short wait after it, is a bucket's content as much as a rate."""


class LearnedRate:
    """Requests a minute, None until the first refusal that there is evidence about.

    What the service takes from one opening of the gate to the next, waits included, is what it grants. Refusals of requests
    that had begun before the last one count as the same.
    """

    def __init__(self) -> None:
        self.per_minute: float | None = None
        self.refusals_in_a_row = 0
        self._since: float | None = None
        self._taken = 0
        self._before: tuple[float, int] | None = None
        self._refused_at = float("-inf")

    def accepted(self, now: float, *, began_s: float) -> None:
        """A request that had begun at *began_s* was taken."""
        if self._since is None:
            self._since = now
        if began_s <= self._refused_at:
            if self._before is not None:
                self._before = (self._before[0], self._before[1] + 1)
            return
        self._taken += 1
        if self._before is not None:
            self._correct(now, *self._before)
            self._since, self._taken, self._before = now, 1, None
        self.refusals_in_a_row = 0
        if self.per_minute is not None:
            self.per_minute *= 1 + GROWTH

    def refused(self, now: float, *, began_s: float, wait_s: float | None) -> None:
        """A request that had begun at *began_s* was refused; the gate is closed for *wait_s* (None: the service did not say)."""
        if began_s <= self._refused_at:
            return
        self._refused_at = now
        self.refusals_in_a_row += 1
        if self._since is None or self._taken < EVIDENCE or self._before is not None:
            return
        wait = wait_s or 0.0
        span = now - self._since + wait
        if span <= 0:
            return
        measured = 60 * self._taken / span
        if self.per_minute is None:
            self.per_minute = measured * (UNDER if 2 * wait >= span else DISTRUST)
        elif measured < self.per_minute / 2:
            self.per_minute = measured * UNDER
        else:
            self.per_minute *= BACK
        self._before = (self._since, self._taken)
        self._since, self._taken = now + wait, 0

    def _correct(self, now: float, since: float, taken: int) -> None:
        """It takes requests again: now it is known how long what it had taken was to last."""
        measured = 60 * taken / (now - since) if now > since else float("inf")
        if self.per_minute is not None and measured < BACK * self.per_minute:
            self.per_minute = measured * UNDER
