"""How soon Ctrl-C returns: 5 s after what is in flight has ended or may no longer be waited for, at once when pressed again."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.cli.shell import Running, Shell, eventually
from tests.e2e.harness import as_collinear, canonical

DRAINED_S = 5.0
"""From the drain's end to the end of the process."""

ABORTED_S = 1.0
"""From the second Ctrl-C to the end of the process."""

LANES = ("nebius", "collinear")
OPTIONS = ["--max-chunk-rows", "20", "--concurrency", "2", "--preset", "question-answer", "--settle-after", "0.3"]


def start(shell: Shell, *more: str) -> Running:
    return shell.start("upload", "rows.jsonl", *shell.both, "--folder", "/tests", *OPTIONS, *more)


def counted(shell: Shell, what: str) -> list[int]:
    summary = shell.emulator.summary()
    return [int(summary[lane][what]) for lane in LANES]


def hanging(shell: Shell) -> list[int]:
    summary = shell.emulator.summary()
    return [int(summary[lane]["by_fault"].get("hang", 0)) for lane in LANES]


def ended(running: Running, since: float, what: str) -> float:
    """Seconds from *since* to the end of the process."""
    running.process.wait()
    took = time.monotonic() - since
    print(f"{what}: {took:.2f} s")
    done = running.wait()
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    return took


def goes_on_to_the_end(shell: Shell, rows: list[dict[str, Any]], *more: str) -> None:
    """Resumed, nothing is lost and nothing doubled, on either lane."""
    shell.emulator.patch(latency_ms=0, script=dict.fromkeys(LANES, ()))
    shell.emulator.idle()
    done = shell.run("resume", shell.receipt()["run_id"], "--json", *more)
    assert done.code == 0, done.err
    assert canonical(shell.emulator.rows("nebius")) == canonical(rows)
    assert canonical(shell.emulator.rows("collinear")) == canonical(map(as_collinear, rows))


@pytest.fixture
def rows(shell: Shell, gsm8k: list[dict[str, Any]]) -> list[dict[str, Any]]:
    some = gsm8k[:400]
    (shell.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return some


def test_when_the_last_request_in_flight_has_ended(shell: Shell, rows: list[dict[str, Any]]) -> None:
    shell.emulator.patch(latency_ms=700)
    running = start(shell)
    eventually(lambda: all(n >= 3 for n in counted(shell, "uploads_received")) and all(in_flight(shell)))
    running.interrupt()
    running.line_on_stderr("stopping")
    eventually(lambda: not any(in_flight(shell)))
    assert ended(running, time.monotonic(), "Ctrl-C, from the last answer") < DRAINED_S
    assert not any(lane["rows_in_doubt"] for lane in shell.receipt()["destinations"].values())
    goes_on_to_the_end(shell, rows)


@pytest.mark.parametrize("fate", ["stored", "dropped"])
def test_when_the_drain_is_over(shell: Shell, rows: list[dict[str, Any]], fate: str) -> None:
    """What hangs is waited for until the drain's timeout, and is in doubt from then on."""
    shell.emulator.patch(script=dict.fromkeys(LANES, ("ok", "ok", "hang", "hang")), hang_body=fate)
    running = start(shell, "--drain-timeout", "1")
    eventually(lambda: hanging(shell) == [2, 2])
    pressed = time.monotonic()
    running.interrupt()
    took = ended(running, pressed + 1.0, "Ctrl-C, from the end of the drain's timeout")
    assert 0 <= took < DRAINED_S
    assert all(lane["chunks_in_doubt"] == 2 for lane in shell.receipt()["destinations"].values())
    goes_on_to_the_end(shell, rows)


@pytest.mark.parametrize("fate", ["stored", "dropped"])
def test_when_it_is_pressed_again(shell: Shell, rows: list[dict[str, Any]], fate: str) -> None:
    shell.emulator.patch(script=dict.fromkeys(LANES, ("ok", "ok", "hang", "hang")), hang_body=fate)
    running = start(shell)
    eventually(lambda: hanging(shell) == [2, 2])
    running.interrupt()
    running.line_on_stderr("stopping")
    pressed = time.monotonic()
    running.interrupt(signal.SIGINT)
    assert ended(running, pressed, "second Ctrl-C") < ABORTED_S
    goes_on_to_the_end(shell, rows)


@pytest.mark.parametrize("fault", ["not_stored_500", "503_retry_after"])
def test_while_nothing_is_in_flight(shell: Shell, rows: list[dict[str, Any]], fault: str) -> None:
    """Neither a quiet period nor a Retry-After, ten minutes each, is waited for."""
    shell.emulator.patch(script=dict.fromkeys(LANES, ("ok", "ok", *[fault] * 40)), retry_after_s=600)
    running = start(shell, "--settle-after", "600")
    waiting = {"not_stored_500": "waiting for evidence", "503_retry_after": "as the service asked for it"}[fault]
    running.line_on_stderr(waiting)
    pressed = time.monotonic()
    running.interrupt()
    assert ended(running, pressed, f"Ctrl-C, nothing in flight, {fault}") < DRAINED_S
    goes_on_to_the_end(shell, rows, "--settle-after", "0.3")


def in_flight(shell: Shell) -> list[int]:
    return counted(shell, "concurrent_uploads")
