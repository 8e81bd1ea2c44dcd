"""A worker's side: orders come in, each is a task, and the process ends when its parent is gone."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NoReturn, Protocol

from bulkup.errors import BulkupError
from bulkup.workers.channel import Ask, Cancel, Channel, Here, News, Raised, Returned, Told

__all__ = ["THE_PARENTS", "Asker", "Handler", "Serving", "Tell", "serve"]

Tell = Callable[[object], None]

THE_PARENTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that a worker leaves to its parent, which drains, and then lets go of it."""

COLLECT_S = 1.0
"""How long the first process waits for those that were forked from it."""

logger = logging.getLogger("bulkup")


class Handler(Protocol):
    """What a worker does."""

    def __call__(self, order: object, tell: Tell) -> Awaitable[object]:
        """The answer to *order*; *tell* sends word before that."""
        ...


def serve(fds: Sequence[int], make: Callable[[Tell], Handler]) -> NoReturn:
    """Serve the parent at the other ends of the sockets *fds*, a process for each, until it is gone.

    This process must have one thread: the others are forked from it. *make* gets what sends word unasked. What stops a run often
    reaches every process of its group (a terminal, systemd, a container's end): what it means is the parent's to say.
    """
    for number in THE_PARENTS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, THE_PARENTS)
    gc.freeze()  # what was imported stays shared
    mine = fds[0]
    others: list[int] = []
    for fd in fds[1:]:
        pid = os.fork()
        if pid == 0:
            mine, others = fd, []
            break
        others.append(pid)
    for fd in fds:
        if fd != mine:
            os.close(fd)
    asyncio.run(_serve(socket.socket(fileno=mine), make, others))
    raise AssertionError("unreachable")


class Asker(Protocol):
    """A worker's end of what leads to its run."""

    async def send(self, message: Returned, /) -> None: ...

    def post(self, message: Returned | Raised | Told | News, /) -> None: ...

    async def receive(self) -> object | None: ...


class Serving:
    """Carries out what *asker* asks for, each order as a task, by the handler that *make* makes."""

    def __init__(self, asker: Asker, make: Callable[[Tell], Handler]) -> None:
        self._asker = asker
        self._handler = make(lambda word: asker.post(News(word)))
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the asker is gone, or has let go. What is under way then goes on: see `cancel` and `idle`."""
        while (message := await self._asker.receive()) is not None:
            match message:
                case Ask(number, order):
                    self._tasks[number] = asyncio.create_task(_carry_out(self._asker, self._handler, number, order))
                    self._tasks[number].add_done_callback(lambda _, number=number: self._tasks.pop(number))  # type: ignore[misc]
                case Cancel(number) if number in self._tasks:
                    self._tasks[number].cancel()
                case _:
                    pass

    def cancel(self) -> None:
        """Let nothing go on."""
        for task in self._tasks.values():
            task.cancel()

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())


async def _serve(end: socket.socket, make: Callable[[Tell], Handler], others: Sequence[int]) -> None:
    channel = await Channel.over(end)
    channel.post(Here(os.getpid()))
    serving = Serving(channel, make)
    await serving.run()
    serving.cancel()  # what was under way ends as if the process had been killed
    await _collect(others)
    os._exit(0)


async def _collect(others: Sequence[int]) -> None:
    """Wait a moment for *others*, so that their CPU time is counted with this process's. They end by themselves when the parent is
    gone; where it has let go of this process alone, they go on."""
    left, until = set(others), time.monotonic() + COLLECT_S
    while left and time.monotonic() < until:
        left = {pid for pid in left if os.waitpid(pid, os.WNOHANG)[0] == 0}  # noqa: ASYNC222 - it does not wait
        await asyncio.sleep(0.01)


async def _carry_out(channel: Asker, handler: Handler, number: int, order: object) -> None:
    try:
        result = await handler(order, lambda word: channel.post(Told(number, word)))
    except asyncio.CancelledError:
        channel.post(Returned(number, None))
    except BulkupError as error:
        channel.post(Raised(number, error))
    except Exception as error:
        logger.error("worker %d: internal error", os.getpid(), exc_info=True)
        channel.post(Raised(number, RuntimeError(f"{type(error).__name__}: {error}")))
    else:
        with suppress(OSError):  # then the asker is gone
            await channel.send(Returned(number, result))
