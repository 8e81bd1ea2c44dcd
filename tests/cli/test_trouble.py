"""Why nothing moves: on the screen, in `status` and in the receipt."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.cli.screens import Terminal
from tests.cli.shell import TOKENS, Shell, eventually
from tests.forking import Forked


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_a_service_that_cannot_be_reached(columns: int, lines: int, tmp_path: Path) -> None:
    """At the first failure: what is wrong, what bulkup does, and until when. `status` and the receipt say it too."""
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    url = f"http://127.0.0.1:{closed_port()}"
    environment = {**TOKENS, "PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONUTF8": "1"}
    command = ("upload", "rows.jsonl", "--to", "nebius", "--nebius-url", url, "--state-dir", "s")
    with (
        Terminal(columns, lines) as terminal,
        Forked(*command, "--drain-timeout", "0", cwd=tmp_path, env=environment, stderr=terminal.fd) as upload,
    ):

        def on_screen() -> str:
            terminal.take_in(0.05)
            return " ".join(" ".join(terminal.lines).split())

        said = rf"cannot reach {url} \(connection refused\); retrying, giving up in (10 min 00|9 min 59) s"
        eventually(lambda: re.search("nebius: " + said, on_screen()))  # the note
        eventually(lambda: len(re.findall(said.replace("(10 min 00|9 min 59)", r"9 min 5\d"), on_screen())) >= 1)
        upload.send_signal(signal.SIGINT)
        assert upload.wait() == 130


def test_status_and_receipt_say_why(shell: Shell) -> None:
    """While it runs, and after it has given up."""
    (shell.folder / "rows.jsonl").write_text('{"text": "a"}\n')
    url = f"http://127.0.0.1:{closed_port()}"
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", "--nebius-url", url, "--retry-for", "3s")
    reason = f"cannot reach {url} (connection refused)"
    running.line_on_stderr(f"nebius: {reason}; retrying, giving up in ")
    eventually(lambda: f"{reason}; retrying, giving up in" in shell.run("status").out)
    done = running.wait()
    assert done.code == 75
    assert f"no request succeeded for too long; the last answer: {reason}" in done.err
    assert shell.receipt()["destinations"]["nebius"]["last_trouble"] == reason
    after = shell.run("status").out
    assert re.search(rf"  last trouble, .* ago: {re.escape(reason)}\n", after), after


def test_server_errors_are_said_once(shell: Shell) -> None:
    """A 500 leaves doubts: that is said at the first one, not at each."""
    (shell.folder / "rows.jsonl").write_text("".join(f'{{"text": "{n:0200}"}}\n' for n in range(60)))
    shell.emulator.patch(script={"nebius": ["ok", "not_stored_500", "ok", "not_stored_500", "not_stored_500"]})
    done = shell.run(
        *("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "2KiB", "--settle-after", "0.05")
    )
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if "HTTP 500" in line and "these rows are in doubt" in line]
    assert len(said) == 1, done.err
    assert "HTTP 500" in shell.receipt()["destinations"]["nebius"]["last_trouble"]


def test_a_quota_is_said(shell: Shell) -> None:
    """429 with a short wait: once, with what bulkup does."""
    (shell.folder / "rows.jsonl").write_text("".join(f'{{"text": "{n:0200}"}}\n' for n in range(20)))
    shell.emulator.patch(script={"nebius": ["ok", "429", "ok", "429", "429"]})
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "1KiB")
    assert done.code == 0, done.err
    assert done.err.count("nebius: HTTP 429: Emulated fault 429; waiting ") == 1, done.err
