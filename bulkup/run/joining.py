"""A worker on this machine for a run on another: `bulkup worker --connect HOST:PORT`.

The process that a person starts does no work. It keeps worker processes: each is forked, goes to the run, and ends with it, so that
a worker that may not send any more ends as a whole and its sockets are reset. One that was lost is forked anew, and goes again.
"""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import IO, NoReturn

from bulkup.errors import BulkupError, ExitCode, UsageProblem
from bulkup.flow.orders import KeptAnswer, SendChunk, Sent
from bulkup.light_dataclass import dataclass
from bulkup.machine import machine_clock
from bulkup.run.keeping import Kept, hand_over_to, handed_over
from bulkup.run.wire import at_worker
from bulkup.run.worker import Worker
from bulkup.version import VERSION
from bulkup.workers.channel import Leaving, News
from bulkup.workers.door import PROTOCOL, Hello, NotThere, TurnedAway, knock
from bulkup.workers.far import FarRun, Frames, Ping
from bulkup.workers.keys import WorkerKey
from bulkup.workers.lease import Lease
from bulkup.workers.serving import Handler, Serving, Tell

__all__ = ["Joining", "join"]

LEAVE_S = 25.0
"""How long a worker that is told to leave may finish what it is sending: less than what Kubernetes waits before it kills."""

WAS_LOST = 76
"""How a worker's process ends that was at work, and has lost its run. No other program sees it."""

AGAIN_S, AGAIN_AT_MOST_S = 0.1, 2.0
"""How long a worker waits before it goes there again: twice as long each time. Until it has come, the run works without it."""

KNOCK_AGAIN_S = 0.5
"""How long an address that has failed is left alone while others do not answer."""

NEXT_S = 1.0
"""How long an address may take to answer before the next one is tried too."""

_EPOCH = struct.Struct("!Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """Where to go, one of *addresses*, and how long to try, s; *processes* go there. *say* gets lines for a person.

    *key* gives the key anew each time, as whoever takes over a run may have made another; it raises `UsageProblem`.
    """

    addresses: tuple[tuple[str, int], ...]
    key: Callable[[], WorkerKey]
    processes: int
    retry_for_s: float
    say: Callable[[str], None]


def _written(host: str, port: int) -> str:
    """An address as a person writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def join(joining: Joining) -> ExitCode:
    """Work until the run is over. What it ended with: 0; 2 where the run has no use for this worker; 75 where it could not be
    reached for too long; 143 where this process was told to end. This process must have one thread."""
    return _Keeper(joining).keep()


class _Keeper:
    """Keeps the worker processes."""

    def __init__(self, joining: Joining) -> None:
        self._joining = joining
        self._epoch = mmap.mmap(-1, _EPOCH.size)  # the highest that any of them has heard of
        self._running: dict[int, float] = {}
        self._due: list[tuple[float, float]] = [(0.0, AGAIN_S)] * joining.processes
        self._waits: dict[int, float] = {}
        self._kept: list[KeptAnswer] = []  # what processes that have lost their run have left for the next ones
        self._given: dict[int, tuple[list[KeptAnswer], IO[bytes]]] = {}
        self._seen_at = time.monotonic()
        self._is_told_to_end = False
        self._ends: list[ExitCode] = []

    def keep(self) -> ExitCode:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told_to_end)
        gc.freeze()  # what was imported stays shared, and is not looked through again
        while self._running or self._due:
            self._start_those_that_are_due()
            self._hear_of_one()
        if self._is_told_to_end:
            return ExitCode.TERMINATED
        return next((end for end in self._ends if end is not ExitCode.ALL_LANDED), ExitCode.ALL_LANDED)

    def _told_to_end(self, *_: object) -> None:
        self._is_told_to_end = True
        self._due.clear()
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start_those_that_are_due(self) -> None:
        now = time.monotonic()
        for entry in [entry for entry in self._due if entry[0] <= now]:
            self._due.remove(entry)
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
            (given, self._kept), handed = (self._kept, []), hand_over_to()
            pid = os.fork()
            if pid == 0:
                for _, file in self._given.values():
                    file.close()
                work = _session(self._joining, self._epoch, given, handed, is_first=entry[1] <= AGAIN_S)
                _be_a_worker(self._joining, work, unblock=blocked)
            self._running[pid] = now
            self._given[pid] = given, handed
            self._waits[pid] = entry[1]
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _hear_of_one(self) -> None:
        pid, status = os.waitpid(-1, os.WNOHANG) if self._running else (0, 0)
        if pid == 0:
            time.sleep(0.05)
            return
        given, handed = self._given.pop(pid)
        with handed:
            left = handed_over(handed)
        self._kept += given if left is None else left
        wait_s = self._waits.pop(pid)
        self._running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code in (ExitCode.ALL_LANDED, ExitCode.USAGE, ExitCode.INTERNAL) or self._is_told_to_end:
            self._ends.append(ExitCode.TERMINATED if self._is_told_to_end else ExitCode(code))
            return
        now = time.monotonic()
        if code != ExitCode.TRY_LATER:  # it had reached the run
            self._seen_at, wait_s = now, AGAIN_S
        if now - self._seen_at > self._joining.retry_for_s:
            self._ends.append(ExitCode.TRY_LATER)
            return
        self._due.append((now + wait_s, min(2 * wait_s, AGAIN_AT_MOST_S)))


def _be_a_worker(joining: Joining, work: Coroutine[None, None, int], *, unblock: set[int | signal.Signals]) -> NoReturn:
    """In a process that was just forked."""
    code = int(ExitCode.INTERNAL)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to all; what it means is the keeper's to say
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblock)
        code = asyncio.run(work)
    except BulkupError as error:
        joining.say(str(error))
        code = int(error.exit_code)
    except BaseException as error:  # noqa: BLE001 - the last stop of this process
        joining.say(f"internal error: {type(error).__name__}: {error}")
    finally:
        sys.stderr.flush()
        os._exit(code)


async def _session(
    joining: Joining, epoch: mmap.mmap, given: list[KeptAnswer], handed: IO[bytes], *, is_first: bool
) -> int:
    """From the knock to the end; the process's exit code. *given* was kept by processes before this one; what is kept when the run
    is lost goes into *handed*."""
    try:
        run = await _Doors(joining, _EPOCH.unpack(epoch[:])[0], is_first=is_first).first()
    except TurnedAway as error:
        joining.say(str(error))
        return ExitCode.USAGE
    if run is None:
        return ExitCode.TRY_LATER
    epoch[:] = _EPOCH.pack(run.epoch)
    lease = Lease(run.epoch, run.asked_at, run.lease_s)
    joining.say(f"at work for the run at {run.address}")
    return await _Session(
        joining, run.address, FarRun(run.frames, at_worker, lease), lease, Kept(run.token, given), handed
    ).work()


@dataclass(frozen=True, slots=True)
class _Reached:
    """A run that has welcomed this worker, at *address*, when it was *asked_at*. *token*: the run's."""

    address: str
    asked_at: float
    frames: Frames
    epoch: int
    lease_s: float
    token: str


class _Doors:
    """Knocks at every address, until a run of *epoch* or a later one takes this worker.

    An address is tried once the one before it has failed, or does not answer at once; and again as long as another does not answer.
    So a machine that is gone, or stopped, does not keep the worker from the one that takes over.
    """

    def __init__(self, joining: Joining, epoch: int, *, is_first: bool) -> None:
        self._joining = joining
        self._epoch = epoch
        self._failed = [asyncio.Event() for _ in joining.addresses]
        self._knocking: set[int] = set()
        self._says = is_first
        self._said: set[str] = set()

    async def first(self) -> _Reached | None:
        """The first run that takes this worker; None where none does. Raises `TurnedAway`, with the address."""
        going = [asyncio.create_task(self._go(place)) for place in range(len(self._failed))]
        found: _Reached | None = None
        try:
            for one in asyncio.as_completed(going):
                if (found := await one) is not None:
                    break
        finally:
            for task in going:
                task.cancel()
            for other in await asyncio.gather(*going, return_exceptions=True):
                if isinstance(other, _Reached) and other is not found:
                    other.frames.abort()
        return found

    async def _go(self, place: int) -> _Reached | None:
        if place:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._failed[place - 1].wait(), NEXT_S * place)
        while True:
            self._knocking.add(place)
            try:
                return await self._knock(*self._joining.addresses[place])
            except (NotThere, UsageProblem) as error:
                if isinstance(error, TurnedAway):
                    raise
                self._say_once(str(error))
            finally:
                self._knocking.discard(place)
                self._failed[place].set()
            await asyncio.sleep(KNOCK_AGAIN_S if len(self._failed) > 1 else 0)
            if not self._knocking:
                return None

    async def _knock(self, host: str, port: int) -> _Reached:
        address, asked_at, key = _written(host, port), machine_clock(), self._joining.key()
        hello = Hello(
            protocol=PROTOCOL,
            version=VERSION,
            secret=key.secret,
            host=socket.gethostname()[:200],
            pid=os.getpid(),
            epoch=self._epoch,
        )
        try:
            frames, welcome = await knock(host, port, key, hello)
        except TurnedAway as error:
            raise TurnedAway(f"{address}: {error}") from None
        except NotThere as error:
            raise NotThere(f"{address}: {error}") from None
        if welcome.epoch < self._epoch:  # it has been succeeded, and does not know yet
            frames.abort()
            raise NotThere(f"{address}: another process has taken over the run")
        return _Reached(address, asked_at, frames, welcome.epoch, welcome.lease_s, welcome.run)

    def _say_once(self, why: str) -> None:
        if self._says and why not in self._said:
            self._said.add(why)
            self._joining.say(f"{why}; trying again for up to {self._joining.retry_for_s:,.0f} s")


@dataclass(frozen=True, slots=True)
class _Session:
    """What a worker process does for a run that has taken it."""

    joining: Joining
    address: str
    run: FarRun
    lease: Lease
    kept: Kept
    handed: IO[bytes]

    async def work(self) -> int:
        """Until the run is over, or lost; the process's exit code."""
        serving = Serving(self.run, self._handler)
        is_leaving = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_leaving.set)
        self.run.on_recorded = self.kept.let_go
        for answer in self.kept.answers:
            self.run.post(News(answer))
        beside = [
            asyncio.create_task(self._keep_the_lease(is_leaving)),
            asyncio.create_task(self._leave(serving, is_leaving)),
        ]
        await serving.run()
        for task in beside:
            task.cancel()
        if self.run.end is None:
            self._say("is gone")
            await self._finish_what_is_sent(serving)
            self._lose_it()
        serving.cancel()
        await serving.idle()
        await self.run.finish()
        if self.run.end.reason:
            self._say(f"has no use for this worker: {self.run.end.reason}")
            return ExitCode.USAGE
        self._say("is over")
        return ExitCode.ALL_LANDED

    def _handler(self, tell: Tell) -> Handler:
        worker = Worker(tell, authority=self.lease, is_far=True)

        async def carried_out(order: object, tell: Tell) -> object:
            result = await worker(order, tell)
            if isinstance(order, SendChunk) and isinstance(result, Sent):
                self.kept.keep(order, result)
            return result

        return carried_out

    async def _finish_what_is_sent(self, serving: Serving) -> None:
        """The run is gone. As long as the lease goes on what is being sent may come to its end, and to its answer, which is kept
        for whoever goes on with the run: nobody calls it absent before the lease is out. Nothing else is begun."""
        if self.run.is_another:  # a later process has the run already
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self.lease.left_s):
                await serving.idle()

    def _lose_it(self) -> NoReturn:
        self.kept.hand_over(self.handed)
        os._exit(WAS_LOST)  # what is still being sent is reset

    async def _keep_the_lease(self, is_leaving: asyncio.Event) -> None:
        parent = os.getppid()
        while self.lease.holds():
            if os.getppid() != parent:  # the keeper was killed
                is_leaving.set()
            with suppress(OSError):
                self.run.post(Ping(machine_clock()))
            await asyncio.sleep(self.lease.ask_every_s)
        self._say("has been silent for too long")
        self._lose_it()

    async def _leave(self, serving: Serving, is_leaving: asyncio.Event) -> None:
        """Once told to: finish what is under way, and go."""
        await is_leaving.wait()
        self.joining.say("told to end: what is being sent may finish")
        told_at = machine_clock()
        with suppress(OSError):
            self.run.post(Leaving())
            self.run.post(Ping(told_at))
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                # what the run had asked before it heard of that may still be on its way
                while self.lease.answered < told_at:  # noqa: ASYNC110 - an answer of the run, a second at most
                    await asyncio.sleep(0.02)
                await serving.idle()
                await self.run.finish()
        os._exit(ExitCode.TERMINATED)

    def _say(self, what: str) -> None:
        self.joining.say(f"the run at {self.address} {what}")
