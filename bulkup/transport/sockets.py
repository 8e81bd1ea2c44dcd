"""How a request leaves its connection: whatever ends without a whole answer is reset, not closed.

A socket that is closed politely lives on in this machine's kernel, which goes on offering the bytes that it holds to a service that
does not read, for minutes. So a body could arrive long after its request was given up and its rows were sent again. A reset throws
those bytes away. While a request is under way its socket has `SO_LINGER` 0: then the kernel resets it also where nobody is left to
close it (`kill -9`).
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from bulkup.transport.heads import BoundedHead

__all__ = ["Connector", "Line"]

LINGER_0 = struct.pack("ii", 1, 0)
LINGER_OFF = struct.pack("ii", 0, 0)

KEEPALIVE_S = 30
"""After so long without a packet the kernel asks whether the peer is still there; what stands in between also keeps its state."""

_LITTLE_BYTES = 8 * 1024
"""A kernel that holds no more than this has room for as much again: the least buffer of a connection is 16 KiB."""

_KEEPALIVE = {"TCP_KEEPIDLE": KEEPALIVE_S, "TCP_KEEPALIVE": KEEPALIVE_S, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""By the names of the `socket` module: macOS calls the first one otherwise."""


def new_socket(address: Any) -> socket.socket:
    """A socket for *address* (as `getaddrinfo` gives it) that is reset when it is closed, until a whole answer has come over it."""
    family, kind, proto, _, _ = address
    made = socket.socket(family, kind, proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class Line:
    """The connection under one request, from when the client library gives it one until it is back among the idle ones."""

    def __init__(self, *, handed_over: Callable[[], bool], give_up_s: float) -> None:
        """*handed_over*: whether all of the body has been handed to the connection. *give_up_s*: where the peer has taken nothing
        for so long, the kernel gives the connection up, should this process not run at that time."""
        self._handed_over = handed_over
        self._give_up_ms = int(give_up_s * 1000)
        self._transport: Any = None
        self._was_whole: bool | None = None

    def head_came(self) -> None:
        """The head of an answer is there: of the answer, or of one before it (1xx). To be called at once, for a service that ends
        its TLS with the answer has this side write a goodbye of its own, which is then on its way in the body's place."""
        self._was_whole = self._handed_over() and self._is_delivered()

    def body_was_whole(self) -> bool:
        """Whether the whole body had reached the peer when the answer came."""
        if self._was_whole is None:
            self.head_came()
        return bool(self._was_whole)

    def begin(self, transport: Any) -> None:
        """From here on the connection is reset when it ends."""
        self._transport, self._was_whole = transport, None
        self._set(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self._set(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._give_up_ms)

    def end(self) -> None:
        """The answer was whole, and so was the body: the connection may be kept for others, or closed."""
        self._set(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
        self._transport = None

    def reset(self) -> None:
        """End the connection now, and throw away what was not sent. Nothing is done where it has ended, or belongs to others."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def has_room(self) -> bool:
        """Whether the kernel takes a small piece at once: nothing waits in this process, and little in the kernel. A connection
        that is gone takes anything."""
        if self._transport is None or self._transport.is_closing():
            return True
        sock = self._transport.get_extra_info("socket")
        return not _held(self._transport) and (sock is None or (_unacknowledged(sock.fileno()) or 0) <= _LITTLE_BYTES)

    def _is_delivered(self) -> bool:
        """Whether the peer's kernel has all that was handed to the connection: an answer acknowledges what was read before it."""
        if self._transport is None or _held(self._transport):
            return False
        sock = self._transport.get_extra_info("socket")
        return sock is not None and _unacknowledged(sock.fileno()) == 0

    def _set(self, level: int, option: int, value: int | bytes) -> None:
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None:
            with suppress(OSError):  # then the connection is gone
                sock.setsockopt(level, option, value)


class Connector(aiohttp.TCPConnector):
    """Connections that are reset unless a whole answer to a whole body came."""

    _line: ContextVar[Line | None] = ContextVar("line", default=None)

    def __init__(self, **options: Any) -> None:
        super().__init__(socket_factory=new_socket, **options)
        self._lines: dict[ResponseHandler, Line] = {}

    @classmethod
    @contextmanager
    def telling(cls, line: Line) -> Iterator[None]:
        """A request made in here runs over *line*."""
        token = cls._line.set(line)
        try:
            yield
        finally:
            cls._line.reset(token)

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        """As the client library's."""
        connection = await super().connect(*args, **kwargs)
        line, protocol = self._line.get(), connection.protocol
        if line is not None and protocol is not None:
            line.begin(connection.transport)
            self._lines[protocol] = line
            if isinstance(protocol, BoundedHead):
                protocol.on_head = line.head_came
        return connection

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        """The library is done with a connection: not *should_close* says that the answer has come to its end."""
        if (line := self._lines.pop(protocol, None)) is not None:
            if isinstance(protocol, BoundedHead):
                protocol.on_head = None
            if should_close or not line.body_was_whole():
                should_close = True
                line.reset()
            else:
                line.end()
        super()._release(key, protocol, should_close=should_close)


def _held(transport: Any) -> int:
    """How many bytes wait in this process: a TLS transport says nothing of those that it has handed to the one below it."""
    held = 0
    while transport is not None:
        held += transport.get_write_buffer_size()
        transport = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return held


def _unacknowledged(fd: int) -> int | None:
    """How many bytes the kernel holds that the peer has not acknowledged; 0 where the system does not say, None where the
    connection is gone."""
    if fd < 0:
        return None
    if sys.platform != "linux":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return None
