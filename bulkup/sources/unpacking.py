"""What is packed and no stream of rows, unpacked onto the local disk: a Parquet file in a zip, a workbook from a pipe."""

from __future__ import annotations

import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bulkup.errors import LocalDisk, UsageProblem
from bulkup.sources.decoder import DamagedError
from bulkup.sources.head import BOM, Head
from bulkup.sources.places.extent import Extent

__all__ = ["MOST_BYTES_OF_SMALL", "MOST_RATIO", "unpacked"]

MOST_RATIO = 200
"""A file that unpacks to more than so many times its size is no data but a bomb, if it is larger than what follows."""

MOST_BYTES_OF_SMALL = 1024 * 1024 * 1024

_MOST_AT_ONCE = 200
"""Each takes one open file for as long as the source is open, and a process may have a thousand."""

_open = 0


class _Held:
    """A file without a name, readable by nobody else: it is gone with this object, and with the process."""

    def __init__(self, fd: int) -> None:
        global _open
        _open += 1
        self._fd = fd

    def __del__(self) -> None:
        global _open
        _open -= 1
        with suppress(OSError):
            os.close(self._fd)

    def __reduce__(self) -> str | tuple[object, ...]:
        return object, ()  # in another process it holds nothing


def unpacked(name: str, head: Head, folder: Path | None, *, packed_bytes: int | None, crc: int | None = None) -> Extent:
    """All that *head* is the beginning of, decoded, in a file in *folder*, or in the nearest folder above it that is there.

    Blocks. *packed_bytes*: what it takes where it is packed, None for standard input. Raises `UsageProblem` where it is a bomb or
    one of too many, `DamagedError` where it does not have the checksum *crc*, and `LocalDisk`.
    """
    if _open >= _MOST_AT_ONCE:
        raise UsageProblem(
            f"{name}: more than {_MOST_AT_ONCE} files of this kind would have to be unpacked; unpack them, and name their folder"
        )
    most = None if packed_bytes is None else max(MOST_BYTES_OF_SMALL, MOST_RATIO * packed_bytes)
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            fd = os.dup(file.fileno())
    except OSError as error:
        raise LocalDisk(f"{name} cannot be unpacked in {place}: {error.strerror}") from error
    held, size, sum_ = _Held(fd), 0, 0
    for piece in _pieces(head):
        size += len(piece)
        sum_ = zlib.crc32(piece, sum_)
        if most is not None and size > most:
            raise UsageProblem(
                f"{name}: a decompression bomb: unpacks to more than {most // 2**20:,} MiB; unpack it yourself"
            )
        _write(name, fd, piece)
    if crc is not None and sum_ != crc:
        raise DamagedError(f"{name}: the checksum does not fit")
    return Extent(_path(fd), 0, size, held)


def _pieces(head: Head) -> Iterator[bytes]:
    first = head.whole()
    yield (BOM if head.bom else b"") + first
    yield from head.behind()


def _write(name: str, fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise LocalDisk(f"{name} cannot be unpacked: {error.strerror}") from error


def _existing(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    return next((one for one in (folder, *folder.absolute().parents) if one.is_dir() and os.access(one, os.W_OK)), None)


def _path(fd: int) -> str:
    """A path under which this process and those that it starts find the file."""
    return f"/proc/{os.getpid()}/fd/{fd}" if sys.platform == "linux" else f"/dev/fd/{fd}"
