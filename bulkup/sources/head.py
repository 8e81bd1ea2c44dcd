"""The first bytes of a file, read and decoded only as far as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bulkup.model import BLOCK_BYTES
from bulkup.sources.decoder import Chain, DamagedError, Decoder, TooWideError
from bulkup.sources.decompress import Compression, compression_of, decoder_for
from bulkup.sources.zstd import DEFAULT_WINDOW_BYTES

__all__ = ["BOM", "SPACE", "Head"]

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte order mark."""

SPACE = b" \t\r\n"
"""JSON's white space."""

_JSON_STARTS = (b"{", b"[", b" ", b"\t", b"\r", b"\n")
_MAGIC_BYTES = 16
_FIRST_BYTES = 4096


class Head:
    """At most about `BLOCK_BYTES` decoded bytes. *read* gives what there is of so many bytes on disk, empty at the end.

    *is_pipe*: what is read makes others wait. *packed*: how it is packed, where that is known and its bytes do not tell.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        *,
        is_pipe: bool = False,
        packed: Compression | None = None,
        encoding: str | None = None,
        zstd_window: int = DEFAULT_WINDOW_BYTES,
    ) -> None:
        self.is_pipe = is_pipe
        self.too_wide: str | None = None
        self._read = read
        self._next_bytes = BLOCK_BYTES if is_pipe else _FIRST_BYTES
        self._decoded = b""
        self._all_read = self._ended = False
        self.raw = self._raw_start()
        self.compression = packed or compression_of(self.raw)
        self.inner = Compression.NONE
        self._decoder = decoder_for(self.compression, zstd_window=zstd_window)
        self._decoder.push(self.raw)
        if self.compression is not Compression.NONE:
            self._look_below(zstd_window)
        if encoding is not None:
            self._transcode(encoding)
        self.bom = self.starts_with(BOM)

    @property
    def decoded(self) -> bytes:
        """The decoded bytes so far, without a byte order mark."""
        return self._decoded[len(BOM) :] if self.bom else self._decoded

    @property
    def is_all(self) -> bool:
        """Whether nothing comes behind `decoded`."""
        return self._ended

    @property
    def is_packed_thrice(self) -> bool:
        """Whether what is unpacked twice is packed still."""
        return self.inner is not Compression.NONE and compression_of(self.decoded) is not Compression.NONE

    def starts_with(self, prefix: bytes) -> bool:
        """Whether the decoded bytes begin with *prefix*."""
        while len(self._decoded) < len(prefix) and prefix.startswith(self._decoded) and self.grow():
            pass
        return self._decoded.startswith(prefix)

    def start(self, count: int) -> bytes:
        """The first *count* decoded bytes, if there are so many. Of a pipe that may begin JSON, what has come: nobody waits."""
        while len(self._decoded) < count and not (self.is_pipe and self._decoded[:1] in _JSON_STARTS) and self.grow():
            pass
        return self._decoded[:count]

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
        if self._ended or len(self._decoded) >= BLOCK_BYTES:
            return False
        piece = self._next()
        self._decoded += piece
        return bool(piece)

    def behind(self) -> Iterator[bytes]:
        """What comes behind the head, which is `whole` by now, piece by piece. It is not kept: nothing else may be asked then."""
        while not self._ended and (piece := self._next()):
            yield piece

    def _next(self) -> bytes:
        try:
            while not self._ended:
                if piece := self._decoder.pull(BLOCK_BYTES):
                    return piece
                if self._all_read:
                    self._ended = True
                else:
                    raw = self._read_some()
                    self._all_read = not raw
                    self._decoder.push(raw)
        except DamagedError as error:
            self._ended = True
            self.too_wide = str(error) if isinstance(error, TooWideError) else None
        return b""

    def _look_below(self, zstd_window: int) -> None:
        """What is packed once may be packed twice."""
        self.inner = compression_of(self.start(_MAGIC_BYTES))
        if self.inner is not Compression.NONE:
            self._put_behind(decoder_for(self.inner, zstd_window=zstd_window))

    def _transcode(self, encoding: str) -> None:
        from bulkup.sources.transcode import Transcoder

        self._put_behind(Transcoder(encoding))

    def _put_behind(self, decoder: Decoder) -> None:
        """From now on *decoder* decodes what the decoders before it give."""
        decoder.push(self._decoded)
        self._decoder, self._decoded = Chain(self._decoder, decoder), b""
        self._ended = self.too_wide is not None
        self.grow()

    def _raw_start(self) -> bytes:
        """Of the first bytes on disk enough to tell: one, where it could begin JSON (a slow pipe gives no more)."""
        raw = b""
        while len(raw) < _MAGIC_BYTES and raw[:1] not in _JSON_STARTS and (more := self._read_some()):
            raw += more
        return raw

    def _read_some(self) -> bytes:
        """Little at first: mostly it is enough, and of many small files it would soon be all that they hold."""
        count, self._next_bytes = self._next_bytes, min(2 * self._next_bytes, BLOCK_BYTES)
        return self._read(count)
