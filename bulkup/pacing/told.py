"""What a service's headers say of its quotas, read strictly. Pure; nothing that a service sends raises.

Three forms are read: `x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests` (or without `-requests`); the IETF's
`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers: `"default";r=50;t=30`, `"default";q=100;w=60`, several
in a list; in draft 07 `limit=100, remaining=50, reset=50` and `100;w=60`); and `RateLimit-Limit`, `-Remaining`, `-Reset` of the
drafts before. What cannot be read counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bulkup.light_dataclass import dataclass

__all__ = ["QuotaTold", "quotas_told"]

X_PREFIX = "x-ratelimit-"

LONGEST_FIELD = 4096
MOST_QUOTAS = 16
LONGEST_S = 1e9
UNIX_FROM, UNIX_MS_FROM = 1e9, 1e11
"""A reset from here on is a Unix time, in seconds or milliseconds: as seconds it would be thirty years."""


@dataclass(frozen=True, slots=True)
class QuotaTold:
    """What one answer's headers said of one quota of requests.

    *limit* requests in *window_s* seconds (None: it did not say), of which *remaining* are left until *reset_s* seconds from now.
    *whole*: the reset was given in whole seconds, so it may be off by one.
    """

    limit: float | None
    remaining: float | None
    reset_s: float | None
    window_s: float | None = None
    name: str = ""
    whole: bool = field(default=True, compare=False)


def quotas_told(headers: Mapping[str, str], unix_now: float) -> tuple[QuotaTold, ...]:
    """All quotas that *headers* (names in lower case; repeated ones joined by commas) tell.

    Resets that are moments count from the answer's own `date`, else from *unix_now*.
    """
    since = _unix(headers.get("date", "")) or unix_now
    for suffix in ("-requests", ""):
        if X_PREFIX + "limit" + suffix in headers:
            found = _plain(headers, X_PREFIX, suffix, since)
            break
    else:
        found = []
    return (*found, *_ietf(headers, since))[:MOST_QUOTAS]


def _plain(headers: Mapping[str, str], prefix: str, suffix: str, since: float) -> list[QuotaTold]:
    """One header for each figure. Where a gateway and a service behind it both tell theirs, all of them hold."""
    limits, left, resets = (_parts(headers.get(prefix + what + suffix, "")) for what in ("limit", "remaining", "reset"))
    whole_reset = _seconds(headers.get(prefix + "reset" + suffix, ""), since)
    if whole_reset[0] is not None:
        resets = [headers[prefix + "reset" + suffix]]  # a date has a comma of its own
    figures = [_number(text) for text in limits]
    if not len(limits) == len(left) == len(resets):  # whose is whose nobody can say
        left = left if len(limits) == len(left) == 1 else []
        resets = resets if len(limits) == len(resets) == 1 else []
        figures = [min((f for f in figures if f), default=None)]
    found = []
    for place, limit in enumerate(figures):
        if not limit:
            continue
        reset_s, whole = _seconds(resets[place], since) if place < len(resets) else (None, True)
        remaining = _number(left[place]) if place < len(left) else None
        name = str(place) if place else ""
        found.append(QuotaTold(limit, remaining, reset_s, name=name, whole=whole))
    return found


def _parts(text: str) -> list[str]:
    return text.split(",") if len(text) <= LONGEST_FIELD else []


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text) else None


_DURATION = re.compile(
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)d)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)h)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)m(?!s))?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)ms)?"
)
_UNITS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)
_COUNT = re.compile(r"[0-9]{1,16}(\.[0-9]{1,9})?")


def _seconds(text: str, since: float) -> tuple[float | None, bool]:
    """A reset in seconds, and whether it was given in whole ones: `12`, `1m30s`, `20ms`, a Unix time, a date. Past is 0."""
    text = text.strip()
    if not text or len(text) > 64:
        return None, True
    whole = "." not in text and "ms" not in text
    if _COUNT.fullmatch(text):
        count = float(text)
        if count >= UNIX_MS_FROM:
            count, whole = count / 1000, False
        seconds = count - since if count >= UNIX_FROM else count
    elif found := _DURATION.fullmatch(text):
        seconds = sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)
    elif (moment := _unix(text)) is not None:
        seconds = moment - since
    else:
        return None, True
    return min(max(0.0, seconds), LONGEST_S), whole


def _unix(text: str) -> float | None:
    """A date as HTTP or ISO 8601 writes it, as a Unix time."""
    if not text or len(text) > 64:
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
    return None


_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_TOKEN = r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*"  # noqa: S105 - a pattern
_FIGURE = r"-?[0-9]{1,15}(?:\.[0-9]{1,3})?"
_KEY = r"[a-z*][a-z0-9_\-.*]*"
_BARE = rf"(?:{_STRING}|{_FIGURE}|:[A-Za-z0-9+/=]*:|\?[01]|{_TOKEN})"
_PARAMETER = re.compile(rf";[ ]*({_KEY})(?:=({_BARE}))?")
_ITEM = re.compile(rf"({_STRING}|{_FIGURE}|{_TOKEN})((?:;[ ]*{_KEY}(?:={_BARE})?)*)[ \t]*")
_NEXT = re.compile(r",[ \t]*")
_ENTRY = re.compile(rf"({_KEY})=({_FIGURE})[ \t]*")

Item = tuple[str, dict[str, str]]
"""A bare item as it is written, and its parameters."""


def _items(text: str) -> list[Item]:
    """The members of an RFC 9651 list of items (inner lists are not read); none of them where any is malformed."""
    text, found, at = text.strip(" \t"), [], 0
    if len(text) > LONGEST_FIELD:
        return []
    while item := _ITEM.match(text, at):
        found.append((item[1], {name: value or "?1" for name, value in _PARAMETER.findall(item[2])}))
        if item.end() == len(text):
            return found
        comma = _NEXT.match(text, item.end())
        if comma is None or comma.end() == len(text):
            break
        at = comma.end()
    return []


def _entries(text: str) -> dict[str, float]:
    """An RFC 9651 dictionary of numbers; empty where it is none."""
    text, found, at = text.strip(" \t"), {}, 0
    if len(text) > LONGEST_FIELD:
        return {}
    while entry := _ENTRY.match(text, at):
        found[entry[1]] = float(entry[2])
        if entry.end() == len(text):
            return found
        comma = _NEXT.match(text, entry.end())
        if comma is None:
            break
        at = comma.end()
    return {}


def _figure(text: str | None, *, least: float) -> float | None:
    if text is None or not re.fullmatch(_FIGURE, text):
        return None
    found = float(text)
    return min(found, LONGEST_S) if found >= least else None


def _ietf(headers: Mapping[str, str], since: float) -> list[QuotaTold]:
    quotas: dict[str, QuotaTold] = {}
    for item, parameters in _items(headers.get("ratelimit-policy", "")):
        quota = _policy(item, parameters)
        if quota is not None and quota.name not in quotas:
            quotas[quota.name] = quota
    for item, parameters in _items(headers.get("ratelimit", "")):
        remaining = _figure(parameters.get("r"), least=0)
        if remaining is None:
            continue
        policy = quotas.get(_name(item), QuotaTold(None, None, None, name=_name(item)))
        if policy.remaining is None or remaining < policy.remaining:  # of several partitions the tightest
            reset_s = _figure(parameters.get("t"), least=0)
            quotas[policy.name] = replace(policy, remaining=remaining, reset_s=reset_s)
    told = _entries(headers.get("ratelimit", ""))
    older = _items(headers.get("ratelimit-limit", ""))
    if "limit" in told and told["limit"] > 0:
        _add(quotas, told["limit"], told.get("remaining"), told.get("reset"))
    elif older and (limit := _figure(older[0][0], least=1e-3)):
        for item, parameters in older[1:]:
            if (quota := _policy(item, parameters)) is not None:
                quotas.setdefault(quota.name, quota)
        remaining = _number(headers.get("ratelimit-remaining", ""))
        _add(quotas, limit, remaining, _seconds(headers.get("ratelimit-reset", ""), since)[0])
    # a policy of something that is not counted in requests was left out, so what is left of it has no limit and no name here
    return list(quotas.values())


def _add(quotas: dict[str, QuotaTold], limit: float, remaining: float | None, reset_s: float | None) -> None:
    """What the older forms say of the quota of *limit* requests, with the window of the policy that has the same."""
    same = next(
        (quota for quota in quotas.values() if quota.limit == limit), QuotaTold(limit, None, None, name="limit")
    )
    left = remaining if remaining is not None and remaining >= 0 else None
    reset_s = reset_s if reset_s is not None and 0 <= reset_s <= LONGEST_S else None
    quotas[same.name] = replace(same, remaining=left, reset_s=reset_s)


def _policy(item: str, parameters: dict[str, str]) -> QuotaTold | None:
    """`"burst";q=100;w=60`, or in draft 07 `100;w=60`. None for a quota of bytes or of requests at once."""
    if parameters.get("qu", '"requests"').strip('"') != "requests":
        return None
    limit = _figure(parameters.get("q"), least=1e-3) or _figure(item, least=1e-3)
    if limit is None:
        return None
    return QuotaTold(limit, None, None, window_s=_figure(parameters.get("w"), least=1e-3), name=_name(item))


def _name(item: str) -> str:
    return "ietf " + item.strip('"')
