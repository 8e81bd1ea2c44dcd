"""The beginning of standard input, held on disk: it can be looked at before anything is sent, and is read once more after that."""

from __future__ import annotations

import os
import select
import tempfile
import time
from pathlib import Path

from bulkup.errors import LocalDisk, SourceUnreadable
from bulkup.model import BLOCK_BYTES
from bulkup.sources.inputs import PipeInput

__all__ = ["Beginning", "BeginningInput", "EndOfBeginning", "WholeInput"]

_READ_BYTES = 1024 * 1024
_POLL_S = 60.0


class EndOfBeginning(SourceUnreadable):
    """What is held ends here, and standard input goes on."""


class Beginning:
    """The first bytes that come from *fd*, of which *head* was read already: up to *most_bytes*, or what has come within *wait_s*
    seconds, but for a block, which is waited for. They are in a file without a name in *directory*. Blocks until then. Raises
    `LocalDisk`, `SourceUnreadable`."""

    def __init__(self, fd: int, head: bytes, directory: Path | None, *, most_bytes: int, wait_s: float) -> None:
        self.length = 0
        self.ended = False
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - lives as long as we do
            self._write(head)
            self._fill(PipeInput(fd), fd, most_bytes, wait_s)
        except OSError as error:
            raise LocalDisk(f"standard input cannot be held in {directory}: {error.strerror}") from error

    def read(self, at: int, count: int) -> bytes:
        """At most *count* bytes at *at*."""
        return os.pread(self._file.fileno(), min(count, self.length - at), at)

    def whole_lines(self) -> int:
        """How many bytes of what is held are whole lines."""
        at = self.length
        while at > 0:
            start = max(0, at - _READ_BYTES)
            found = self.read(start, at - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            at = start
        return 0

    def close(self) -> None:
        """Nothing can be read any more."""
        self._file.close()

    def _fill(self, pipe: PipeInput, fd: int, most_bytes: int, wait_s: float) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + wait_s
        while self.length < most_bytes:
            left_s = deadline - time.monotonic()
            if left_s <= 0 and self.length >= BLOCK_BYTES:
                return
            if not pipe.ready():
                poll.poll(_POLL_S * 1000 if left_s <= 0 else min(left_s, _POLL_S) * 1000)
            data = pipe.read(_READ_BYTES)
            if data is not None:
                self._write(data)
                if not data:
                    self.ended = True
                    return

    def _write(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.pwrite(self._file.fileno(), data[written:], self.length + written)
        self.length += len(data)


class BeginningInput:
    """What is held, and nothing more. Where standard input goes on behind it, half a line at its end is left out, if it is not
    *packed*; what is packed breaks off with `EndOfBeginning`."""

    def __init__(self, beginning: Beginning, *, is_packed: bool) -> None:
        self.consumed = 0
        self._beginning = beginning
        self._breaks_off = is_packed and not beginning.ended
        self._length = beginning.length if is_packed or beginning.ended else beginning.whole_lines()

    def read(self, count: int) -> bytes | None:
        if self._breaks_off and self.consumed == self._length:
            raise EndOfBeginning("standard input goes on")
        data = self._beginning.read(self.consumed, min(count, self._length - self.consumed))
        self.consumed += len(data)
        return data

    def ready(self) -> bool:
        return True

    async def wait(self) -> None:
        """What is held keeps nobody waiting."""

    def close(self) -> None:
        """It is the source's."""


class WholeInput:
    """What is held, and then what comes."""

    def __init__(self, beginning: Beginning, pipe: PipeInput) -> None:
        self.consumed = 0
        self._beginning = beginning
        self._pipe = pipe

    def read(self, count: int) -> bytes | None:
        data = self._pipe.read(count) if self._is_past else self._beginning.read(self.consumed, count)
        self.consumed += len(data or b"")
        return data

    @property
    def _is_past(self) -> bool:
        return self.consumed >= self._beginning.length and not self._beginning.ended

    def ready(self) -> bool:
        return not self._is_past or self._pipe.ready()

    async def wait(self) -> None:
        if self._is_past:
            await self._pipe.wait()

    def close(self) -> None:
        """The descriptor is not ours."""
