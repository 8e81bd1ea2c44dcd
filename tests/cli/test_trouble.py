"""Why nothing moves: on the screen, in `status` and in the receipt."""

from __future__ import annotations

import re
import signal
import socket
from dataclasses import dataclass

import pytest

from tests.cli.screens import Terminal
from tests.cli.shell import Shell, eventually
from tests.forking import Forked


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


UNREACHABLE = r"cannot reach http://127.0.0.1:\d+ \(connection refused\)"
GIVING_UP = r"retrying, giving up in (\d+ min )?\d+ s"


@dataclass(frozen=True)
class Failing:
    """A service that takes no row. *script* is what the emulator answers; without one nobody listens. *reason* is what goes wrong,
    *doing* what follows from it, *note* the line that stays, *shown* what the display says, if that is not both together."""

    reason: str
    doing: str = GIVING_UP
    note: str = ""
    shown: str = ""
    script: tuple[str, ...] = ()
    url: str = ""
    proxy: str = ""


TOLD = r"waiting until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC, as the service asked for it \({}\)"
ASKED = r"the service asks bulkup to wait (\d+ min )?\d+ s"
FAILING = {
    "refused": Failing(UNREACHABLE),
    "no such host": Failing(r"cannot reach https://nowhere\.invalid \(DNS[^)]*\)", url="https://nowhere.invalid"),
    "proxy": Failing(
        r"cannot reach the proxy in HTTPS_PROXY, http://127.0.0.1:\d+ \(connection refused\)",
        url="https://bulkup.test", proxy="http://127.0.0.1:{port}",
    ),
    "Retry-After": Failing("HTTP 503: Emulated fault 503_retry_after", ASKED, TOLD, script=("503_retry_after",)),
    "429": Failing("HTTP 429: Emulated fault 429", ASKED, TOLD, script=("429",)),
    "500": Failing(
        "HTTP 500: Emulated fault not_stored_500", note="{}; these rows are in doubt: bulkup looks whether they are stored",
        shown="last trouble: {}", script=("not_stored_500",) * 9,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["refused", *(pytest.param(kind, marks=pytest.mark.slow) for kind in FAILING if kind != "refused")]
)
def test_why_nothing_moves_stands_on_the_screen(kind: str, shell: Shell) -> None:
    """From the first failure on: what is wrong, what bulkup does, and until when; in a window that is made large and small again.
    Then in `status` and in the receipt."""
    failing = FAILING[kind]
    (shell.folder / "rows.jsonl").write_text('{"text": "a"}\n')
    shell.emulator.patch(script={"nebius": failing.script}, retry_after_s=120)
    port = closed_port()
    url = failing.url or (shell.emulator.url if failing.script else f"http://127.0.0.1:{port}")
    environment = {**shell.environment, "PYTHONUTF8": "1", "HTTPS_PROXY": failing.proxy.format(port=port)}
    command = ("upload", "rows.jsonl", "--to", "nebius", "--nebius-url", url, "--drain-timeout", "0")
    with (
        Terminal(80, 24) as terminal,
        Forked(*command, cwd=shell.folder, env=environment, stderr=terminal.fd) as upload,
    ):

        def on_screen(words: str, after: int = 0) -> bool:
            """Whether *words* stand below the line of that number, however the lines are broken."""
            return re.search(words, " ".join(" ".join(terminal.lines[after:]).split())) is not None

        def picture() -> int:
            """Where the display begins: there is one."""
            lines = [
                number for number, line in enumerate(terminal.lines) if re.match(r"nebius  .*\d%|nebius  \d", line)
            ]
            return lines[0] if len(lines) == 1 else 99

        both = f"{failing.reason}; {failing.doing}"
        note, shown = (text.format(failing.reason) or both for text in (failing.note, failing.shown))
        eventually(lambda: on_screen(f"nebius: {note}"))
        for columns, lines in ((80, 24), (200, 50), (80, 24)):
            terminal.resize(columns, lines)
            eventually(lambda: picture() < 99 and on_screen(shown, picture()))
        upload.send_signal(signal.SIGINT)
        assert upload.wait() in (130, 4)
        eventually(lambda: not on_screen("rows/s"))
    assert re.search(failing.reason, shell.receipt()["destinations"]["nebius"]["last_trouble"])
    assert re.search(rf"  last trouble, .* ago: {failing.reason}", shell.run("status").out)


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
