"""What a lane's pace is limited by, from how its time was spent. Pure."""

from __future__ import annotations

from enum import StrEnum

from bulkup.light_dataclass import dataclass

__all__ = ["LimitedBy", "Limiting", "Spent"]

BUSY = 0.85
"""Processes that compute for this share of the time are the limit, whatever seems to be waited for."""
HALF_BUSY = 0.5
WINDOW_S = 1.0


class LimitedBy(StrEnum):
    """What would have to be faster."""

    SOURCE = "source"
    CPU = "CPU"
    NETWORK = "network"
    SERVER = "server"
    QUOTA = "quota"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """How seconds were spent, added up since some beginning.

    *lane_s*: since the first slot was asked for, waits for evidence left out. Of it *quota_s* with something held back by the rate
    or the gate, and *full_s* with all permits taken by requests under way. *body_s* and *answer_s* are the requests' own: until
    the last byte of the body was handed to the connection, and from there to the outcome. *cpu_s* is that of all *processes* in
    *wall_s*.
    """

    lane_s: float = 0.0
    quota_s: float = 0.0
    full_s: float = 0.0
    body_s: float = 0.0
    answer_s: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    processes: int = 1

    def since(self, before: Spent) -> Spent:
        """What was spent after *before*."""
        return Spent(
            lane_s=self.lane_s - before.lane_s,
            quota_s=self.quota_s - before.quota_s,
            full_s=self.full_s - before.full_s,
            body_s=self.body_s - before.body_s,
            answer_s=self.answer_s - before.answer_s,
            cpu_s=self.cpu_s - before.cpu_s,
            wall_s=self.wall_s - before.wall_s,
            processes=self.processes,
        )

    def limited_by(self) -> LimitedBy | None:
        """The rule of `docs/cli.md`, "What limits"; None where nothing was done."""
        if self.lane_s <= 0:
            return None
        idle_s = self.lane_s - self.quota_s - self.full_s
        busy = self.cpu_s / (self.wall_s * self.processes) if self.wall_s > 0 else 0.0
        if self.quota_s >= max(self.full_s, idle_s):
            return LimitedBy.QUOTA
        if busy >= BUSY or (idle_s > self.full_s and busy >= HALF_BUSY):
            return LimitedBy.CPU
        if idle_s > self.full_s:
            return LimitedBy.SOURCE
        return LimitedBy.NETWORK if self.body_s > self.answer_s else LimitedBy.SERVER


class Limiting:
    """Follows one lane: what limits it now (over the last second or so), and what has since its beginning."""

    def __init__(self) -> None:
        self._first: Spent | None = None
        self._last = self._mark = Spent()
        self.now: LimitedBy | None = None

    def take(self, spent: Spent) -> None:
        """Take in how time was spent up to now. May be called as often as one likes; without work in between it does nothing."""
        if self._first is None:
            self._first = self._last = self._mark = spent
        if spent.lane_s <= self._last.lane_s:
            return
        self._last = spent
        if spent.wall_s - self._mark.wall_s >= WINDOW_S:
            self.now = spent.since(self._mark).limited_by()
            self._mark = spent

    @property
    def overall(self) -> LimitedBy | None:
        """What limited the whole of it."""
        return self._last.since(self._first).limited_by() if self._first is not None else None

    @property
    def is_client(self) -> bool:
        """It is this side that cannot go faster now."""
        return self.now in (LimitedBy.SOURCE, LimitedBy.CPU)
