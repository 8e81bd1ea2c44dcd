"""How many requests a minute: told by the user, by the service's headers, or learned from its refusals. Pure.

What is known of the quotas stands in `docs/endpoints.md`: requests a minute, moved every 15 minutes by the use made of them
(80 % or more raises them by a fifth, up to 20 times the base). What the headers leave open is not guessed: a limit without a
window is one a minute, and what cannot be read counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bulkup.pacing.learned import LearnedRate

__all__ = ["Growth", "Quota", "QuotaTold", "quota_told", "time_for_s"]

SHARE = 0.99
"""A quota is used up to here: under it, so that there is no refusal; far above the 0.8 from which a growing quota grows."""

SLOWEST = 0.1
"""What `remaining` and `reset` say never slows the pace below this share: how a service counts is not published."""

GROWS_EVERY_S = 15 * 60.0
GROWS_TO = 20.0
"""Times the base. [vendor docs]"""

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


@dataclass(frozen=True, slots=True)
class QuotaTold:
    """What one answer's headers said: requests a minute, how many are left, and seconds until they are not the only ones."""

    limit: float
    remaining: float | None
    reset_s: float | None


def quota_told(headers: Mapping[str, str]) -> QuotaTold | None:
    """From `x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests` (names in lower case); None without a limit.

    A reset is taken as seconds (`12`, `12.5`) or as a duration (`1m30s`, `500ms`): its form is not published.
    """
    limit = _number(headers.get("x-ratelimit-limit-requests", ""))
    if limit is None or limit <= 0:
        return None
    return QuotaTold(
        limit,
        _number(headers.get("x-ratelimit-remaining-requests", "")),
        _seconds(headers.get("x-ratelimit-reset-requests", "")),
    )


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text) else None


def _seconds(text: str) -> float | None:
    text = text.strip()
    if (plain := _number(text)) is not None:
        return plain
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        return None
    units = (3600.0, 60.0, 1.0, 0.001)
    return sum(float(part) * unit for part, unit in zip(found.groups(), units, strict=True) if part)


@dataclass(frozen=True, slots=True)
class Growth:
    """A quota that was seen to grow: *factor* times as much every 15 minutes, next in *next_s* seconds, up to *most* a minute."""

    factor: float
    next_s: float
    most: float


class Quota:
    """One lane's requests a minute. Times are seconds of any one clock."""

    def __init__(self, *, told_per_minute: float | None = None) -> None:
        """*told_per_minute*: what the user says that the quota is."""
        self._told = told_per_minute
        self._learned = LearnedRate()
        self._limit: float | None = None
        self._first_limit: float | None = None
        self._grown: tuple[float, float] | None = None
        self._left_per_minute: float | None = None
        self._left_until = float("-inf")

    def headers(self, now: float, told: QuotaTold) -> None:
        """An answer told where the quota stands."""
        if self._limit is not None and told.limit > self._limit:
            self._grown = (told.limit / self._limit, now)
        elif self._limit is not None and told.limit < self._limit:
            self._grown = None
        self._limit = told.limit
        self._first_limit = self._first_limit or told.limit
        if told.remaining is not None and told.reset_s:
            self._left_per_minute = 60 * told.remaining / told.reset_s
            self._left_until = now + told.reset_s

    def accepted(self, now: float, *, began_s: float) -> None:
        """A request that had begun at *began_s* was not refused for the quota's sake."""
        self._learned.accepted(now, began_s=began_s)

    def refused(self, now: float, *, began_s: float, wait_s: float | None) -> None:
        """A request that had begun at *began_s* was answered 429, with so long a wait if the service named one."""
        self._learned.refused(now, began_s=began_s, wait_s=wait_s)

    @property
    def refusals_in_a_row(self) -> int:
        """How often requests were refused since the last one that was not; those on their way at the same time count as one."""
        return self._learned.refusals_in_a_row

    @property
    def is_known(self) -> bool:
        """There is a pace to keep."""
        return self._told is not None or self._limit is not None or self._learned_counts

    @property
    def _learned_counts(self) -> bool:
        """A trial is for who knows nothing: where somebody has said what the quota is, only what was measured goes below it."""
        is_said = self._told is not None or self._limit is not None
        return self._learned.is_measured if is_said else self._learned.per_minute is not None

    def per_minute(self, now: float) -> float | None:
        """At what pace requests may go now; None where no quota is known."""
        said = self._told if self._told is not None else self._limit
        paces = [SHARE * said] if said is not None else []
        if said is not None and self._left_per_minute is not None and now < self._left_until:
            paces.append(max(self._left_per_minute, SLOWEST * said))
        if self._learned_counts:
            assert self._learned.per_minute is not None
            paces.append(self._learned.per_minute)
        return min(paces, default=None)

    def growth(self, now: float) -> Growth | None:
        """How it will grow, if it was seen to grow and nothing holds the pace below it."""
        if self._grown is None or self._first_limit is None or self._told is not None:
            return None
        if self._learned_counts:
            return None
        factor, at = self._grown
        next_s = GROWS_EVERY_S - (now - at) % GROWS_EVERY_S
        return Growth(factor, next_s, SHARE * GROWS_TO * self._first_limit)


def time_for_s(requests: float, per_minute: float, growth: Growth | None) -> float:
    """Seconds that so many requests take at *per_minute*, which grows as *growth* says."""
    if growth is None or growth.factor <= 1:
        return 60 * requests / per_minute
    took, span = 0.0, growth.next_s
    while requests > per_minute * span / 60 and per_minute < growth.most:
        requests -= per_minute * span / 60
        took, span = took + span, GROWS_EVERY_S
        per_minute = min(growth.most, per_minute * growth.factor)
    return took + 60 * requests / per_minute
