"""What ends a process from outside: a terminal that goes, signals that come twice, signals to the whole group."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bulkup.cli.display import Screen
from bulkup.cli.runner import _answered, _step_aside
from bulkup.errors import ExitCode
from bulkup.event import Note, Snapshot
from bulkup.run.interrupt import Interrupt
from tests.cli.pictures import RUNNING
from tests.cli.screens import Terminal
from tests.environments.fixtures import machine, served
from tests.environments.processes import ROWS, Machine
from tests.forking import Forked

__all__ = ["machine", "served"]

CHUNKS = 8


def started(machine: Machine, *more: str, nohup: bool = False) -> subprocess.Popen[str] | Forked:
    """An upload of many chunks, of which one has landed and others are in flight, in a process group of its own."""
    row = '{"question":"' + "q" * 200 + '","answer":"a"}\n'
    machine.rows.write_text(row * ROWS, encoding="utf-8")
    machine.emulator.patch(latency_ms=2000)
    upload = machine.upload("rows.jsonl", "--max-chunk-bytes", "2KiB", "--concurrency", "2", *more)
    arguments = [*map(os.fsdecode, upload)]
    running: subprocess.Popen[str] | Forked
    if nohup:
        running = subprocess.Popen(
            ["nohup", sys.executable, "-m", "bulkup", *arguments],
            cwd=machine.folder, env=machine.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
    else:
        running = Forked(*arguments, cwd=machine.folder, env=machine.environment(), start_new_session=True)
    eventually(lambda: machine.emulator.summary()["nebius"]["uploads_received"] >= 3)
    return running


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def receipt(machine: Machine) -> dict[str, int]:
    lane: dict[str, int] = json.loads(machine.receipts[0].read_bytes())["destinations"]["nebius"]
    return lane


def test_a_terminal_that_goes_away(machine: Machine) -> None:
    """The kernel says so, the shell says so once more, and perhaps systemd: what is in flight still ends."""
    running = started(machine)
    for _ in range(3):
        os.killpg(running.pid, signal.SIGHUP)
        time.sleep(0.02)
    said = "".join(running.communicate(timeout=60))
    assert running.returncode == 143, said
    assert (receipt(machine)["chunks_in_doubt"], receipt(machine)["rows_landed"]) == (0, machine.landed)
    assert machine.landed > 0
    machine.emulator.patch(latency_ms=0)
    again = machine.run("resume", "rows")
    assert (again.code, machine.landed) == (0, ROWS), again.said


def test_nohup(machine: Machine) -> None:
    """A process that was told to outlive its terminal does."""
    running = started(machine, nohup=True)
    os.killpg(running.pid, signal.SIGHUP)
    machine.emulator.patch(latency_ms=0)
    said = "".join(running.communicate(timeout=60))
    assert (running.returncode, machine.landed) == (0, ROWS), said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_workers_leave_it_to_their_parent(machine: Machine, number: signal.Signals) -> None:
    """The whole group is told, as by systemd or a terminal: no worker ends before what it sends has its answer."""
    running = started(machine, "--workers", "2")
    os.killpg(running.pid, number)
    said = "".join(running.communicate(timeout=60))
    assert running.returncode == 143, said
    assert "worker process" not in said
    assert (receipt(machine)["chunks_in_doubt"], receipt(machine)["rows_landed"]) == (0, machine.landed)


async def test_two_signals_at_once_are_one() -> None:
    """`timeout` sends one to the process and one to its group. Asked again after the drain has begun, the run is aborted."""
    interrupt = Interrupt()
    interrupt.request()
    interrupt.request()
    await interrupt.drain_requested()
    assert not interrupt._abort.is_set()
    interrupt.hang_up()
    assert not interrupt._abort.is_set()
    interrupt.request()
    assert interrupt._abort.is_set()


def test_a_stop_that_is_asked_for_twice_aborts_nothing() -> None:
    """By `bulkup stop`, or by it and `--stop-after`: the first is what the receipt says."""
    interrupt = Interrupt()
    interrupt._is_heard = True
    interrupt.stop(ExitCode.STOPPED_BY_LIMIT, "stopped by `bulkup stop`")
    interrupt.stop(ExitCode.STOPPED_BY_LIMIT, "--stop-after 1rows was reached")
    assert (interrupt.code, interrupt.why) == (ExitCode.STOPPED_BY_LIMIT, "stopped by `bulkup stop`")
    assert not interrupt._abort.is_set()


def test_which_signals_are_answered() -> None:
    """SIGHUP is, unless it is ignored from the start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert set(_answered(Interrupt())) == {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP}
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert signal.SIGHUP not in _answered(Interrupt())
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_shell_gets_its_terminal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """At Ctrl-Z, before the process stops: the display is gone and the cursor there. The next snapshot draws it again."""
    with Terminal(80, 24) as terminal, os.fdopen(os.dup(terminal.fd), "w", encoding="utf-8") as stream:
        screen = Screen(stream)
        screen.note(Note("", "run a-1"))
        screen.show(Snapshot(0.0, (RUNNING,)))
        assert terminal.text.startswith("run a-1\nnebius  ")
        assert not terminal.has_cursor
        stopped = []
        monkeypatch.setattr(
            os, "kill", lambda pid, number: stopped.append((number, terminal.text, terminal.has_cursor))
        )
        loop = SimpleNamespace(remove_signal_handler=lambda _: None, add_signal_handler=lambda *_: None)
        _step_aside(loop, screen)  # type: ignore[arg-type]
        assert stopped == [(signal.SIGTSTP, "run a-1", True)]
        screen.show(Snapshot(1.0, (RUNNING,)))
        assert terminal.text.startswith("run a-1\nnebius  ")


@pytest.mark.slow
def test_ctrl_z_and_fg(machine: Machine) -> None:
    """For real, in a process group of its own as shells make them; nothing is lost by it."""
    machine.rows.write_text(('{"question":"' + "q" * 200 + '","answer":"a"}\n') * ROWS, encoding="utf-8")
    machine.emulator.patch(latency_ms=400)
    command = machine.upload("rows.jsonl", "--max-chunk-bytes", "1KiB", "--concurrency", "1")
    with Terminal(80, 24) as terminal:
        running = subprocess.Popen(
            [sys.executable, "-m", "bulkup", *map(os.fsdecode, command)], cwd=machine.folder, stderr=terminal.fd,
            stdout=subprocess.DEVNULL, env=machine.environment(TERM="xterm"), process_group=0,
        )  # fmt: skip
        eventually(lambda: "rows landed" in terminal.text)
        for _ in range(2):
            os.killpg(running.pid, signal.SIGTSTP)
            assert os.WIFSTOPPED(os.waitpid(running.pid, os.WUNTRACED)[1])
            assert "rows landed" not in terminal.text
            assert terminal.has_cursor
            os.killpg(running.pid, signal.SIGCONT)
            eventually(lambda: "rows landed" in terminal.text)
        machine.emulator.patch(latency_ms=0)
        while running.poll() is None:
            terminal.take_in(0.05)
    assert (running.returncode, machine.landed) == (0, ROWS)
