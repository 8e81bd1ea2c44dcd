"""How large the head of an answer may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["MAX_FIELD_BYTES", "MAX_HEADERS", "MAX_HEAD_BYTES", "BoundedHead", "bound_heads"]

MAX_FIELD_BYTES = 64 * 1024 + 256
"""A header's name and value: 64 KiB of value."""

MAX_HEADERS = 1000

MAX_HEAD_BYTES = 1024 * 1024
"""All of a head: the client library bounds each header and their number, and the product is 64 MiB."""


class BoundedHead(ResponseHandler):
    """Closes a connection whose answer's head passes `MAX_HEAD_BYTES`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._head_bytes = 0
        self._has_head = True
        self.on_head: Callable[[], None] | None = None
        """Called with each head, before anything else is done with what came."""

    def set_response_params(self, **params: Any) -> None:
        self._head_bytes, self._has_head = 0, False
        super().set_response_params(**params)

    def feed_data(self, data: Any, size: int = 0) -> None:
        self._has_head = True
        if self.on_head is not None:
            self.on_head()
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if not self._has_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._has_head and self._head_bytes > MAX_HEAD_BYTES and self.transport is not None:
            self.transport.close()
            self.set_exception(aiohttp.ClientPayloadError(f"the answer's headers pass {MAX_HEAD_BYTES:,} bytes"))


def bound_heads(connector: aiohttp.TCPConnector) -> aiohttp.TCPConnector:
    """*connector*, whose connections are now bounded so."""
    connector._factory = cast("Any", partial(BoundedHead, loop=asyncio.get_running_loop()))
    return connector
