"""Tiles that workers draft, some of them ahead: the same chunks as without them, and all memory given back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from bulkup.chunk import Chunk, ChunkId
from bulkup.flow.chunker import Chunker
from bulkup.flow.executor import Hold
from bulkup.flow.executors import Executors
from bulkup.flow.halt import Halt
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.orders import LaneOrder, SendChunk, Sent
from bulkup.flow.prepared import Prepared, listed
from bulkup.flow.processes import ThisProcess
from bulkup.journal.memory import MemoryJournal
from bulkup.outcome import Accepted, CloseGate, InDoubt, Outcome
from bulkup.sources import open_source
from bulkup.tokens import secret
from bulkup.tokens.secret import remember_secret
from bulkup.workers import Attempt, Pool, Tell
from tests.examples import examples
from tests.flow.rig import (
    LANE,
    Planned,
    Setting,
    echo,
    no_workers,
    plan,
    planned,
    rows_plan,
    scratch_dir,
    write_source,
)
from tests.flow.test_prepare import contents, setting

RENEWED = "renewed-while-a-worker-sends"


@pytest.fixture(scope="module")
def at_work() -> Iterator[tuple[asyncio.Runner, Pool]]:
    """Two workers, and the event loop in which they can be asked."""
    with asyncio.Runner() as runner:
        pool = Pool(news=lambda *_: None, lost=lambda worker: pytest.fail(f"worker {worker} has ended"))
        runner.run(pool.start(2, module="tests.workers.echo_lane", keep_fds=[], verbose=True))
        yield runner, pool
        runner.run(pool.aclose())


def came_to(found: Planned, *, named: bool = True) -> tuple[object, ...]:
    """*named*: with the chunks' names."""
    assert found.budget.held_bytes == 0
    made = [(planned(m.chunk if named else replace(m.chunk, name="")), m.body) for m in found.made]
    return made, found.totals, found.stored, sorted(str(reject) for reject in found.rejects)


@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents(), setting, st.sampled_from(["plain", "gzip"]), st.sampled_from([1, 1000, 4000, 1 << 20]))
def test_workers_make_the_same_chunks(
    at_work: tuple[asyncio.Runner, Pool], files: list[bytes], how: Setting, form: str, memory: int
) -> None:
    """Whatever the memory: a tile that is drafted ahead never waits for one before it with what that one needs.

    Without room for two tiles a first chunk is planned before it is known whether it is the only one, and has a family's name then.
    """
    runner, pool = at_work
    with scratch_dir() as scratch:
        folder = Path(scratch)
        paths = write_source(folder, files, form)
        found = []
        for by in (None, pool):
            wanted = plan(MemoryJournal(), paths, replace(how, memory=memory), pool=by)
            found.append(came_to(runner.run(asyncio.wait_for(wanted, 30)), named=memory > 1000))
    assert found[0] == found[1]


@pytest.mark.parametrize("length", [300, 340, 380, 390])
def test_a_tile_read_ahead_gives_back_the_memory_that_the_next_waits_for(
    at_work: tuple[asyncio.Runner, Pool], length: int
) -> None:
    """A source that is only read forwards, rows of many tiles each, and memory for hardly more than two."""
    runner, pool = at_work
    row = b'{"t":"%b"}\n' % (b"w" * length)
    how = Setting(tile=9, room=457, block_bytes=1, memory=1000)
    for count in (2, 3, 4):
        with scratch_dir() as scratch:
            paths = write_source(Path(scratch), [b'{"t":"first"}\n' + row * count], "gzip")
            found = runner.run(asyncio.wait_for(plan(MemoryJournal(), paths, how, pool=pool), 20))
        assert b",".join(m.body for m in found.made).count(b"w" * length) == count
        assert found.budget.held_bytes == 0


@examples(6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents(), setting, st.integers(1, 4), st.sampled_from(["plain", "gzip"]))
def test_stopped_with_workers_it_goes_on_where_it_was(
    at_work: tuple[asyncio.Runner, Pool], files: list[bytes], how: Setting, stop_after: int, form: str
) -> None:
    runner, pool = at_work
    with scratch_dir() as scratch:
        folder = Path(scratch)
        paths = write_source(folder, files, form)
        expected = runner.run(plan(MemoryJournal(), paths, how))
        state = MemoryJournal()
        runner.run(asyncio.wait_for(plan(state, paths, how, stop_after=stop_after, pool=pool), 60))
        again = runner.run(asyncio.wait_for(plan(state, paths, how, pool=pool), 60))
    assert b",".join(m.body for m in sorted(again.made, key=lambda m: m.chunk.start)) == b",".join(
        m.body for m in sorted(expected.made, key=lambda m: m.chunk.start)
    )
    for what in (
        "lines",
        "rows_left",
        "rows_blank",
        "rows_rejected",
    ):  # a tile that was planned in part may be cut otherwise
        assert getattr(again.stored, what) == getattr(expected.stored, what)


@pytest.mark.parametrize("form", ["plain", "gzip"])
@pytest.mark.parametrize("deaths", [1, 2])
def test_whoever_dies_the_rest_makes_the_same_rows(deaths: int, form: str) -> None:
    """Of two workers one is killed, or both, while rows are held and a tile is being cut: every row comes once, in order."""
    line = b'{"t":"%d"}'
    torn = b"".join(line % n + (b"\r\nno json\n" if n % 9 == 0 else b"\n") for n in range(400))
    how = Setting(tile=600, room=200, block_bytes=50)
    with asyncio.Runner() as runner, scratch_dir() as scratch:
        folder = Path(scratch)
        paths = write_source(folder, [torn], form)
        expected = runner.run(plan(MemoryJournal(), paths, how))
        lost: list[int] = []
        killed: list[int] = []
        pool = Pool(news=lambda *_: None, lost=lost.append)
        runner.run(pool.start(2, module="tests.workers.echo_lane", keep_fds=[], verbose=True))

        def kill(made: int) -> None:
            if made in (3, 8)[:deaths]:
                number = next(number for number in pool.numbers if number not in killed)
                killed.append(number)
                pool.kill(number)

        try:
            wanted = plan(MemoryJournal(), paths, how, pool=pool, on_chunk=kill)
            found = runner.run(asyncio.wait_for(wanted, 60))
        finally:
            runner.run(pool.aclose())
    assert len(lost) == deaths
    assert found.budget.held_bytes == 0
    assert b",".join(m.body for m in found.made) == b",".join(m.body for m in expected.made)
    assert found.totals.rows_rejected == found.stored.rows_rejected == expected.totals.rows_rejected == 45
    assert len(found.made) > 20


class Renewing:
    """An executor that answers with *outcome*, while which the token is renewed: a worker that sends for minutes."""

    is_there = True

    def __init__(self, outcome: Outcome, ids: bytes = b"") -> None:
        self.came = Sent(outcome, ids)

    async def ask(self, order: LaneOrder, told: Tell = lambda _: None) -> object:
        assert isinstance(order, SendChunk)
        assert RENEWED not in order.secrets
        remember_secret(RENEWED)
        return self.came

    async def ship(self, order: LaneOrder) -> None:
        raise AssertionError(order)

    def forget(self, key: int) -> None:
        raise AssertionError(key)

    def recorded(self, attempt: Attempt) -> None:
        raise AssertionError(attempt)


@pytest.mark.parametrize(
    ("outcome", "ids", "expected"),
    [
        (CloseGate(f"429: {RENEWED}", 3.0), b"", CloseGate("429: ***", 3.0)),
        (Accepted("d", "n", reason=f"ok {RENEWED}"), b'["a"]\n', Accepted("d", "n", reason="ok ***")),
        (Accepted(RENEWED, "n"), b"", InDoubt("the answer has a token in an id or a name")),
        (Accepted("d", "n"), f'["{RENEWED}"]\n'.encode(), InDoubt("the answer has a token in an id or a name")),
    ],
    ids=["a reason", "a success", "an id", "a row's id"],
)
async def test_a_token_that_is_renewed_meanwhile_is_kept_quiet_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Outcome, ids: bytes, expected: Outcome
) -> None:
    monkeypatch.setattr(secret, "_known", ())
    (path := tmp_path / "rows.jsonl").write_text("{}\n")
    source = open_source([str(path)], max_row_bytes=100)
    cursor = source.cursor()
    to = echo()
    rows = rows_plan()
    here = LaneWorker(to, rows, Chunker(source, rows.encoder(), Halt()), cursor)
    executors = Executors(LANE, ThisProcess(here), no_workers(), source, cursor, to.token)
    chunk = Chunk(
        id=ChunkId(LANE, 0, 0),
        start=0,
        stop=3,
        file=0,
        byte_offset=0,
        rows=1,
        blank=0,
        rejected=0,
        lines=((0, 1),),
        body_bytes=2,
        raw_hash=b"",
        rows_hash=b"",
        name="n",
        verbatim=True,
    )
    came = await executors.send(Prepared(chunk, listed([]), 0, hold=Hold(Renewing(outcome, ids), 0)), 1, lambda _: None)
    await cursor.aclose()
    source.close()
    assert came.outcome == expected
