"""An answer whose head has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import aiohttp

from bulkup.transport.failure import AnswerTooLong, Phase, TransportFailure
from bulkup.transport.progress import Progress
from bulkup.transport.translate import translated

__all__ = ["Answer"]

ERROR_BYTES = 64 * 1024
"""How much of an answer that is not a success is read."""


class Answer:
    """An answer whose head has come. The body is read by one of the two methods, within bounds."""

    def __init__(self, response: aiohttp.ClientResponse, progress: Progress) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._progress = progress

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `TransportFailure` if it is cut short."""
        with translated(self._progress):
            async for data in self._response.content.iter_any():
                self._progress.moved()
                yield data

    async def read(self, max_bytes: int) -> bytes:
        """The body, whole. Raises `TransportFailure` if it is cut short or longer than *max_bytes*."""
        parts, size = [], 0
        async for data in self.blocks():
            parts.append(data)
            size += len(data)
            if size > max_bytes:
                raise AnswerTooLong(Phase.ANSWER, f"an answer of more than {max_bytes:,} bytes")
        return b"".join(parts)

    async def error_body(self) -> bytes:
        """Up to `ERROR_BYTES` of the body, as far as it came. Never raises. Not redacted."""
        data = b""
        try:
            async for part in self.blocks():
                data += part
                if len(data) >= ERROR_BYTES:
                    break
        except TransportFailure:
            pass
        return data[:ERROR_BYTES]
