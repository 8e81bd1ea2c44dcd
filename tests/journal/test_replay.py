"""Whatever was acknowledged is there again: after a close, after a crash at any moment, with torn logs."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.chunk import ChunkState, Evidence, TileSpan
from bulkup.journal import SqliteJournal, queries
from bulkup.journal.facts import PLAN
from bulkup.journal.grouping import AHEAD
from bulkup.journal.memory import MemoryJournal
from bulkup.journal.reading import SqliteView, view
from tests.examples import examples
from tests.journal.chunks import LANE, NUMBERS, Step, assert_knows, assert_same, chunk, steps

SETTINGS = examples(15)
MEMORY = Path("/dev/shm")


def scratch_dir() -> tempfile.TemporaryDirectory[str]:
    """In memory where there is such a place: thousands of commits need no disk to be right."""
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


@SETTINGS
@given(steps, st.booleans())
def test_any_operations_and_then_reopened(done: list[Step], watched: bool) -> None:
    """Every answer is that of the journal in memory, at every step, after closing, and after a crash. So are the logs."""

    async def main(folder: Path) -> None:
        journal, twin = SqliteJournal.open(folder, create=True), MemoryJournal()
        for step in done:
            await step.apply(journal.lane(LANE), twin.lane(LANE))
            if watched:
                await assert_same(journal, twin)
        journal.close()
        await assert_knows(folder, twin)
        journal = SqliteJournal.open(folder, create=True)
        await Step("recover", 9, 0, 0).apply(journal.lane(LANE), twin.lane(LANE))
        assert await journal.lane(LANE).recover(9.0) == 0
        journal.close()
        await assert_knows(folder, twin)

    with scratch_dir() as scratch:
        asyncio.run(main(Path(scratch)))


@SETTINGS
@given(steps, st.integers(0, 24), st.binary(max_size=60))
def test_a_copy_taken_at_any_moment_holds_all_that_was_acknowledged(
    done: list[Step], moment: int, garbage: bytes
) -> None:
    """As a crash leaves it: the database, its write-ahead log, and logs with half a write behind their good length."""

    async def main(folder: Path, copy: Path) -> None:
        journal, twin = SqliteJournal.open(folder, create=True), MemoryJournal()
        for step in done[:moment]:
            await step.apply(journal.lane(LANE), twin.lane(LANE))
        shutil.copytree(folder, copy)
        journal.close()
        for name in ("rejects.jsonl", "ids.jsonl"):
            with (copy / name).open("ab") as log:
                log.write(garbage)
        await assert_knows(copy, twin)
        await assert_knows(folder, twin)

    with scratch_dir() as scratch:
        folder = Path(scratch, "run")
        folder.mkdir()
        asyncio.run(main(folder, Path(scratch, "copy")))


async def test_what_is_asked_later_is_durable_later(tmp_path: Path) -> None:
    """`sending` of a chunk whose plan was submitted just before finds it."""
    journal = SqliteJournal.open(tmp_path, create=True)
    lane = journal.lane(LANE)
    planned = [lane.plan([chunk(n)]) for n in range(50)]
    await asyncio.gather(*(lane.sending(chunk(n).id, 1.0) for n in range(50)))
    assert all(future.done() for future in planned)
    assert len(await lane.open_chunks(ChunkState.SENDING)) == 50
    journal.close()


async def test_a_cancelled_callers_work_is_done_all_the_same(tmp_path: Path) -> None:
    journal = SqliteJournal.open(tmp_path, create=True)
    lane = journal.lane(LANE)
    await lane.plan([chunk(0)])
    task = asyncio.ensure_future(lane.sending(chunk(0).id, 1.0))
    await asyncio.sleep(0)
    task.cancel()
    assert len(await lane.open_chunks(ChunkState.SENDING)) == 1
    journal.close()


async def test_what_a_failed_transaction_wrote_to_a_log_is_cut_off(tmp_path: Path) -> None:
    """And the next one goes on where the good part ends."""
    journal = SqliteJournal.open(tmp_path, create=True)
    lane = journal.lane(LANE)

    def work(_: object) -> None:
        lane._logs["rejects.jsonl"].append(b"never happened\n")
        raise ZeroDivisionError

    await lane.plan([chunk(0)], rejects=b"one\n")
    await lane.totals()  # so that it is not in the same transaction
    with pytest.raises(ZeroDivisionError):
        await journal._writer.run(work)
    await lane.plan([chunk(1)], rejects=b"two\n")
    journal.close()
    assert (tmp_path / "rejects.jsonl").read_bytes() == b"one\ntwo\n"


async def test_a_plan_that_was_lost_fails_whatever_comes_later(tmp_path: Path) -> None:
    """Nobody waits for a plan to be durable, so its loss must not go unnoticed: here another piece of its transaction failed."""
    journal = SqliteJournal.open(tmp_path, create=True)
    lane = journal.lane(LANE)

    def work(_: object) -> None:
        raise ZeroDivisionError

    planned = lane.plan([chunk(0)])
    with pytest.raises(ZeroDivisionError):
        await journal._writer.run(work)
    assert planned.result() is None
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await lane.plan([chunk(1)])
        with pytest.raises(ZeroDivisionError):
            await lane.set_fact(NUMBERS[0], 1)
    journal.close()


async def test_so_many_plans_may_wait_and_no_more(tmp_path: Path) -> None:
    """A source that is read faster than the disk takes plans is held back."""
    journal = SqliteJournal.open(tmp_path, create=True)
    lane = journal.lane(LANE)
    held, began = threading.Event(), threading.Event()

    def work(_: object) -> bool:
        began.set()
        return held.wait(30)

    disk = journal._writer.submit(work)
    assert await asyncio.to_thread(began.wait, 30)
    planned = [lane.plan([chunk(n)]) for n in range(2 * AHEAD)]
    waiting = [future for future in planned if not future.done()]
    held.set()
    assert len(waiting) == AHEAD + 1
    assert await disk
    await asyncio.gather(*planned)
    assert len(await lane.open_chunks(ChunkState.PLANNED)) == 2 * AHEAD
    journal.close()


async def test_an_end_is_one(tmp_path: Path) -> None:
    """A chunk that has come to its end does not move again, whatever goes wrong: its rows would be counted twice."""
    journal = SqliteJournal.open(tmp_path, create=True)
    lane = journal.lane(LANE)
    await lane.plan([chunk(0)])
    await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER)
    with pytest.raises(AssertionError, match="not open"):
        await lane.plan_again(chunk(0).id)
    with pytest.raises(AssertionError, match="not open"):
        await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER)
    assert (await lane.totals()).rows_landed == 3
    journal.close()


async def test_no_question_reads_the_whole_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a resumed run asks before it sends costs the same with 100 chunks behind it as with 10,000. So does a page."""
    monkeypatch.setattr(queries, "PAGE_CHUNKS", 20)
    steps: dict[int, dict[str, int]] = {}
    for count in (100, 10_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        journal = SqliteJournal.open(folder, create=True)
        lane = journal.lane(LANE)
        end = replace(chunk(0), state=ChunkState.LANDED, remote_id="ds", evidence=Evidence.ANSWER, name="rows")
        landed = [replace(end, id=chunk(n).id, start=n, stop=n + 1) for n in range(count)]
        await lane.plan(landed, tiles=[TileSpan(n, n, n + 1) for n in range(count)])
        await lane.plan([chunk(count), chunk(count + 1)])
        await lane.sending(chunk(count + 1).id, 1.0)
        asked: dict[str, Callable[[], Awaitable[object]]] = {
            "recover": partial(lane.recover, 9.0),
            "totals": lane.totals,
            "open chunks": partial(lane.open_chunks, ChunkState.PLANNED, ChunkState.IN_DOUBT),
            "called absent": lane.called_absent,
            "landings": lane.landings,
            "absences": lane.absences,
            "frontier": lane.frontier,
            "planned to": lane.planned_to,
            "remote ids": partial(lane.remote_ids, "rows"),
            "next child": partial(lane.next_child, 50),
            "a page": partial(lane.page, chunk(50)),
            "a chunk": partial(lane.chunk, 50, 0),
            "a fact": partial(lane.fact, PLAN),
        }
        steps[count] = {what: await _steps(journal, question) for what, question in asked.items()}
        with view(folder) as shown:
            assert isinstance(shown, SqliteView)
            looked: dict[str, Callable[[], object]] = {
                "evidence": partial(shown.evidence, LANE),
                "datasets": partial(shown.datasets, LANE),
                "remote": partial(shown.remote, LANE, 10),
                "states": partial(shown.states, LANE),
            }
            steps[count] |= {what: _steps_of(shown, look) for what, look in looked.items()}
        journal.close()
    grown = {what: (few, steps[10_000][what]) for what, few in steps[100].items() if steps[10_000][what] > few + 20}
    assert grown == {}


async def _steps(journal: SqliteJournal, question: Callable[[], Awaitable[object]]) -> int:
    """How many steps of its machine SQLite takes to answer *question*."""
    taken: list[None] = []
    await journal._writer.run(lambda db: db.set_progress_handler(lambda: taken.append(None), 1))
    await question()
    await journal._writer.run(lambda db: db.set_progress_handler(None, 1))
    return len(taken)


def _steps_of(shown: SqliteView, look: Callable[[], object]) -> int:
    """The same for who only looks."""
    taken: list[None] = []
    shown._db.set_progress_handler(lambda: taken.append(None), 1)
    look()
    shown._db.set_progress_handler(None, 1)
    return len(taken)


async def test_many_callers_share_few_commits(tmp_path: Path) -> None:
    """Grouped: what waits when a commit begins goes with it."""
    journal = SqliteJournal.open(tmp_path, create=True)
    lane = journal.lane(LANE)
    commits: list[str] = []
    await journal._writer.run(  # the only way to see a commit
        lambda db: db.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)
    )
    await asyncio.gather(*(lane.set_fact(NUMBERS[n % 3], n) for n in range(1000)))
    assert len(commits) < 60
    journal.close()
