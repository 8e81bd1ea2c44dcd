"""Standard input for several lanes: copied to a file as it comes, which each of them follows at its own pace."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from pathlib import Path

from bulkup.errors import LocalDisk
from bulkup.sources.inputs import Input

__all__ = ["Spool", "SpoolInput"]

_COPY_BYTES = 1024 * 1024


class Spool:
    """A file without a name (so it is gone with the process), readable by nobody else, in *directory*.

    Whoever has read all of it copies the next bytes in, and one at a time; so no task runs in the background, and the
    fastest lane sets the pace.
    """

    def __init__(self, source: Input, directory: Path | None) -> None:
        self.length = 0
        self.ended = False
        self._source = source
        self._copying = asyncio.Lock()
        self._copy_under_way: asyncio.Future[None] | None = None
        self._writing = threading.Lock()
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - lives as long as we do
        except OSError as error:
            raise LocalDisk(f"standard input cannot be spooled to {directory}: {error.strerror}") from error

    def read(self, at: int, count: int) -> bytes:
        """At most *count* bytes at *at*."""
        return os.pread(self._file.fileno(), min(count, self.length - at), at)

    async def grow_past(self, at: int) -> None:
        """Return when there are bytes at *at*, or there will be none."""
        while self.length <= at and not self.ended:
            async with self._copying:
                if self.length > at or self.ended:
                    continue
                if self._copy_under_way is None:
                    await self._source.wait()
                    self._copy_under_way = asyncio.get_running_loop().run_in_executor(None, self._copy)
                await asyncio.wait({self._copy_under_way})  # if this is cancelled, the next one takes over
                done, self._copy_under_way = self._copy_under_way, None
                done.result()

    def close(self) -> None:
        with self._writing:
            self._file.close()

    def _copy(self) -> None:
        with self._writing:
            if not self._file.closed:
                self._copy_some()

    def _copy_some(self) -> None:
        data = self._source.read(_COPY_BYTES)
        if data is None:
            return
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file.fileno(), data[written:], self.length + written)
        except OSError as error:
            raise LocalDisk(f"standard input cannot be spooled: {error.strerror}") from error
        self.length += len(data)
        self.ended = not data


class SpoolInput:
    """One lane's place in the spool."""

    def __init__(self, spool: Spool) -> None:
        self.consumed = 0
        self._spool = spool

    def read(self, count: int) -> bytes | None:
        if self.consumed == self._spool.length:
            return b"" if self._spool.ended else None
        data = self._spool.read(self.consumed, count)
        self.consumed += len(data)
        return data

    def ready(self) -> bool:
        return self.consumed < self._spool.length or self._spool.ended

    async def wait(self) -> None:
        await self._spool.grow_past(self.consumed)

    def close(self) -> None:
        """The spool is the source's."""
