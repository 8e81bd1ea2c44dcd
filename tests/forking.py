"""Commands in processes of their own without the second that each would take to import: a parent imports everything once and
forks for each.

What is run is `python -m bulkup` in all that a process can be seen to do: arguments, environment, directory, descriptors, signals,
exit code. That importing works, and how little of it a command needs, is tested elsewhere with processes that start from nothing.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.workers.waiting import wait_for_workers

__all__ = ["LONGEST_S", "Forked"]

PRELOADED = (
    "bulkup.cli",
    "bulkup.run",
    "bulkup.bench",
    "bulkup.flow",
    "bulkup.sources",
    "bulkup.destinations",
    "bulkup.destinations.collinear",
    "bulkup.destinations.nebius",
    "bulkup.doubt",
    "bulkup.encoding",
)
"""Packages of which every module is imported."""

IMPORTED_LATE = (
    "anyio._backends._asyncio",
    "bulkup.cli.display",
    "pydantic.type_adapter",
    "rich.console",
    "rich.styled",
    "rich.table",
    "typer._adapters",
    "typer._click._textwrap",
    "typer._click.decorators",
)
"""What a command imports as it runs."""

REQUEST_BYTES = 1 << 17
LONGEST_S = 150
"""A command of a second takes a minute where many share the machine."""


class Forked:
    """One command under way. Of `subprocess.Popen` it has what the tests use, and does the same."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: dict[str, str],
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        start_new_session: bool = False,
    ) -> None:
        """Start `python -m bulkup` with *arguments*."""
        self.returncode: int | None = None
        self._status, theirs = socket.socketpair()
        self.stdin, child_in = _end(stdin, 0)
        self.stdout, child_out = _end(stdout, 1)
        self.stderr, child_err = _end(stderr, 2)
        asked = {"arguments": arguments, "cwd": str(cwd), "env": env, "new_session": start_new_session}
        request = json.dumps(asked).encode()
        descriptors = [child_in, child_out, child_err, theirs.fileno()]
        socket.send_fds(_parent(), [request], descriptors)
        for descriptor in descriptors[:3]:
            os.close(descriptor)
        theirs.close()
        self._told = self._status.makefile("r")
        self.pid = int(self._told.readline())

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self.wait()

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._look(0.0)

    def wait(self, timeout_s: float = LONGEST_S) -> int:
        """The exit code, minus a signal's number where one ended it."""
        if (code := self._look(timeout_s)) is None:
            raise subprocess.TimeoutExpired("bulkup", timeout_s)
        return code

    def communicate(self, timeout: float = LONGEST_S) -> tuple[str, str]:
        """What it wrote to stdout and stderr until its end ('' for what is no pipe)."""
        said = {1: "", 2: ""}

        def read(number: int, stream: IO[str]) -> None:
            said[number] = stream.read()

        readers = [
            threading.Thread(target=read, args=(number, stream), daemon=True)
            for number, stream in ((1, self.stdout), (2, self.stderr))
            if stream is not None
        ]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            self.stdin.close()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        self._close()
        return said[1], said[2]

    def send_signal(self, number: signal.Signals) -> None:
        """As `kill NUMBER PID`, where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As `kill -9`."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout_s: float) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout_s)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
            self._status.close()
        return self.returncode

    def _close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()


def _end(choice: int, number: int) -> tuple[IO[str] | None, int]:
    """Our end of a descriptor, if it is a pipe, and the command's."""
    if choice == subprocess.PIPE:
        out, into = os.pipe()
        if number == 0:
            return os.fdopen(into, "w"), out
        return os.fdopen(out, "r"), into
    if choice == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR)
    return None, os.dup(choice)


@functools.cache
def _parent() -> socket.socket:
    """The channel to this process's forking parent, which ends when the channel does."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(30)

    atexit.register(end)
    return ours


# --- the parent's side ------------------------------------------------------------------------------------------------


def _serve(channel: socket.socket) -> None:
    """Fork for each request until the channel ends. Returns in the command's process, with everything as it wants it."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, REQUEST_BYTES, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG if request else 0)[0]:
                pass
        if not request:
            sys.exit()
        if os.fork() == 0:
            channel.close()
            _watch_over(json.loads(request), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _watch_over(request: dict[str, object], descriptors: list[int]) -> None:
    """Fork the command's process, which returns; this one tells its number, and its exit status when it has ended."""
    *streams, status = descriptors
    pid = os.fork()
    if pid:
        for descriptor in (0, 1, 2, *streams):  # or the readers of its pipes would wait for this process too
            os.close(descriptor)
        os.write(status, b"%d\n" % pid)
        _, ended = os.waitpid(pid, 0)
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
        os._exit(0)
    os.close(status)
    if request["new_session"]:
        os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    environment, arguments = request["env"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(request["cwd"]))
    sys.argv = ["bulkup", *arguments]


def _preload() -> None:
    for name in PRELOADED:
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            importlib.import_module(module.name)
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    gc.freeze()


def _leave(ended: SystemExit) -> None:
    """End as Python ends a program, but do not take apart all that was imported: that copies the parent's memory page by page,
    three times the work of most commands. Returns where Python has something to say of the end."""
    if not isinstance(ended.code, int):
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()  # what nobody has closed is told
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(ended.code & 0xFF)


if __name__ == "__main__":
    _channel = socket.socket(fileno=int(sys.argv[1]))
    _preload()
    wait_for_workers()
    _serve(_channel)
    try:
        runpy.run_module("bulkup", run_name="__main__", alter_sys=True)
    except SystemExit as _ended:
        _leave(_ended)
        raise
