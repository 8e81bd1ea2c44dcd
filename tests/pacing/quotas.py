"""Services that hold their clients to a rate without saying so: buckets, fixed and sliding windows; and what their 429s say."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Literal, Protocol

__all__ = ["Bucket", "FixedWindow", "RetryAfter", "Server", "SlidingWindow", "says"]

RetryAfter = Literal["exact", "seconds", "date", "none"]


class Server(Protocol):
    """A quota of *per_s* requests a second on average."""

    per_s: float

    def wait_s(self, now: float) -> float:
        """Seconds until a request at *now* would be taken; 0 takes it."""


@dataclass
class Bucket:
    """Holds *size* requests, *level* of them at first."""

    per_s: float
    size: float
    level: float
    at: float | None = None

    def wait_s(self, now: float) -> float:
        self.level = min(self.size, self.level + (0.0 if self.at is None else now - self.at) * self.per_s)
        self.at = now
        if self.level < 1 - 1e-9:
            return (1 - self.level) / self.per_s
        self.level -= 1
        return 0.0


@dataclass
class FixedWindow:
    """So many in each *window_s*, of which *gone_s* are over when the first request comes."""

    per_s: float
    window_s: float
    gone_s: float = 0.0
    start: float | None = None
    used: int = 0

    def wait_s(self, now: float) -> float:
        if self.start is None:
            self.start = now - self.gone_s
        if now >= self.start + self.window_s:
            self.start, self.used = self.start + floor((now - self.start) / self.window_s) * self.window_s, 0
        if self.used >= self.per_s * self.window_s:
            return self.start + self.window_s - now
        self.used += 1
        return 0.0


@dataclass
class SlidingWindow:
    """So many in any *window_s*."""

    per_s: float
    window_s: float
    taken: deque[float] = field(default_factory=deque)

    def wait_s(self, now: float) -> float:
        while self.taken and self.taken[0] <= now - self.window_s:
            self.taken.popleft()
        if len(self.taken) >= self.per_s * self.window_s:
            return self.taken[0] + self.window_s - now
        self.taken.append(now)
        return 0.0


def says(form: RetryAfter, now: float, wait_s: float) -> float | None:
    """What a client makes of the answer. A date is in whole seconds, and so is the `Date` that it is held against."""
    match form:
        case "exact":
            return wait_s
        case "seconds":
            return float(ceil(wait_s))
        case "date":
            return float(ceil(now + wait_s) - floor(now))
        case "none":
            return None
