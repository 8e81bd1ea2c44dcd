"""xz, bzip2 and raw deflate, by the standard library and isal."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any

from bulkup.sources.decoder import DamagedError, decoded

__all__ = ["BZIP2_MAGIC", "XZ_MAGIC", "Bzip2", "Checked", "Deflate", "Xz"]

XZ_MAGIC = b"\xfd7zXZ\x00"
BZIP2_MAGIC = b"BZh"

_XZ_MEMORY_BYTES = 256 * 1024 * 1024
"""What one decoder may take: `xz -9` needs 65 MiB."""


class _Streams:
    """Streams one after the other; each tells its own end."""

    kind: str
    magic: bytes
    padding: bytes = b""

    def __init__(self) -> None:
        self._raw = b""
        self._stream: Any = None
        self._streams = 0

    @property
    def whole(self) -> bool:
        return self._stream is None and not self._raw

    def push(self, raw: bytes) -> None:
        self._raw += raw

    def pull(self, limit: int) -> bytes:
        while self._raw or (self._stream is not None and not self._stream.needs_input):
            if self._stream is None:
                if not self._begin():
                    break
                self._stream = self._make()
            data = decoded(self.kind, self._stream.decompress, self._raw, limit)
            self._raw = b""
            if self._stream.eof:
                self._raw, self._stream = self._stream.unused_data, None
                self._streams += 1
            if data:
                return data
        return b""

    def _begin(self) -> bool:
        """Whether there is a stream to begin; what pads the one before is passed over."""
        if self._streams:
            self._raw = self._raw.lstrip(self.padding) if self.padding else self._raw
            if not self.magic.startswith(self._raw[: len(self.magic)]):
                raise DamagedError(f"bytes behind its end that are not {self.kind}")
        return bool(self._raw)

    def _make(self) -> Any:
        raise NotImplementedError


class Xz(_Streams):
    """Holds the stream's dictionary: 64 MiB for `xz -9`."""

    kind = "xz"
    magic = XZ_MAGIC
    padding = b"\0"

    def _make(self) -> Any:
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


class Bzip2(_Streams):
    """Holds a few megabytes."""

    kind = "bzip2"
    magic = BZIP2_MAGIC

    def _make(self) -> Any:
        return bz2.BZ2Decompressor()


class Deflate:
    """One raw stream, as in a zip file."""

    def __init__(self) -> None:
        from isal import isal_zlib

        self._raw = b""
        self._stream: Any = isal_zlib.decompressobj(wbits=-15)
        self._full = False

    @property
    def whole(self) -> bool:
        return bool(self._stream.eof)

    def push(self, raw: bytes) -> None:
        self._raw += raw

    def pull(self, limit: int) -> bytes:
        while (self._raw or self._full) and not self._stream.eof:
            data: bytes = decoded("zip", self._stream.decompress, self._raw, limit)
            self._full = len(data) == limit
            before, self._raw = self._raw, self._stream.unconsumed_tail
            if data:
                return data
            if before and len(self._raw) == len(before):
                raise DamagedError("damaged zip (it cannot go on)")
        return b""


class Checked:
    """What *decoder* gives must have the checksum *crc*, and the length *size*, at its end."""

    def __init__(self, decoder: Any, crc: int, size: int) -> None:
        self._decoder = decoder
        self._wanted = crc, size
        self._found = 0, 0

    @property
    def whole(self) -> bool:
        return bool(self._decoder.whole) and self._found == self._wanted

    def push(self, raw: bytes) -> None:
        self._decoder.push(raw)

    def pull(self, limit: int) -> bytes:
        data: bytes = self._decoder.pull(limit)
        crc, size = self._found
        self._found = zlib.crc32(data, crc), size + len(data)
        if not data and self._decoder.whole and self._found[1] == self._wanted[1] and self._found != self._wanted:
            raise DamagedError("damaged zip (its checksum is another)")
        return data
