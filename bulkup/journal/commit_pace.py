"""How close commits may follow each other: a few at once, then so many a second. Pure arithmetic on a clock."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["CommitPace"]

PER_SECOND = 200.0
"""A commit is two syncs and half a dozen pages whatever is in it: at 1,000 chunks a second this makes groups of fifteen."""

AT_ONCE = 8.0
"""Commits that may come without a pause after a quiet time: who sends few chunks waits for none."""


class CommitPace:
    """Commits are earned with time, and spent. *clock* gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = PER_SECOND
        self._clock = clock
        self._saved = AT_ONCE
        self._at = clock()

    def earn(self) -> None:
        """Take in the time that has passed."""
        now = self._clock()
        self._saved = min(AT_ONCE, self._saved + (now - self._at) * self.per_second)
        self._at = now

    def wait_s(self) -> float:
        """Seconds until a commit is earned, 0 if one is."""
        return max(0.0, (1.0 - self._saved) / self.per_second)

    def spend(self) -> None:
        """A commit is made. One that could not wait is paid for later, within limits."""
        self._saved = max(-AT_ONCE, self._saved - 1.0)
