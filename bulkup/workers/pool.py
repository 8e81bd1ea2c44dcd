"""The parent's side: N processes, asked by number, and what happens when one of them is gone."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from bulkup.workers.channel import Ask, Attempt, Cancel, Channel, Here, Leaving, Link, News, Raised, Returned, Told
from bulkup.workers.serving import THE_PARENTS

__all__ = ["Pool", "WorkerLost"]

END_S = 2.0
"""How long a worker may take to end once its parent lets go; then it is killed."""

CANCEL_S = 0.5
"""How long a worker may take to answer that it has stopped something."""

FAR_CANCEL_S = 3.0
"""The same for one on another machine."""

logger = logging.getLogger("bulkup")


class WorkerLost(Exception):
    """The worker's process has ended, so what it was doing has no answer."""


@dataclass(slots=True)
class _Asked:
    answer: asyncio.Future[object]
    told: Callable[[object], None]
    sends: bool


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    channel: Link
    pid: int = 0
    is_far: bool = False
    is_leaving: bool = False
    asked: dict[int, _Asked] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    listening: asyncio.Task[None] | None = None

    @property
    def is_there(self) -> bool:
        return not self.gone.is_set() and not self.is_leaving


class Pool:
    """Worker processes: those that it has started, and those of other machines that have come. Whoever asks gets the answer, or
    `WorkerLost` where the worker died before it gave one."""

    def __init__(self, *, news: Callable[[int, object], None], lost: Callable[[int], None]) -> None:
        """None at first: `start` starts them.

        *news* gets what a worker says unasked, with the worker's number; *lost* is told of one that has ended before it should.
        """
        self._first: subprocess.Popen[bytes] | None = None
        self._workers: list[_Worker] = []
        self._lost = lost
        self._is_closing = False
        self._numbers = itertools.count()
        self._news = news
        self._came = asyncio.Event()
        self.expects_more = False
        """Whether workers may come."""

    def adopt(self, channel: Link) -> int:
        """The number of a worker that has come by itself and stands at the other end of *channel*."""
        worker = _Worker(len(self._workers), channel, is_far=True)
        self._take_in([worker])
        return worker.number

    async def arrivals(self) -> AsyncIterator[int]:
        """The workers that are there, by number, and then each that comes. It does not end by itself."""
        seen = 0
        while True:
            came = self._came
            while seen < len(self._workers):
                seen += 1
                if self._workers[seen - 1].is_there:
                    yield seen - 1
            await came.wait()

    def _take_in(self, workers: Sequence[_Worker]) -> None:
        for worker in workers:
            self._workers.append(worker)
            worker.listening = asyncio.create_task(self._listen(worker))
        came, self._came = self._came, asyncio.Event()
        came.set()

    async def start(self, count: int, *, module: str, keep_fds: Sequence[int], verbose: bool) -> None:
        """Start *count* processes that run *module*, whose arguments are the numbers of their sockets' descriptors. Once only.

        One is started anew (this one has threads, and must not be forked), imports what it needs, and forks the others. *keep_fds*
        stay open in them: a lock is given up when the last process that holds it is gone. Raises `OSError` where no process can
        be started.
        """
        assert self._first is None, "they are started once"
        pairs = [socket.socketpair() for _ in range(count)]
        ends = [theirs.fileno() for _, theirs in pairs]
        try:
            command = [sys.executable, "-P", "-m", module, *map(str, ends)]
            self._first = await anyio.to_thread.run_sync(
                partial(_started, command, (*ends, *keep_fds), verbose=verbose)
            )
        except BaseException:
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        first = len(self._workers)
        self._take_in([_Worker(first + place, await Channel.over(ours)) for place, (ours, _) in enumerate(pairs)])

    @property
    def alive(self) -> int:
        """How many workers there are still."""
        return len(self.numbers)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The workers that are there, by number."""
        return tuple(worker.number for worker in self._workers if worker.is_there)

    def is_alive(self, number: int) -> bool:
        """Whether worker *number* is there, to stay."""
        return self._workers[number].is_there

    def is_far(self, number: int) -> bool:
        """Whether worker *number* came by itself, maybe from another machine."""
        return self._workers[number].is_far

    async def silence(self, number: int) -> None:
        """Wait until nothing can come any more of worker *number*, which is gone: neither here, nor where it was sending."""
        await self._workers[number].channel.silence()

    def dismiss(self, number: int, reason: str) -> None:
        """Have no use for worker *number*, for that *reason*."""
        self._workers[number].channel.dismiss(reason)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are there and have said so."""
        return tuple(worker.pid for worker in self._workers if worker.pid and not worker.gone.is_set())

    def asked(self, number: int) -> int:
        """How many orders worker *number* has under way."""
        return len(self._workers[number].asked)

    async def ask(
        self, worker: int, order: object, *, told: Callable[[object], None] = lambda _: None, sends: bool = True
    ) -> object:
        """What worker number *worker* answers to *order*; *told* gets its word before that. If it dies meanwhile, that is known at
        once where the order *sends* nothing, else when nothing can come of it any more.

        Raises `WorkerLost`, and what the worker raised. Cancelled, it waits a moment for the worker to stop; words that come
        until then still reach *told*.
        """
        asked = self._workers[worker]
        if not asked.is_there:
            raise WorkerLost(f"worker process {worker} is gone")
        number = next(self._numbers)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        asked.asked[number] = _Asked(answer, told, sends)
        try:
            with suppress(OSError):  # then `_listen` finds it gone
                await asked.channel.send(Ask(number, order))
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            asked.channel.post(Cancel(number))
            with anyio.CancelScope(shield=True), anyio.move_on_after(FAR_CANCEL_S if asked.is_far else CANCEL_S):
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
        if not there.gone.is_set():
            there.channel.post(Ask(next(self._numbers), order))

    async def send(self, worker: int, order: object) -> None:
        """As `tell` for something large: it waits while the worker reads slowly. Raises `WorkerLost`."""
        there = self._workers[worker]
        if there.gone.is_set():
            raise WorkerLost(f"worker process {worker} is gone")
        with suppress(OSError):  # then `_listen` finds it gone
            await there.channel.send(Ask(next(self._numbers), order))

    def recorded(self, worker: int, attempt: Attempt) -> None:
        """What came of *attempt*, which that worker has told, is in the journal."""
        self._workers[worker].channel.recorded(attempt)

    def kill(self, number: int) -> None:
        """End worker *number* at once, as by `kill -9`: what it was sending is reset."""
        worker = self._workers[number]
        if worker.is_far:
            worker.channel.close()
        elif worker.pid and not worker.gone.is_set():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """Let go of the workers, which end, and see that they have."""
        if self._is_closing:
            return
        self._is_closing = True
        for worker in self._workers:
            if not worker.gone.is_set():
                worker.channel.end()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(END_S):
                for worker in self._workers:
                    await worker.gone.wait()
            for worker in self._workers:
                self.kill(worker.number)
            if self._first is not None:
                await anyio.to_thread.run_sync(_reap, self._first)
        for worker in self._workers:
            worker.channel.close()
            if worker.listening is not None:
                worker.listening.cancel()
                with suppress(asyncio.CancelledError):
                    await worker.listening

    async def _listen(self, worker: _Worker) -> None:
        try:
            await self._hear(worker)
        except Exception:  # what it would have answered must not be waited for for ever
            logger.error("worker %d: a message that cannot be taken in", worker.number, exc_info=True)
            self.kill(worker.number)  # what it sends from now on would be sent again by others
        await self._miss(worker)

    async def _miss(self, worker: _Worker) -> None:
        worker.gone.set()
        worker.channel.close()  # a worker that is still there ends
        if not self._is_closing:
            self._lost(worker.number)
        lost = WorkerLost(f"worker process {worker.number} has ended")
        for asked in worker.asked.values():
            if not asked.sends:
                _settle(asked.answer, None, lost)
        if any(asked.sends for asked in worker.asked.values()):
            await worker.channel.silence()
        for asked in worker.asked.values():
            _settle(asked.answer, None, lost)

    async def _hear(self, worker: _Worker) -> None:
        while (message := await worker.channel.receive()) is not None:
            match message:
                case Here(pid):
                    worker.pid = pid
                case News(word):
                    self._news(worker.number, word)
                case Told(number, word) if number in worker.asked:
                    worker.asked[number].told(word)
                case Returned(number, result) if number in worker.asked:
                    _settle(worker.asked[number].answer, result, None)
                case Leaving():
                    worker.is_leaving = True
                case Raised(number, error) if number in worker.asked:
                    _settle(worker.asked[number].answer, None, error)
                case _:
                    pass  # the answer to something that nobody waits for any more


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
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, THE_PARENTS
    )  # of this thread, and so of what it starts, until that ignores them
    try:
        return subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
            command,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if verbose else subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reap(first: subprocess.Popen[bytes]) -> None:
    try:
        first.wait(END_S)
    except subprocess.TimeoutExpired:
        first.kill()
        first.wait()
