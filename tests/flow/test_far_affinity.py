"""Which far worker sends a chunk: the one that has read its file's bytes, unless it is much busier than others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from bulkup.chunk import Chunk, ChunkId
from bulkup.flow.draft import Drafted
from bulkup.flow.executors import BUSIER, Executors
from bulkup.flow.orders import LaneOrder, SourceRange
from bulkup.flow.prepared import Prepared, listed
from bulkup.flow.processes import LaneWorkers, ThisProcess, WorkerProcess
from bulkup.sources import open_source
from bulkup.tokens.secret import Token
from bulkup.tokens.token_source import TokenSource
from bulkup.workers import Tell
from tests.flow.rig import MAX_ROW

ROWS = b'{"t":"1"}\n' * 100


class One(WorkerProcess):
    """A worker that drafts what it is asked, and is as busy as the test says."""

    def __init__(self, *, is_far: bool = True) -> None:
        self.busy = 0
        self.there = True
        self._is_far = is_far

    @property
    def is_there(self) -> bool:
        return self.there

    @property
    def is_far(self) -> bool:
        return self._is_far

    @property
    def asked(self) -> int:
        return self.busy

    async def ask(self, order: LaneOrder, told: Tell = lambda _: None) -> object:
        return drafted(order.span.start)  # type: ignore[union-attr]


def drafted(start: int) -> Drafted:
    return Drafted(
        start=start, stop=start + 10, file=0, byte_offset=start, rows=1, blank=0, rejected=0, reject_bytes=0, lines=((0, 1),),
        body_bytes=9, raw_hash=b"", rows_hash=b"", verbatim=True, rejects=[], encoded=[], raw=[],
    )  # fmt: skip


@dataclass
class Workers:
    """The workers of a lane."""

    ones: list[One] = field(default_factory=list)

    @property
    def ready(self) -> list[One]:
        return [one for one in self.ones if one.is_there]

    def least_asked(self) -> One | None:
        return min(self.ready, key=lambda one: one.asked, default=None)


@pytest.fixture
def lane(tmp_path: Path) -> tuple[Executors, Workers]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROWS)
    source = open_source([str(path)], max_row_bytes=MAX_ROW)
    workers = Workers([One(), One()])
    token = TokenSource.of(Token("a-token-of-this-test"))
    made = Executors("lane", cast("ThisProcess", None), cast("LaneWorkers", workers), source, source.cursor(), token)
    return made, workers


async def sender(made: Executors, start: int) -> object:
    chunk: Chunk = drafted(start).chunk(ChunkId("lane", 0, 0), "n")
    executor, key = await made._rows_of(Prepared(chunk, listed([]), 0))
    assert key is None
    return executor


async def test_who_has_read_it_sends_it_once(lane: tuple[Executors, Workers]) -> None:
    made, workers = lane
    one, other = workers.ones
    other.busy = 1
    await made.clean(SourceRange(0, 10))
    one.busy, other.busy = BUSIER, 0
    assert await sender(made, 0) is one
    assert await sender(made, 0) is other, "a second attempt goes to whoever is free"


async def test_one_that_is_much_busier_or_gone_does_not(lane: tuple[Executors, Workers]) -> None:
    made, workers = lane
    one, other = workers.ones
    other.busy = 1
    await made.clean(SourceRange(0, 10))
    one.busy, other.busy = BUSIER + 1, 0
    assert await sender(made, 0) is other
    one.busy, other.busy = 0, 1
    await made.clean(SourceRange(10, 20))
    one.there = False
    assert await sender(made, 10) is other


async def test_workers_of_this_machine_share_its_page_cache(lane: tuple[Executors, Workers]) -> None:
    made, workers = lane
    near, other = One(is_far=False), One()
    workers.ones = [near, other]
    other.busy = 1
    await made.clean(SourceRange(0, 10))
    near.busy, other.busy = 2, 1
    assert await sender(made, 0) is other
