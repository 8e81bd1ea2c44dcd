"""Listening: the emulator on a socket that can be shut and opened again, in this process or as a program."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from .answers import abort
from .app import create_app
from .settings import Settings
from .state import STATE, State

__all__ = ["Emulator", "running", "serve"]


class Emulator:
    """A running emulator. *url* is its base for both services."""

    def __init__(self, state: State, runner: web.AppRunner, host: str, port: int) -> None:
        self._state = state
        self._runner = runner
        self._socket = _bound(host, port)
        self._site: web.SockSite | None = None
        self._opening: asyncio.Task[None] | None = None
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        state.shut = self.shut

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._state.settings

    @property
    def state(self) -> State:
        """What the handlers work on."""
        return self._state

    def patch(self, **patch: Any) -> None:
        """Change settings, in the shapes of their JSON."""
        self._state.patch(patch)

    async def open(self) -> None:
        """Take connections."""
        if self._site is None:
            self._site = web.SockSite(self._runner, self._socket, backlog=1024)
            await self._site.start()

    async def shut(self, seconds: float | None = None, spare: asyncio.BaseTransport | None = None) -> None:
        """Refuse connections and reset those that are open (but *spare*), for so long or until `open`.

        The port stays bound meanwhile, so that nobody else gets it.
        """
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._site is not None:
            await self._site.stop()
            self._site = None
            self._socket = _bound(self.host, self.port)
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport is not None and connection.transport is not spare:
                abort(connection.transport)
        if seconds is not None:
            self._opening = asyncio.get_running_loop().create_task(self._open_after(seconds))

    async def _open_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.open()

    async def idle(self) -> None:
        """Wait until no upload is under way or still to be stored."""
        await self._state.idle()

    async def close(self) -> None:
        """Stop for good, without waiting for anybody."""
        self._state.stopping.set()
        await self.shut()
        self._socket.close()
        await self._runner.cleanup()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the port and does not listen: connections to it are refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


@asynccontextmanager
async def running(
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    db_path: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Emulator]:
    """An emulator in this event loop. Port 0 takes a free one. Raises OSError where the port is taken."""
    app = create_app(settings, db_path, clock=clock)
    state = app[STATE]
    keepalive_s = state.settings.keepalive_s
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=keepalive_s, read_bufsize=1 << 20, shutdown_timeout=0.5
    )
    await runner.setup()
    try:
        emulator = Emulator(state, runner, host, port)
    except OSError:
        await runner.cleanup()
        raise
    try:
        if state.settings.closed_at_start_s > 0:
            await emulator.shut(state.settings.closed_at_start_s)
        else:
            await emulator.open()
        yield emulator
    finally:
        await emulator.close()


def serve(
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    db_path: Path | None = None,
    port_file: Path | None = None,
    until_stdin_closes: bool = False,
) -> None:
    """Run until SIGINT or SIGTERM (or, if asked, until stdin ends). Prints one line when the port is there.

    *port_file* gets the port's number, whole or not at all. Raises OSError where the port is taken.
    """
    asyncio.run(_serve(settings, host, port, db_path, port_file, until_stdin_closes))


async def _serve(
    settings: Settings | None, host: str, port: int, db_path: Path | None, port_file: Path | None, watch_stdin: bool
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if (
            number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        ):  # it was told to outlive its terminal
            loop.add_signal_handler(number, ended.set)
    async with running(settings, host=host, port=port, db_path=db_path) as emulator:
        if port_file is not None:
            await asyncio.to_thread(_write_port, port_file, emulator.port)
        where = "a temporary file" if db_path is None else str(db_path)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full or closed: it serves all the same
            sys.stdout.write(
                f"bulkup emulator: {emulator.url} (Nebius and Collinear; rows in {where}; Ctrl-C stops it)\n"
            )
            sys.stdout.flush()
        if watch_stdin:
            threading.Thread(target=_wait_for_stdin, args=(loop, ended), daemon=True).start()
        await ended.wait()


def _write_port(path: Path, port: int) -> None:
    written = path.with_name(path.name + ".new")
    written.write_text(f"{port}\n", encoding="ascii")
    written.replace(path)


def _wait_for_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(ended.set)
