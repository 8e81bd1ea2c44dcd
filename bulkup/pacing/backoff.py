"""The arithmetic of waiting after a failure, apart from the waiting."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf

__all__ = ["Impatience", "Patience", "Refusals", "full_jitter_s", "wait_after_refusal_s"]

CEILINGS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""So long is waited at most after the first failure in a row, the second, and so on; after more of them as after the last."""

LEAST_WAIT_S = 0.35
"""So long is waited at least after a refusal that asks for no wait: who tries at once is refused again, and nobody slips through
while the refusal is being recorded."""

Uniform = Callable[[float, float], float]


def full_jitter_s(failures: int, uniform: Uniform) -> float:
    """Seconds to wait after the *failures*-th failure in a row (from 1): anywhere below a ceiling that doubles to 30 s."""
    return uniform(0.0, CEILINGS_S[min(failures, len(CEILINGS_S)) - 1])


def wait_after_refusal_s(in_a_row: int, told_s: float | None, uniform: Uniform) -> float:
    """Seconds until the next request after the *in_a_row*-th refusal in a row (from 1).

    At least what the service said (*told_s*; None: nothing), and at least our own back-off, whatever the service said: a
    Retry-After of 0, or of a date in the past, is no leave to send the same body again and again. Only the first refusal of a row
    that names a part of a second is believed as it is: what was taken between such waits is how a quota is measured.
    """
    if in_a_row == 1 and told_s:
        return told_s
    return max(told_s or LEAST_WAIT_S, full_jitter_s(in_a_row, uniform))


class Refusals:
    """Counts the refusals of one service in a row, whatever was asked of it. Times are seconds of any one clock."""

    def __init__(self, uniform: Uniform) -> None:
        self._uniform = uniform
        self._last_s = -inf
        self.in_a_row = 0

    def accepted(self, *, began_s: float) -> None:
        """A request that had begun at *began_s* was not refused. From before the last refusal it says nothing."""
        if began_s > self._last_s:
            self.in_a_row = 0

    def refused(self, now: float, *, began_s: float, told_s: float | None) -> float:
        """A request that had begun at *began_s* was refused: how many seconds nobody may send.

        Requests that were under way at the same time count as one refusal.
        """
        if began_s > self._last_s or not self.in_a_row:
            self.in_a_row += 1
            self._last_s = now
        return wait_after_refusal_s(self.in_a_row, told_s, self._uniform)


class Impatience(Enum):
    """Why a lane does not go on trying."""

    NO_SUCCESS = "--retry-for"
    TOLD_TO_WAIT = "--max-wait"
    TOO_MANY = "failures in a row"


class Patience:
    """How long a lane goes on without a success: *retry_for_s* seconds of trying, and *max_wait_s* of waits that were ordered.

    Trying begins with the first request that is wanted after a success: what is read, prepared or started before is no failure. A
    wait that the service ordered is not time spent trying. What the lane waits beyond that, by its own back-off, is. A service
    that orders more than *max_wait_s*, at once or bit by bit without a success in between, is not waited for. *most_failures* in a
    row end it too.
    """

    def __init__(self, *, retry_for_s: float, now: float, max_wait_s: float = inf, most_failures: float = inf) -> None:
        self._retry_for_s = retry_for_s
        self.max_wait_s = max_wait_s
        self._most_failures = most_failures
        self._since = now
        self._is_trying = False
        self._ordered_until = now
        self._ordered_s = 0.0

    def tries(self, now: float) -> None:
        """A request is wanted: if it is the first one since a success, the clock starts here."""
        if not self._is_trying:
            self._is_trying = True
            self._begin(now)

    def succeeded(self, now: float) -> None:
        """Something got through: the clock starts anew."""
        if now > self._since:
            self._is_trying = False
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        self._ordered_s = max(0.0, self._ordered_until - now)

    def ordered_wait(self, now: float, wait_s: float) -> None:
        """The service asked for quiet for so long. Orders that overlap count once."""
        until = now + wait_s
        self._ordered_s += max(0.0, until - max(now, self._ordered_until))
        self._ordered_until = max(self._ordered_until, until)

    def ended(self, now: float, *, failures: int = 0) -> Impatience | None:
        """Why the lane stops trying, None while it goes on. *failures*: how many there have been in a row."""
        if self._ordered_s > self.max_wait_s and self._ordered_until > now:
            return Impatience.TOLD_TO_WAIT
        if self._tried_s(now) > self._retry_for_s:
            return Impatience.NO_SUCCESS
        return Impatience.TOO_MANY if failures >= self._most_failures else None

    def left_s(self, now: float) -> float:
        """Seconds of trying that are left without a success."""
        return max(0.0, self._retry_for_s - self._tried_s(now))

    def _tried_s(self, now: float) -> float:
        waited_s = self._ordered_s - max(0.0, self._ordered_until - now)
        return now - self._since - waited_s

    def is_over(self, now: float) -> bool:
        """Nothing has succeeded for longer than the patience lasts."""
        return self.ended(now) is not None
