"""Quotas: requests in a window, and how often a token may be used."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

import msgspec

from .settings import Rate, ServiceName, Settings

__all__ = ["Limits", "Quota", "retry_after"]

Clock = Callable[[], float]


def retry_after(form: str, wait_s: float, now: float) -> str | None:
    """A Retry-After of *wait_s* seconds from *now* (unix), rounded up; None for the form `none`."""
    if form == "none":
        return None
    if form == "date":
        return formatdate(math.ceil(now + wait_s), usegmt=True)
    return str(math.ceil(wait_s))


@dataclass(frozen=True, slots=True)
class Quota:
    """What one request found: the rate's state after it, and how long to wait where it was refused."""

    rate: Rate
    allowed: bool
    remaining: int
    reset_s: float

    def headers(self, now: float) -> dict[str, str]:
        """The `x-ratelimit-…-requests` headers [vendor docs], with Retry-After where refused."""
        found: dict[str, str] = {}
        if self.rate.headers == "on":
            reset = str(math.ceil(self.reset_s)) if self.rate.reset == "seconds" else f"{self.reset_s:.3f}s"
            found["x-ratelimit-limit-requests"] = str(self.rate.requests)
            found["x-ratelimit-remaining-requests"] = str(self.remaining)
            found["x-ratelimit-reset-requests"] = reset
        wait = None if self.allowed else retry_after(self.rate.retry_after, self.reset_s, now)
        return found if wait is None else {**found, "Retry-After": wait}


@dataclass(slots=True)
class _Period:
    """Since *start*, *used* of *requests* a window."""

    start: float
    requests: float
    used: int = 0


class Limits:
    """Counts requests by service and by token. *clock* gives unix seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}
        self._periods: dict[str, _Period] = {}
        self._tokens: Counter[str] = Counter()

    def forget(self) -> None:
        """Begin anew: full quotas, unused tokens."""
        self._windows.clear()
        self._buckets.clear()
        self._periods.clear()
        self._tokens.clear()

    def forget_rate(self, service: ServiceName) -> None:
        """A full quota for *service*: its rate has changed."""
        self._windows.pop(service, None)
        self._buckets.pop(service, None)
        self._periods.pop(service, None)

    def admits(self, authorization: str, settings: Settings) -> bool:
        """Whether the header `Bearer <token>` holds a known token that is not used up. Counts its use."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return False
        if settings.tokens is not None and token not in settings.tokens:
            return False
        self._tokens[token] += 1
        return settings.token_requests is None or self._tokens[token] <= settings.token_requests

    def take(self, service: ServiceName, rate: Rate) -> Quota:
        """Count one request of *service*. A refused one costs nothing."""
        rate = self._grown(service, rate)
        quota = self._fixed(service, rate) if rate.algorithm == "fixed" else self._bucket(service, rate)
        if service in self._periods:
            self._periods[service].used += quota.allowed
        return quota

    def _grown(self, service: ServiceName, rate: Rate) -> Rate:
        """*rate* as the use of earlier periods has left it."""
        if rate.grows is None:
            return rate
        now = self._clock()
        period = self._periods.setdefault(service, _Period(now, rate.requests))
        while now >= period.start + rate.grows.every_s:
            share = period.used / (period.requests * rate.grows.every_s / rate.window_s)
            if share >= rate.grows.above:
                period.requests = min(period.requests * rate.grows.by, rate.requests * rate.grows.most)
            elif share <= rate.grows.below:
                period.requests = max(period.requests * rate.grows.shrinks_to, rate.requests)
            period.start, period.used = period.start + rate.grows.every_s, 0
        return msgspec.structs.replace(rate, requests=math.floor(period.requests))

    def _fixed(self, service: ServiceName, rate: Rate) -> Quota:
        now = self._clock()
        start, used = self._windows.get(service, (now, 0))
        if now >= start + rate.window_s:
            start, used = now, 0
        allowed = used < rate.requests
        used += allowed
        self._windows[service] = (start, used)
        return Quota(rate, allowed, max(0, rate.requests - used), start + rate.window_s - now)

    def _bucket(self, service: ServiceName, rate: Rate) -> Quota:
        now = self._clock()
        at, level = self._buckets.get(service, (now, float(rate.requests)))
        speed = rate.requests / rate.window_s
        level = min(rate.requests, level + (now - at) * speed)
        allowed = level >= 1
        level -= allowed
        self._buckets[service] = (now, level)
        reset_s = (rate.requests - level) / speed if allowed else (1 - level) / speed
        return Quota(rate, allowed, math.floor(level), reset_s)
