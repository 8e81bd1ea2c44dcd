"""Compressed bytes to plain ones, piece by piece, in bounded memory whatever the ratio.

Every decoder is pushed raw bytes and pulled until it gives nothing more; then it wants the next raw bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from isal import isal_zlib

from bulkup.light_dataclass import dataclass
from bulkup.sources.decoder import Chain, DamagedError, Decoder, decoded
from bulkup.sources.zstd import DEFAULT_WINDOW_BYTES, Zstd

__all__ = ["Compression", "DamagedError", "Decoder", "bare_name", "compression_of", "decoder_for", "suffixes_of"]

_GZIP_MAGIC = b"\x1f\x8b"


class Compression(StrEnum):
    """How a file's bytes are packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    BZIP2 = "bzip2"
    DEFLATE = "deflate"
    """Raw, as in a zip file: no bytes tell it."""


class _Plain:
    whole = True

    def __init__(self) -> None:
        self._raw = b""

    def push(self, raw: bytes) -> None:
        self._raw = raw

    def pull(self, limit: int) -> bytes:
        data, self._raw = self._raw, b""  # an input's piece is small enough as it is
        return data


class _Gzip:
    """Members one after the other, with or without zero bytes behind them (as tape and block tools leave)."""

    def __init__(self) -> None:
        self._raw = b""
        self._member: Any = None
        self._members = 0
        self._full = False

    @property
    def whole(self) -> bool:
        return self._member is None and not self._raw

    def push(self, raw: bytes) -> None:
        self._raw = self._raw + raw if self._raw else raw

    def pull(self, limit: int) -> bytes:
        while self._raw or self._full:
            if self._member is None:
                if not self._begin_member():
                    break
                self._member = isal_zlib.decompressobj(wbits=31)
            data: bytes = decoded("gzip", self._member.decompress, self._raw, limit)
            self._full = len(data) == limit  # there may be more to come from what was taken already
            if self._member.eof:
                self._raw, self._member, self._full = self._member.unused_data, None, False
                self._members += 1
            else:
                before, self._raw = self._raw, self._member.unconsumed_tail
                if before and not data and len(self._raw) == len(before):
                    raise DamagedError("damaged gzip (it cannot go on)")
            if data:
                return data
        return b""

    def _begin_member(self) -> bool:
        """Whether there is a member to begin; the zero bytes before it are passed over."""
        if self._members:
            self._raw = self._raw.lstrip(b"\0")
            if not _GZIP_MAGIC.startswith(self._raw[:2]):
                raise DamagedError("bytes behind its end that are not gzip")
        return bool(self._raw)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a compression is told, how files that have it are named, and what undoes it, given the largest zstd window."""

    magic: re.Pattern[bytes]
    suffixes: tuple[str, ...]
    decoder: Callable[[int], Decoder]


def _xz(_: int) -> Decoder:
    from bulkup.sources.stdlib_streams import Xz

    return Xz()


def _bzip2(_: int) -> Decoder:
    from bulkup.sources.stdlib_streams import Bzip2

    return Bzip2()


def _deflate(_: int) -> Decoder:
    from bulkup.sources.stdlib_streams import Deflate

    return Deflate()


_KINDS = {
    Compression.GZIP: _Kind(re.compile(rb"\x1f\x8b\x08"), (".gz", ".gzip"), lambda _: _Gzip()),
    Compression.ZSTD: _Kind(re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), (".zst", ".zstd"), Zstd),
    Compression.XZ: _Kind(re.compile(rb"\xfd7zXZ\x00"), (".xz",), _xz),
    Compression.BZIP2: _Kind(re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), (".bz2", ".bzip2"), _bzip2),
    Compression.DEFLATE: _Kind(re.compile(rb"(?!)"), (), _deflate),
    Compression.NONE: _Kind(re.compile(b""), (), lambda _: _Plain()),
}
"""One line for each; what nothing before it claims is not packed."""


def compression_of(start: bytes) -> Compression:
    """How a file is packed that begins with *start* (16 bytes, or fewer where its first one could begin JSON)."""
    return next(compression for compression, kind in _KINDS.items() if kind.magic.match(start))


def decoder_for(
    compression: Compression, inner: Compression = Compression.NONE, *, zstd_window: int = DEFAULT_WINDOW_BYTES
) -> Decoder:
    """A decoder at the beginning of a file that is packed so, where there is *inner* twice."""
    decoder = _KINDS[compression].decoder(zstd_window)
    return decoder if inner is Compression.NONE else Chain(decoder, _KINDS[inner].decoder(zstd_window))


def suffixes_of(compression: Compression) -> tuple[str, ...]:
    """How the names of files end that are packed so."""
    return tuple(_KINDS[compression].suffixes)


def bare_name(name: str, compression: Compression) -> str:
    """*name* as it would be if the file were not packed."""
    suffix = next(filter(name.lower().endswith, _KINDS[compression].suffixes), "")
    return name[: len(name) - len(suffix)]
