"""Where workers of other machines come in, and how they go there. A stranger gets nothing, and costs little.

    TCP ─▶ TLS, each side with its certificate ─▶ Hello (secret, version) ─▶ Welcome, or Refused with the reason

All of that has a few seconds in all; only so many may be at it at once, and only so many begin in a second.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from bulkup.errors import UsageProblem
from bulkup.workers.far import STREAM_BYTES, Frames, TooLong
from bulkup.workers.keys import RunKey, WorkerKey

__all__ = ["PROTOCOL", "Door", "Hello", "NotThere", "TurnedAway", "Welcome", "knock"]

PROTOCOL = 3
"""The number of the form that messages have. It changes with any of them."""

DEADLINE_S = 5.0
MOST_AT_THE_DOOR = 64
"""So many may be at their handshake at once; when another comes, one of them, by lot, has to go."""

MOST_IN_A_SECOND = 100
"""So many begin in a second; more wait in the kernel's queue, or are refused by it."""

HELLO_BYTES = 4096
REFUSED_BYTES = 4096

_Word = Annotated[str, Meta(max_length=256)]


class Hello(Struct, frozen=True):
    """From a worker, first of all. Its form never changes: versions that differ must be able to say so.

    *epoch*: the highest that it has heard of.
    """

    protocol: int
    version: _Word
    secret: _Word
    host: _Word
    pid: int
    epoch: int = 0

    def __repr__(self) -> str:
        return f"Hello({self.host}, {self.pid})"


class Welcome(Struct, frozen=True, tag="welcome"):
    """The answer to a worker that is taken: the epoch that its orders carry, how long its lease is, s, and how long a message may
    be. *run*: its token, by which a worker tells it from others."""

    epoch: int
    lease_s: float
    max_bytes: int
    run: _Word = ""


class Refused(Struct, frozen=True, tag="refused"):
    """The answer to one that is not. *is_final*: it need not come again."""

    reason: Annotated[str, Meta(max_length=1000)]
    is_final: bool


class TurnedAway(UsageProblem):
    """The run does not take this worker. Its text says why."""


class NotThere(Exception):
    """Nobody could be reached, or it was not a run that this key is for. Its text says what came of it."""


class Door:
    """Listens, and hands on whoever has shown the run's key."""

    def __init__(
        self,
        key: RunKey,
        version: str,
        answer: Callable[[Hello], Welcome | Refused],
        taken: Callable[[Frames, Hello], None],
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """*answer* says what becomes of one that has the key and our version; *taken* gets its stream behind a `Welcome`."""
        self._key = key
        self._tls = key.context()
        self._version = version
        self._answer = answer
        self._taken = taken
        self._deadline_s = deadline_s
        self._at_the_door: dict[asyncio.Task[None], None] = {}
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.other_versions: Callable[[Hello], None] = lambda _: None
        """Told of one that has the key, and another version."""

    def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen there (port 0: a free one), and say where that is. Raises `OSError`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=128)
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket))
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    async def close(self) -> None:
        """Let nobody in any more."""
        tasks = [*([self._accepting] if self._accepting else []), *self._at_the_door]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    @property
    def waiting(self) -> int:
        """How many are at their handshake."""
        return len(self._at_the_door)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        begun: deque[float] = deque(maxlen=MOST_IN_A_SECOND)
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError:  # no descriptors are left, or that one has gone again
                await asyncio.sleep(0.1)
                continue
            if len(begun) == MOST_IN_A_SECOND and (early_s := begun[0] + 1 - loop.time()) > 0:
                await asyncio.sleep(early_s)
            begun.append(loop.time())
            if len(self._at_the_door) >= MOST_AT_THE_DOOR:
                random.choice(list(self._at_the_door)).cancel()  # noqa: S311 - no secret hangs on it
            task = asyncio.create_task(self._greet(sock))
            self._at_the_door[task] = None
            task.add_done_callback(partial(self._gone, sock))

    def _gone(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        del self._at_the_door[task]
        sock.close()  # one that has its transport belongs to that, and is closed by it

    async def _greet(self, sock: socket.socket) -> None:
        frames: Frames | None = None
        is_in = False
        try:
            async with asyncio.timeout(self._deadline_s):
                _prepare(sock)
                frames = await self._behind_tls(sock)
                is_in = await self._hear_out(frames)
        except (OSError, TimeoutError, TooLong, msgspec.MsgspecError):
            pass  # a stranger, or a worker that has gone again
        finally:
            if not is_in and frames is not None:
                frames.abort()

    async def _behind_tls(self, sock: socket.socket) -> Frames:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=STREAM_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, socket.socket(fileno=sock.detach()), ssl=self._tls, ssl_handshake_timeout=self._deadline_s
        )
        return Frames(reader, asyncio.StreamWriter(transport, protocol, reader, loop), HELLO_BYTES)

    async def _hear_out(self, frames: Frames) -> bool:
        """Whether whoever is there is taken."""
        data = await frames.get()
        if data is None:
            return False
        hello = msgspec.msgpack.decode(data, type=Hello)
        if not self._key.is_secret(hello.secret):
            return False
        if (hello.protocol, hello.version) != (PROTOCOL, self._version):
            self.other_versions(hello)
            answer: Welcome | Refused = Refused(
                f"the run is bulkup {self._version} (protocol {PROTOCOL}), this worker is bulkup {hello.version} "
                f"(protocol {hello.protocol}): install the run's version",
                is_final=True,
            )
        else:
            answer = self._answer(hello)
        frames.put(msgspec.msgpack.encode(answer))
        await frames.drain()
        if isinstance(answer, Refused):
            await frames.finish()
            return False
        frames.max_bytes = answer.max_bytes
        self._taken(frames, hello)
        return True


async def knock(
    host: str, port: int, key: WorkerKey, hello: Hello, *, deadline_s: float = 2 * DEADLINE_S
) -> tuple[Frames, Welcome]:
    """A stream to the run at that address, which has welcomed this worker. Raises `NotThere`, `TurnedAway`, `UsageProblem`."""
    context = key.context()
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, ssl_handshake_timeout=deadline_s, limit=STREAM_BYTES
            )
            frames = Frames(reader, writer, REFUSED_BYTES)
            try:
                return frames, await _welcomed(frames, writer, key, hello)
            except BaseException:
                frames.abort()
                raise
    except TimeoutError:
        raise NotThere("it does not answer") from None
    except OSError as error:
        raise NotThere(getattr(error, "reason", None) or error.strerror or str(error)) from None


async def _welcomed(frames: Frames, writer: asyncio.StreamWriter, key: WorkerKey, hello: Hello) -> Welcome:
    if not key.is_runs(writer.get_extra_info("ssl_object").getpeercert(binary_form=True)):
        raise NotThere("who listens there has another certificate than the run that this key is for")
    sock = writer.get_extra_info("socket")
    if sock is not None:
        _prepare(sock)
    frames.put(msgspec.msgpack.encode(hello))
    await frames.drain()
    try:
        data = await frames.get()
        answer: Welcome | Refused | None = None
        if data is not None:
            answer = msgspec.msgpack.decode(data, type=Welcome | Refused)
    except (TooLong, msgspec.MsgspecError):
        raise NotThere("its answer makes no sense") from None
    match answer:
        case None:
            raise NotThere("it hung up: the key is not this run's")
        case Refused(reason, is_final):
            if is_final:
                raise TurnedAway(reason)
            raise NotThere(reason)
        case Welcome():
            frames.max_bytes = answer.max_bytes
            return answer


def _prepare(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
