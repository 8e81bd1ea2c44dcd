"""Evenly spaced turns: no burst at the start, none after a pause. Pure: times come in as arguments."""

from __future__ import annotations

__all__ = ["Spacing"]

LATE_SHARE = 0.5
"""Somebody who waited and was woken late makes up for it with up to this share of an interval."""


class Spacing:
    """When the next one may go, an interval after the last. The interval may change at any time."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def wait_s(self, now: float, interval_s: float) -> float:
        """Seconds until the next one may go; 0 is now."""
        return max(0.0, self._last + interval_s - now)

    def took(self, now: float, interval_s: float, *, waited: bool) -> None:
        """One goes now. *waited*: it stood in line, so that being late is the clock's fault; else what was not used is forgone."""
        due = self._last + interval_s
        self._last = max(due, now - LATE_SHARE * interval_s) if waited and due <= now else now
