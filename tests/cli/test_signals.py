"""Ctrl-C and kill: the first drains, the second aborts, and the journal is right after either."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest

from tests.cli.shell import Running, Shell, eventually


def command(shell: Shell) -> list[str]:
    return ["upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "16KiB", "--concurrency", "2"]


def under_way(shell: Shell, *more: str) -> Running:
    """An upload that has landed something and has something in flight. Each answer takes long enough to act in between."""
    shell.emulator.patch(latency_ms=400)
    running = shell.start(*command(shell), *more)
    eventually(lambda: shell.emulator.summary()["nebius"]["uploads_received"] >= 3)
    return running


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_drains(shell: Shell, rows: list[Any], number: signal.Signals, code: int) -> None:
    """What is in flight lands, the way on is printed, and `resume` sends only the rest."""
    running = under_way(shell)
    running.interrupt(number)
    assert "waiting up to 15 s" in running.line_on_stderr("stopping")
    done = running.wait()
    assert done.code == code
    receipt = shell.receipt()
    lane = receipt["destinations"]["nebius"]
    assert lane["rows_in_doubt"] == 0
    assert lane["rows_landed"] == len(shell.emulator.rows("nebius")) > 0
    assert f"to continue: bulkup resume {receipt['run_id']} (or run the same command again)" in done.err
    shell.emulator.patch(latency_ms=0)
    resumed = shell.run("resume", receipt["run_id"], "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["destinations"]["nebius"]["rows_landed"] == 600
    assert len(shell.emulator.rows("nebius")) == 600


def test_the_same_command_goes_on_too(shell: Shell, rows: list[Any]) -> None:
    running = under_way(shell, "--json")
    running.interrupt()
    done = running.wait()
    assert done.json["status"] == "interrupted"
    assert "to continue" in done.err
    shell.emulator.patch(latency_ms=0)
    assert shell.run(*command(shell)).code == 0
    assert len(shell.emulator.rows("nebius")) == 600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_aborts(shell: Shell, rows: list[Any], number: signal.Signals) -> None:
    """What was in flight is in doubt; nothing is sent again by itself."""
    shell.emulator.patch(script={"nebius": ["ok", "hang", "hang"]})
    running = shell.start(*command(shell))
    eventually(lambda: shell.emulator.summary()["nebius"]["by_fault"].get("hang", 0) == 2)
    running.interrupt(number)
    running.line_on_stderr("stopping")
    running.interrupt(number)
    done = running.wait(10)
    assert done.code == 128 + number
    lane = shell.receipt()["destinations"]["nebius"]
    assert lane["chunks_in_doubt"] == 2
    assert lane["rows_landed"] + lane["rows_in_doubt"] + lane["rows_left"] == lane["rows_read"]
    assert "in doubt" in done.err


def test_while_it_waits_for_standard_input(shell: Shell) -> None:
    """Nothing has come and nothing was sent: one Ctrl-C is enough."""
    running = shell.start("upload", "-", "--name", "x", "--to", "nebius", *shell.urls, stdin=subprocess.PIPE)
    eventually(lambda: _handles_sigint(running.process.pid))
    running.interrupt()
    running.process.wait(10)
    assert running.process.returncode == 130
    assert running.process.stdin is not None
    running.process.stdin.close()
    assert running.process.stderr is not None
    said = running.process.stderr.read()
    running.process.stderr.close()
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert "before anything was sent" in said
    assert "Traceback" not in said


def test_while_standard_input_pauses(shell: Shell, gsm8k: list[dict[str, Any]]) -> None:
    """A pipe that stays open does not keep an interrupted upload alive."""
    import json

    running = shell.start(
        "upload", "-", "--name", "x", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "16KiB", stdin=subprocess.PIPE
    )
    assert running.process.stdin is not None
    running.process.stdin.write("".join(json.dumps(row) + "\n" for row in gsm8k[:2000]))
    running.process.stdin.flush()
    eventually(lambda: shell.emulator.summary()["nebius"]["uploads_stored"] >= 3)
    running.interrupt()
    running.process.wait(20)
    assert running.process.returncode == 130
    for stream in (running.process.stdin, running.process.stdout, running.process.stderr):
        assert stream is not None
        stream.close()


def _handles_sigint(pid: int) -> bool:
    """The process has its own handler for SIGINT and waits for input (Linux)."""
    from pathlib import Path

    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    caught = int(status["SigCgt"], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1) and int(status["Threads"]) > 1
