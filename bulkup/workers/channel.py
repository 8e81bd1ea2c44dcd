"""Messages between a process and the workers that it has started, over a socket that only they have.

Both ends are this program, of one version and one user, and nobody else can reach the socket: so pickle may be used.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from contextlib import suppress
from typing import Protocol

from bulkup.light_dataclass import dataclass

__all__ = [
    "Ask",
    "Attempt",
    "Cancel",
    "Channel",
    "Here",
    "Leaving",
    "Link",
    "Message",
    "News",
    "Raised",
    "Returned",
    "Told",
]

_LENGTH = struct.Struct("!Q")
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """To a worker: carry *order* out, and answer under *number*."""

    number: int
    order: object


@dataclass(frozen=True, slots=True)
class Cancel:
    """To a worker: stop what was asked under *number*. It is answered all the same."""

    number: int


@dataclass(frozen=True, slots=True)
class Here:
    """From a worker, first of all: it is process *pid*."""

    pid: int


@dataclass(frozen=True, slots=True)
class Returned:
    """From a worker: what came of *number*."""

    number: int
    result: object


@dataclass(frozen=True, slots=True)
class Raised:
    """From a worker: *number* ended with *error*."""

    number: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Told:
    """From a worker: word of *number*, which is still under way."""

    number: int
    word: object


@dataclass(frozen=True, slots=True)
class News:
    """From a worker: something that belongs to no single order."""

    word: object


@dataclass(frozen=True, slots=True)
class Leaving:
    """From a worker: it finishes what it was asked, and is to be asked for nothing more."""


Attempt = tuple[str, int, int, int]
"""One attempt at a chunk, among those of a run: lane, tile, child, number."""

Message = Ask | Cancel | Here | Returned | Raised | Told | News | Leaving


class Link(Protocol):
    """The run's end of what leads to a worker. Messages arrive whole and in order, or not at all."""

    async def send(self, message: Message) -> None:
        """Hand *message* over; it waits while the other end reads slowly. Raises `OSError` where that is gone."""

    def post(self, message: Message) -> None:
        """As `send` for a small message, without waiting."""

    async def receive(self) -> Message | None:
        """The next message; None once the other end is gone."""

    def end(self) -> None:
        """Say no more: the other end sees that, and ends too."""

    def dismiss(self, reason: str) -> None:
        """As `end`, for that *reason*: the other end cannot be made use of."""

    def close(self) -> None:
        """Let go of the socket."""

    async def silence(self) -> None:
        """Wait until nothing more can come of a worker that is gone: neither here, nor where it was sending."""

    def recorded(self, attempt: Attempt) -> None:
        """What came of *attempt* is in the journal: the worker need not keep it."""


class Channel:
    """One end. Messages arrive whole and in order, or not at all."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """A channel over *end* of a socket pair, which it closes."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_BUFFER_BYTES))

    async def send(self, message: Message) -> None:
        """Hand *message* over; it waits while the other end reads slowly. Raises `OSError` where that is gone."""
        self.post(message)
        await self._writer.drain()

    def post(self, message: Message) -> None:
        """As `send` for a small message, without waiting."""
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        self._writer.write(_LENGTH.pack(len(data)))
        self._writer.write(data)

    async def receive(self) -> Message | None:
        """The next message; None once the other end is gone."""
        try:
            (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            message: Message = pickle.loads(await self._reader.readexactly(size))  # noqa: S301 - see above
        except (asyncio.IncompleteReadError, OSError):
            return None
        return message

    def end(self) -> None:
        """Say no more: the other end sees that, and ends too."""
        with suppress(OSError):
            self._writer.write_eof()

    def dismiss(self, reason: str) -> None:
        """As a link's. A worker of this machine stays: it does what it can."""

    def close(self) -> None:
        """Let go of the socket."""
        self._writer.close()

    def recorded(self, attempt: Attempt) -> None:
        """As a link's. Such a worker keeps nothing."""

    async def silence(self) -> None:
        """As a link's. Such a worker is gone when its socket is, and the kernel has reset what it was sending."""
