"""The arithmetic of waiting after a failure, apart from the waiting."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Patience", "full_jitter_s"]

FIRST_CEILING_S = 0.5
LAST_CEILING_S = 30.0


def full_jitter_s(failures: int, uniform: Callable[[float, float], float]) -> float:
    """Seconds to wait after the *failures*-th failure in a row (from 1): anywhere below a ceiling that doubles to 30 s."""
    ceiling = min(LAST_CEILING_S, FIRST_CEILING_S * 2 ** min(failures - 1, 16))
    return uniform(0.0, ceiling)


class Patience:
    """How long a lane goes on without a success.

    A wait that the service ordered prolongs the patience to one and a half times that wait: a lane that is told to come back in an
    hour comes back in an hour, and once more, but a service that only ever says so does not keep it for ever.
    """

    def __init__(self, *, retry_for_s: float, now: float) -> None:
        self._retry_for_s = retry_for_s
        self._since = now
        self._longest_wait_s = 0.0

    def succeeded(self, now: float) -> None:
        """Something got through: the clock starts anew."""
        self._since = max(self._since, now)
        self._longest_wait_s = 0.0

    def ordered_wait(self, wait_s: float) -> None:
        """The service asked for quiet for so long."""
        self._longest_wait_s = max(self._longest_wait_s, wait_s)

    def is_over(self, now: float) -> bool:
        """Nothing has succeeded for longer than the patience lasts."""
        return now - self._since > max(self._retry_for_s, 1.5 * self._longest_wait_s)
