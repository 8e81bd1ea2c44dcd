"""What both services' wires have in common: a JSON answer read within bounds, an upload's failure as an outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from bulkup.classify import BadRequest, classify_status
from bulkup.destinations.seam import AnswerTooLarge, LookFailed, NotThere, ReadBackUnavailable
from bulkup.outcome import CloseGate, InDoubt, Outcome, RowsRefused, StopLane, TokenRejected, TryAgain
from bulkup.secret import redact
from bulkup.token_source import TokenSource
from bulkup.transport import (
    ERROR_BYTES,
    WORDS,
    Answer,
    AnswerTooLong,
    Body,
    LastingFailure,
    Phase,
    Transport,
    TransportFailure,
)

__all__ = ["JsonBody", "ask", "lost", "readable", "refusal", "rows_at_fault"]

LOOK_BYTES = 32 * 1024 * 1024
"""How much of an answer to a read-back is taken in."""

CUT_CHARS = 16 * 1024
"""So much of the end of a cut text is not kept: no token is written in more."""


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A small JSON body."""

    data: bytes
    content_type: str = "application/json"

    @property
    def content_length(self) -> int:
        return len(self.data)

    async def blocks(self) -> AsyncIterator[bytes | bytearray]:
        yield self.data


def lost(failure: TransportFailure) -> Outcome:
    """The outcome of an upload that got no whole answer: free to try again only while no byte of its body had left."""
    if isinstance(failure, LastingFailure):
        return StopLane(failure.reason, failure.exit_code)
    if failure.phase is Phase.CONNECT:
        return TryAgain(str(failure))
    return InDoubt(str(failure))


async def refusal(answer: Answer, token: TokenSource, *, bad_request: BadRequest) -> Outcome:
    """The outcome of an upload that was answered with no success."""
    body = await answer.error_body()
    words = readable(body)
    outcome = classify_status(answer.status, answer.headers, words, bad_request=bad_request, now=datetime.now(UTC))
    if isinstance(outcome, RowsRefused):
        return RowsRefused(outcome.reason, rows_at_fault(body))
    if isinstance(outcome, InDoubt) and outcome.was_answered:
        return InDoubt(outcome.reason, was_answered=True, rows=rows_at_fault(body))
    return outcome


async def ask(
    transport: Transport,
    token: TokenSource,
    method: str,
    path: str,
    *,
    body: Body | None = None,
    params: Mapping[str, str] | None = None,
) -> Any:
    """The JSON that a read-back answers. Raises `LookFailed` where another time may do, else `ReadBackUnavailable`."""
    try:
        async with transport.exchange(method, path, token=token.current, body=body, params=params) as answer:
            if answer.status == 200:
                data = await answer.read(LOOK_BYTES)
            else:
                outcome = await refusal(answer, token, bad_request=BadRequest.NOTHING_STORED)
                raise _look_failed(outcome, answer.status)
    except AnswerTooLong as failure:
        raise AnswerTooLarge(f"{method} {path} gave {failure.reason}") from None
    except LastingFailure as failure:
        raise LookFailed(StopLane(failure.reason, failure.exit_code)) from None
    except TransportFailure as failure:
        raise LookFailed(TryAgain(str(failure))) from None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ReadBackUnavailable(f"{method} {path} answered what is not JSON") from None


def _look_failed(outcome: Outcome, status: int) -> LookFailed | ReadBackUnavailable:
    match outcome:
        case TokenRejected() | CloseGate() | TryAgain():
            return LookFailed(outcome)
        case InDoubt(reason):  # a look stores nothing, so it may be repeated
            return LookFailed(TryAgain(reason))
        case StopLane() if status == 402:
            return LookFailed(outcome)
        case _ if status == 404:
            return NotThere(outcome.reason)
        case _:
            return ReadBackUnavailable(outcome.reason)


def rows_at_fault(body: bytes) -> tuple[int, ...]:
    """The row numbers (from 0) that a 422's `detail[].loc` names, in order. Empty where it names none. [openapi]"""
    try:
        detail = orjson.loads(body)["detail"]
        places = [item["loc"] for item in detail]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ()
    rows = set()
    for place in places:
        if not isinstance(place, list):
            continue
        numbers = [part for part in place if isinstance(part, int) and not isinstance(part, bool) and part >= 0]
        if numbers:
            rows.add(numbers[0])
    return tuple(sorted(rows))


def readable(body: bytes) -> str:
    """A server's words for a person: the `msg`s of a `detail`, or the text; free of secrets, on one line, bounded."""
    text = body.decode("utf-8", "replace")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = text
    if not isinstance(parsed, str):
        text = orjson.dumps(parsed).decode()  # written anew: the service may have escaped what redaction looks for
    detail = parsed.get("detail", parsed.get("message", text)) if isinstance(parsed, dict) else text
    if isinstance(detail, list):
        text = "; ".join(_complaint(item) for item in detail[:5])
    elif isinstance(detail, str):
        text = detail
    text = redact(text)
    if len(body) >= ERROR_BYTES:  # it was cut, perhaps in the midst of a secret
        text = text[:-CUT_CHARS]
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:WORDS]


def _complaint(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    said = str(item.get("msg", item))
    return f"{'.'.join(map(str, place))}: {said}" if isinstance(place, list) else said
