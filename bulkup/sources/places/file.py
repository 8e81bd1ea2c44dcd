"""A file's bytes by their places: from a local disk, or of an object, in blocks that are fetched ahead where reads go forward."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from bulkup.sources.places.address import Remote
from bulkup.sources.places.extent import Extent
from bulkup.sources.places.fetching import GIVE_UP_S, in_thread, persist
from bulkup.sources.places.place import Buffer, Entry, opened

__all__ = ["AsFile", "Bytes", "bytes_of", "where_in"]

BLOCK_BYTES = 256 * 1024
_KEPT = 128
_AHEAD = 8


class Bytes(Protocol):
    """Blocks. For one thread at a time."""

    size: int

    def read(self, count: int, at: int) -> bytes:
        """The *count* bytes at *at*, fewer where the file ends."""

    def close(self) -> None:
        """Read no more."""


def bytes_of(path: str, where: Remote | Extent | None, size: int | None) -> Bytes:
    """The bytes of the local file at *path*, of a part of one, or of the object *where*, called *path*, of *size* bytes."""
    if isinstance(where, Extent):
        return _Local(where.path, where)
    return _Local(path) if where is None or size is None else _Fetched(path, where, size)


def where_in(entry: Entry | Extent | None) -> tuple[Remote | Extent | None, int | None]:
    """What `bytes_of` wants to know of *entry*; None: a local file."""
    if isinstance(entry, Extent):
        return entry, entry.size
    return (None, None) if entry is None else (entry.remote, entry.size)


class _Local:
    def __init__(self, path: str, part: Extent | None = None) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._start = 0 if part is None else part.start
        self.size = os.fstat(self._fd).st_size if part is None else part.size

    def read(self, count: int, at: int) -> bytes:
        return os.pread(self._fd, max(min(count, self.size - at), 0), self._start + at)

    def close(self) -> None:
        os.close(self._fd)


class _Fetched:
    """Keeps 32 MiB."""

    def __init__(self, uri: str, remote: Remote, size: int) -> None:
        self.size = size
        self._uri = uri
        self._remote = remote
        self._blocks: OrderedDict[int, Future[Buffer]] = OrderedDict()
        self._closed = threading.Event()

    def read(self, count: int, at: int) -> bytes:
        stop = min(at + count, self.size)
        parts = []
        while at < stop:
            number = at // BLOCK_BYTES
            begin = number * BLOCK_BYTES
            if number - 1 in self._blocks:
                for soon in range(number + 1, min(number + 1 + _AHEAD, -(-self.size // BLOCK_BYTES))):
                    self._block(soon)
            part = memoryview(self._block(number).result())[at - begin : stop - begin]
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def close(self) -> None:
        self._closed.set()
        self._blocks.clear()

    def _block(self, number: int) -> Future[Buffer]:
        found = self._blocks.get(number)
        if found is None:
            start = number * BLOCK_BYTES
            found = in_thread(partial(self._fetch, start, min(start + BLOCK_BYTES, self.size)))
            self._blocks[number] = found
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return found

    def _fetch(self, start: int, stop: int) -> Buffer:
        place = opened(self._remote.at)
        return persist(self._uri, lambda: place.read(self._uri, self._remote, start, stop), GIVE_UP_S, self._closed)


class AsFile(io.RawIOBase):
    """*source* as libraries want a file."""

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(self._source.size - self._at if size < 0 else size, self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
