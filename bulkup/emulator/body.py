"""Reading a request's body: all of it, half of it, or away with it."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

__all__ = ["MAX_BODY_BYTES", "BodyTooLargeError", "ClientGoneError", "discard", "read", "read_half"]

MAX_BODY_BYTES: Final = 1 << 30
"""What the emulator reads at most where no limit is set."""


class BodyTooLargeError(Exception):
    """The body is over the limit. Not more than the limit was read."""


class ClientGoneError(Exception):
    """The connection broke, or broke the protocol, before the body was complete. *received* bytes of it came."""

    def __init__(self, received: int) -> None:
        super().__init__(received)
        self.received = received


async def read(request: web.Request, limit: int | None = None) -> bytearray:
    """The whole body. Raises `BodyTooLargeError` as soon as that is known, `ClientGoneError` where it breaks off."""
    limit = MAX_BODY_BYTES if limit is None else limit
    if request.content_length is not None and request.content_length > limit:
        raise BodyTooLargeError
    return await _read(request, limit, None)


async def read_half(request: web.Request) -> bytearray:
    """About half of the body; of a chunked one, whose end is unknown, the first piece."""
    return await _read(request, MAX_BODY_BYTES, (request.content_length or 2) // 2)


async def discard(request: web.Request, seconds: float) -> None:
    """Read the rest of the body and forget it, for so long at most."""
    try:
        async with asyncio.timeout(seconds):
            while await request.content.readany():
                pass
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        return


async def _read(request: web.Request, limit: int, enough: int | None) -> bytearray:
    body = bytearray()
    try:
        while piece := await request.content.readany():
            body += piece
            if len(body) > limit:
                raise BodyTooLargeError
            if enough is not None and len(body) >= enough:
                break
    except (ConnectionError, web.RequestPayloadError) as lost:
        raise ClientGoneError(len(body)) from lost
    return body
