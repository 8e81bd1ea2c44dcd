"""Worker processes: asked, cancelled, missed when they die; and they end when their parent does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bulkup.errors import SourceUnreadable
from bulkup.workers import Pool, WorkerLost
from tests.cli.shell import eventually


@asynccontextmanager
async def pool_of(
    count: int, news: list[tuple[int, object]] | None = None, lost: list[int] | None = None
) -> AsyncIterator[Pool]:
    heard = news if news is not None else []
    pool = Pool(news=lambda worker, word: heard.append((worker, word)), lost=(lost if lost is not None else []).append)
    await pool.start(count, module="tests.workers.echoing", keep_fds=[], verbose=True)
    try:
        yield pool
    finally:
        await pool.aclose()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_each_answers_for_itself_and_all_end_with_the_pool() -> None:
    news: list[tuple[int, object]] = []
    async with pool_of(2, news) as pool:
        pids = [await pool.ask(worker, "pid") for worker in pool.numbers]
        assert sorted(pids) == sorted(pool.pids)  # type: ignore[type-var]
        assert sorted(news) == [(0, "here"), (1, "here")]
        assert all(map(is_running, pool.pids))
    eventually(lambda: not any(is_running(pid) for pid in pids), deadline_s=1)  # type: ignore[arg-type]


async def test_large_messages_and_many_at_once() -> None:
    async with pool_of(1) as pool:
        sent = [bytes([n]) * (3_000_000 + n) for n in range(8)]
        assert await asyncio.gather(*(pool.ask(0, one) for one in sent)) == sent


async def test_what_a_worker_raises_reaches_whoever_asked() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(SourceUnreadable, match="no more of it"):
            await pool.ask(0, "raise")
        with pytest.raises(RuntimeError, match="ZeroDivisionError: no"):
            await pool.ask(0, "break")
        assert await pool.ask(0, b"on") == b"on"


async def test_a_worker_that_dies_is_missed_and_the_others_go_on() -> None:
    lost: list[int] = []
    async with pool_of(2, lost=lost) as pool:
        begun = asyncio.Event()
        waiting = asyncio.create_task(pool.ask(0, "hang", told=lambda _: begun.set()))
        await begun.wait()
        with pytest.raises(WorkerLost):
            await pool.ask(0, "die")
        with pytest.raises(WorkerLost):
            await waiting
        assert (pool.alive, pool.numbers, pool.asked(0)) == (1, (1,), 0)
        with pytest.raises(WorkerLost):
            await pool.ask(0, "pid")
        assert await pool.ask(1, b"on") == b"on"
        os.kill(pool.pids[0], signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await pool.ask(1, "hang")
        assert (lost, pool.alive) == ([0, 1], 0)
    async with pool_of(1, lost=lost):
        pass
    assert lost == [0, 1]


async def test_a_worker_that_cannot_be_understood_is_missed_too() -> None:
    lost: list[int] = []
    async with pool_of(2, lost=lost) as pool:
        pid = await pool.ask(0, "pid")
        with pytest.raises(WorkerLost):
            await asyncio.wait_for(pool.ask(0, "unreadable"), 10)
        assert isinstance(pid, int)
        eventually(lambda: not is_running(pid), deadline_s=5)
        assert await pool.ask(1, b"on") == b"on", "it takes no other with it"
        assert (lost, pool.numbers) == ([0], (1,))


async def test_what_is_cancelled_stops_in_the_worker_and_its_last_word_is_heard() -> None:
    async with pool_of(1) as pool:
        heard: list[object] = []
        begun = asyncio.Event()

        def told(word: object) -> None:
            heard.append(word)
            begun.set()

        waiting = asyncio.create_task(pool.ask(0, "hang", told=told))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert heard == ["begun", "over"]
        assert await pool.ask(0, b"on") == b"on"


async def test_ctrl_c_in_the_terminal_is_the_parents_business() -> None:
    async with pool_of(1) as pool:
        await pool.ask(0, "pid")  # it is up
        os.kill(pool.pids[0], signal.SIGINT)
        assert await pool.ask(0, b"on") == b"on"


PARENT = """
import asyncio, os, sys
from tests.workers.test_pool import pool_of

async def main():
    async with pool_of(2) as pool:
        for worker in pool.numbers:
            await pool.ask(worker, "pid")
        print(*pool.pids, flush=True)
        asyncio.ensure_future(pool.ask(0, ("write", sys.argv[1])))
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_workers_end_when_their_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, os.devnull], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = list(map(int, parent.stdout.readline().split()))
        assert len(pids) == 2
        assert all(map(is_running, pids))
        parent.kill()
    eventually(lambda: not any(map(is_running, pids)), deadline_s=5)


def test_what_a_worker_is_doing_stops_at_once_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Though the first worker waits for those that were forked from it: a request that went on meanwhile would be sent twice."""
    said = tmp_path / "said"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(said)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = list(map(int, parent.stdout.readline().split()))
        first = next(
            pid for pid in pids if int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) == parent.pid
        )
        other = next(pid for pid in pids if pid != first)
        eventually(lambda: said.exists() and said.read_text() == "begun", deadline_s=30)
        os.kill(other, signal.SIGSTOP)  # it does not see that its parent is gone
        try:
            parent.kill()
            eventually(lambda: not is_running(first), deadline_s=5)
        finally:
            os.kill(other, signal.SIGCONT)
    assert said.read_text() == "stopped"


async def test_a_worker_is_killed_on_demand() -> None:
    lost: list[int] = []
    async with pool_of(2, lost=lost) as pool:
        pid = await pool.ask(0, "pid")
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)  # nothing that it is asked would reach it
        pool.kill(0)
        eventually(lambda: not is_running(pid), deadline_s=5)
        with pytest.raises(WorkerLost):
            await pool.ask(0, "pid")
        assert (lost, pool.numbers) == ([0], (1,))
