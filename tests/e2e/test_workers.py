"""An upload by worker processes: the same rows land, each once, whichever process dies."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from bulkup.account.receipt import Receipt
from bulkup.emulator import Spawned
from bulkup.errors import ExitCode
from bulkup.flow.executor import Executor
from bulkup.flow.executors import Executors
from bulkup.flow.processes import WorkerProcess
from bulkup.run.interrupt import Interrupt
from tests.cli.shell import eventually
from tests.e2e.harness import SPACE, TOKENS, Bench, gsm8k_rows, twice
from tests.forking import Forked
from tests.workers.test_pool import is_running

LANES = ("nebius", "collinear")


def assert_landed(bench: Bench, receipt: Receipt) -> None:
    assert receipt.exit_code == 0, [lane.reason for lane in receipt.destinations.values()]
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane)


def workers_of(pid: int) -> list[int]:
    """The worker processes that *pid* has started, and those that these have forked."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"worker_process" in (path.parent / "cmdline").read_bytes():
                parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
    return [child for child, parent in parents.items() if parent == pid or parents.get(parent) == pid]


def are_at_work(emulator: Spawned) -> bool:
    """Whether both workers of this process have a connection to the emulator: until they are ready, the process sends itself."""
    port = f":{emulator.port:04X}"
    connections = {
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[2].endswith(port)
    }
    pids = workers_of(os.getpid())
    return len(pids) == 2 and all(connections & sockets_of(pid) for pid in pids)


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def received_by(emulator: Spawned) -> int:
    received: int = sum(emulator.summary()[lane]["uploads_received"] for lane in LANES)
    return received


def has_received(emulator: Spawned, uploads: int) -> bool:
    return received_by(emulator) >= uploads


@pytest.mark.parametrize("form", ["plain", "gzip"])
async def test_everything_lands_once_and_the_workers_have_sent_it(
    small: Bench, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    rows_of = Executors._rows_of

    async def noted(self: Executors, prepared: Any) -> tuple[Executor, int | None]:
        executor, key = await rows_of(self, prepared)
        asked.append(isinstance(executor, WorkerProcess))
        return executor, key

    monkeypatch.setattr(Executors, "_rows_of", noted)
    source = None
    if form == "gzip":
        source = small.source.with_suffix(".jsonl.gz")
        source.write_bytes(gzip.compress(small.source.read_bytes(), 1))
    destinations = (small.nebius(max_chunk_bytes=40_000), small.collinear(max_chunk_bytes=40_000))
    receipt = await small.run(*destinations, source=source, workers=2)
    assert_landed(small, receipt)
    assert len(asked) > 20
    assert all(asked)
    lane = receipt.to_json()["destinations"]["collinear"]
    assert lane["evidence"] == {"answer": lane["chunks_landed"]}


async def test_bad_rows_and_cut_tiles_come_to_the_same_with_workers(small: Bench) -> None:
    """The same rejects at the same places, and the same chunks, whoever drafts them."""
    lines = small.source.read_bytes().splitlines(keepends=True)
    for number in range(0, len(lines), 37):
        lines[number] = b"not json\n" if number % 2 else b"\n"
    small.source.write_bytes(b"".join(lines))
    found = []
    for workers in (1, 2):
        small.emulator.reset()
        state = small.folder / f"state-{workers}"
        receipt = await small.run(
            small.nebius(max_chunk_bytes=30_000, max_chunk_rows=23),
            small.collinear(max_chunk_bytes=30_000),
            workers=workers,
            state_dir=state,
            max_rejects=None,
        )
        assert receipt.exit_code == ExitCode.SOME_REJECTED
        (rejects,) = state.glob("*/rejects.jsonl")
        manifest = json.loads(next(state.glob("*/manifest.json")).read_text())
        chunks = {
            lane: [
                (c["chunk"], c["byte_offset"], c["rows"], c["raw_xxh3_128"], c["rows_xxh3_128"])
                for c in manifest["lanes"][lane]
            ]
            for lane in LANES
        }
        found.append(
            (sorted(rejects.read_bytes().splitlines()), chunks, small.stored("nebius"), small.stored("collinear"))
        )
    assert found[0] == found[1]
    assert len(found[0][0]) > 20


@pytest.mark.parametrize("deaths", [1, 2])
async def test_killed_workers_lose_nothing(emulator: Spawned, tmp_path: Path, deaths: int) -> None:
    """Of two workers one dies, or both, with requests in flight: the other goes on, or the run's own process."""
    bench = Bench(emulator, tmp_path, gsm8k_rows(300))
    emulator.patch(latency_ms=1000, store_delay_ms=5)  # until the workers are at work
    dice = random.Random(5 + deaths)
    done = anyio.Event()

    async def kill() -> None:
        pids: list[int] = []
        for number in range(deaths):
            if number:
                await anyio.to_thread.run_sync(eventually, partial(has_received, emulator, received_by(emulator) + 8))
            else:
                await anyio.to_thread.run_sync(eventually, partial(are_at_work, emulator))
            emulator.patch(latency_ms=2000)  # who is killed has a request in flight, however slow the machine is
            held = received_by(emulator) + 4
            await anyio.to_thread.run_sync(eventually, partial(has_received, emulator, held))
            pids = pids or workers_of(os.getpid())
            assert len(pids) == 2 - number
            os.kill(pids.pop(dice.randrange(len(pids))), signal.SIGKILL)
            emulator.patch(latency_ms=150)
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kill)
        receipt = await bench.run(
            bench.nebius(max_chunk_rows=10), bench.collinear(max_chunk_rows=10), workers=2, settle_after_s=0.1
        )
        assert done.is_set(), "the upload was over before the workers were killed"
    emulator.idle()
    assert_landed(bench, receipt)
    lost = sum(lane.this_invocation.attempts_by_outcome.get("in_doubt", 0) for lane in receipt.destinations.values())
    assert lost >= 1


async def test_ctrl_c_drains_and_a_second_one_aborts_with_workers(emulator: Spawned, tmp_path: Path) -> None:
    bench = Bench(emulator, tmp_path, gsm8k_rows(600))
    emulator.patch(faults={"collinear": {"hang": 1.0}})
    interrupt = Interrupt()

    async def stop() -> None:
        await anyio.to_thread.run_sync(eventually, partial(has_received, emulator, 1))
        await twice(interrupt)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            receipt = await bench.run(bench.collinear(max_chunk_rows=20), workers=2, interrupt=interrupt)
    assert receipt.exit_code == ExitCode.INTERRUPTED
    assert receipt.destinations["collinear"].rows_in_doubt >= 20
    emulator.patch(faults={})
    emulator.idle()
    receipt = await bench.run(bench.collinear(max_chunk_rows=20), workers=2, settle_after_s=0.1)
    assert receipt.exit_code == 0
    assert bench.stored("collinear") == bench.expected("collinear")


def test_a_killed_run_takes_its_workers_with_it_and_goes_on_at_once(emulator: Spawned, tmp_path: Path) -> None:
    bench = Bench(emulator, tmp_path, gsm8k_rows(600))
    emulator.patch(latency_ms=30, store_delay_ms=5)
    command = [
        "upload", str(bench.source), "--to", "nebius", "--to", "collinear", "--name", "rows",
        "--folder", "/tests", "--space-id", SPACE, "--nebius-url", emulator.url, "--collinear-url", emulator.url, "--workers", "2",
        "--state-dir", str(bench.folder / "state"), "--max-chunk-rows", "10", "--settle-after", "0.1", "--json", "-q",
    ]  # fmt: skip
    environment = {**os.environ, **TOKENS}
    with Forked(*command, cwd=tmp_path, env=environment) as process:
        eventually(partial(has_received, emulator, 20))
        workers = workers_of(process.pid)
        assert len(workers) == 2
        assert not any(
            token in Path(f"/proc/{pid}/cmdline").read_text() for pid in workers for token in TOKENS.values()
        )
        process.kill()
    with Forked(*command, cwd=tmp_path, env=environment) as again:
        _, said = again.communicate(120)
    assert again.returncode == 0, said
    assert not any(map(is_running, workers))
    emulator.idle()
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane)
