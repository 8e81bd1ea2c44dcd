"""Zstandard frames, block by block."""

from __future__ import annotations

from typing import Any

import zstandard

from bulkup.sources.decoder import DamagedError, TooWideError, decoded

__all__ = ["DEFAULT_WINDOW_BYTES", "LARGEST_WINDOW_BYTES", "Zstd"]

DEFAULT_WINDOW_BYTES = 128 * 1024 * 1024
"""The largest window that is decoded unasked, as by the `zstd` command itself: a reader holds that much."""

LARGEST_WINDOW_BYTES = 2 * 1024 * 1024 * 1024

_BLOCK_BYTES = 128 * 1024
"""What a block decodes to at most."""

_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50


class Zstd:
    """Frames one after the other, fed to the library block by block.

    Its decompressor has no output limit, and a few raw bytes can stand for megabytes. A block never decodes to more
    than 128 KiB, and its header says how long it is (RFC 8878), so block by block the output is bounded and a frame
    that was cut off is seen for certain. Holds the frame's window, *window_bytes* at most.
    """

    def __init__(self, window_bytes: int = DEFAULT_WINDOW_BYTES) -> None:
        self._window_bytes = window_bytes
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
        while units := self._units(max(1, limit // _BLOCK_BYTES)):
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=self._window_bytes).decompressobj()
            data: bytes = decoded("zstd", self._frame.decompress, b"".join(units))
            if self._frame.eof:
                self._frame, self._last = None, False
            elif self._last and not self._checksum:
                raise DamagedError("damaged zstd (a frame does not end with its last block)")
            if data:
                return data
        return b""

    def _units(self, most: int) -> list[bytes]:
        """A frame's header, or up to *most* of what follows in it: each call of the library makes other threads wait."""
        units: list[bytes] = []
        while len(units) < most and not (units and self._last and not self._checksum):
            begins = self._frame is None and not units
            unit = self._unit()
            if unit is None:
                break
            if unit:
                units.append(unit)
                if begins:
                    break
        return units

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
            checksum = self._take(4)
            self._checksum = checksum is None
            return checksum
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
        if magic & 0xFFFFFFF0 == _SKIPPABLE:
            if len(self._raw) < 8:
                return None
            self._skip = 8 + int.from_bytes(self._raw[4:8], "little")
            return b""
        if magic != _MAGIC:
            raise DamagedError("damaged zstd (no frame begins here)")
        flags = self._raw[4]
        single_segment = flags >> 5 & 1
        self._checksum, self._last = bool(flags >> 2 & 1), False
        content_size = (single_segment, 2, 4, 8)[flags >> 6]
        dictionary_at, dictionary_bytes = 5 + 1 - single_segment, (0, 1, 2, 4)[flags & 3]
        header = self._take(dictionary_at + dictionary_bytes + content_size)
        if header is not None:
            if any(header[dictionary_at : dictionary_at + dictionary_bytes]):
                raise TooWideError("it was packed with a zstd dictionary; unpack it first: zstd -d -D DICTIONARY")
            self._check_window(_window_of(header, content_size))
        return header

    def _check_window(self, window: int) -> None:
        if window > self._window_bytes:
            mib = -(-window // (1024 * 1024))
            way = f"--zstd-window {mib}MiB reads it, and every reader then holds that much"
            if window > LARGEST_WINDOW_BYTES:
                way = "no more than 2 GiB can be read"
            limit = self._window_bytes // (1024 * 1024)
            raise TooWideError(
                f"a zstd window of {mib:,} MiB is over the limit of {limit:,} MiB; {way}. "
                "Or unpack it first: zstd -d --long=31"
            )

    def _take(self, count: int) -> bytes | None:
        if len(self._raw) < count:
            return None
        unit, self._raw = self._raw[:count], self._raw[count:]
        return unit


def _window_of(header: bytes, content_size: int) -> int:
    """How much a decoder of the frame with this whole *header* has to hold (RFC 8878, 3.1.1.1)."""
    flags = header[4]
    if flags >> 5 & 1:  # a single segment: all of the content
        size = int.from_bytes(header[len(header) - content_size :], "little")
        return size + 256 if content_size == 2 else size
    base = 1 << (10 + (header[5] >> 3))
    return base + base // 8 * (header[5] & 7)
