"""A relay before an emulator that stops reading an upload in its middle, or keeps a whole one, until it is told to go on; or that
answers success when the body has hardly begun."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum

from benchmarks.certificate import Certificate

__all__ = ["Fate", "Relay", "Stopped"]

UPLOADS = (b"POST /v1/datasets ", b"POST /api/v1/dataset/upload ")
RECEIVE_BYTES = 16 * 1024
"""What the relay's kernel takes in unread, and half of what its reader does: so that most of a body stays with its sender."""

EARLY_BYTES = 64

SEGMENT_BYTES = 1448
"""As on an Ethernet: by its size the kernels decide how much they hold, and loopback's segments are 64 KiB."""


class Fate(StrEnum):
    """What becomes of an upload that the relay does not pass on at once."""

    PAUSED = "read so far, then no further"
    KEPT = "read whole, and not passed on"
    DELIVERED_BEHIND_ITS_COPY = "read whole, passed on once the same body was stored"
    ANSWERED_EARLY = "answered with a success after 64 bytes, and read no further"


@dataclass(eq=False)
class Stopped:
    """An upload that was not passed on at once. Bytes are the body's: read before the relay stopped, and after it went on."""

    fate: Fate
    port: int
    length: int
    before: int = 0
    after: int = 0
    was_reset: bool = False
    has_stopped: threading.Event = field(default_factory=threading.Event)
    is_done: threading.Event = field(default_factory=threading.Event)

    @property
    def is_whole(self) -> bool:
        """Whether the whole body has come in the end."""
        return self.before + self.after == self.length


class Relay:
    """Use it as a context manager; its methods block."""

    def __init__(self, port: int, certificate: Certificate | None = None) -> None:
        self._port = port
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(certificate.chain, certificate.key)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        self._socket.bind(("127.0.0.1", 0))
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._go_on = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._uploads = 0
        self._stop_at, self._fate, self._take = 0, Fate.PAUSED, 0
        self._kept: bytes | None = None
        self.early_answers: dict[bytes, bytes] = {}
        """The body of a success that comes early, by how the request begins."""
        self.stopped: Stopped | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        self._call(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stop_upload(self, number: int, fate: Fate, take: int = 0) -> None:
        """The *number*-th upload from now (from 1) is not passed on at once; of a paused one *take* bytes are read."""

        async def arm() -> None:
            self._uploads, self._stop_at, self._fate, self._take = 0, number, fate, take
            self._go_on, self._kept, self.stopped = asyncio.Event(), None, None

        self._call(arm)

    def wait_until_stopped(self, deadline_s: float = 60) -> Stopped:
        """The upload, once it stands still."""
        pause = threading.Event()
        for _ in range(int(deadline_s / 0.005)):
            if self.stopped is not None and self.stopped.has_stopped.is_set():
                return self.stopped
            pause.wait(0.005)
        raise AssertionError("no upload was stopped")

    def go_on(self) -> Stopped:
        """Read on, or deliver; the upload, once nothing more comes of it."""
        assert self.stopped is not None
        self._loop.call_soon_threadsafe(self._go_on.set)
        assert self.stopped.is_done.wait(60)
        return self.stopped

    def _call(self, work: Callable[[], Awaitable[None]]) -> None:
        async def do() -> None:
            await work()

        future: Future[None] = asyncio.run_coroutine_threadsafe(do(), self._loop)
        future.result(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, ssl=self._tls, limit=RECEIVE_BYTES)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._requests(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The requests of one connection, passed on over one other."""
        there = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _length(head)
                if self._is_to_be_stopped(head):
                    await self._stop(head, length, reader, writer)
                    return
                if there is None:
                    there = await asyncio.open_connection("127.0.0.1", self._port)
                body = await self._pass_on(head, length, reader, there[1])
                await _answer(there[0], writer)
                if body is not None and body == self._kept and self.stopped is not None:
                    await self._deliver(self.stopped, body)
        finally:
            if there is not None:
                there[1].transport.abort()

    async def _pass_on(
        self, head: bytes, length: int, reader: asyncio.StreamReader, there: asyncio.StreamWriter
    ) -> bytes | None:
        """The body, where it may have to be compared."""
        there.write(head)
        if self._kept is not None and len(self._kept) - self._kept.index(b"\r\n\r\n") - 4 == length:
            body = await reader.readexactly(length)
            there.write(body)
            return self._kept[: -length or None] + body
        while length:
            part = await reader.read(min(length, 65_536))
            if not part:
                raise ConnectionResetError
            length -= len(part)
            there.write(part)
            await there.drain()
        return None

    def _is_to_be_stopped(self, head: bytes) -> bool:
        if not head.startswith(UPLOADS):
            return False
        self._uploads += 1
        return self._uploads == self._stop_at

    async def _stop(self, head: bytes, length: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stopped = Stopped(self._fate, writer.get_extra_info("peername")[1], length)
        self.stopped = stopped
        take = {Fate.PAUSED: self._take, Fate.ANSWERED_EARLY: EARLY_BYTES}.get(self._fate, length)
        try:
            body = await reader.readexactly(min(take, length))
        except (
            ConnectionError,
            ssl.SSLError,
            asyncio.IncompleteReadError,
        ):  # whoever sent it died before so much had come
            stopped.was_reset = True
            stopped.has_stopped.set()
            stopped.is_done.set()
            raise
        stopped.before = len(body)
        if self._fate is Fate.ANSWERED_EARLY:
            success = next(answer for start, answer in self.early_answers.items() if head.startswith(start))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(success), success))
        if self._fate is Fate.DELIVERED_BEHIND_ITS_COPY:
            self._kept = head + body
        stopped.has_stopped.set()
        await self._go_on.wait()
        try:
            while len(body) < length:
                part = await reader.read(65_536)
                if not part:
                    break
                body += part
                stopped.after += len(part)
        except (ConnectionError, ssl.SSLError):
            stopped.was_reset = True
            unread = bytes(reader._buffer)  # type: ignore[attr-defined]  # a program that reads without asyncio gets it first
            body += unread
            stopped.after += len(unread)
        await self._deliver(stopped, head + body)

    async def _deliver(self, stopped: Stopped, request: bytes) -> None:
        """Pass on what there is of the request: a body that is not whole ends there."""
        self._kept = None
        there, write = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            write.write(request)
            await write.drain()
            if stopped.is_whole:
                await there.readuntil(b"\r\n\r\n")
        finally:
            write.transport.abort()
            stopped.is_done.set()


async def _answer(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One answer, passed on."""
    head = await there.readuntil(b"\r\n\r\n")
    writer.write(head)
    if b"transfer-encoding: chunked" in head.lower():
        while True:
            line = await there.readuntil(b"\r\n")
            part = await there.readexactly(int(line, 16) + 2)
            writer.write(line + part)
            await writer.drain()
            if part == b"\r\n":
                return
    writer.write(await there.readexactly(_length(head)))
    await writer.drain()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0
