"""The first bytes of a file, read and decoded only as far as they are asked for."""

from __future__ import annotations

from collections.abc import Callable

from bulkup.model import BLOCK_BYTES
from bulkup.sources.decompress import DamagedError, compression_of, decoder_for

__all__ = ["BOM", "SPACE", "Head"]

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte order mark."""

SPACE = b" \t\r\n"
"""JSON's white space."""

_JSON_STARTS = (b"{", b"[", b" ", b"\t", b"\r", b"\n")


class Head:
    """At most about `BLOCK_BYTES` decoded bytes. *read* gives what there is of so many bytes on disk, empty at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._decoded = b""
        self._ended = False
        self.raw = self._raw_start()
        self.compression = compression_of(self.raw)
        self._decoder = decoder_for(self.compression)
        self._decoder.push(self.raw)
        self.bom = self.starts_with(BOM)

    @property
    def decoded(self) -> bytes:
        """The decoded bytes so far, without a byte order mark."""
        return self._decoded[len(BOM) :] if self.bom else self._decoded

    def starts_with(self, prefix: bytes) -> bool:
        """Whether the decoded bytes begin with *prefix*."""
        while len(self._decoded) < len(prefix) and prefix.startswith(self._decoded) and self.grow():
            pass
        return self._decoded.startswith(prefix)

    def text(self) -> bytes:
        """The decoded bytes from the first that is not white space; empty where there is none in the whole head."""
        while not (text := self.decoded.lstrip(SPACE)) and self.grow():
            pass
        return text

    def whole(self) -> bytes:
        """All of the head, without a byte order mark."""
        while self.grow():
            pass
        return self.decoded

    def grow(self) -> bool:
        """Decode some more; False at the end, where it is broken (reading will say so), or where it is enough."""
        try:
            while not self._ended and len(self._decoded) < BLOCK_BYTES:
                if piece := self._decoder.pull(BLOCK_BYTES):
                    self._decoded += piece
                    return True
                raw = self._read(BLOCK_BYTES)
                self._ended = not raw
                self._decoder.push(raw)
        except DamagedError:
            self._ended = True
        return False

    def _raw_start(self) -> bytes:
        """Of the first bytes on disk enough to tell: one, where it could begin JSON (a slow pipe gives no more)."""
        raw = b""
        while len(raw) < 16 and raw[:1] not in _JSON_STARTS and (more := self._read(BLOCK_BYTES)):
            raw += more
        return raw
