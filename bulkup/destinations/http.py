"""What both services' wires have in common: a JSON answer read within bounds, an upload's failure as an outcome."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Protocol, TypeVar

import msgspec
import orjson

from bulkup.destinations.base import AnswerTooLarge, Asking, LookFailed, NotThere, ReadBackUnavailable
from bulkup.destinations.pages import title_of_page
from bulkup.light_dataclass import dataclass
from bulkup.outcome import CloseGate, InDoubt, Outcome, RowsRefused, StopLane, TokenRejected, TryAgain
from bulkup.tokens.secret import holds_secret, redact
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import (
    ERROR_BYTES,
    WORDS,
    Answer,
    AnswerTooLong,
    AnswerUnreadable,
    Body,
    LastingFailure,
    Phase,
    Transport,
    TransportFailure,
    Withheld,
)
from bulkup.transport.classify import BadRequest, classify_status

__all__ = [
    "CODEC_ERRORS",
    "ID_CHARACTERS",
    "LOOK_BYTES",
    "ROW_BYTES",
    "Decoder",
    "JsonBody",
    "RowId",
    "ask",
    "decoded",
    "has_path",
    "is_usable_id",
    "lost",
    "readable",
    "refusal",
    "rows_at_fault",
]

LOOK_BYTES = 8 * 1024 * 1024
"""How much of an answer to a read-back is taken in: a page of rows that is longer is asked for in smaller pages."""

ROW_BYTES = 32 * 1024 * 1024
"""How much of one that was to hold a single row."""

MOST_OBJECTS = 400_000
"""An answer may open so many objects and arrays: each takes many times its two bytes here."""

ID_CHARACTERS = 200

CODEC_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""What decoders and encoders raise at odd input (`RecursionError` is a `RuntimeError`). Each makes an answer unusable, no more."""

RowId = Annotated[str, msgspec.Meta(max_length=ID_CHARACTERS)] | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A row's id as it is kept: `ids.jsonl` holds these."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Decoder(Protocol[T_co]):
    """What makes a value of an answer's bytes, and raises one of `CODEC_ERRORS` where it cannot."""

    def decode(self, data: bytes, /) -> T_co: ...


_ID = re.compile(rf"(?!\.+\Z)[A-Za-z0-9_.:-]{{1,{ID_CHARACTERS}}}")


def is_usable_id(text: str) -> bool:
    """Whether *text* can be a dataset's id, which stands in URLs, journals and receipts: so no secret may stand in it."""
    return _ID.fullmatch(text) is not None and not holds_secret([text])


SEEN_CHARS, CUT_CHARS = 24 * 1024, 16 * 1024
"""So much of a text is looked at, and so much of the end of one that was cut is not kept: no token is written in more."""


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
    """The outcome of an upload that got no whole answer: free to try again only while no byte of its body had left, or its end was
    kept back."""
    if isinstance(failure, LastingFailure):
        return StopLane(failure.reason, failure.exit_code)
    if failure.phase is Phase.CONNECT or isinstance(failure, Withheld):
        return TryAgain(str(failure))
    return InDoubt(str(failure))


async def refusal(answer: Answer, *, bad_request: BadRequest) -> Outcome:
    """The outcome of an upload, or of a question, that was answered with no success."""
    body = await answer.error_body()
    title = title_of_page(answer.headers.get("Content-Type", ""), body)
    outcome = classify_status(
        answer.status,
        answer.headers,
        readable(body) if title is None else _gateway(title),
        bad_request=bad_request,
        now=datetime.now(UTC),
        by_gateway=title is not None,
    )
    if isinstance(outcome, RowsRefused):
        return RowsRefused(outcome.reason, rows_at_fault(body))
    if isinstance(outcome, InDoubt) and outcome.was_answered:
        return InDoubt(outcome.reason, was_answered=True, rows=rows_at_fault(body))
    return outcome


def _gateway(title: str) -> str:
    return "a gateway answered, not the service" + (f': "{title}"' if title else ", with a page of HTML")


async def ask(
    asking: Asking,
    transport: Transport,
    token: TokenSource,
    method: str,
    path: str,
    decoder: Decoder[T],
    *,
    body: Body | None = None,
    params: Mapping[str, str] | None = None,
    max_bytes: int = LOOK_BYTES,
) -> T:
    """What a read-back answers to this one request. Raises `LookFailed` where another time may do, else `ReadBackUnavailable`."""
    return await asking(partial(_asked, transport, token, method, path, decoder, body, params, max_bytes))


async def _asked(
    transport: Transport,
    token: TokenSource,
    method: str,
    path: str,
    decoder: Decoder[T],
    body: Body | None,
    params: Mapping[str, str] | None,
    max_bytes: int,
) -> T:
    try:
        async with transport.exchange(method, path, token=token.current, body=body, params=params) as answer:
            if answer.status == 200:
                return decoded(await answer.read(max_bytes), decoder, f"{method} {path}")
            outcome = await refusal(answer, bad_request=BadRequest.NOTHING_STORED)
            status = answer.status
    except (AnswerTooLong, AnswerUnreadable) as failure:
        kind = AnswerTooLarge if isinstance(failure, AnswerTooLong) else ReadBackUnavailable
        raise kind(f"{method} {path} gave {failure.reason}") from None
    except LastingFailure as failure:
        raise LookFailed(StopLane(failure.reason, failure.exit_code)) from None
    except TransportFailure as failure:
        raise LookFailed(TryAgain(str(failure))) from None
    raise _look_failed(outcome, status)


async def has_path(asking: Asking, transport: Transport, token: TokenSource, path: str) -> bool:
    """Whether the service knows *path*: a wrong base URL leads to one that it does not know. Raises `LookFailed`.

    Any answer says that it does, but for 404, and for the 501 of a server that knows no OPTIONS.
    """

    async def asked() -> bool:
        try:
            async with transport.exchange("OPTIONS", path, token=token.current) as answer:
                return answer.status not in (404, 501)
        except LastingFailure as failure:
            raise LookFailed(StopLane(failure.reason, failure.exit_code)) from None
        except TransportFailure as failure:
            raise LookFailed(TryAgain(str(failure))) from None

    return await asking(asked)


def decoded(data: bytes, decoder: Decoder[T], request: str) -> T:
    """The answer to *request* as *decoder* has it. Raises `ReadBackUnavailable` for whatever else it is."""
    if data.count(b"{") + data.count(b"[") > MOST_OBJECTS:
        raise AnswerTooLarge(f"{request} gave more than {MOST_OBJECTS:,} objects")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise ReadBackUnavailable(
            f"{request} answered in another form than is known: {_one_line(redact(str(error)))}"
        ) from None
    except CODEC_ERRORS:
        raise ReadBackUnavailable(f"{request} answered what is not JSON") from None


def _look_failed(outcome: Outcome, status: int) -> LookFailed | ReadBackUnavailable:
    match outcome:
        case TokenRejected() | CloseGate() | TryAgain():
            return LookFailed(outcome)
        case InDoubt(reason):  # a look stores nothing, so it may be repeated
            return LookFailed(TryAgain(reason))
        case StopLane(may_pass=may_pass) if may_pass or status == 402:
            return LookFailed(outcome)
        case _ if status == 404:
            return NotThere(outcome.reason)
        case _:
            return ReadBackUnavailable(outcome.reason)


_NO_JSON = ("json_invalid", "value_error.jsondecode")


def rows_at_fault(body: bytes) -> tuple[int, ...]:
    """The row numbers (from 0) that a 422's `detail[].loc` names, in order. Empty where it names none. [openapi]

    Where the body is no JSON to the service, a number there is a character of the body, not a row.
    """
    try:
        detail = orjson.loads(body)["detail"]
        places = [item["loc"] for item in detail if not (isinstance(item, dict) and item.get("type") in _NO_JSON)]
    except CODEC_ERRORS:
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
    except CODEC_ERRORS:
        parsed = text
    if not isinstance(parsed, str):
        try:
            text = orjson.dumps(parsed).decode()  # written anew: the service may have escaped what redaction looks for
        except CODEC_ERRORS:
            return "(what it says is nested too deep to be shown)"
    detail = parsed.get("detail", parsed.get("message", text)) if isinstance(parsed, dict) else text
    if isinstance(detail, list):
        text = "; ".join(_complaint(item) for item in detail[:5])
    elif isinstance(detail, str):
        text = detail
    return _one_line(text, is_cut=len(body) >= ERROR_BYTES)


def _one_line(text: str, *, is_cut: bool = False) -> str:
    """*text* on one line, free of secrets, bounded. *is_cut*: it may end in the midst of one."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    seen = redact(line[:SEEN_CHARS])
    if is_cut or len(line) > SEEN_CHARS:
        seen = seen[:-CUT_CHARS]
    return seen[:WORDS]


def _complaint(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    said = str(item.get("msg", item))
    return f"{'.'.join(map(str, place))}: {said}" if isinstance(place, list) else said
