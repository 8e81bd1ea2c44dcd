"""The open files of one cursor."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread

from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.sources.files import SourceFile

__all__ = ["Descriptors", "open_file"]

_KEPT = 32
"""How many files stay open while nobody reads them: a source may have more files than a process may open."""


def open_file(file: SourceFile) -> int:
    """A new descriptor. Raises `SourceChanged` where the file is gone or shorter than it was."""
    try:
        fd = os.open(file.uri, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SourceChanged(f"{file.uri}: is gone") from error
    except OSError as error:
        raise SourceUnreadable(f"{file.uri}: cannot be read: {error.strerror}") from error
    size = os.fstat(fd).st_size
    if file.size is not None and size < file.size:
        os.close(fd)
        raise SourceChanged(f"{file.uri}: has become shorter: {size} bytes where there were {file.size}")
    return fd


class Descriptors:
    """Opens each file when it is wanted, in a thread, and keeps the last ones open."""

    def __init__(self) -> None:
        self._idle: dict[SourceFile, int] = {}
        self._used: dict[SourceFile, tuple[int, int]] = {}
        self._closed = False

    @asynccontextmanager
    async def lend(self, file: SourceFile) -> AsyncIterator[int]:
        """A descriptor of *file*; several readers of a file share it."""
        fd = await self._take(file)
        try:
            yield fd
        finally:
            self._give_back(file)

    def close(self) -> None:
        """Close what nobody reads; the rest as it is given back."""
        self._closed = True
        while self._idle:
            os.close(self._idle.popitem()[1])

    async def _take(self, file: SourceFile) -> int:
        if file not in self._used and file not in self._idle:
            fd = await anyio.to_thread.run_sync(open_file, file)
            if file in self._used or file in self._idle:  # another task was faster
                os.close(fd)
            else:
                self._idle[file] = fd
        fd, readers = self._used.get(file, (-1, 0))
        if not readers:
            fd = self._idle.pop(file)
        self._used[file] = (fd, readers + 1)
        return fd

    def _give_back(self, file: SourceFile) -> None:
        fd, readers = self._used.pop(file)
        if readers > 1:
            self._used[file] = (fd, readers - 1)
            return
        self._idle[file] = fd
        while len(self._idle) > (0 if self._closed else _KEPT):
            os.close(self._idle.pop(next(iter(self._idle))))
