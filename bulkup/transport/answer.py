"""An answer whose head has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import aiohttp
import anyio
from anyio.lowlevel import checkpoint

from bulkup.transport.coding import decoder_for
from bulkup.transport.failure import AnswerTooLong, Phase, TransportFailure
from bulkup.transport.progress import Progress
from bulkup.transport.translate import translated

__all__ = ["Answer"]

ERROR_BYTES = 64 * 1024
"""How much of an answer that is not a success is read."""

ERROR_BODY_S = 5.0
"""How long that is waited for: the status says what to do, and the words are for a person."""


class Answer:
    """An answer whose head has come. The body is read by one of the methods, within bounds of size and time."""

    def __init__(self, response: aiohttp.ClientResponse, progress: Progress) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._progress = progress

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes, its coding undone, in pieces of bounded size. Raises `TransportFailure` if it is cut short, comes
        ever so slowly (`bulkup.transport.stalls.SlowAnswer`), or in a coding that cannot be undone (`AnswerUnreadable`)."""
        decoder = decoder_for(",".join(self._response.headers.getall("Content-Encoding", ())))
        watch = self._progress.slow_answer()
        with translated(self._progress):
            async for data in self._response.content.iter_any():
                self._progress.came(watch, len(data))
                if decoder is None:
                    yield data
                    continue
                for piece in decoder.pieces(data):
                    yield piece
                    await checkpoint()  # a few bytes may stand for many pieces
            if decoder is not None:
                decoder.finish()

    async def read(self, max_bytes: int) -> bytes:
        """The body, whole. Raises `TransportFailure` if it is cut short or longer than *max_bytes*."""
        whole = bytearray()
        async for data in self.blocks():
            whole += data
            if len(whole) > max_bytes:
                raise AnswerTooLong(Phase.ANSWER, f"an answer of more than {max_bytes:,} bytes")
        return bytes(whole)

    async def error_body(self) -> bytes:
        """Up to `ERROR_BYTES` of the body, as far as it came within `ERROR_BODY_S`. Never raises. Not redacted."""
        data = bytearray()
        with anyio.move_on_after(ERROR_BODY_S):
            try:
                async for part in self.blocks():
                    data += part
                    if len(data) >= ERROR_BYTES:
                        break
            except TransportFailure:
                pass
        return bytes(data[:ERROR_BYTES])
