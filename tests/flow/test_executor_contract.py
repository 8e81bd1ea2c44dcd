"""What every executor promises, the run's own process, a worker process and a worker on another machine alike: the same orders, the
same answers."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from bulkup.chunk import Chunk, ChunkId
from bulkup.destinations.nebius.settings import Nebius
from bulkup.errors import SourceChanged
from bulkup.flow.chunker import MAX_REJECT_BYTES, Chunker
from bulkup.flow.draft import Drafted, Keep
from bulkup.flow.executor import Executor
from bulkup.flow.halt import Halt
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.orders import (
    AddLines,
    CloseParts,
    DraftAll,
    DraftClean,
    Forget,
    LaneOrder,
    LastWord,
    NextPart,
    OpenLane,
    OpenParts,
    SendChunk,
    Sent,
    Shipped,
    SourceRange,
)
from bulkup.flow.plan import LanePlan
from bulkup.flow.processes import ThisProcess, WorkerProcess
from bulkup.flow.tiling import Limits
from bulkup.model import Block, LongRow
from bulkup.outcome import Accepted
from bulkup.run import worker
from bulkup.run.worker import LaneOpening
from bulkup.sources import Source, open_source
from bulkup.tokens.secret import known_secrets
from bulkup.transport import Timeouts
from bulkup.workers import Pool, WorkerLost
from tests.flow.rig import LANE, MAX_ROW, NAME, echo, rows_plan
from tests.workers.echo_lane import Echoes, body_of
from tests.workers.far import adopted

BLOCK = 64
ROWS = [b'{"t":"%d"}' % n for n in range(30)]
CLEAN = b"\n".join(ROWS) + b"\n"
TORN = CLEAN.replace(ROWS[7], b"no json", 1).replace(ROWS[9] + b"\n", b"\n" + ROWS[9] + b"\n", 1)


@dataclass
class Asked:
    """An executor for the source at *path*, and what would be drafted without any."""

    runner: asyncio.Runner
    executor: Executor
    source: Source
    path: Path
    keys = itertools.count()

    def ask(self, order: LaneOrder, told: list[object] | None = None) -> object:
        heard = told if told is not None else []
        return self.runner.run(asyncio.wait_for(self.executor.ask(order, heard.append), 100))

    @property
    def whole(self) -> SourceRange:
        return SourceRange(0, self.path.stat().st_size)

    def draft(self, lines: SourceRange | Shipped, limits: Limits | None = None) -> tuple[int, Drafted]:
        key = next(self.keys)
        drafted = self.ask(DraftAll(LANE, key, lines, limits))
        assert isinstance(drafted, Drafted)
        return key, drafted

    def add(self, items: list[Block | LongRow]) -> Shipped:
        key = next(self.keys)
        for item in items:
            self.runner.run(self.executor.ship(AddLines(LANE, key, [item], (0,))))
        return Shipped(key, len(items))

    def expected(self) -> tuple[Drafted, list[Block | LongRow]]:
        async def drafted() -> tuple[Drafted, list[Block | LongRow]]:
            cursor = self.source.cursor()
            try:
                chunker = Chunker(self.source, rows_plan().encoder(), Halt())
                found = await chunker.whole(lambda: cursor.read(0, 1 << 30), Keep(encoded=True, raw=True))
            finally:
                await cursor.aclose()
            return replace(found, raw=[]), found.raw

        return self.runner.run(drafted())

    def send(self, chunk: Chunk, key: int | None, told: list[object] | None = None) -> Sent:
        sent = self.ask(self.order(chunk, key), told)
        assert isinstance(sent, Sent)
        return sent

    def order(self, chunk: Chunk, key: int | None) -> SendChunk:
        return SendChunk(LANE, chunk, 1, key, "Bearer a-token-of-this-attempt", known_secrets())


Opens = Callable[..., Asked]


@pytest.fixture(scope="module")
def pool() -> Iterator[tuple[asyncio.Runner, Pool]]:
    with asyncio.Runner() as runner:
        made = Pool(news=lambda *_: None, lost=lambda _: None)
        runner.run(made.start(1, module="tests.workers.echo_lane", keep_fds=[], verbose=True))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "service_named", lambda name: Echoes())
            number, working = runner.run(adopted(made))
            assert number == FAR
            yield runner, made
            runner.run(made.aclose())
            runner.run(asyncio.wait_for(working, 10))


FAR = 1


@pytest.fixture(params=["this process", "a worker process", "a far worker"])
def opens(request: pytest.FixtureRequest, pool: tuple[asyncio.Runner, Pool], tmp_path: Path) -> Opens:
    """What asks an executor of one of the three kinds about a file with the bytes that it is given."""

    def opens(content: bytes, name: str = "rows.jsonl", block_bytes: int = BLOCK) -> Asked:
        path = tmp_path / name
        path.write_bytes(content)
        return opened(request.param, *pool, path, block_bytes)

    return opens


@pytest.fixture
def asked(opens: Opens) -> Asked:
    return opens(CLEAN)


def opened(kind: str, runner: asyncio.Runner, pool: Pool, path: Path, block_bytes: int = BLOCK) -> Asked:
    source = open_source([str(path)], max_row_bytes=MAX_ROW, block_bytes=block_bytes)
    rows = rows_plan()
    if kind == "this process":
        cursor = source.cursor() if source.any_range else None
        chunker = Chunker(source, rows.encoder(), Halt())
        return Asked(runner, ThisProcess(LaneWorker(echo(), rows, chunker, cursor)), source, path)
    opening = LaneOpening(Nebius(url="http://127.0.0.1:1").dataset(NAME), Timeouts(), MAX_ROW, block_bytes)
    plan = LanePlan(1 << 16, rows, 1 << 16, None, MAX_ROW)
    number = FAR if kind == "a far worker" else 0
    runner.run(pool.ask(number, OpenLane(LANE, opening, source.files, plan.to_record())))
    return Asked(runner, WorkerProcess(pool, number, LANE), source, path)


def chunk_of(drafted: Drafted, name: str = "n") -> Chunk:
    return drafted.chunk(ChunkId(LANE, 0, 0), name)


def test_clean_rows_are_drafted_without_being_held_and_sent_from_the_file(asked: Asked) -> None:
    drafted = asked.ask(DraftClean(LANE, asked.whole))
    assert isinstance(drafted, Drafted)
    assert drafted == replace(asked.expected()[0], encoded=[])
    assert body_of(asked.send(chunk_of(drafted), None)) == b",".join(ROWS)


def test_rows_that_are_not_clean_are_no_clean_draft(opens: Opens) -> None:
    asked = opens(TORN)
    assert asked.ask(DraftClean(LANE, asked.whole)) is None


@pytest.mark.parametrize("how", ["read", "shipped"])
def test_a_draft_is_held_sent_as_often_as_wanted_and_forgotten(opens: Opens, how: str) -> None:
    asked = opens(TORN)
    expected, items = asked.expected()
    key, drafted = asked.draft(asked.whole if how == "read" else asked.add(items))
    assert replace(drafted, is_held=False) == replace(expected, encoded=[])
    assert (drafted.is_held, drafted.rows, len(drafted.rejects)) == (True, 29, 1)
    for _ in range(2):
        assert body_of(asked.send(chunk_of(drafted), key)) == b",".join(expected.encoded)
    asked.executor.forget(key)
    with pytest.raises((KeyError, RuntimeError), match=r"KeyError|^\d+$"):
        asked.send(chunk_of(drafted), key)


def test_what_is_more_than_one_chunk_is_counted_and_not_held(opens: Opens) -> None:
    asked = opens(TORN)
    _, drafted = asked.draft(asked.whole, Limits(100))
    expected = asked.expected()[0]
    assert drafted == replace(expected, encoded=[], rejects=[])


def test_many_rejects_are_more_than_one_chunk_too(opens: Opens) -> None:
    row = b"x" * (MAX_ROW - 10)
    asked = opens(ROWS[0] + b"\n" + (row + b"\n") * (MAX_REJECT_BYTES // len(row) + 1), block_bytes=1 << 17)
    _, drafted = asked.draft(asked.whole, Limits(1 << 20))
    assert not drafted.is_held
    assert not drafted.rejects
    assert drafted.reject_bytes > MAX_REJECT_BYTES


@pytest.mark.parametrize("how", ["read", "shipped"])
def test_parts_are_even_and_each_is_held(asked: Asked, how: str) -> None:
    whole, items = asked.expected()
    parts, made = next(asked.keys), []
    lines = asked.whole if how == "read" else asked.add(items)
    parts = lines.key if isinstance(lines, Shipped) else parts
    asked.ask(OpenParts(LANE, parts, lines, Limits(130), whole.body_bytes, whole.rows))
    while (part := asked.ask(NextPart(LANE, parts, key := next(asked.keys)))) is not None:
        assert isinstance(part, Drafted)
        made.append((part, body_of(asked.send(chunk_of(part), key))))
    asked.ask(CloseParts(LANE, parts))
    assert b",".join(body for _, body in made) == b",".join(ROWS)
    assert [part.body_bytes for part, _ in made] == [len(body) for _, body in made]
    assert [part.rows for part, _ in made] == [11, 10, 9], "cut by bytes, between rows"
    assert [part.start for part, _ in made] == [0, *(part.stop for part, _ in made[:-1])]


def test_parts_that_are_not_wanted_any_more_are_closed(asked: Asked) -> None:
    asked.ask(OpenParts(LANE, 10**6, asked.whole, Limits(100), 329, 30))
    assert asked.ask(NextPart(LANE, 10**6, 10**6 + 1)) is not None
    asked.ask(CloseParts(LANE, 10**6))
    with pytest.raises((KeyError, RuntimeError)):
        asked.ask(NextPart(LANE, 10**6, 10**6 + 2))


def test_a_file_that_changed_never_completes_a_request(asked: Asked) -> None:
    drafted = asked.ask(DraftClean(LANE, asked.whole))
    assert isinstance(drafted, Drafted)
    asked.path.write_bytes(CLEAN.replace(b"29", b"77"))
    with pytest.raises(SourceChanged):
        asked.send(chunk_of(drafted), None)


def test_a_source_that_breaks_off_is_drafted_as_far_as_it_goes(asked: Asked) -> None:
    asked.path.write_bytes(CLEAN[: len(CLEAN) // 2])
    with suppress(SourceChanged):  # a plain file that has become shorter
        _, drafted = asked.draft(SourceRange(0, len(CLEAN)))
        assert drafted.broke_off is not None
        assert drafted.rows == 15


def test_words_come_to_the_length_of_the_body_and_the_last_is_the_last(asked: Asked) -> None:
    key, drafted = asked.draft(asked.whole)
    told: list[object] = []
    asked.send(chunk_of(drafted), key, told)
    *words, last = told
    assert isinstance(last, LastWord)
    counts = [word for word in words if isinstance(word, int)]
    assert len(counts) == len(words) >= 2, "the first bytes are told at once, and the last"
    envelope = echo().envelope("n", rows_plan()).size
    assert sum(counts) + last.bytes == drafted.body_bytes + envelope


def test_ids_come_as_a_line_and_not_in_the_outcome(asked: Asked) -> None:
    key, drafted = asked.draft(asked.whole)
    sent = asked.send(chunk_of(drafted, "with ids"), key)
    assert isinstance(sent.outcome, Accepted)
    assert sent.outcome.ids is None
    record = orjson.loads(sent.ids)
    assert (record["lane"], record["rows"], record["ids"]) == (LANE, 30, list(range(30)))
    assert asked.send(chunk_of(drafted), key).ids == b""


def test_an_attempt_is_made_with_the_token_that_comes_with_it(asked: Asked) -> None:
    key, drafted = asked.draft(asked.whole)
    sent = asked.send(chunk_of(drafted), key)
    assert isinstance(sent.outcome, Accepted)
    assert sent.outcome.remote_name == "Bearer a-token-of-this-attempt"
    assert "a-token" not in repr(asked.order(chunk_of(drafted), key))


def test_a_cancelled_attempt_has_stopped_and_has_said_its_last_word(asked: Asked) -> None:
    key, drafted = asked.draft(asked.whole)
    told: list[object] = []

    async def cancelled() -> None:
        begun = asyncio.Event()

        def hear(word: object) -> None:
            told.append(word)
            begun.set()

        task = asyncio.create_task(asked.executor.ask(asked.order(chunk_of(drafted, "hung"), key), hear))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asked.runner.run(asyncio.wait_for(cancelled(), 20))
    assert isinstance(told[-1], LastWord)
    assert asked.executor.is_there
    assert body_of(asked.send(chunk_of(drafted), key)) == b",".join(ROWS)


def test_lines_for_a_draft_that_is_not_asked_for_are_let_go_of(asked: Asked) -> None:
    shipped = asked.add(asked.expected()[1])
    asked.ask(Forget(LANE, shipped.key))
    with pytest.raises((AssertionError, RuntimeError), match="all of them are here"):
        asked.draft(shipped)


def test_lines_of_a_packed_source_come_with_the_orders(opens: Opens) -> None:
    asked = opens(gzip.compress(TORN), "rows.jsonl.gz")
    expected, items = asked.expected()
    key, drafted = asked.draft(asked.add(items))
    assert replace(drafted, is_held=False) == replace(expected, encoded=[])
    assert body_of(asked.send(chunk_of(drafted), key)) == b",".join(expected.encoded)


def test_a_worker_that_ends_is_not_there_and_whoever_asked_hears_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(CLEAN)
    with asyncio.Runner() as runner:
        pool = Pool(news=lambda *_: None, lost=lambda _: None)
        runner.run(pool.start(1, module="tests.workers.echo_lane", keep_fds=[], verbose=True))
        try:
            asked = opened("a worker process", runner, pool, path)
            key, drafted = asked.draft(asked.whole)
            told: list[object] = []

            async def killed() -> None:
                task = asyncio.create_task(
                    asked.executor.ask(asked.order(chunk_of(drafted, "hung"), key), lambda word: pool.kill(0))
                )
                with pytest.raises(WorkerLost):
                    await task

            runner.run(asyncio.wait_for(killed(), 20))
            assert not told
            assert not asked.executor.is_there
            asked.executor.forget(key)
            with pytest.raises(WorkerLost):
                asked.draft(asked.whole)
            with pytest.raises(WorkerLost):
                asked.add(asked.expected()[1])
        finally:
            runner.run(pool.aclose())
