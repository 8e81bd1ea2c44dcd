"""How a service holds its clients back: a quota of requests, or a capacity that changes. Used by the sink, in its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Capacity", "Quota", "Step", "parse_steps"]

MINUTE_S = 60.0
BURST_S = 1.0


class Quota:
    """*requests_per_minute*, with bursts of one second's worth at most. It starts with one request to spare.

    So n requests take (n - 1) minutes ÷ *requests_per_minute* at least. *with_headers*: answers carry `x-ratelimit-limit-requests`
    and, of the current minute, `-remaining-` and `-reset-`. *retry_after_s*: what a refusal says; None: nothing.
    """

    def __init__(self, requests_per_minute: float, *, with_headers: bool, retry_after_s: int | None) -> None:
        self._per_s = requests_per_minute / MINUTE_S
        self._per_minute = requests_per_minute
        self._with_headers = with_headers
        self._retry_after_s = retry_after_s
        self._lock = threading.Lock()
        self._level = 1.0
        self._at: float | None = None
        self._minute = 0.0
        self._used = 0
        self.refused = 0

    def admits(self, now: float) -> tuple[bool, str]:
        """Whether a request at *now* (seconds, any origin) may pass, and the header lines of its answer."""
        with self._lock:
            since = 0.0 if self._at is None else now - self._at
            self._at = now
            self._level = min(max(1.0, self._per_s * BURST_S), self._level + since * self._per_s)
            if self._used == 0 or now >= self._minute + MINUTE_S:
                self._minute, self._used = now, 0
            passes = self._level >= 1 - 1e-9
            self._level -= passes
            self._used += passes
            self.refused += not passes
            return passes, self._headers(now, passes=passes)

    def _headers(self, now: float, *, passes: bool) -> str:
        lines = ""
        if self._with_headers:
            lines = (
                f"x-ratelimit-limit-requests: {self._per_minute:.0f}\r\n"
                f"x-ratelimit-remaining-requests: {max(0, int(self._per_minute) - self._used)}\r\n"
                f"x-ratelimit-reset-requests: {max(1, round(self._minute + MINUTE_S - now))}\r\n"
            )
        if not passes and self._retry_after_s is not None:
            lines += f"Retry-After: {self._retry_after_s}\r\n"
        return lines


@dataclass(frozen=True, slots=True)
class Step:
    """*servers* requests are worked on at a time, for *seconds*."""

    servers: int
    seconds: float


def parse_steps(text: str) -> tuple[Step, ...]:
    """From `16:20,4:20`. Raises ValueError."""
    parts = [part.split(":") for part in text.split(",")]
    return tuple(Step(int(servers), float(seconds)) for servers, seconds in parts)


class Capacity:
    """A service with as many servers as the step of the moment says; the last step goes on.

    Each request is worked on for *service_s*, in its turn. Beyond twice as many requests as servers the service thrashes: work
    takes longer in proportion. So there is a best concurrency for each step, and too much of it costs.
    """

    def __init__(self, steps: tuple[Step, ...], service_s: float) -> None:
        self._steps = steps
        self._service_s = service_s
        self._changed = threading.Condition()
        self._began: float | None = None
        self._inside = 0
        self._working = 0

    def began_at(self) -> float | None:
        """When the first request came (`time.monotonic`); None before it."""
        return self._began

    def servers(self, now: float) -> int:
        """How many there are at *now*."""
        left = now - (self._began if self._began is not None else now)
        for step in self._steps:
            if left < step.seconds:
                return step.servers
            left -= step.seconds
        return self._steps[-1].servers

    @contextmanager
    def served(self) -> Iterator[None]:
        """Waits for a server, and for the work to be done."""
        with self._changed:
            if self._began is None:
                self._began = time.monotonic()
            self._inside += 1
            while self._working >= (servers := self.servers(time.monotonic())):
                self._changed.wait(0.05)
            self._working += 1
            thrash = max(1.0, self._inside / (2 * servers))
        try:
            time.sleep(self._service_s * thrash)
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._working -= 1
                self._changed.notify()
