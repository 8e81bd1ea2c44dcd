"""Bytes of an open file by offset, without ever making the event loop wait for a disk."""

from __future__ import annotations

import errno
import os

import anyio.lowlevel
import anyio.to_thread

from bulkup.errors import SourceChanged, SourceUnreadable

__all__ = ["Pages"]

_WINDOW_BYTES = 1024 * 1024
"""What one hop into a thread reads: enough that the hop costs nothing beside it."""

_BYTES_BETWEEN_CHECKPOINTS = 1024 * 1024
"""Reading from the page cache never waits, so now and then it must let other tasks run."""

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Pages:
    """Reads by offset into one *buffer*: at once from the page cache, else by the megabyte in a thread.

    `RWF_NOWAIT` (Linux) reads what the page cache holds and refuses where that would mean waiting. Elsewhere, and on
    file systems that do not know it, every read goes through the thread's window.
    """

    def __init__(self, fd: int, uri: str, *, capacity: int) -> None:
        self.buffer = bytearray(capacity)
        self._view = memoryview(self.buffer)
        self._fd = fd
        self._uri = uri
        self._nowait = hasattr(os, "RWF_NOWAIT") and hasattr(os, "preadv")
        self._window = memoryview(b"")
        self._window_start = 0
        self._unchecked = 0

    async def fill(self, offset: int, count: int) -> None:
        """Put the *count* bytes at *offset* at the buffer's beginning.

        Raises `SourceChanged` where the file ends before that, `SourceUnreadable` where the disk fails.
        """
        done = 0
        while done < count:
            got = self._from_window(offset + done, done, count) or self._from_cache(offset + done, done, count)
            if not got:
                await self._load_window(offset + done)
            done += got
        self._unchecked += count
        if self._unchecked >= _BYTES_BETWEEN_CHECKPOINTS:
            self._unchecked = 0
            await anyio.lowlevel.checkpoint()

    def copy(self, end: int) -> bytes:
        """The buffer's first *end* bytes."""
        return bytes(self._view[:end])

    async def whole(self, offset: int, count: int) -> bytes:
        """The *count* bytes at *offset* as one object, read in a thread: for what is larger than the buffer."""
        return await anyio.to_thread.run_sync(self._whole, offset, count)

    def _from_window(self, offset: int, done: int, count: int) -> int:
        skip = offset - self._window_start
        if not 0 <= skip < len(self._window):
            return 0
        part = self._window[skip : skip + count - done]
        self._view[done : done + len(part)] = part
        return len(part)

    def _from_cache(self, offset: int, done: int, count: int) -> int:
        if not self._nowait:
            return 0
        try:
            got = os.preadv(self._fd, [self._view[done:count]], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise self._unreadable(offset, error) from error
            self._nowait = False
            return 0
        if not got:
            raise self._shrank(offset)
        return got

    async def _load_window(self, offset: int) -> None:
        data = await anyio.to_thread.run_sync(self._pread, offset, _WINDOW_BYTES)
        self._window, self._window_start = memoryview(data), offset

    def _pread(self, offset: int, count: int) -> bytes:
        try:
            data = os.pread(self._fd, count, offset)
            if hasattr(os, "posix_fadvise"):  # so that the next reads find the page cache filled
                os.posix_fadvise(self._fd, offset + count, 2 * _WINDOW_BYTES, os.POSIX_FADV_WILLNEED)
        except OSError as error:
            raise self._unreadable(offset, error) from error
        if not data:
            raise self._shrank(offset)
        return data

    def _whole(self, offset: int, count: int) -> bytes:
        data = self._pread(offset, count)
        while len(data) < count:  # a signal, or a file system that reads in smaller parts
            data += self._pread(offset + len(data), count - len(data))
        return data

    def _shrank(self, offset: int) -> SourceChanged:
        return SourceChanged(f"{self._uri}: has become shorter while it was read (nothing at byte {offset})")

    def _unreadable(self, offset: int, error: OSError) -> SourceUnreadable:
        return SourceUnreadable(f"{self._uri}: cannot be read at byte {offset}: {error.strerror}")
