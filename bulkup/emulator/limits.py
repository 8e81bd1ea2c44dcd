"""Quotas: requests in a window, and how often a token may be used."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
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
class Found:
    """One window after a request: how many of *requests* in *window_s* are left, until *reset_s* seconds from now."""

    requests: int
    window_s: float
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Quota:
    """What one request found: the rate's state after it, and how long to wait where it was refused."""

    rate: Rate
    allowed: bool
    remaining: int
    reset_s: float
    wait_s: float = 0.0
    also: tuple[Found, ...] = ()

    def headers(self, now: float) -> dict[str, str]:
        """What the quota's headers say at *now* (unix), with Retry-After where refused."""
        found: dict[str, str] = {}
        if self.rate.headers == "on":
            first = Found(self.rate.requests, self.rate.window_s, self.remaining, self.reset_s)
            found = _told(self.rate, (first, *self.also), now)
        wait = None if self.allowed else retry_after(self.rate.retry_after, self.wait_s or self.reset_s, now)
        return found if wait is None else {**found, "Retry-After": wait}


def _told(rate: Rate, windows: tuple[Found, ...], now: float) -> dict[str, str]:
    first = windows[0]
    match rate.tells:
        case "x-ratelimit":  # [vendor docs]
            return {
                "x-ratelimit-limit-requests": str(first.requests),
                "x-ratelimit-remaining-requests": str(first.remaining),
                "x-ratelimit-reset-requests": _reset(rate.reset, first.reset_s, now),
            }
        case "ietf":
            names = ["default", *(f"also{number}" for number in range(1, len(windows)))]
            said = list(zip(names, windows, strict=True))
            return {
                "RateLimit-Policy": ", ".join(f'"{name}";q={w.requests};w={math.ceil(w.window_s)}' for name, w in said),
                "RateLimit": ", ".join(f'"{name}";r={w.remaining};t={math.ceil(w.reset_s)}' for name, w in said),
            }
        case "ietf-07":
            return {
                "RateLimit-Policy": f"{first.requests};w={math.ceil(first.window_s)}",
                "RateLimit": f"limit={first.requests}, remaining={first.remaining}, reset={math.ceil(first.reset_s)}",
            }
        case "ietf-06":
            return {
                "RateLimit-Limit": f"{first.requests}, {first.requests};w={math.ceil(first.window_s)}",
                "RateLimit-Remaining": str(first.remaining),
                "RateLimit-Reset": str(math.ceil(first.reset_s)),
            }


def _reset(form: str, reset_s: float, now: float) -> str:
    match form:
        case "seconds":
            return str(math.ceil(reset_s))
        case "floor":
            return str(math.floor(reset_s))
        case "unix":
            return str(math.ceil(now + reset_s))
        case "date":
            return formatdate(math.ceil(now + reset_s), usegmt=True)
        case _:
            return f"{reset_s:.3f}s"


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
        for key in [key for key in self._windows if key.split(" ")[0] == service]:
            del self._windows[key]
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
        also = [
            self._window(f"{service} {place}", one.requests, one.window_s, rate) for place, one in enumerate(rate.also)
        ]
        lets = all(found.remaining for found in also)
        quota = self._fixed(service, rate, lets) if rate.algorithm == "fixed" else self._bucket(service, rate, lets)
        if service in self._periods:
            self._periods[service].used += quota.allowed
        if not also:
            return quota
        closed = [found.reset_s for found in also if not found.remaining]
        if quota.allowed:
            for place in range(len(also)):
                start, used = self._windows[f"{service} {place}"]
                self._windows[f"{service} {place}"] = (start, used + 1)
            also = [replace(found, remaining=found.remaining - 1) for found in also]
        return replace(quota, also=tuple(also), wait_s=max([quota.wait_s, *closed]))

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

    def _window(self, key: str, requests: int, window_s: float, rate: Rate) -> Found:
        """How a fixed window stands now, before the request."""
        now = self._clock()
        start, used = self._windows.get(key, (-math.inf, 0))
        if now >= start + window_s:
            start, used = (now if rate.starts == "first request" else now // window_s * window_s), 0
        self._windows[key] = (start, used)
        return Found(requests, window_s, max(0, requests - used), start + window_s - now)

    def _fixed(self, service: ServiceName, rate: Rate, lets: bool) -> Quota:
        found = self._window(service, rate.requests, rate.window_s, rate)
        allowed = lets and found.remaining > 0
        start, used = self._windows[service]
        self._windows[service] = (start, used + allowed)
        wait_s = 0.0 if found.remaining else found.reset_s
        return Quota(rate, allowed, found.remaining - allowed, found.reset_s, wait_s)

    def _bucket(self, service: ServiceName, rate: Rate, lets: bool) -> Quota:
        now = self._clock()
        at, level = self._buckets.get(service, (now, float(rate.requests)))
        speed = rate.requests / rate.window_s
        level = min(rate.requests, level + (now - at) * speed)
        is_empty = level < 1
        allowed = lets and not is_empty
        level -= allowed
        self._buckets[service] = (now, level)
        reset_s = (1 - level) / speed if is_empty else (rate.requests - level) / speed
        return Quota(rate, allowed, math.floor(level), reset_s, reset_s if is_empty else 0.0)
