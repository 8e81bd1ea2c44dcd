"""A destination over answers that a test makes up, without a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from multidict import CIMultiDict

from bulkup.destinations.base import Envelope, Payload
from bulkup.destinations.collinear.wire import CollinearDestination
from bulkup.destinations.nebius.wire import NebiusDestination
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import AnswerTooLong, Phase, Transport

__all__ = ["SECRET", "SPACE", "Asked", "Said", "collinear", "nebius", "payload", "said"]

SECRET = "tok-SECRET-0123456789"
SPACE = "3c90c3cc-0d44-4b50-8888-8dd25736052a"


@dataclass(slots=True)
class Said:
    """An answer as the transport gives it."""

    status: int
    pieces: Sequence[bytes]
    headers: Mapping[str, str] = field(default_factory=CIMultiDict)

    async def blocks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    async def read(self, max_bytes: int) -> bytes:
        data = b"".join(self.pieces)
        if len(data) > max_bytes:
            raise AnswerTooLong(Phase.ANSWER, "an answer that is too long")
        return data

    async def error_body(self) -> bytes:
        return b"".join(self.pieces)[:65_536]


def said(value: object, status: int = 200) -> Said:
    return Said(status, [json.dumps(value).encode()])


@dataclass(slots=True)
class Asked:
    """A transport: *answer* is called for each request with its path, its parameters and its body."""

    answer: Callable[[str, Mapping[str, str], bytes], Said]
    base_url: str = "http://127.0.0.1:9"
    requests: int = 0

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None, **_: Any
    ) -> AsyncIterator[Said]:
        self.requests += 1
        sent = b"".join([bytes(block) async for block in body.blocks()]) if body is not None else b""
        yield self.answer(path, dict(params or {}), sent)


def _token() -> TokenSource:
    return TokenSource(variable="T", file=None, environment={"T": SECRET})


def nebius(asked: Asked, *, ai_project_id: str | None = None) -> NebiusDestination:
    transport = cast("Transport", asked)
    return NebiusDestination(transport, _token(), dataset_name="set", folder="/f", ai_project_id=ai_project_id)


def collinear(asked: Asked) -> CollinearDestination:
    return CollinearDestination(cast("Transport", asked), _token(), dataset_name="set", space_id=SPACE)


def payload(destination: NebiusDestination | CollinearDestination, rows: int, name: str = "set") -> Payload:
    """*rows* rows that nobody looks at."""
    body = b",".join([b'{"a":1}'] * rows)

    async def blocks() -> AsyncIterator[bytes]:
        yield body

    return Payload(name, rows, len(body), Envelope(b"[", b"]", "application/json"), blocks)
