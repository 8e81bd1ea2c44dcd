"""Carries a sweep out: short runs of requests against one destination, through the same `send` that uploads use."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from math import inf
from pathlib import Path
from typing import assert_never

import anyio
import anyio.to_thread

from bulkup.account.finished import Event
from bulkup.bench.sweep import (
    Attempt,
    Budget,
    Cell,
    CellResult,
    Fate,
    Grid,
    ToldQuota,
    Verdict,
    ceiling,
    judge,
    next_cell,
    quota_per_minute,
    requests_of,
)
from bulkup.bench.sweep_rows import Filling, SweepRows, made_up_rows, rows_of
from bulkup.destinations.base import Destination, Payload
from bulkup.destinations.registry import service_named
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import ExitCode, UsageProblem
from bulkup.event import Note
from bulkup.flow.clock import Clock
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.flow.prepared import from_memory
from bulkup.flow.requests import InARow, Requests
from bulkup.light_dataclass import dataclass
from bulkup.outcome import (
    Accepted,
    CloseGate,
    InDoubt,
    Outcome,
    RemoteStatus,
    RowsRefused,
    StopLane,
    TokenRejected,
    TooLarge,
    TryAgain,
)
from bulkup.pacing import Concurrency, Gate, Pacing, Patience, Rate
from bulkup.run.build import reading_of, refuse_secrets, row_options, token_of
from bulkup.run.interrupt import Interrupt
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings
from bulkup.sources import open_source
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Timeouts, Transport, leads_to_loopback
from bulkup.version import USER_AGENT

__all__ = ["SweepFound", "SweepWish", "Sweeper"]

FAILURES_TO_STOP = 3
"""So many requests in a row without an answer end a sweep."""

STALL_S = 30.0
"""A request that does not move is told of after this, and given up after three times as long."""

NUMBER_WIDTH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepWish:
    """What a user asks of a sweep. *chunk_bytes* empty: the destination's own largest, a quarter and a sixteenth of it.

    *source* is a file; None makes rows up. *max_wait_s*: a service that asks for more quiet than this ends the sweep.
    """

    settings: DestinationSettings
    run: RunSettings
    source: Path | None
    chunk_bytes: tuple[int, ...]
    concurrencies: tuple[int, ...]
    budget: Budget
    max_wait_s: float


@dataclass(slots=True, kw_only=True)
class SweepFound:
    """What a sweep has found so far, and what it has left at the destination."""

    grid: Grid
    opening: list[Attempt] = field(default_factory=list)
    results: list[CellResult] = field(default_factory=list)
    spent: Budget = field(default_factory=lambda: Budget(0, 0))
    datasets: dict[str, str] = field(default_factory=dict)
    """Names by id, of the answers."""
    told: ToldQuota | None = None
    """The quota, where the user or the service says it."""
    rows_taken: int = 0
    not_ready: int = 0
    """Answers that said that the dataset was still being made, or had failed."""
    under_way: int = 0
    """Requests that were under way when the sweep was stopped: they may have been stored."""
    stopped: Reason | None = None
    rows_per_chunk: dict[int, int] = field(default_factory=dict)

    @property
    def attempts(self) -> list[Attempt]:
        """Everything that was sent and came back."""
        return [*self.opening, *(attempt for result in self.results for attempt in result.attempts)]

    @property
    def unanswered(self) -> int:
        """Requests that may have been stored without an answer that says so."""
        return self.under_way + sum(attempt.fate is Fate.LOST for attempt in self.attempts)

    @property
    def verdict(self) -> Verdict:
        """Judged as it stands."""
        return judge(self.grid, self.results, opening=self.opening, told=self.told)


class Sweeper:
    """One sweep. Nothing is sent before `run`."""

    def __init__(self, wish: SweepWish, token: TokenSource) -> None:
        """Raises `UsageProblem` for a base URL that will not do. *token* as `token_of` gives it."""
        self._wish = wish
        self._tell: Callable[[Event], None] = lambda _: None
        settings = wish.settings
        self._transport = Transport(
            settings.url,
            user_agent=USER_AGENT,
            timeouts=Timeouts(connect_s=wish.run.connect_timeout_s, stall_s=STALL_S),
            ca_file=settings.ca_file,
            on_stall=self._note,
            on_quota=lambda headers: self.pacing.headers(headers),
        )
        self._service = service_named(settings.service)
        dataset = settings.dataset(wish.run.name)
        self.destination: Destination = self._service.destination(dataset, self._transport, token)
        largest = self.destination.capabilities.max_chunk_bytes
        self.grid = Grid(wish.chunk_bytes or (largest // 16, largest // 4, largest), wish.concurrencies)
        self.found = SweepFound(grid=self.grid)
        self.rows: SweepRows | None = None
        self._fillings: dict[int, Filling] = {}
        self._clock = Clock(time.monotonic, time.time, anyio.sleep, random.uniform)
        self._halt = Halt()
        self._number = 0
        self._row = InARow()

    @classmethod
    async def prepared(cls, wish: SweepWish) -> Sweeper:
        """With its bodies made. Raises `BulkupError`: no token, no usable source, a size that holds no row."""
        token = token_of(wish.settings)
        refuse_secrets(Upload((), (wish.settings,), wish.run))
        sweeper = cls(wish, token)
        await sweeper._make_rows()
        return sweeper

    @property
    def is_local(self) -> bool:
        """The endpoint is on this machine."""
        return leads_to_loopback(self._wish.settings.url)

    @property
    def ceiling(self) -> Budget:
        """The most that it can spend."""
        return ceiling(self.grid, self._wish.budget)

    @property
    def most_rows(self) -> int:
        """The most rows that it can leave at the destination."""
        densest = max(filling.rows / filling.body_bytes for filling in self._fillings.values())
        return round(self.ceiling.body_bytes * densest)

    @property
    def makes_datasets(self) -> bool:
        """Each request makes a dataset of its own; else they all go into one."""
        return self.destination.policy.has_dataset_per_chunk

    def dataset_name(self, number: int) -> str:
        """What the *number*-th request's dataset is called."""
        name = self._wish.run.name
        return f"{name}-{number:0{NUMBER_WIDTH}d}" if self.makes_datasets else name

    async def run(
        self, interrupt: Interrupt, *, tell: Callable[[Event], None], on_cell: Callable[[CellResult], None]
    ) -> SweepFound:
        """Measure until the budget, the grid or the service ends it; `found` says what and why. *on_cell* is told of each cell.

        The first request of *interrupt* ends it at once.
        """
        self._tell = tell
        self.pacing, self._requests = self._paced()
        async with self._transport, anyio.create_task_group() as tasks:

            async def stop() -> None:
                await interrupt.drain_requested()
                self._halt.set(Reason("interrupted", interrupt.code or ExitCode.INTERRUPTED))
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop)
            with suppress(Halted):
                await self._sweep(on_cell)
            tasks.cancel_scope.cancel()
        self.found.stopped = self._halt.reason
        return self.found

    def _paced(self) -> tuple[Pacing, Requests]:
        """What an upload has, but for how many are sent at once: that is what is tried. To be called in the event loop."""
        settings, clock = self._wish.settings, self._clock
        pacing = Pacing(
            concurrency=Concurrency.fixed(self.grid.concurrencies[-1]),
            gate=Gate(clock=clock.monotonic, sleep=clock.sleep),
            rate=Rate(
                requests_per_minute=settings.requests_per_minute,
                rows_per_second=settings.rows_per_second,
                bytes_per_second=settings.bytes_per_second,
            ),
            clock=clock.monotonic,
            uniform=clock.uniform,
            unix=clock.unix,
        )
        patience = Patience(
            retry_for_s=inf,
            max_wait_s=self._wish.max_wait_s,
            most_failures=FAILURES_TO_STOP,
            now=clock.monotonic(),
        )
        token = self.destination.token
        return pacing, Requests(
            token=token, pacing=pacing, patience=patience, halt=self._halt, clock=clock, say=self._note
        )

    async def _make_rows(self) -> None:
        wish, target = self._wish, self.destination.target
        if wish.source is None:
            self.rows = await anyio.to_thread.run_sync(made_up_rows, self._service, target)
        else:
            path, limit = str(wish.source), wish.run.max_row_bytes
            source = await anyio.to_thread.run_sync(
                lambda: open_source([path], max_row_bytes=limit, reading=reading_of(wish.run))
            )
            try:
                options = row_options(wish.settings, wish.run)
                self.rows = await rows_of(source, target, options, up_to_bytes=self.grid.chunk_bytes[-1])
            finally:
                source.close()
        envelope = self.destination.envelope(self.dataset_name(0), self.rows.plan).size
        max_rows = wish.settings.max_chunk_rows or self.destination.capabilities.max_chunk_rows
        for size in self.grid.chunk_bytes:
            filling = self.rows.fill(size - envelope, max_rows)
            if filling is None:
                raise UsageProblem(
                    f"--sizes: no row fits into {size:,} bytes: the first row has {len(self.rows.bodies[0]):,} bytes, and the "
                    f"rest of the body {envelope:,}"
                )
            self._fillings[size] = filling
            self.found.rows_per_chunk[size] = filling.rows

    async def _sweep(self, on_cell: Callable[[CellResult], None]) -> None:
        await self._open()
        while (cell := self._next()) is not None:
            await self._measure(cell)
            on_cell(self.found.results[-1])
            self._halt.check()

    def _next(self) -> Cell | None:
        self._hear_quota()
        told = self.found.told
        quota = told.per_minute if told is not None else quota_per_minute(self.found.attempts)
        return next_cell(self.grid, self.found.results, self._left, requests_per_minute=quota)

    def _hear_quota(self) -> None:
        """What the user says holds; else what the service's headers have come to by now."""
        if (said := self._wish.settings.requests_per_minute) is not None:
            self.found.told = ToldQuota(said, "you")
        elif (heard := self.pacing.quota.told_per_minute(self._clock.monotonic())) is not None:
            self.found.told = ToldQuota(heard, "the service")

    @property
    def _left(self) -> Budget:
        return self._wish.budget.minus(self.found.spent)

    async def _open(self) -> None:
        """The first request, alone: it creates the dataset where there is one, opens the connection, and is not measured."""
        size = self.grid.chunk_bytes[0]
        while not self.found.opening or self.found.opening[-1].fate is not Fate.TAKEN:
            if not self._left.covers(Budget(1, size)):
                self._stop("the budget was used up before the service took a request", ExitCode.STOPPED_BY_LIMIT)
            await self._one(size, self.found.opening)
            if self.found.opening[-1].fate is Fate.TOO_LARGE:
                self._stop(
                    f"the service refuses even bodies of {size:,} bytes (413); give smaller --sizes", ExitCode.USAGE
                )

    async def _measure(self, cell: Cell) -> None:
        """One cell, kept in `found` however it ends."""
        attempts: list[Attempt] = []
        began_at, cpu_began = self._clock.monotonic(), time.process_time()
        left = requests_of(cell)

        async def send() -> None:
            nonlocal left
            while left > 0 and not any(attempt.fate is Fate.TOO_LARGE for attempt in attempts):
                left -= 1
                try:
                    await self._one(cell.chunk_bytes, attempts)
                except Halted:
                    return

        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(cell.concurrency):
                    tasks.start_soon(send)
        finally:
            if attempts:
                self.found.results.append(
                    CellResult(
                        cell=cell,
                        attempts=tuple(sorted(attempts, key=lambda attempt: attempt.began_at)),
                        elapsed_s=self._clock.monotonic() - began_at,
                        cpu_s=time.process_time() - cpu_began,
                    )
                )
        self._halt.check()

    async def _one(self, size: int, attempts: list[Attempt]) -> None:
        """One request and what follows from its answer. What it may cost is counted before it goes. Raises `Halted`."""
        filling = self._fillings[size]
        tries = self._requests.tries(self._row)
        async with self._requests.slot(rows=filling.rows, size=size) as slot:
            payload = self._payload(filling)
            spent = self.found.spent
            self.found.spent = Budget(spent.requests + 1, spent.body_bytes + payload.content_length)
            self.found.under_way += 1
            slot.begin()
            outcome = await self.destination.send(payload, lambda _: slot.sent())
            slot.answered(outcome)
            self.found.under_way -= 1
        attempts.append(
            Attempt(
                fate=_fate(outcome),
                body_bytes=payload.content_length,
                began_at=slot.began_s,
                body_sent_at=slot.body_ended_s,
                ended_at=self._clock.monotonic(),
                wait_s=outcome.wait_s if isinstance(outcome, CloseGate) else None,
            )
        )
        match outcome:
            case Accepted():
                self._row.answered()
                self._requests.patience.succeeded(self._clock.monotonic())
                self.found.datasets[outcome.remote_id] = outcome.remote_name
                self.found.rows_taken += filling.rows
                self.found.not_ready += outcome.status is not RemoteStatus.READY
            case TooLarge(reason):
                self._note(f"{reason} (a body of {payload.content_length:,} bytes)")
            case RowsRefused(reason) | InDoubt(reason, was_answered=True):
                self._stop(
                    f"the service refuses these rows ({reason}); send others with --source FILE", ExitCode.SOME_REJECTED
                )
            case TryAgain(reason) | CloseGate(reason) | TokenRejected(reason) | StopLane(reason) | InDoubt(reason):
                if not isinstance(outcome, StopLane):
                    self._note(reason)
                await tries.failed(outcome)
            case _:
                assert_never(outcome)

    def _payload(self, filling: Filling) -> Payload:
        """The next request's."""
        assert self.rows is not None, "rows are made before anything is sent"
        self._number += 1
        name = self.dataset_name(self._number)
        return Payload(
            name=name,
            rows=filling.rows,
            body_bytes=filling.body_bytes,
            envelope=self.destination.envelope(name, self.rows.plan),
            row_blocks=from_memory(filling.blocks),
        )

    def _note(self, text: str) -> None:
        self._tell(Note(self.destination.name, text))

    def _stop(self, text: str, exit_code: ExitCode) -> None:
        self._halt.set(Reason(text, exit_code))
        raise Halted


def _fate(outcome: Outcome) -> Fate:
    match outcome:
        case Accepted():
            return Fate.TAKEN
        case CloseGate():
            return Fate.TOLD_TO_WAIT
        case TooLarge():
            return Fate.TOO_LARGE
        case InDoubt(was_answered=False):
            return Fate.LOST
        case TryAgain():
            return Fate.NOT_SENT
        case InDoubt() | RowsRefused() | TokenRejected() | StopLane():
            return Fate.REFUSED
        case _:
            assert_never(outcome)
