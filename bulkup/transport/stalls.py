"""When a request that does not move is told of, and when it is given up: arithmetic on times, without a clock or a timer."""

from __future__ import annotations

from collections import deque
from dataclasses import field

from bulkup.light_dataclass import dataclass

__all__ = ["GiveUp", "RoundTrips", "SlowAnswer", "StallWatch", "Tell", "Wait", "again_s", "quiet_s"]

P99_TIMES = 10
"""A request may be quiet for this many times what all but a hundredth of the lane's round trips take."""

GIVE_UP_TIMES = 3
"""It is given up after this many times the quiet that is told of."""

LATE_S = 1.0
"""A timer that fires so much later than it was set for says that this process did not run (SIGSTOP, a suspended machine)."""

AGAIN_S = 10.0
"""Then what may have come meanwhile gets so long to be taken in."""

LEAST_BYTES_PER_S = 1024
"""An answer that comes more slowly than this on the whole is given up in the end; no transfer of use is so slow."""

FREE_TIMES = 5
"""It has this many times the quiet that is told of before its speed is looked at."""

_KEPT = 512


@dataclass(slots=True)
class RoundTrips:
    """How long the last answers of one lane took, from the end of the body to their first byte, in seconds."""

    _last: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    p99_s: float = 0.0
    """What all but a hundredth took at most; 0 without any. Asked for with every block that moves, so it is kept, not made."""

    def add(self, seconds: float) -> None:
        """One more answer."""
        self._last.append(seconds)
        ordered = sorted(self._last)
        self.p99_s = ordered[-1 - len(ordered) // 100]


def quiet_s(least_s: float, trips: RoundTrips) -> float:
    """How long a request of the lane may be quiet before that is told: not less than *least_s*."""
    return max(least_s, P99_TIMES * trips.p99_s)


class SlowAnswer:
    """Says when an answer that does move has taken too long: its time is `FREE_TIMES` quiet periods and a second for each
    `LEAST_BYTES_PER_S` bytes. A time in which nothing came counts as one quiet period at most, so a process that was stopped for
    an hour gives nothing up for that."""

    def __init__(self, now: float, quiet_s: float) -> None:
        self._at = now
        self._quiet_s = quiet_s
        self._took_s = 0.0
        self._bytes = 0

    def came(self, now: float, count: int) -> float | None:
        """*count* bytes came at *now*: the seconds it has taken, if that is too long."""
        self._took_s += min(now - self._at, self._quiet_s)
        self._at = now
        self._bytes += count
        allowed_s = FREE_TIMES * self._quiet_s + self._bytes / LEAST_BYTES_PER_S
        return self._took_s if self._took_s > allowed_s else None


def again_s(late_s: float, waited_s: float) -> float:
    """How much longer to wait before anything is given up, where a timer set for *waited_s* fired *late_s* too late: who did not
    run has not waited, and an answer may be there that nobody has taken in."""
    return min(AGAIN_S, waited_s) if late_s >= LATE_S else 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in *seconds*."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Nothing has moved for *waited_s*; it is given up *left_s* from now."""

    waited_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing has moved for *waited_s*, and that is too long."""

    waited_s: float


class StallWatch:
    """Watches one request. Times are those of any one clock, in seconds."""

    def __init__(self, now: float, *, give_up_s: float) -> None:
        """Without `expect` nothing is told, and after *give_up_s* it is given up."""
        self._moved_at = now
        self._tell_s: float | None = None
        self._give_up_s = give_up_s
        self._told = False
        self._due_at = now

    def expect(self, now: float, *, quiet_s: float, extra_s: float = 0.0) -> None:
        """Something has moved. From now on *quiet_s* is quiet enough to tell, three times that to give up; both *extra_s* later."""
        self._moved_at = now
        self._tell_s, self._give_up_s = quiet_s + extra_s, GIVE_UP_TIMES * quiet_s + extra_s
        self._told = False

    def check(self, now: float) -> Wait | Tell | GiveUp:
        """What is to be done at *now*, and when to ask again. Each quiet is told of once. Asked much later than it said, it has the
        request looked at once more before that is told of or given up."""
        found = self._found(now, now - self._due_at)
        match found:
            case Wait(seconds) | Tell(left_s=seconds):
                self._due_at = now + seconds
        return found

    def _found(self, now: float, late_s: float) -> Wait | Tell | GiveUp:
        waited = now - self._moved_at
        is_told = self._tell_s is None or self._told
        until = self._give_up_s if is_told or self._tell_s is None else self._tell_s
        if waited < until:
            return Wait(until - waited)
        if more_s := again_s(late_s, until):
            return Wait(more_s)
        if waited >= self._give_up_s:
            return GiveUp(waited)
        self._told = True
        return Tell(waited, self._give_up_s - waited)
