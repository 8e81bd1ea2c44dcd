"""A process that is stopped (SIGSTOP, Ctrl-Z) while its answers come takes them in when it goes on: none is given up."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bulkup.emulator import Spawned
from tests.cli.shell import eventually
from tests.e2e.conftest import emulator, one_emulator
from tests.e2e.harness import SPACE, TOKENS, Bench, gsm8k_rows
from tests.e2e.test_workers import workers_of
from tests.forking import Forked

__all__ = ["emulator", "one_emulator"]

STALL_S = 0.3
STOPPED_S = 3 * STALL_S + 1.0 + 1.5
"""Longer than a request of this size may be quiet, and so much that its timer is late."""


"""The answers are echoes of 120 KB, which no single read takes in."""


def started(bench: Bench, *more: str) -> Forked:
    """Its answers are echoes of 120 KB, which no single read takes in."""
    (bench.folder / "bulkup.toml").write_text(f"stall_timeout_s = {STALL_S}\n")
    return Forked(
        "upload", str(bench.source), "--to", "collinear", "--collinear-url", bench.emulator.url, "--space-id", SPACE,
        "--name", "rows", "--preset", "question-answer", "--config", "bulkup.toml", "--max-chunk-rows", "200",
        "--settle-after", "0.2", "--json", *more, cwd=bench.folder, env={**os.environ, **TOKENS},
    )  # fmt: skip


def wait_for_an_upload(bench: Bench) -> None:
    eventually(lambda: bench.emulator.summary()["collinear"]["concurrent_uploads"])


def stop_for_long(pids: list[int]) -> None:
    """Longer than the service takes to answer, and until the timers are late."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def bench(emulator: Spawned, tmp_path: Path) -> Bench:
    """Each upload takes half a second to store, and a look nothing."""
    emulator.patch(store_delay_ms=500)
    return Bench(emulator, tmp_path, gsm8k_rows(400))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_answers_that_came_while_it_was_stopped_count(bench: Bench, workers: int) -> None:
    with started(bench, *(("--workers", str(workers)) if workers else ())) as process:
        wait_for_an_upload(bench)
        stop_for_long([process.pid, *workers_of(process.pid)])
        out, err = process.communicate()
    assert process.returncode == 0, err
    receipt: dict[str, Any] = json.loads(out)
    assert "in_doubt" not in receipt["destinations"]["collinear"]["this_invocation"]["attempts_by_outcome"]
    assert bench.stored("collinear") == bench.expected("collinear")


def test_a_drain_that_is_stopped_takes_in_what_is_answered(bench: Bench) -> None:
    """Ctrl-C, then Ctrl-Z for longer than the drain may take: what was in flight has landed."""
    (bench.folder / "bulkup.toml").write_text("")
    with started(bench, "--drain-timeout", "1") as process:
        wait_for_an_upload(bench)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "stopping" not in (line := process.stderr.readline()):
            assert line, "stderr ended without a word"
        stop_for_long([process.pid])
        out, err = process.communicate()
    assert process.returncode == 130, err
    assert json.loads(out)["destinations"]["collinear"]["chunks_in_doubt"] == 0
