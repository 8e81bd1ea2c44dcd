"""What a worker process does: a transport, a destination and a source for each lane, and the lanes' orders."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import anyio

from bulkup.authority import UNENDING, Authority
from bulkup.destinations.registry import service_named
from bulkup.destinations.service import DatasetAt
from bulkup.encoding import Target
from bulkup.flow.chunker import Chunker
from bulkup.flow.halt import Halt
from bulkup.flow.lane_worker import LaneWorker, ToldLayout
from bulkup.flow.orders import CpuUsed, LaneOrder, OpenLane, QuotaHeaders, Stalled
from bulkup.flow.plan import LanePlan
from bulkup.flow.user_code import PrintsToStderr, in_user_thread
from bulkup.journal.lease_cell import SharedLease
from bulkup.light_dataclass import dataclass
from bulkup.rows.function import Function
from bulkup.run.same_files import check_here
from bulkup.run.scan_worker import LookAtPart, PartLooker
from bulkup.sources import open_files
from bulkup.tokens.secret import Token
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Timeouts, Transport
from bulkup.version import USER_AGENT
from bulkup.workers import Tell

__all__ = ["LaneOpening", "Worker"]

CPU_EVERY_S = 0.25
"""How often a worker at work says how much CPU time it has used."""


@dataclass(frozen=True, slots=True)
class LaneOpening:
    """What a worker makes a lane's destination and source of. There is no token in it: that comes with each attempt."""

    dataset: DatasetAt
    timeouts: Timeouts
    max_row_bytes: int
    block_bytes: int
    ca_file: Path | None = None
    function: Function | None = None
    lease: tuple[Path, int] | None = None
    """How long the run's process has the right to send, and its epoch; None where that does not end."""


def _target_of(dataset: DatasetAt) -> Target:
    """Nothing is asked of the service."""
    transport = Transport(dataset.url, user_agent=USER_AGENT)
    return service_named(dataset.service).destination(dataset, transport, TokenSource.of(Token(""))).target


class Worker:
    """One worker process's lanes."""

    def __init__(self, tell: Tell, *, authority: Authority = UNENDING, is_far: bool = False) -> None:
        """Without *authority* it ends no request. *is_far*: its files may be others than the run's, so they are compared."""
        self._tell = tell
        self._authority = authority
        self._is_far = is_far
        self._lanes: dict[str, LaneWorker] = {}
        self._transports: dict[str, Transport] = {}
        self._looker = PartLooker(_target_of)
        self._next_word_at = 0.0

    async def __call__(self, order: object, tell: Tell) -> object:
        """The answer to *order*."""
        if isinstance(order, OpenLane):
            await self._open(order)
            return None
        if isinstance(order, LaneOrder):
            self._say_how_much_cpu()
            return await self._lanes[order.lane].carry_out(order, tell)
        if isinstance(order, LookAtPart):
            self._say_how_much_cpu()
            if self._is_far:
                await anyio.to_thread.run_sync(check_here, order.files)
            return await self._looker.look(order, tell)
        raise TypeError(f"a worker knows no order {type(order).__name__}")

    async def aclose(self) -> None:
        """Close its lanes' sessions."""
        for transport in self._transports.values():
            await transport.__aexit__()

    async def _open(self, order: OpenLane) -> None:
        opening = order.opening
        assert isinstance(opening, LaneOpening)
        transport = Transport(
            opening.dataset.url,
            user_agent=USER_AGENT,
            timeouts=opening.timeouts,
            ca_file=opening.ca_file,
            on_stall=lambda text: self._tell(Stalled(order.lane, text)),
            on_quota=lambda headers: self._tell(QuotaHeaders(order.lane, dict(headers))),
            authority=self._authority if self._is_far or opening.lease is None else SharedLease(*opening.lease),
        )
        if (before := self._transports.pop(order.lane, None)) is not None:
            await before.__aexit__()
        self._transports[order.lane] = await transport.__aenter__()  # open until the process ends
        token = TokenSource.of(Token(""))
        destination = service_named(opening.dataset.service).destination(opening.dataset, transport, token)
        plan = LanePlan.of_record(order.plan, destination.target, opening.function).rows
        if plan.function is not None:
            PrintsToStderr.install()
            await in_user_thread(plan.function.load)
        halt = Halt()  # nothing stops a worker's work but the order to
        if all(file.any_range for file in order.files):
            if self._is_far:
                await anyio.to_thread.run_sync(check_here, order.files)
            source = await anyio.to_thread.run_sync(
                partial(open_files, order.files, max_row_bytes=opening.max_row_bytes, block_bytes=opening.block_bytes)
            )
            lane = LaneWorker(destination, plan, Chunker(source, plan.line_encoder(), halt), source.cursor())
        else:  # its lines come with the orders
            layout = ToldLayout()
            lane = LaneWorker(destination, plan, Chunker(layout, plan.line_encoder(), halt), None, layout)
        self._lanes[order.lane] = lane

    def _say_how_much_cpu(self) -> None:
        now = time.monotonic()
        if now >= self._next_word_at:
            self._next_word_at = now + CPU_EVERY_S
            self._tell(CpuUsed(time.process_time()))
