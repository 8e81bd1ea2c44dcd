"""`bulkup demo` and `bulkup emulator`: the first things that a newcomer meets."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from bulkup.cli import demo
from bulkup.cli.emulating import switches
from bulkup.errors import UsageProblem
from tests.cli.shell import Shell, eventually


def test_the_demo_compares_and_sends_nothing_twice(shell: Shell) -> None:
    """Without any token, and whatever the user's own environment says."""
    for name in ("NEBIUS_API_KEY", "COLLINEAR_API_KEY"):
        del shell.environment[name]
    own = {"BULKUP_NAME": "other", "BULKUP_TO": "nebius", "BULKUP_APPEND": "maybe"}
    done = shell.run("demo", "--dir", "shown", environment=own)
    assert done.code == 0, done.err
    assert "nebius: all 7,473 rows landed, each exactly once, none altered" in done.out
    assert "collinear: all 7,473 rows landed, each exactly once, none altered" in done.out
    assert "It sent 0 requests: everything had landed." in done.out
    assert str(shell.folder / "shown") in done.out
    assert re.search(r"^    NEBIUS_API_KEY=practice \S*(bulkup|python\S* -m bulkup) upload ", done.out, re.MULTILINE)
    assert "Traceback" not in done.err
    assert len(re.findall(r"requests \(this session\) +\d\d +\d\d", done.out)) == 1, "a few dozen requests each"
    again = shell.run("demo", "--dir", "shown")
    assert again.code == 2
    assert "not empty" in again.err


def test_the_demo_on_a_terminal(shell: Shell) -> None:
    """A hundred columns wide: lanes that move, nothing cut off, and all of it gone at the end."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "bulkup", "demo", "--dir", "shown"],
        cwd=shell.folder,
        env=shell.environment,
        stdin=other,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    seen = b""
    while True:
        try:
            seen += os.read(main, 65536)
        except OSError:  # the other end is closed
            break
    os.close(main)
    assert process.wait(10) == 0
    text = seen.decode()
    frames = re.findall(r"nebius.{0,60}?(\d+)%", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))
    assert len({int(frame) for frame in frames}) >= 4, "one sees it move"
    assert "…" not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 2


def test_ctrl_c_drains_the_demo(shell: Shell) -> None:
    """The whole process group gets it, as from a keyboard; the emulator outlives the drain, so nothing is in doubt."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bulkup", "demo", "--dir", "shown"],
        cwd=shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    journals = eventually(lambda: list(shell.folder.glob("shown/.bulkup/*/ids.jsonl")))
    eventually(lambda: journals[0].stat().st_size > 0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"in doubt +0 +0\n", out)
    assert "did not finish" in out
    assert "Traceback" not in err


def test_a_row_that_is_not_there_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's comparison can fail."""
    rows = [{"a": 1}, {"a": 1}, {"a": 2}]
    assert demo._same("nebius", rows, rows)
    assert not demo._same("nebius", [*rows, {"a": 2}], rows)
    assert not demo._same("nebius", rows[1:], rows)
    assert "1 row missing" in capsys.readouterr().out


def test_switches_out_of_flags(tmp_path: Path) -> None:
    none = dict.fromkeys(
        ("latency_ms", "seed", "pending_polls", "readback", "requests_per_minute", "body_limit", "fault", "settings")
    )
    (tmp_path / "s.json").write_text('{"seed": 1, "latency_ms": 5}')
    given = {
        **none,
        "settings": str(tmp_path / "s.json"),
        "seed": 2,
        "body_limit": "1MiB",
        "requests_per_minute": 30,
        "fault": ["collinear:stored_then_reset=0.1", "collinear:429=0.2"],
    }
    assert switches(given) == {
        "seed": 2,
        "latency_ms": 5,
        "body_limit_bytes": 1 << 20,
        "rate": {"requests": 30, "window_s": 60.0},
        "faults": {"collinear": {"stored_then_reset": 0.1, "429": 0.2}},
    }
    for bad in ("fire", "nebius:hang", "nebius:hang=often", "mars:hang=1"):
        with pytest.raises(UsageProblem, match="--fault"):
            switches({**none, "fault": [bad]})


def test_the_emulator_serves(shell: Shell) -> None:
    running = shell.start(
        "emulator",
        "--port",
        "0",
        "--readback",
        "off",
        "--pending-polls",
        "1",
        "--fault",
        "nebius:429=0.1",
        "--latency-ms",
        "1",
    )
    assert running.process.stdout is not None
    url = running.process.stdout.readline().split()[2]
    (shell.folder / "rows.jsonl").write_text('{"a": 1}\n')
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", "--nebius-url", url)
    assert done.code in (0, 4), done.err
    assert "cannot look whether the destination holds this dataset" in done.err
    running.interrupt()
    assert running.wait(10).code == 0
