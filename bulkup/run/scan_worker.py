"""A worker's side of a scan: it looks at one part of a source, as often as it is asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import anyio

from bulkup.destinations.service import DatasetAt
from bulkup.encoding import RowOptions, Target
from bulkup.flow.user_code import PrintsToStderr, in_user_thread
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.scan.judging import Stage, Way
from bulkup.scan.learned import Learned
from bulkup.scan.scanner import look_at_part, made_way
from bulkup.scan.spread import Part
from bulkup.sources import SourceFile, open_files
from bulkup.sources.renaming import Renames
from bulkup.workers import Tell

__all__ = ["LookAtPart", "PartLooker", "Reached", "ScannedLane", "blocking"]

T = TypeVar("T")

TOLD_EVERY_S = 0.1
"""How often a worker says how far it is."""


@dataclass(frozen=True, slots=True)
class ScannedLane:
    """A lane as it is scanned: where it goes to, how its rows are made, and the *first* of them."""

    dataset: DatasetAt
    options: RowOptions
    first: Block | None


@dataclass(frozen=True, slots=True)
class LookAtPart:
    """To a worker: look at *part*, which is in *files*, for each of *lanes* in the way that *stages* name. Answered with what it
    has taught, by lane; the words before are `Reached`. *goes_on* as `look_at_part` has it."""

    lanes: Mapping[str, ScannedLane]
    stages: Mapping[str, Stage]
    files: tuple[SourceFile, ...]
    part: Part
    max_row_bytes: int
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Reached:
    """So many bytes of a part were read."""

    bytes: int


class _Unwanted(BaseException):
    """Nobody waits for it any more."""


async def blocking(work: Callable[[Callable[[], None]], T], *, is_users: bool) -> T:
    """What *work* gives, in a thread; it calls what it is given now and then, which raises once nobody waits any more."""
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise _Unwanted

    try:
        if is_users:
            return await in_user_thread(partial(work, check))
        return await anyio.to_thread.run_sync(_quiet(partial(work, check)), abandon_on_cancel=True)
    finally:
        stopped.set()


def _quiet(work: Callable[[], T]) -> Callable[[], T]:
    def run() -> T:
        try:
            return work()
        except _Unwanted:
            raise RuntimeError("nobody waits for this") from None

    return run


class PartLooker:
    """Carries `LookAtPart` out; *target_of* gives the target of a dataset. What is made ready for a lane is kept until the lane is
    scanned in another way."""

    def __init__(self, target_of: Callable[[DatasetAt], Target]) -> None:
        self._target_of = target_of
        self._ways: dict[str, tuple[ScannedLane, Stage, Way]] = {}

    async def look(self, order: LookAtPart, tell: Tell) -> Mapping[str, Learned]:
        """Carry *order* out. Raises `SourceChanged`, `UsageProblem`."""
        is_users = any(lane.options.function is not None for lane in order.lanes.values())
        if is_users:
            PrintsToStderr.install()
        loop = asyncio.get_running_loop()
        said_at = time.monotonic()

        def reached(count: int) -> None:
            nonlocal said_at
            if time.monotonic() - said_at >= TOLD_EVERY_S:
                said_at = time.monotonic()
                loop.call_soon_threadsafe(tell, Reached(count))

        def work(check: Callable[[], None]) -> Mapping[str, Learned]:
            renames = order.files[0].renames
            ways = {name: self._way(name, lane, order.stages[name], renames) for name, lane in order.lanes.items()}
            source = open_files(order.files, max_row_bytes=order.max_row_bytes)
            return look_at_part(source, order.part, ways, check, reached, goes_on=order.goes_on)

        return await blocking(work, is_users=is_users)

    def _way(self, name: str, lane: ScannedLane, stage: Stage, renames: Renames) -> Way:
        kept = self._ways.get(name)
        if kept is not None and kept[:2] == (lane, stage):
            return kept[2]
        way = made_way(self._target_of(lane.dataset), lane.options, lane.first, stage, renames)
        self._ways[name] = lane, stage, way
        return way
