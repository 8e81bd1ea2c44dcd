"""The codings that an answer's body may come in, undone piece by piece within bounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from bulkup.tokens.secret import redact
from bulkup.transport.failure import AnswerUnreadable, Phase

__all__ = ["ACCEPTED", "Decoder", "decoder_for"]

ACCEPTED = "gzip, deflate"
"""What is asked for: what the standard library reads, and nothing that depends on what else is installed."""

PIECE_BYTES = 128 * 1024
"""The largest piece that is handed on, however much one received byte stands for."""


def decoder_for(content_encoding: str) -> Decoder | None:
    """What undoes that `Content-Encoding`; None where the body comes as it is.

    Raises `AnswerUnreadable` for a coding that was not asked for, and for more than one.
    """
    match content_encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Decoder(zlib.MAX_WBITS + 16)
        case "deflate":
            return Decoder(0)
        case other:
            named = redact("".join(c for c in other if c.isprintable()))[:40]
            raise AnswerUnreadable(
                Phase.ANSWER, f"the answer comes in Content-Encoding {named!r}, which was not asked for"
            )


SLACK_BYTES = 256 * 1024
"""By so much an answer may be longer than what it stands for: there are codings of nothing without end."""


class Decoder:
    """Undoes gzip or deflate. *wbits* 0: deflate, with zlib's wrapping [RFC 9110 §8.4.1.2] or, as some servers send it, without."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream = zlib.decompressobj(wbits) if wbits else None
        self._surplus = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What *data* stands for, at most `PIECE_BYTES` at a time. Raises `AnswerUnreadable`."""
        self._surplus += len(data)
        while data:
            if self._stream is None:
                self._stream = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._wbits or zlib.MAX_WBITS)
            try:
                piece = self._stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise AnswerUnreadable(Phase.ANSWER, f"the answer's compression is broken: {error}") from None
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if piece:
                self._surplus -= len(piece)
                yield piece
        if self._surplus > SLACK_BYTES:
            raise AnswerUnreadable(Phase.ANSWER, "the answer's compression stands for less than it takes")

    def finish(self) -> None:
        """The body has ended. Raises `AnswerUnreadable` if it ended in the middle of what it stands for."""
        if self._stream is not None and not self._stream.eof:
            raise AnswerUnreadable(Phase.ANSWER, "the answer ends in the middle of its compression")
