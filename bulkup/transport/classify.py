"""What an answer means: a pure function from a status and its headers to an outcome.

The rules are the table of the same name in `docs/design.md`; which of them are assumptions about a service stands in
`docs/guarantees.md`. Success (a 2xx with a body that checks out) is each destination's own reading, not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from bulkup.errors import ExitCode
from bulkup.outcome import CloseGate, InDoubt, Outcome, RowsRefused, StopLane, TokenRejected, TooLarge

__all__ = ["BadRequest", "classify_status", "counts_early", "retry_after_s"]

MAX_RETRY_AFTER_S = 366 * 24 * 3600.0
"""What passes a year is taken as one: how long a lane waits at most is `--max-wait`'s matter."""


class BadRequest(StrEnum):
    """What a 400 from a service says about storage."""

    NOTHING_STORED = "nothing stored"
    OPEN = "open"


def classify_status(
    status: int,
    headers: Mapping[str, str],
    words: str,
    *,
    bad_request: BadRequest,
    now: datetime,
    by_gateway: bool = False,
) -> Outcome:
    """The outcome of an upload or a question answered with *status*, which is not a success a destination has understood.

    *words* is the start of the answer's body, redacted. *now* is used where Retry-After is a date and the answer
    has no `Date` of its own. *by_gateway*: the answer is a page of HTML, so it is not the service's own.
    """
    said = f"HTTP {status}" + (f": {words}" if words else "")
    match status:
        case 401:
            return TokenRejected(said)
        case 403 if by_gateway:
            return StopLane(said, ExitCode.NO_PERMISSION, may_pass=True)
        case 403:
            return StopLane(f"{said}. The token lacks permission for this", ExitCode.NO_PERMISSION)
        case 402:
            return StopLane(f"{said}. The account must be topped up", ExitCode.NO_PERMISSION)
        case 413:
            return TooLarge(said)
        case 429:
            return CloseGate(said, retry_after_s(headers, now), over_quota=True)
        case 503 if (wait_s := retry_after_s(headers, now)) is not None:
            return CloseGate(said, wait_s)
        case 400 if bad_request is BadRequest.OPEN:
            return InDoubt(f"{said} (whether part of the chunk was stored is not documented)", was_answered=True)
        case 400 | 422:
            return RowsRefused(said)
        case 408 | 409:
            return InDoubt(said)
        case 501 | 505:
            return StopLane(f"{said}. This is not the service that bulkup knows: check the URL", ExitCode.USAGE)
        case _ if status // 100 == 3:
            return StopLane(
                f"{said}. A redirect is never followed with a body or a token: check the URL", ExitCode.USAGE
            )
        case _ if status // 100 == 4:
            may_pass = by_gateway and status != 407  # a proxy's answer stays what it is
            return StopLane(f"{said}. Check the URL and the options", ExitCode.USAGE, may_pass=may_pass)
        case _ if status >= 500:
            return InDoubt(said)
        case _:
            return InDoubt(f"{said}: an answer that the service's reference does not have")


def counts_early(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer means what `classify_status` says also where it came before the whole body was sent.

    Gateways refuse early, and then no whole body is there to be stored. Every other early answer proves nothing: a success cannot
    speak of rows that had not been sent, and what a service in trouble does with half a body nobody knows.
    """
    if status == 503:
        return retry_after_s(headers, datetime.now(UTC)) is not None
    return status in _REFUSED_EARLY or status // 100 == 3


_REFUSED_EARLY = frozenset({401, 402, 403, 404, 405, 413, 415, 429})


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by `Retry-After`, as seconds or as a date (against the answer's own `Date`), None without one.

    Source: RFC 9110 §10.2.3. What cannot be read counts as absent.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return min(float(value), MAX_RETRY_AFTER_S)
    until = _date(value)
    if until is None:
        return None
    since = _date(headers.get("Date")) or now
    return min(max(0.0, (until - since).total_seconds()), MAX_RETRY_AFTER_S)


def _date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, LookupError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
