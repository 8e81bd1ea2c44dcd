"""A worker process whose lanes send to nobody: each attempt's answer is the rows that would have been sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import cast

from bulkup.destinations.base import Payload
from bulkup.destinations.service import DatasetAt, Service
from bulkup.flow.orders import Sent
from bulkup.outcome import Accepted, Outcome, RemoteStatus
from bulkup.run import worker
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Transport
from bulkup.workers import serve
from tests.destinations.memory import MemoryDestination

__all__ = ["Echo", "Echoes", "body_of"]


class Echo(MemoryDestination):
    """What it is sent becomes the dataset's id. Never answers a chunk of the name `hung`, once its first bytes were sent. Gives
    ids to the rows of one of the name `with ids`."""

    async def send(self, payload: Payload, on_bytes: Callable[[int], None]) -> Outcome:
        body = b""
        async for block in payload.blocks():
            on_bytes(len(block))
            body += block
            if payload.name == "hung":
                await asyncio.Event().wait()
        assert len(body) == payload.content_length, "the body is as long as it says"
        rows = body[len(payload.envelope.prefix) : len(body) - len(payload.envelope.suffix)]
        ids = tuple(range(payload.rows)) if payload.name == "with ids" else None
        return Accepted(rows.decode("latin-1"), self.token.current.header(), RemoteStatus.READY, ids)


def body_of(sent: Sent) -> bytes:
    """The rows that came back."""
    assert isinstance(sent.outcome, Accepted), sent
    return sent.outcome.remote_id.encode("latin-1")


class Echoes:
    """As a service."""

    def destination(self, dataset: DatasetAt, transport: Transport, token: TokenSource) -> Echo:
        return Echo(dataset.name, token)


if __name__ == "__main__":
    worker.service_named = lambda name: cast("Service", Echoes())  # type: ignore[attr-defined]
    serve(list(map(int, sys.argv[1:])), worker.Worker)
