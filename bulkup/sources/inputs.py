"""Where raw bytes come from in order: a file, a pipe, or (`spool.py`) what was copied from one."""

from __future__ import annotations

import os
import select
import stat
from typing import Protocol

import anyio

from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.sources.decompress import Compression
from bulkup.sources.format import SourceFile

__all__ = ["FileInput", "Input", "PipeInput", "open_file"]


def open_file(file: SourceFile) -> int:
    """A new descriptor. Raises `SourceChanged` where the file is gone or shorter than it was."""
    try:
        fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SourceChanged(f"{file.path}: is gone") from error
    except OSError as error:
        raise SourceUnreadable(f"{file.path}: cannot be read: {error.strerror}") from error
    size = os.fstat(fd).st_size
    wanted = _bytes_on_disk(file)
    if wanted is not None and size < wanted:
        os.close(fd)
        raise SourceChanged(f"{file.path}: has become shorter: {size} bytes where there were {wanted}")
    return fd


def _bytes_on_disk(file: SourceFile) -> int | None:
    """How long the file on disk has to be; None where that is not known."""
    if file.part is not None:
        return file.part.start + file.part.size
    if file.member is None or file.size is None:
        return file.size
    return file.member.offset + file.size if file.member.outer is Compression.NONE else None


class Input(Protocol):
    """Raw bytes in order. `read` runs in a worker thread, everything else in the event loop."""

    consumed: int
    """Bytes read so far."""

    def read(self, count: int) -> bytes | None:
        """At most *count* of the next bytes; empty at the end, None where there are none yet."""

    def ready(self) -> bool:
        """Whether `read` has something to say now."""

    async def wait(self) -> None:
        """Return when `ready`."""

    def close(self) -> None:
        """Read no more."""


class FileInput:
    """One frozen file, up to the size it had then, or a member that stands in an archive as it is."""

    def __init__(self, file: SourceFile) -> None:
        self.consumed = 0
        self._file = file
        self._fd: int | None = None

    def read(self, count: int) -> bytes | None:
        if self._fd is None:
            self._fd = open_file(self._file)
            if self._file.member is not None:
                os.lseek(self._fd, self._file.member.offset, os.SEEK_SET)
        assert self._file.size is not None
        count = min(count, self._file.size - self.consumed)
        try:
            data = os.read(self._fd, count)
        except OSError as error:
            where = f"{self._file.uri}: cannot be read at byte {self.consumed}"
            raise SourceUnreadable(f"{where}: {error.strerror}") from error
        if count and not data:
            raise SourceChanged(f"{self._file.uri}: has become shorter while it was read")
        self.consumed += len(data)
        return data

    def ready(self) -> bool:
        return True

    async def wait(self) -> None:
        """A file never keeps anyone waiting for a writer."""

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class PipeInput:
    """An open descriptor that another process may still write to. *head* is what was read from it already.

    A pipe, socket or terminal is waited for in the event loop, so that whoever waits can be cancelled; anything else
    (a redirected file) is read at once.
    """

    def __init__(self, fd: int, head: bytes = b"") -> None:
        self.consumed = 0
        self._fd = fd
        self._head = memoryview(head)
        self._waits = _can_wait(fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def read(self, count: int) -> bytes | None:
        if self._head:
            data, self._head = bytes(self._head[:count]), self._head[count:]
        elif not self.ready():
            return None
        else:
            try:
                data = os.read(self._fd, count)
            except BlockingIOError:
                return None
            except OSError as error:
                raise SourceUnreadable(f"standard input: cannot be read: {error.strerror}") from error
        self.consumed += len(data)
        return data

    def ready(self) -> bool:
        return bool(self._head) or not self._waits or bool(self._poll.poll(0))

    async def wait(self) -> None:
        if not self.ready():
            await anyio.wait_readable(self._fd)

    def close(self) -> None:
        """The descriptor is not ours."""


def _can_wait(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
