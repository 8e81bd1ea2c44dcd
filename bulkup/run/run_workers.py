"""The worker processes of a run: how many, started, and as its lanes see them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bulkup.authority import Authority
from bulkup.errors import UsageProblem
from bulkup.flow.orders import CpuUsed, KeptAnswer, QuotaHeaders, Stalled
from bulkup.flow.processes import LaneWorkers
from bulkup.run.cpus import usable_cpus
from bulkup.run.folder import RunFolder
from bulkup.run.worker import LaneOpening
from bulkup.sources import Source
from bulkup.workers import Pool

if TYPE_CHECKING:
    from bulkup.run.far_workers import FarWorkers, Listening

__all__ = ["RunWorkers", "hand_count", "worker_count"]

LEAST_BYTES = 512 * 1024 * 1024
"""A smaller source is sent by one process in less time: of rows as they are two had 0.8 of its speed for 200 MB, 1.2 for 1 GB."""

LEAST_SCANNED_BYTES = 256 * 1024 * 1024
"""A smaller source is scanned by one process in less time: of rows as they are two had 0.87 of an upload's speed for 200 MB."""


def worker_count(chosen: int | str, source: Source) -> int:
    """How many processes do the work. 1: this one."""
    if chosen != "auto":
        return int(chosen)
    if (
        not source.any_range
    ):  # one process reads it, and shipping its lines costs more than working on them here (measured)
        return 1
    if sum(file.size or 0 for file in source.files) < LEAST_BYTES:
        return 1
    return usable_cpus()


def hand_count(chosen: int | str, source: Source) -> int:
    """How many processes scan *source*: here a packed file is as good as any other, if it is not fetched."""
    if chosen != "auto":
        return int(chosen)
    is_near = all(file.remote is None for file in source.files)
    return usable_cpus() if is_near and sum(file.size or 0 for file in source.files) >= LEAST_SCANNED_BYTES else 1


class RunWorkers:
    """The run's worker processes.

    *say* gets a line for a person, with the lane that it is about (empty: the run); *on_quota* gets the `x-ratelimit-*` headers
    that a lane's answers came with; *on_kept* answers that workers have kept for this run, and what tells them that they may let go
    of them.
    """

    def __init__(
        self,
        *,
        say: Callable[[str, str], None],
        on_quota: Callable[[str, Mapping[str, str]], None],
        on_kept: Callable[[KeptAnswer, Callable[[], None]], None] = lambda *_: None,
    ) -> None:
        self._say = say
        self._on_quota = on_quota
        self._on_kept = on_kept
        self._token = ""
        self._cpu_s: dict[int, float] = {}
        self._pool = Pool(news=self._news, lost=self._lost)
        self._far: FarWorkers | None = None

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the workers have used, as last heard."""
        return sum(self._cpu_s.values())

    @property
    def count(self) -> int:
        """How many workers there are."""
        return self._pool.alive

    def of(self, lane: str, opening: LaneOpening) -> LaneWorkers:
        """The workers as *lane* sees them: none before they are started."""
        return LaneWorkers(self._pool, lane, opening)

    @property
    def near(self) -> tuple[int, ...]:
        """The workers that this run has started: they read the very files that it does."""
        return tuple(number for number in self._pool.numbers if not self._pool.is_far(number))

    async def far_arrivals(self) -> AsyncIterator[int]:
        """The workers that have come by themselves, and then each that comes. It does not end by itself."""
        async for number in self._pool.arrivals():
            if self._pool.is_far(number):
                yield number

    @property
    def far_here(self) -> int:
        """How many that have come by themselves are on this machine."""
        return 0 if self._far is None else sum(map(self._far.is_here, self._pool.numbers))

    def is_far(self, worker: int) -> bool:
        """Whether that worker came by itself, maybe from another machine."""
        return self._pool.is_far(worker)

    def dismiss(self, worker: int, reason: str) -> None:
        """Have no use for a worker that came by itself, for that *reason*."""
        self._pool.dismiss(worker, reason)

    async def ask(self, worker: int, order: object, told: Callable[[object], None]) -> object:
        """What worker number *worker* answers to *order*, which sends nothing; *told* gets its words before that. Raises
        `WorkerLost`, and what the worker raised."""
        return await self._pool.ask(worker, order, told=told, sends=False)

    async def start(self, count: int, stack: AsyncExitStack, *, keep_fds: Sequence[int], prints: bool) -> None:
        """*count* processes, which end with *stack*. *prints*: what they print is for the user to see.

        Raises `UsageProblem` where the system refuses them."""
        verbose = prints or logging.getLogger("bulkup").isEnabledFor(logging.INFO)
        try:
            await self._pool.start(count, module="bulkup.run.worker_process", keep_fds=keep_fds, verbose=verbose)
        except OSError as error:
            raise UsageProblem(f"--workers {count}: the system refused to start a process: {error.strerror}") from None
        stack.push_async_callback(self._pool.aclose)

    def listen(
        self,
        address: tuple[str, int],
        stack: AsyncExitStack,
        *,
        folder: RunFolder,
        key_file: Path | None,
        authority: Authority,
        token: str,
        max_row_bytes: int,
    ) -> Listening:
        """Let workers of other machines in, until *stack* ends; they work like those that were started. *token*: the run's, as they
        know it. Raises `UsageProblem`."""
        from bulkup.run.far_workers import FarWorkers

        self._far = far = FarWorkers(
            self._pool, authority, lambda text: self._say("", text), token=token, max_row_bytes=max_row_bytes
        )
        self._token = token
        found = far.listen(*address, folder, key_file)
        self._pool.expects_more = True
        stack.push_async_callback(self._pool.aclose)
        stack.push_async_callback(far.close)
        self._say(
            "",
            f"listening for workers: bulkup worker --connect {found.address} --key {found.key} (the key file is a secret)",
        )
        return found

    def _lost(self, worker: int) -> None:
        left = self._pool.alive
        doing = (
            f"the other {left} continue its work"
            if left > 1
            else "the other continues its work"
            if left
            else "the main process continues its work"
        )
        name = None if self._far is None else self._far.name(worker)
        if self._far is None or name is None:
            self._say("", f"worker process {worker} has ended; what it was sending is in doubt, and {doing}")
        elif reason := self._far.sent_away(worker):
            self._say("", f"{name} was sent away: {reason}")
        elif self._far.has_left(worker):
            self._say("", f"{name} has left; {doing}")
        else:
            self._say("", f"{name} is lost; what it was sending is in doubt, and {doing}")

    def _news(self, worker: int, word: object) -> None:
        match word:
            case Stalled(lane, text):
                self._say(lane, text)
            case QuotaHeaders(lane, headers):
                self._on_quota(lane, headers)
            case CpuUsed(seconds):
                self._cpu_s[worker] = seconds
            case KeptAnswer() as answer:
                if answer.run == self._token:
                    self._on_kept(answer, partial(self._pool.recorded, worker, answer.key))
            case _:
                raise TypeError(f"a worker says {type(word).__name__}, which nobody knows")
