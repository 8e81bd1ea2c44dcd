"""Who carries an attempt out: this process, or (`bulkup.flow.helped`) a worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import orjson

from bulkup.chunk import Chunk
from bulkup.destinations.base import Destination, Payload
from bulkup.flow.orders import Sent
from bulkup.flow.prepared import Prepared
from bulkup.outcome import Accepted, Outcome

__all__ = ["OwnSender", "Sender", "sent"]


class Sender(Protocol):
    """Sends one lane's chunks."""

    async def send(self, prepared: Prepared, payload: Payload, on_bytes: Callable[[int], None]) -> Sent:
        """One attempt. *on_bytes* has been called before this ends, or is cancelled, if a byte of the body may have left.

        Raises what the payload raises: then it was not sent whole.
        """
        ...


class OwnSender:
    """Attempts made by this process."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    async def send(self, prepared: Prepared, payload: Payload, on_bytes: Callable[[int], None]) -> Sent:
        return sent(prepared.chunk, await self._destination.send(payload, on_bytes))


def sent(chunk: Chunk, outcome: Outcome) -> Sent:
    """*outcome* with the row ids taken out of it, as the line for `ids.jsonl`."""
    if not isinstance(outcome, Accepted) or not outcome.ids:
        return Sent(outcome)
    record = {
        "lane": chunk.id.lane,
        "chunk": str(chunk.id),
        "position": chunk.start,
        "file": chunk.file,
        "byte_offset": chunk.byte_offset,
        "dataset_id": outcome.remote_id,
        "rows": chunk.rows,
        "ids": outcome.ids,
    }
    return Sent(replace(outcome, ids=None), orjson.dumps(record) + b"\n")
