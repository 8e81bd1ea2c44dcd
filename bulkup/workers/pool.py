"""The parent's side: N processes, asked by number, and what happens when one of them is gone."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from bulkup.workers.channel import Answer, Ask, Cancel, Channel, News, Raised, Told

__all__ = ["Pool", "WorkerLost"]

END_S = 2.0
"""How long a worker may take to end once its parent lets go; then it is killed."""

CANCEL_S = 0.5
"""How long a worker may take to answer that it has stopped something."""

logger = logging.getLogger("bulkup")


class WorkerLost(Exception):
    """The worker's process has ended, so what it was doing has no answer."""


@dataclass(slots=True)
class _Asked:
    answer: asyncio.Future[object]
    told: Callable[[object], None]


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    channel: Channel
    asked: dict[int, _Asked] = field(default_factory=dict)
    is_gone: bool = False
    listening: asyncio.Task[None] | None = None


class Pool:
    """Worker processes. Whoever asks gets the answer, or `WorkerLost` where the worker died before it gave one."""

    def __init__(
        self, workers: Sequence[_Worker], news: Callable[[int, object], None], lost: Callable[[int], None]
    ) -> None:
        self._workers = list(workers)
        self._lost = lost
        self._is_closing = False
        self._numbers = itertools.count()
        self._news = news
        for worker in self._workers:
            worker.listening = asyncio.create_task(self._listen(worker))

    @classmethod
    async def start(
        cls,
        count: int,
        *,
        module: str,
        keep_fds: Sequence[int],
        news: Callable[[int, object], None],
        lost: Callable[[int], None],
        verbose: bool,
    ) -> Pool:
        """*count* processes that run *module*, whose one argument is the number of the socket's descriptor.

        *keep_fds* stay open in them: a lock is given up when the last process that holds it is gone. *news* gets what a worker
        says unasked, with the worker's number; *lost* is told of one that has ended before it should. Raises `OSError` where no
        process can be started.
        """
        workers: list[_Worker] = []
        try:
            for number in range(count):
                ours, theirs = socket.socketpair()
                with theirs:
                    command = [sys.executable, "-P", "-m", module, str(theirs.fileno())]
                    process = await anyio.to_thread.run_sync(
                        partial(_started, command, (theirs.fileno(), *keep_fds), verbose=verbose)
                    )
                workers.append(_Worker(number, process, await Channel.over(ours)))
        except BaseException:
            for worker in workers:
                worker.process.kill()
            raise
        return cls(workers, news, lost)

    @property
    def alive(self) -> int:
        """How many workers there are still."""
        return sum(not worker.is_gone for worker in self._workers)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The workers that are there, by number."""
        return tuple(worker.number for worker in self._workers if not worker.is_gone)

    def is_alive(self, number: int) -> bool:
        """Whether worker *number* is there."""
        return not self._workers[number].is_gone

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are there."""
        return tuple(worker.process.pid for worker in self._workers if not worker.is_gone)

    def least_asked(self) -> int:
        """The number of the worker that has the fewest orders under way. Raises `WorkerLost` where there is none."""
        there = [worker for worker in self._workers if not worker.is_gone]
        if not there:
            raise WorkerLost("no worker process is left")
        return min(there, key=lambda worker: len(worker.asked)).number

    async def ask(self, worker: int, order: object, *, told: Callable[[object], None] = lambda _: None) -> object:
        """What worker number *worker* answers to *order*; *told* gets its word before that.

        Raises `WorkerLost`, and what the worker raised. Cancelled, it waits a moment for the worker to stop; words that come
        until then still reach *told*.
        """
        asked = self._workers[worker]
        if asked.is_gone:
            raise WorkerLost(f"worker process {worker} is gone")
        number = next(self._numbers)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        asked.asked[number] = _Asked(answer, told)
        try:
            with suppress(OSError):  # then `_listen` finds it gone
                await asked.channel.send(Ask(number, order))
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            asked.channel.post(Cancel(number))
            with anyio.CancelScope(shield=True), anyio.move_on_after(CANCEL_S):
                await asyncio.wait({answer})
            raise
        finally:
            del asked.asked[number]
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen, even where nobody waits for it any more
            else:
                answer.cancel()

    def tell(self, worker: int, order: object) -> None:
        """An order whose answer nobody waits for."""
        there = self._workers[worker]
        if not there.is_gone:
            there.channel.post(Ask(next(self._numbers), order))

    async def aclose(self) -> None:
        """Let go of the workers, which end, and see that they have."""
        self._is_closing = True
        for worker in self._workers:
            worker.channel.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_reap, [worker.process for worker in self._workers])
        for worker in self._workers:
            if worker.listening is not None:
                worker.listening.cancel()
                with suppress(asyncio.CancelledError):
                    await worker.listening

    async def _listen(self, worker: _Worker) -> None:
        while (message := await worker.channel.receive()) is not None:
            match message:
                case News(word):
                    self._news(worker.number, word)
                case Told(number, word) if number in worker.asked:
                    worker.asked[number].told(word)
                case Answer(number, result) if number in worker.asked:
                    _settle(worker.asked[number].answer, result, None)
                case Raised(number, error) if number in worker.asked:
                    _settle(worker.asked[number].answer, None, error)
                case _:
                    pass  # the answer to something that nobody waits for any more
        worker.is_gone = True
        if not self._is_closing:
            self._lost(worker.number)
        for asked in worker.asked.values():
            _settle(asked.answer, None, WorkerLost(f"worker process {worker.number} has ended"))


def _settle(answer: asyncio.Future[object], result: object, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


def _started(command: Sequence[str], fds: tuple[int, ...], *, verbose: bool) -> subprocess.Popen[bytes]:
    """A worker finds this very package, wherever it was imported from, and nothing in the current directory."""
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
        command,
        env={**os.environ, "PYTHONPATH": path},
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if verbose else subprocess.DEVNULL,
    )


def _reap(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
