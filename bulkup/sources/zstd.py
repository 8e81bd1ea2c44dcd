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

_WRITE_BYTES = 512 * 1024
"""So much the library decodes before it lets other threads go on."""

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
        self._at = 0  # what stands before is done with
        self._frame: Any = None
        self._checksum = False
        self._last = False
        self._skip = 0

    @property
    def whole(self) -> bool:
        return self._frame is None and self._at == len(self._raw) and not self._skip

    def push(self, raw: bytes) -> None:
        self._raw, self._at = self._raw[self._at :] + raw if self._at < len(self._raw) else raw, 0

    def pull(self, limit: int) -> bytes:
        while units := self._units(max(1, limit // _BLOCK_BYTES)):
            if self._frame is None:
                decompressor = zstandard.ZstdDecompressor(max_window_size=self._window_bytes)
                self._frame = decompressor.decompressobj(write_size=_WRITE_BYTES)
            data: bytes = decoded("zstd", self._frame.decompress, units)
            if self._frame.eof:
                self._frame, self._last = None, False
            elif self._last and not self._checksum:
                raise DamagedError("damaged zstd (a frame does not end with its last block)")
            if data:
                return data
        return b""

    def _units(self, most: int) -> bytes:
        """A frame's header, or up to *most* of what follows in it: each call of the library makes other threads wait."""
        self._pass_over()
        begin = self._at
        if self._frame is None:
            self._header()
        else:
            while most and not (self._at > begin and self._last and not self._checksum) and self._unit():
                most -= 1
        return self._raw[begin : self._at]

    def _pass_over(self) -> None:
        """Go behind the frames that are to be skipped, as far as they are there."""
        while True:
            skipped = min(self._skip, len(self._raw) - self._at)
            self._at += skipped
            self._skip -= skipped
            if self._skip or self._frame is not None or not self._begins_skippable():
                return
            self._skip = 8 + int.from_bytes(self._raw[self._at + 4 : self._at + 8], "little")

    def _begins_skippable(self) -> bool:
        head = self._raw[self._at : self._at + 8]
        return len(head) == 8 and int.from_bytes(head[:4], "little") & 0xFFFFFFF0 == _SKIPPABLE

    def _unit(self) -> bool:
        """Go behind the next block or checksum; False where it is not all there."""
        if self._last:
            is_there = self._take(4)
            self._checksum = not is_there
            return is_there
        if len(self._raw) - self._at < 3:
            return False
        header = int.from_bytes(self._raw[self._at : self._at + 3], "little")
        run_length = (header >> 1) & 3 == 1
        is_there = self._take(3 + (1 if run_length else header >> 3))
        if is_there:
            self._last = bool(header & 1)
        return is_there

    def _header(self) -> None:
        """Go behind a frame's header, if it is all there."""
        head = self._raw[self._at : self._at + 5]
        magic = int.from_bytes(head[:4], "little")
        if len(head) < 5 or magic & 0xFFFFFFF0 == _SKIPPABLE:
            return
        if magic != _MAGIC:
            raise DamagedError("damaged zstd (no frame begins here)")
        flags = head[4]
        single_segment = flags >> 5 & 1
        content_size = (single_segment, 2, 4, 8)[flags >> 6]
        dictionary_at, dictionary_bytes = 5 + 1 - single_segment, (0, 1, 2, 4)[flags & 3]
        begin = self._at
        if not self._take(dictionary_at + dictionary_bytes + content_size):
            return
        header = self._raw[begin : self._at]
        self._checksum, self._last = bool(flags >> 2 & 1), False
        if any(header[dictionary_at : dictionary_at + dictionary_bytes]):
            raise TooWideError("it was packed with a zstd dictionary; unpack it first: zstd -d -D DICTIONARY")
        self._check_window(_window_of(header, content_size))

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

    def _take(self, count: int) -> bool:
        """Go behind *count* bytes; False where they are not all there."""
        if len(self._raw) - self._at < count:
            return False
        self._at += count
        return True


def _window_of(header: bytes, content_size: int) -> int:
    """How much a decoder of the frame with this whole *header* has to hold (RFC 8878, 3.1.1.1)."""
    flags = header[4]
    if flags >> 5 & 1:  # a single segment: all of the content
        size = int.from_bytes(header[len(header) - content_size :], "little")
        return size + 256 if content_size == 2 else size
    base = 1 << (10 + (header[5] >> 3))
    return base + base // 8 * (header[5] & 7)
