"""Objects as the formats read them: by offset into a buffer, or from the beginning on."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from bulkup.errors import SourceChanged
from bulkup.sources.places.address import Remote
from bulkup.sources.places.fetching import GIVE_UP_S, Windows, in_thread, persist
from bulkup.sources.places.place import Unreachable, opened

__all__ = ["RemoteInput", "RemotePages", "StreamedInput", "input_of", "whole_pieces"]

_PATIENCE_S = 0.2
"""So long a thread waits for the next bytes before it lets others say that they want no more."""

_PIECES = 16


def input_of(
    uri: str, remote: Remote, size: int | None, soon: int | None = None, start: int = 0
) -> RemoteInput | StreamedInput:
    """The bytes of an object in order, by ranges where the server gives them; *soon* and *start* as in `RemoteInput`."""
    if remote.ranges and size is not None:
        return RemoteInput(uri, remote, size, soon, start)
    return StreamedInput(uri, remote)


def whole_pieces(source: RemoteInput | StreamedInput) -> Callable[[int], bytes]:
    """Reads *source* as a file is read: it waits for the next bytes. Blocks."""

    def read(count: int) -> bytes:
        while (data := source.read(count)) is None:
            pass
        return data

    return read


class RemotePages:
    """As `Pages`, of an object. *windows* are made for the range that is read, and are closed by whoever made them."""

    def __init__(self, windows: Windows, *, capacity: int) -> None:
        self.buffer = bytearray(capacity)
        self._view = memoryview(self.buffer)
        self._windows = windows

    async def fill(self, offset: int, count: int) -> None:
        """Put the *count* bytes at *offset* at the buffer's beginning. Raises as `Place.read`, and `OutOfReach`."""
        await self._copy(offset, count, self._view)

    def copy(self, end: int) -> bytes:
        """The buffer's first *end* bytes."""
        return bytes(self._view[:end])

    async def whole(self, offset: int, count: int) -> bytes:
        """The *count* bytes at *offset* as one object."""
        whole = bytearray(count)
        await self._copy(offset, count, memoryview(whole))
        return bytes(whole)

    async def _copy(self, offset: int, count: int, into: memoryview) -> None:
        done = 0
        while done < count:
            at = offset + done
            span = self._windows.at(at)
            await _done(span.data)
            part = memoryview(span.data.result())[at - span.start : at - span.start + count - done]
            into[done : done + len(part)] = part
            done += len(part)


class RemoteInput:
    """An object of which any range can be read, from its beginning on: a connection that breaks is no end, what comes next is asked
    for from where it stood."""

    def __init__(self, uri: str, remote: Remote, size: int, soon: int | None = None, start: int = 0) -> None:
        """The *size* bytes from *start* on. *soon*: so many are wanted for sure, what comes behind them perhaps."""
        self.consumed = 0
        self._size = size
        self._start = start
        self._windows = Windows(uri, remote, start, start + (size if soon is None else min(soon, size)), start + size)

    def begin(self) -> None:
        """Have the first bytes fetched."""
        if self._size:
            self._windows.begin()

    def read(self, count: int) -> bytes | None:
        count = min(count, self._size - self.consumed)
        if not count:
            return b""
        span = self._windows.at(self._start + self.consumed)
        if not wait([span.data], _PATIENCE_S).done:
            return None
        at = self._start + self.consumed - span.start
        data = bytes(memoryview(span.data.result())[at : at + count])
        self.consumed += len(data)
        return data

    def ready(self) -> bool:
        return self.consumed >= self._size or self._windows.at(self._start + self.consumed).data.done()

    async def wait(self) -> None:
        if not self.ready():
            await _done(self._windows.at(self._start + self.consumed).data)

    def close(self) -> None:
        self._windows.close()


class StreamedInput:
    """An object that its server gives from the beginning on only. Where the connection breaks it is read from there again, and what
    was read is passed over; only if the server tells that it is still the same."""

    def __init__(self, uri: str, remote: Remote) -> None:
        self.consumed = 0
        self._uri = uri
        self._remote = remote
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(_PIECES)
        self._held: bytes | BaseException | None = None
        self._closed = threading.Event()
        self._arrived = threading.Condition()
        self._thread: Future[None] | None = None
        self._given = 0

    def begin(self) -> None:
        """A stream is begun when it is read."""

    def read(self, count: int) -> bytes | None:
        if not self.ready():
            with suppress(queue.Empty):
                self._held = self._pieces.get(timeout=_PATIENCE_S)
        held = self._held
        if held is None:
            return None
        if isinstance(held, BaseException):
            raise held
        data, rest = held[:count], held[count:]
        self.consumed += len(data)
        if data:
            self._held = rest or None
        return data

    def ready(self) -> bool:
        if self._thread is None:
            self._thread = in_thread(self._fetch)
        if self._held is None:
            try:
                self._held = self._pieces.get_nowait()
            except queue.Empty:
                return False
        return True

    async def wait(self) -> None:
        if not self.ready():
            await _done(in_thread(self._wait))

    def close(self) -> None:
        self._closed.set()

    def _wait(self) -> None:
        while not self._closed.is_set():
            with self._arrived:
                if not self._pieces.empty() or self._arrived.wait(1.0):
                    return

    def _fetch(self) -> None:
        try:
            persist(self._uri, self._from_the_beginning, GIVE_UP_S, self._closed, lambda: self._given)
            self._put(b"")
        except BaseException as error:  # noqa: BLE001 - raised where it is read
            self._put(error)

    def _from_the_beginning(self) -> None:
        seen = 0
        try:
            for piece in opened(self._remote.at).stream(self._uri, self._remote):
                new = piece[max(0, self._given - seen) :]
                seen += len(piece)
                if new:
                    self._put(new)
                    self._given += len(new)
                if self._closed.is_set():
                    return
        except Unreachable as error:
            if self._given and self._remote.version is None:
                raise SourceChanged(
                    f"{self._uri}: the connection broke after {self._given:,} bytes ({error}), and the server does not tell "
                    "whether the file is still the same. Run the same command again, or fetch the file first"
                ) from error
            raise

    def _put(self, piece: bytes | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._pieces.put(piece, timeout=1.0)
            except queue.Full:
                continue
            with self._arrived:
                self._arrived.notify_all()
            return


async def _done(future: Future[Any]) -> None:
    """Return once *future* is done, whatever it has come to. It is not cancelled with whoever waits."""
    if future.done():
        return
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell(_: Future[Any]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(told.set)

    future.add_done_callback(tell)
    await told.wait()
