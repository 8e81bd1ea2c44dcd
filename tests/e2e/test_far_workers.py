"""An upload by workers that come over TCP: the same rows land, each once, whatever becomes of a worker or of the way to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from bulkup.emulator import Spawned
from bulkup.flow.draft import Drafted
from bulkup.flow.executor import Executor
from bulkup.flow.executors import Executors
from bulkup.flow.orders import SourceRange
from bulkup.flow.processes import WorkerProcess
from bulkup.run import far_workers, run_workers, scanning
from bulkup.run.scan_hands import ThisHand, WorkerHand
from bulkup.scan import spread
from tests.cli.shell import eventually
from tests.e2e.harness import SPACE, TOKENS, Bench, gsm8k_rows
from tests.e2e.test_workers import LANES, assert_landed, has_received
from tests.forking import Forked

SILENT_S = 1.0
"""How long a lease is here: tests do not wait for ten seconds."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Far:
    """An upload that listens, and workers that go to it, by *through* where they do not go directly."""

    def __init__(self, bench: Bench, through: int | None = None) -> None:
        self.bench = bench
        self.port = free_port()
        self.key = bench.folder / "far.key"
        self.address = f"127.0.0.1:{through or self.port}"
        self.workers: list[Forked] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {"listen": f"127.0.0.1:{self.port}", "worker_key": self.key, "workers": 1, "settle_after_s": 0.1}

    def said(self, text: str) -> int:
        return sum(text in note.text for note in self.bench.notes)

    async def start(self, count: int, folder: Path) -> None:
        """Workers, once the run listens; until they are at work."""
        await wait_for(lambda: self.said("listening for workers"))
        before = self.said("has come")
        for _ in range(count):
            self.add_worker(folder)
        await wait_for(lambda: self.said("has come") >= before + count)

    def add_worker(self, folder: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
        arguments = ("worker", "--connect", self.address, "--key", str(self.key), "--retry-for", "20")
        self.workers.append(Forked(*arguments, cwd=folder, env=environment))

    def pids(self) -> list[int]:
        """The processes that work: each was forked by one that was started."""
        children = (Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text().split() for one in self.workers)
        return [int(pid) for found in children for pid in found]

    async def ended(self) -> list[tuple[int | None, str]]:
        """What the started processes ended with, and said."""
        found = []
        for one in self.workers:
            _, said = await anyio.to_thread.run_sync(partial(one.communicate, 60))
            found.append((one.returncode, said))
        return found


async def wait_for(holds: Callable[[], Any]) -> None:
    await anyio.to_thread.run_sync(eventually, holds)


@asynccontextmanager
async def far(bench: Bench, through: int | None = None) -> AsyncIterator[Far]:
    made = Far(bench, through)
    try:
        yield made
    finally:
        for one in made.workers:
            with suppress(ProcessLookupError):
                one.kill()
            one.__exit__(None, None, None)


@pytest.fixture
def slow(emulator: Spawned, tmp_path: Path) -> Bench:
    """Long enough that each worker has a request in flight at any time."""
    emulator.patch(latency_ms=100, store_delay_ms=5)
    return Bench(emulator, tmp_path, gsm8k_rows(300))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Uploads do nothing before so many workers are ready."""

    def wait(count: int) -> None:
        draft, is_on = Executors.clean, asyncio.Event()

        async def when_ready(self: Executors, span: SourceRange) -> Drafted | None:
            while not is_on.is_set():
                if len(self._workers.ready) >= count:
                    is_on.set()
                await asyncio.sleep(0.005)
            return await draft(self, span)

        monkeypatch.setattr(Executors, "clean", when_ready)

    return wait


async def test_workers_that_come_do_the_work_and_write_nothing(
    slow: Bench, monkeypatch: pytest.MonkeyPatch, waits: Callable[[int], None]
) -> None:
    waits(2)
    by_worker: list[bool] = []
    rows_of = Executors._rows_of

    async def noted(self: Executors, prepared: Any) -> tuple[Executor, int | None]:
        executor, key = await rows_of(self, prepared)
        by_worker.append(isinstance(executor, WorkerProcess))
        return executor, key

    monkeypatch.setattr(Executors, "_rows_of", noted)
    home = slow.folder / "home"
    home.mkdir()
    async with far(slow) as there, anyio.create_task_group() as tasks:
        tasks.start_soon(there.start, 2, home)
        receipt = await slow.run(slow.nebius(max_chunk_rows=10), slow.collinear(max_chunk_rows=10), **there.settings)
        assert_landed(slow, receipt)
        assert [code for code, _ in await there.ended()] == [0, 0]
    assert len(by_worker) >= 60
    assert all(by_worker)
    assert not list(home.iterdir())
    assert there.key.stat().st_mode & 0o777 == 0o600
    lane = receipt.to_json()["destinations"]["collinear"]
    assert lane["evidence"] == {"answer": lane["chunks_landed"]}


class Scanners:
    """Who has looked at parts of the source: this process, processes that it has started, workers of other machines. This process
    begins once *wanted* of the others have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wanted: set[str]) -> None:
        self.looked: list[str] = []
        self._first: asyncio.Event | None = None
        have_begun = asyncio.Event()
        here, there = ThisHand.look, WorkerHand.look

        async def looked_here(hand: ThisHand, lanes: Any, part: Any) -> Any:
            await have_begun.wait()
            if self._first is not None:
                await self._first.wait()
            self.looked.append("here")
            return await here(hand, lanes, part)

        async def looked_there(hand: WorkerHand, lanes: Any, part: Any) -> Any:
            found = await there(hand, lanes, part)
            self.looked.append(f"{'far' if hand._workers.is_far(hand._number) else 'near'} {hand._number}")
            if wanted <= set(self.looked):
                have_begun.set()
            return found

        monkeypatch.setattr(ThisHand, "look", looked_here)
        monkeypatch.setattr(WorkerHand, "look", looked_there)
        monkeypatch.setattr(spread, "PART_BYTES", 4096)
        monkeypatch.setattr(spread, "LEAST_BYTES", 1)
        monkeypatch.setattr(run_workers, "LEAST_SCANNED_BYTES", 1)

    def hold_until(self, event: asyncio.Event) -> None:
        """This process waits for that, too."""
        self._first = event


async def test_while_workers_of_other_machines_wait_all_cores_scan(
    slow: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process from the beginning, and a process for each other core."""
    scanners = Scanners(monkeypatch, {"near 0", "near 1"})
    monkeypatch.setattr(run_workers, "usable_cpus", lambda: 3)
    async with far(slow) as there:
        receipt = await slow.run(slow.nebius(max_chunk_rows=50), slow.collinear(max_chunk_rows=50), **there.settings)
        assert_landed(slow, receipt)
    assert len(scanners.looked) > 5
    assert set(scanners.looked) == {"near 0", "near 1", "here"}


async def test_workers_that_come_scan_and_find_what_this_process_finds(
    slow: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanners = Scanners(monkeypatch, {"far 0", "far 1"})
    monkeypatch.setattr(run_workers, "usable_cpus", lambda: 1)
    lanes = slow.nebius(max_chunk_rows=50), slow.collinear(max_chunk_rows=50)
    async with far(slow) as there, anyio.create_task_group() as tasks:
        tasks.start_soon(there.start, 2, slow.folder)
        receipt = await slow.run(*lanes, **there.settings)
        assert_landed(slow, receipt)
        assert [code for code, _ in await there.ended()] == [0, 0]
    assert {"far 0", "far 1"} <= set(scanners.looked) <= {"far 0", "far 1", "here"}


@pytest.mark.parametrize("machine", ["this", "another"])
async def test_no_process_is_started_for_cores_that_workers_use(
    slow: Bench, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    """Two workers come, on this machine of three cores, or on another one."""
    scanners = Scanners(monkeypatch, {"far 0", "far 1", *(("near 0", "near 1") if machine == "another" else ())})
    monkeypatch.setattr(run_workers, "usable_cpus", lambda: 3)
    if machine == "another":
        monkeypatch.setattr(socket, "gethostname", lambda: "the coordinator's")
    near = scanning._Scanning._near
    async with far(slow) as there, anyio.create_task_group() as tasks:

        async def once_they_have_come(self: Any, *given: Any) -> AsyncIterator[Any]:
            await wait_for(lambda: there.said("has come") == 2)
            async for hand in near(self, *given):
                yield hand
            near_is_done.set()

        near_is_done = asyncio.Event()
        monkeypatch.setattr(scanning._Scanning, "_near", once_they_have_come)
        monkeypatch.setattr(scanning, "_COME_BY_THEN_S", 0)
        scanners.hold_until(near_is_done)
        tasks.start_soon(there.start, 2, slow.folder)
        receipt = await slow.run(slow.collinear(max_chunk_rows=50), **there.settings)
        assert receipt.exit_code == 0
    assert near_is_done.is_set()
    assert {name for name in scanners.looked if name.startswith("near")} == (
        {"near 0", "near 1"} if machine == "another" else set()
    )


async def test_a_worker_without_the_files_scans_nothing_and_is_sent_away_by_name(
    slow: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanners = Scanners(monkeypatch, {"far 0"})
    monkeypatch.setattr(run_workers, "usable_cpus", lambda: 1)
    async with far(slow) as there, anyio.create_task_group() as tasks:

        async def come() -> None:
            await wait_for(lambda: there.said("listening for workers"))
            os.utime(slow.source, (1, 1))  # it is another file now than the run has opened
            await there.start(1, slow.folder)

        tasks.start_soon(come)
        receipt = await slow.run(slow.collinear(max_chunk_rows=10), **there.settings)
        assert slow.stored("collinear") == slow.expected("collinear")
        assert receipt.exit_code == 0
        ((code, said),) = await there.ended()
    assert (code, there.said("was sent away: ")) == (2, 1)
    assert f"{slow.source}: on " in said
    assert scanners.looked.count("far 0") == 1


def are_sent_at_once(emulator: Spawned) -> int:
    return sum(emulator.summary()[lane]["concurrent_uploads"] for lane in LANES)


@pytest.mark.parametrize("how", ["killed", "stopped", "cut off"])
async def test_a_worker_that_is_lost_in_mid_run_loses_and_doubles_nothing(
    slow: Bench, monkeypatch: pytest.MonkeyPatch, waits: Callable[[int], None], how: str
) -> None:
    waits(2)
    monkeypatch.setattr(far_workers, "LEASE_S", SILENT_S)
    monkeypatch.setattr(far_workers, "LOST_S", 1.3 * SILENT_S)
    relay = Relay()
    async with far(slow, await relay.open() if how == "cut off" else None) as there, anyio.create_task_group() as tasks:
        relay.port = there.port

        async def lose() -> None:
            await there.start(2, slow.folder)
            await wait_for(partial(has_received, slow.emulator, 12))
            pids = await anyio.to_thread.run_sync(eventually, there.pids)
            slow.emulator.patch(latency_ms=6000)  # on a busy machine it takes seconds to see what is sent
            await wait_for(lambda: are_sent_at_once(slow.emulator) >= 6)  # more than one worker has
            match how:
                case "killed":
                    os.kill(pids[0], signal.SIGKILL)
                case "stopped":
                    os.kill(pids[0], signal.SIGSTOP)
                    slow.emulator.patch(latency_ms=100)
                    await wait_for(lambda: there.said("is lost"))
                    os.kill(pids[0], signal.SIGCONT)
                case _:
                    relay.cut()
            slow.emulator.patch(latency_ms=100)
            await wait_for(lambda: there.said("is lost"))

        tasks.start_soon(lose)
        receipt = await slow.run(slow.nebius(max_chunk_rows=10), slow.collinear(max_chunk_rows=10), **there.settings)
        assert there.said("is lost"), "the upload was over before the worker was lost"
        slow.emulator.idle()
        assert_landed(slow, receipt)
    await relay.close()
    lost = sum(lane.this_invocation.attempts_by_outcome.get("in_doubt", 0) for lane in receipt.destinations.values())
    assert lost >= 1


@pytest.mark.slow
async def test_what_was_answered_while_a_worker_had_lost_its_run_is_told_later(
    slow: Bench, monkeypatch: pytest.MonkeyPatch, waits: Callable[[int], None]
) -> None:
    """The way to the run breaks, and is there again at once. The worker finishes what it was sending, and comes again."""
    waits(1)
    monkeypatch.setattr(far_workers, "LEASE_S", 5.0)
    monkeypatch.setattr(far_workers, "LOST_S", 6.0)
    slow.emulator.patch(latency_ms=500)
    relay = Relay()
    async with far(slow, await relay.open()) as there, anyio.create_task_group() as tasks:
        relay.port = there.port

        async def lose() -> None:
            await there.start(1, slow.folder)
            await wait_for(partial(has_received, slow.emulator, 12))
            relay.drop()

        tasks.start_soon(lose)
        receipt = await slow.run(slow.nebius(max_chunk_rows=10), slow.collinear(max_chunk_rows=10), **there.settings)
        slow.emulator.idle()
        assert_landed(slow, receipt)
    await relay.close()
    evidence = [lane["evidence"] for lane in receipt.to_json()["destinations"].values()]
    assert sum(found.get("kept answer", 0) for found in evidence) >= 1
    assert not any(found.keys() - {"answer", "kept answer"} for found in evidence), "no look had to decide"
    assert there.said("had landed: workers had kept the service's answers")


async def test_a_worker_without_the_files_is_sent_away_by_name(slow: Bench) -> None:
    async with far(slow) as there, anyio.create_task_group() as tasks:

        async def come() -> None:
            await wait_for(lambda: there.said("listening for workers"))
            os.utime(slow.source, (1, 1))  # it is another file now than the run has opened
            await there.start(1, slow.folder)

        tasks.start_soon(come)
        receipt = await slow.run(slow.collinear(max_chunk_rows=10), **there.settings)
        assert slow.stored("collinear") == slow.expected("collinear")
        assert receipt.exit_code == 0
        ((code, said),) = await there.ended()
    assert code == 2
    assert f"{slow.source}: on " in said
    assert there.said("was sent away: collinear: ") == 1


async def test_a_worker_that_is_told_to_end_finishes_what_it_sends(slow: Bench, waits: Callable[[int], None]) -> None:
    waits(2)
    async with far(slow) as there, anyio.create_task_group() as tasks:

        async def leave() -> None:
            await there.start(2, slow.folder)
            await wait_for(partial(has_received, slow.emulator, 12))
            os.kill(there.workers[0].pid, signal.SIGTERM)
            await wait_for(lambda: there.said("has left"))

        tasks.start_soon(leave)
        receipt = await slow.run(slow.nebius(max_chunk_rows=10), slow.collinear(max_chunk_rows=10), **there.settings)
        assert_landed(slow, receipt)
        assert [code for code, _ in await there.ended()] == [143, 0]
    for lane in LANES:
        assert not receipt.destinations[lane].this_invocation.attempts_by_outcome.get("in_doubt", 0)


async def test_a_run_that_is_killed_and_started_again_gets_its_workers_back(slow: Bench) -> None:
    """The worker is there before the run, and before its key; it knows another address too, where nobody is."""
    async with far(slow) as there:
        there.address = f"127.0.0.1:{free_port()},{there.address}"
        there.add_worker(slow.folder)
        command = (
            "upload", str(slow.source), "--to", "collinear", "--name", "rows", "--space-id", SPACE,
            "--collinear-url", slow.emulator.url, "--state-dir", str(slow.folder / "state"), "--max-chunk-rows", "5",
            "--settle-after", "0.1", "--listen", f"127.0.0.1:{there.port}", "--worker-key", str(there.key), "--json",
        )  # fmt: skip
        environment = {**os.environ, **TOKENS}
        with Forked(*command, cwd=slow.folder, env=environment) as first:
            await wait_for(lambda: "has come" in log_of(slow.folder))
            await wait_for(partial(has_received, slow.emulator, 8))
            first.kill()
        with Forked(*command, cwd=slow.folder, env=environment) as again:
            _, said = await anyio.to_thread.run_sync(partial(again.communicate, 60))
        assert again.returncode == 0, said
        ((code, told),) = await there.ended()
    assert code == 0
    assert "is gone" in told
    assert said.count("has come") == 1
    slow.emulator.idle()
    assert slow.stored("collinear") == slow.expected("collinear")


def log_of(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "state").glob("*/events.jsonl"))


class Relay:
    """Passes bytes on to *port*, until the way is cut: then nothing goes any more, and nobody is told."""

    def __init__(self) -> None:
        self.port = 0
        self._is_cut = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        self._is_cut.set()

    def drop(self) -> None:
        """Reset what passes now; others may pass."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, write = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers += [writer, write]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, write))
                tasks.create_task(self._pass(there, writer))
        finally:
            write.transport.abort()
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self._is_cut.is_set():
                    await asyncio.Event().wait()
                writer.write(data)
                await writer.drain()
        writer.close()
