"""Compressed bytes to plain ones, piece by piece, in bounded memory whatever the ratio.

Every decoder is pushed raw bytes and pulled until it gives nothing more; then it wants the next raw bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import zstandard
from isal import isal_zlib

from bulkup.refusal import Refusal, attempt

__all__ = ["Compression", "DamagedError", "Decoder", "bare_name", "compression_of", "decoder_for"]

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_SKIPPABLE = 0x184D2A50


class Compression(StrEnum):
    """How a file's bytes are packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class DamagedError(Exception):
    """The compressed bytes cannot be decoded from here on."""


class Decoder(Protocol):
    """Raw bytes in, decoded bytes out."""

    def push(self, raw: bytes) -> None:
        """Take the next raw bytes. Only when `pull` has given nothing more."""

    def pull(self, limit: int) -> bytes:
        """The next decoded bytes, about *limit* at most; empty where more raw bytes are wanted.

        Raises `DamagedError`.
        """

    @property
    def whole(self) -> bool:
        """Whether the input may end here."""


def _decoded(kind: str, decompress: Callable[..., bytes], *args: Any) -> bytes:
    found = attempt(decompress, *args)
    if isinstance(found, Refusal):
        raise DamagedError(f"damaged {kind} ({found.why})") from found.why
    return found


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
            data: bytes = _decoded("gzip", self._member.decompress, self._raw, limit)
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


class _Zstd:
    """Frames one after the other, fed to the library block by block.

    Its decompressor has no output limit, and a few raw bytes can stand for megabytes. A block never decodes to more
    than 128 KiB, and its header says how long it is (RFC 8878), so block by block the output is bounded and a frame
    that was cut off is seen for certain.
    """

    def __init__(self) -> None:
        self._raw = b""
        self._frame: Any = None
        self._checksum = False
        self._last = False
        self._skip = 0

    @property
    def whole(self) -> bool:
        return self._frame is None and not self._raw and not self._skip

    def push(self, raw: bytes) -> None:
        self._raw = self._raw + raw if self._raw else raw

    def pull(self, limit: int) -> bytes:
        while (unit := self._unit()) is not None:
            if not unit:
                continue
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            data: bytes = _decoded("zstd", self._frame.decompress, unit)
            if self._frame.eof:
                self._frame, self._last = None, False
            elif self._last and not self._checksum:
                raise DamagedError("damaged zstd (a frame does not end with its last block)")
            if data:
                return data
        return b""

    def _unit(self) -> bytes | None:
        """The next frame header, block or checksum; empty for what is skipped, None where it is not all there."""
        if self._skip:
            skipped = min(self._skip, len(self._raw))
            self._skip -= skipped
            self._raw = self._raw[skipped:]
            return b"" if skipped else None
        if self._frame is None:
            return self._header()
        if self._last:
            self._checksum = False
            return self._take(4)
        if len(self._raw) < 3:
            return None
        header = int.from_bytes(self._raw[:3], "little")
        run_length = (header >> 1) & 3 == 1
        unit = self._take(3 + (1 if run_length else header >> 3))
        if unit is not None:
            self._last = bool(header & 1)
        return unit

    def _header(self) -> bytes | None:
        if len(self._raw) < 5:
            return None
        magic = int.from_bytes(self._raw[:4], "little")
        if magic & 0xFFFFFFF0 == _ZSTD_SKIPPABLE:
            if len(self._raw) < 8:
                return None
            self._skip = 8 + int.from_bytes(self._raw[4:8], "little")
            return b""
        if magic != _ZSTD_MAGIC:
            raise DamagedError("damaged zstd (no frame begins here)")
        flags = self._raw[4]
        single_segment = flags >> 5 & 1
        self._checksum, self._last = bool(flags >> 2 & 1), False
        content_size = (single_segment, 2, 4, 8)[flags >> 6]
        return self._take(5 + 1 - single_segment + (0, 1, 2, 4)[flags & 3] + content_size)

    def _take(self, count: int) -> bytes | None:
        if len(self._raw) < count:
            return None
        unit, self._raw = self._raw[:count], self._raw[count:]
        return unit


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a compression is told, how files that have it are named, and what undoes it."""

    magic: re.Pattern[bytes]
    suffixes: tuple[str, ...]
    decoder: Callable[[], Decoder]


_KINDS = {
    Compression.GZIP: _Kind(re.compile(rb"\x1f\x8b\x08"), (".gz", ".gzip"), _Gzip),
    Compression.ZSTD: _Kind(re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), (".zst", ".zstd"), _Zstd),
    Compression.NONE: _Kind(re.compile(b""), (), _Plain),
}
"""One line for each; what nothing before it claims is not packed."""


def compression_of(start: bytes) -> Compression:
    """How a file is packed that begins with *start* (16 bytes, or fewer where its first one could begin JSON)."""
    return next(compression for compression, kind in _KINDS.items() if kind.magic.match(start))


def decoder_for(compression: Compression) -> Decoder:
    """A decoder at the beginning of a file."""
    return _KINDS[compression].decoder()


def bare_name(name: str, compression: Compression) -> str:
    """*name* as it would be if the file were not packed."""
    suffix = next(filter(name.lower().endswith, _KINDS[compression].suffixes), "")
    return name[: len(name) - len(suffix)]
