"""Answers as values, and the ways to send them: whole, cut, drip by drip, or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from aiohttp import web

from .state import State
from .store import Upload

__all__ = ["Answer", "RefusedError", "abort", "cut", "drip", "json_answer", "problem", "reset", "send"]

REASONS: Final = {520: "Web Server Returned an Unknown Error"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and a body: bytes go with their Content-Length, an iterator goes chunked."""

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def bearing(self, headers: Mapping[str, str]) -> Answer:
        """This answer with *headers* besides its own, which prevail."""
        return replace(self, headers={**headers, **self.headers}) if headers else self

    async def whole(self) -> bytes:
        """The body in one piece."""
        if isinstance(self.body, bytes):
            return self.body
        return b"".join([piece async for piece in self.body])


class RefusedError(Exception):
    """The request is answered with an error. *detail*: a sentence, or a list of {loc, msg, type}, as published.

    *kept* is what stands before the row at fault: whether an endpoint stores that is open.
    """

    def __init__(self, status: int, detail: str | list[dict[str, Any]], kept: Upload | None = None) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.kept = kept


def json_answer(value: Any, status: int = 200) -> Answer:
    """*value* as JSON."""
    return Answer(status, orjson.dumps(value))


def problem(
    state: State, request: web.Request, status: int, detail: object, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error as the endpoints phrase it: `{"detail": …}` [openapi]. Repeats the token where the settings say so."""
    said: dict[str, object] = {"detail": detail}
    found = dict(headers or {})
    if state.settings.echo_authorization and (token := request.headers.get("Authorization")):
        said["received"] = {"authorization": token}
        found["x-received-authorization"] = token
        if isinstance(detail, str):
            said["detail"] = f"{detail} (Authorization: {token})"
        elif isinstance(detail, list):
            said["detail"] = [{**item, "msg": f"{item['msg']} (Authorization: {token})"} for item in detail]
    return Answer(status, orjson.dumps(said), found)


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Send all of *answer*."""
    response = await _begin(request, answer)
    if isinstance(answer.body, bytes):
        if answer.body:
            await response.write(answer.body)
    else:
        async for piece in answer.body:
            await response.write(piece)
    await response.write_eof()
    return response


async def cut(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Send the headers and half of the body, then close the connection."""
    body = await answer.whole()
    response = await _begin(request, answer, len(body))
    await response.write(body[: len(body) // 2])
    response.force_close()
    if request.transport is not None:
        request.transport.close()
    return response


async def drip(request: web.Request, answer: Answer, state: State) -> web.StreamResponse:
    """Send a few bytes at a time for a while, then the rest."""
    body = await answer.whole()
    response = await _begin(request, answer, len(body))
    settings, sent, ends = state.settings, 0, time.monotonic() + state.settings.drip_s
    while sent < len(body) and time.monotonic() < ends and not state.stopping.is_set():
        await response.write(body[sent : sent + settings.drip_bytes])
        sent += settings.drip_bytes
        await asyncio.sleep(settings.drip_ms / 1000)
    if sent < len(body):
        await response.write(body[sent:])
    await response.write_eof()
    return response


def reset(request: web.Request) -> web.StreamResponse:
    """Break the connection with a TCP reset, now. What is returned is never sent."""
    if (transport := request.transport) is not None:
        abort(transport)
    response = web.Response()
    response.force_close()
    return response


def abort(transport: asyncio.BaseTransport) -> None:
    """A reset, not an orderly end: no lingering, nothing flushed."""
    if (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert isinstance(transport, asyncio.Transport)
    transport.abort()


async def _begin(request: web.Request, answer: Answer, length: int | None = None) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=REASONS.get(answer.status), headers=dict(answer.headers))
    if answer.status != 204:
        response.content_type = answer.content_type
        if isinstance(answer.body, bytes):
            response.content_length = len(answer.body) if length is None else length
    await response.prepare(request)
    return response
