"""`bulkup bench` against the emulator: what it finds, what it spends, and that it asks first."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bulkup.cli.app import main
from tests.cli.shell import SPACE, Done, Shell, eventually
from tests.cli.test_secrets import hunt
from tests.forking import Forked

GRID = ["--sizes", "16KiB,64KiB,256KiB", "--concurrencies", "1,2,4"]
AWAY = "https://bulkup-bench.invalid:1"


def bench(shell: Shell, *more: str, to: str = "nebius") -> list[str]:
    where = ["--space-id", SPACE] if to == "collinear" else []
    return ["bench", "--to", to, "--url", shell.emulator.url, *where, *GRID, *more]


class Here(Shell):
    """Commands in this process: quicker, and a warning is an error."""

    def __init__(self, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(shell.folder, shell.emulator)
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> Done:
        with self._monkeypatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in {**self.environment, **(environment or {})}.items():
                patch.setenv(name, value)
            code = main(list(arguments))
        said = self._capsys.readouterr()
        return Done(code, said.out, said.err)


@pytest.fixture
def here(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(shell, monkeypatch, capsys)


def kept(shell: Shell) -> Any:
    """The newest report."""
    found = sorted((shell.folder / ".bulkup" / "bench").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(found[-1].read_bytes())


def within(shell: Shell, report: Any, service: str = "nebius") -> Any:
    """Hold what was spent, and what is said of it, to what the service has counted; its summary."""
    counted = shell.emulator.summary()[service]
    assert counted["uploads_received"] == report["spent"]["requests"] <= report["budget"]["requests"]
    assert counted["bytes_received"] <= report["spent"]["body_bytes"] <= report["budget"]["body_bytes"]
    assert counted["readback_requests"] == 0
    return counted


def test_it_finds_a_setting_that_upload_takes(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """From the plan to an upload with the config that it wrote."""
    shell.emulator.patch(latency_ms=20)
    done = shell.run(*bench(shell, "--write-config", "best.toml"))
    assert done.code == 0, done.err
    report = kept(shell)
    counted = within(shell, report)
    name = report["name"]
    assert re.fullmatch(r"bulkup-bench-\d{8}-\d{6}-[0-9a-f]{4}", name)
    assert f"{name}-00001 to 00046, in folder /bulkup-bench" in done.err
    assert "at most 46 requests, 5.2 MB" in done.err
    assert len(counted["datasets"]) == counted["uploads_stored"] == len(report["datasets"])
    assert all(d["name"].startswith(name + "-") and d["folder"] == "/bulkup-bench" for d in counted["datasets"])
    assert len({d["name"] for d in counted["datasets"]}) == len(counted["datasets"])
    assert report["rows_taken"] == counted["rows_stored"]
    assert "at once" in done.out
    assert "…" not in done.out
    best = report["best"]
    assert best["chunk_bytes"] == 256 * 1024
    at_once = f" --concurrency {best['concurrency']}" if is_passed(report) else ""
    assert f"best: --max-chunk-bytes 256KiB{at_once}, " in done.out
    assert ("concurrency" in (shell.folder / "best.toml").read_text()) is bool(at_once)
    svg = shell.folder / ".bulkup" / "bench" / f"{name}.svg"
    assert "256 KiB" in svg.read_text()
    for path in (svg, svg.with_suffix(".json"), shell.folder / "best.toml"):
        assert path.stat().st_mode & 0o777 == 0o600
    shell.emulator.reset()
    uploaded = shell.run("upload", "rows.jsonl", "--config", "best.toml", "--json")
    assert uploaded.code == 0, uploaded.err
    assert shell.emulator.summary()["nebius"]["max_body_bytes"] <= best["chunk_bytes"]
    assert len(shell.emulator.rows("nebius")) == 600


def test_collinear_makes_one_dataset(here: Here) -> None:
    """The first request creates it alone."""
    here.emulator.patch(latency_ms=20)
    done = here.run(*bench(here, "--json", to="collinear"))
    assert done.code == 0, done.err
    counted = within(here, done.json, "collinear")
    assert [d["name"] for d in counted["datasets"]] == [done.json["name"]]
    assert f"one dataset, {done.json['name']}, in space {SPACE}" in done.err
    row = here.emulator.rows("collinear")[0]
    assert "made up" in row["conv_prefix"][0]["content"]


def test_a_disk_that_refuses_the_report_does_not_cost_what_was_found(here: Here) -> None:
    (here.folder / ".bulkup").mkdir()
    (here.folder / ".bulkup" / "bench").write_text("in the way")
    done = here.run(*bench(here, "--max-requests", "5"))
    assert done.code == 74
    assert "best: --max-chunk-bytes" in done.out


def test_rows_of_the_user_s(here: Here, rows: list[dict[str, Any]]) -> None:
    done = here.run(*bench(here, "--source", "rows.jsonl", "--preset", "question-answer", "--json", to="collinear"))
    assert done.code == 0, done.err
    questions = {row["question"] for row in rows}
    assert {row["conv_prefix"][0]["content"] for row in here.emulator.rows("collinear")} <= questions


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"faults": {"nebius": {"stored_then_reset": 0.2}}},
        {"faults": {"nebius": {"429": 0.3}}, "retry_after_s": 0},
        {"rate": {"nebius": {"requests": 7, "window_s": 0.2, "retry_after": "none", "headers": "off"}}},
        {"body_limit_bytes": {"nebius": 100_000}},
    ],
    ids=["healthy", "resets", "429", "no Retry-After", "413"],
)
@pytest.mark.parametrize(("requests", "size"), [(17, "10MB"), (60, "1MB")])
def test_the_budget_is_never_exceeded(here: Here, switches: dict[str, Any], requests: int, size: str) -> None:
    """Whatever the service answers; nothing is sent over and above it."""
    here.emulator.patch(**switches)
    done = here.run(*bench(here, "--max-requests", f"{requests}", "--max-bytes", size, "--json"))
    assert done.code in (0, 10, 75), done.err
    within(here, done.json)


def test_a_service_that_never_takes_one_does_not_cost_more_than_the_budget(here: Here) -> None:
    here.emulator.patch(faults={"nebius": {"429": 1.0}}, retry_after_s=0)
    done = here.run(*bench(here, "--max-requests", "5", "--json"))
    assert done.code == 10, done.err
    assert within(here, done.json)["uploads_received"] == 5
    assert done.json["best"] is None


def test_a_service_that_takes_no_size(here: Here) -> None:
    here.emulator.patch(body_limit_bytes={"nebius": 1000})
    done = here.run(*bench(here))
    assert done.code == 2
    assert "refuses even bodies of 16,384 bytes (413)" in done.err
    assert here.emulator.summary()["nebius"]["uploads_received"] == 1


def test_a_long_retry_after_ends_it(here: Here) -> None:
    """What was found until then is shown; the quota is named."""
    here.emulator.patch(rate={"nebius": {"requests": 12, "window_s": 600.0, "headers": "off"}})
    done = here.run(*bench(here, "--max-wait", "5s"))
    assert done.code == 75
    assert re.search(
        r"send nothing until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, which is longer than --max-wait \(5 s\)", done.err
    )
    assert "limit: the quota" in done.out
    assert "the service took about" in done.out
    assert "without the quota)" in done.out
    report = kept(here)
    within(here, report)
    assert here.emulator.summary()["nebius"]["by_status"]["200"] == 12
    assert report["best"] is not None


def test_a_short_retry_after_is_kept(here: Here) -> None:
    """No request goes before its time is up."""
    here.emulator.patch(script={"nebius": ["ok", "ok", "429"]}, retry_after_s=1)
    done = here.run(*bench(here, "--max-requests", "12", "--json"))
    assert done.code == 0, done.err
    assert done.json["limit"] == "the quota"
    assert done.json["cells"][0]["elapsed_s"] >= 1.0


def test_a_quota_that_is_told_is_kept_to(here: Here) -> None:
    """Each size once, at that pace, and no further: more at once could not help."""
    here.emulator.patch(rate={"nebius": {"requests": 7, "window_s": 1.0}}, latency_ms=1)
    done = here.run(*bench(here, "--requests-per-minute", "300", "--json"))
    assert done.code == 0, done.err
    assert done.json["limit"] == "the quota"
    assert {cell["concurrency"] for cell in done.json["cells"]} == {1}
    assert done.json["best"]["goodput_within_quota"] == pytest.approx(256 * 1024 * 5, rel=0.02)
    assert within(here, done.json)["by_status"] == {"200": 10}


def test_a_quota_that_the_service_tells_is_kept_to(here: Here) -> None:
    """As an upload does: its headers are read, so that no request is refused."""
    here.emulator.patch(rate={"nebius": {"requests": 20, "window_s": 2.0, "tells": "ietf"}}, latency_ms=1)
    done = here.run(*bench(here, "--json"))
    assert done.code == 0, done.err
    assert done.json["limit"] == "the quota"
    assert done.json["why"].startswith("600 requests a minute, as the service said; the endpoint would take ")
    assert (done.json["quota_per_minute"], done.json["quota_is_told"]) == (600.0, True)
    assert {cell["concurrency"] for cell in done.json["cells"]} == {1}
    assert within(here, done.json)["by_status"] == {"200": 10}


def test_a_quota_that_a_refusal_shows_is_not_spent_on_what_cannot_help(here: Here) -> None:
    here.emulator.patch(rate={"nebius": {"requests": 8, "window_s": 1.0, "headers": "off"}})
    done = here.run(*bench(here, "--json"))
    assert done.code == 0, done.err
    assert {cell["concurrency"] for cell in done.json["cells"]} == {1}
    assert done.json["quota_per_minute"] == pytest.approx(8 * 60, rel=0.5)
    assert within(here, done.json)["uploads_received"] == 10


def test_bodies_that_are_too_large(here: Here) -> None:
    # With some latency the largest body that is taken is the best one, however busy this machine is.
    here.emulator.patch(body_limit_bytes={"nebius": 100_000}, latency_ms=50)
    done = here.run(*bench(here, "--json"))
    assert done.code == 0, done.err
    assert done.json["best"]["chunk_bytes"] == 64 * 1024
    assert done.json["largest_taken"] <= 64 * 1024
    assert here.emulator.summary()["nebius"]["by_status"]["413"] == 1


def test_requests_without_an_answer_are_counted(here: Here) -> None:
    here.emulator.patch(script={"nebius": ["ok", "stored_then_reset"]})
    done = here.run(*bench(here, "--max-requests", "12"))
    assert done.code == 0, done.err
    assert "1 request without an answer may have been stored too" in done.out


def test_rows_that_the_service_refuses(here: Here) -> None:
    here.emulator.patch(refuse_rows={"nebius": {"marker": "bulkup bench"}})
    done = here.run(*bench(here))
    assert done.code == 3
    assert "refuses these rows" in done.err
    assert here.emulator.summary()["nebius"]["uploads_received"] == 1


def test_ctrl_c_shows_what_was_found(shell: Shell) -> None:
    shell.emulator.patch(latency_ms=100)
    running = shell.start(*bench(shell, "--write-config", "best.toml"))
    running.line_on_stderr("256 KiB × 1:")
    shell.emulator.patch(faults={"nebius": {"hang": 1.0}})
    eventually(lambda: shell.emulator.summary()["nebius"]["by_fault"].get("hang"))
    running.interrupt()
    done = running.wait(15)
    assert done.code == 130
    assert "best: --max-chunk-bytes" in done.out
    assert "without an answer may have been stored too" in done.out
    assert "stopped: interrupted" in done.err
    assert "Traceback" not in done.err
    report = kept(shell)
    assert len(report["cells"]) >= 3
    assert report["unanswered"] > 0
    assert not (shell.folder / "best.toml").exists()


def test_without_a_terminal_it_needs_yes(here: Here) -> None:
    """Where the host is not this machine, nothing is sent before somebody agrees; the plan is said all the same."""
    command = ["bench", "--to", "nebius", "--url", AWAY, *GRID]
    done = here.run(*command)
    assert done.code == 2
    assert "nothing was sent. The bench would use up quota" in done.err
    assert "leaves at most" in done.err
    assert not (here.folder / ".bulkup").exists()
    agreed = here.run(*command, "--yes", "--quiet")
    assert agreed.code == 75
    assert "3 requests in a row failed" in agreed.err
    assert "leaves at most" in agreed.err


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("", 2), ("y", 75)])
def test_on_a_terminal_it_asks(shell: Shell, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    command = ["bench", "--to", "nebius", "--url", AWAY, *GRID]
    process = Forked(
        *command, cwd=shell.folder, env=shell.environment, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        assert b"leaves at most" in said
        os.write(ours, answer.encode() + b"\n")
        while True:
            try:
                if not os.read(ours, 4096):
                    break
            except OSError:  # the other side has closed
                break
        assert process.wait(30) == code
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def is_passed(report: Any) -> bool:
    """More at once than what was best were tried, with the same chunks."""
    best = report["best"]
    return any(
        cell["chunk_bytes"] == best["chunk_bytes"] and cell["concurrency"] > best["concurrency"] and cell["attempts"]
        for cell in report["cells"]
    )


CONFIG = """# ours
to = ["nebius"]

[nebius]
url = "{url}" # staging
folder = "/kept"  # as it was
concurrency = 3
"""


def test_a_config_that_is_there_keeps_its_comments(here: Here) -> None:
    """Its size and number at once are what is looked for, so they do not bind; its folder is not filled with what bench sends."""
    path = here.folder / "ours.toml"
    path.write_text(CONFIG.format(url=here.emulator.url))
    path.chmod(0o644)
    command = ["bench", "--to", "nebius", "--config", "ours.toml", *GRID, "--write-config", "ours.toml"]
    done = here.run(*command)
    assert done.code == 0, done.err
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    best = kept(here)["best"]
    for words in ("# ours", "# staging", '"/kept"  # as it was', 'max_chunk_bytes = "256KiB"', "# bulkup bench 20"):
        assert words in text or words == 'max_chunk_bytes = "256KiB"'
    ours = f"concurrency = {best['concurrency']} # bulkup bench" if is_passed(kept(here)) else "concurrency = 3"
    assert ours in text
    assert f"max_chunk_bytes = {best['chunk_bytes']} # bulkup bench" in text
    assert {d["folder"] for d in here.emulator.summary()["nebius"]["datasets"]} == {"/bulkup-bench"}
    again = here.run(*command)
    assert again.code == 0, again.err
    assert path.read_text().count("concurrency") == 1


def refused(here: Here, done: Done, words: str) -> None:
    assert done.code == 2, done.err
    assert words in done.err
    assert len(done.err.splitlines()) == 1
    assert here.emulator.summary()["nebius"]["uploads_received"] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nebius = [", "config file x.toml"),
        ("tow = 1", "there is no such setting"),
        ('[nebius]\nurl = "https://example.com"', "its [nebius] is for https://example.com"),
        ("[nebius]\n", "its [nebius] is for https://api.tokenfactory.nebius.com"),
    ],
)
def test_a_config_that_cannot_be_written_is_refused_before_anything_is_sent(here: Here, text: str, words: str) -> None:
    (here.folder / "x.toml").write_text(text)
    refused(here, here.run(*bench(here, "--write-config", "x.toml")), words)
    assert (here.folder / "x.toml").read_text() == text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--sizes", "1KiB"], "no row fits into 1,024 bytes"),
        (["--sizes", "lots"], "--sizes 'lots'"),
        (["--concurrencies", "0,4"], "from 1 to 256"),
        (["--concurrencies", "four"], "give a whole number"),
        (["--max-requests", "0"], "--max-requests '0'"),
        (["--max-wait", "soon"], "--max-wait 'soon'"),
        (["--source", "gone.jsonl"], "there is no such file"),
        (["--write-config", "no/such/x.toml"], "there is no directory"),
        (["--to", "s3"], "no destination 's3'"),
    ],
)
def test_what_cannot_be_done_is_one_line(here: Here, more: list[str], words: str) -> None:
    refused(here, here.run(*bench(here, *more)), words)


@pytest.mark.parametrize("fault", ["unauthorized_401", "forbidden_403", "stored_then_502", "429"])
def test_the_token_is_not_shown(shell: Shell, fault: str) -> None:
    """The server's errors hold the Authorization header; nothing that bench says or writes does."""
    shell.emulator.patch(
        script={"nebius": ["ok", "ok", "ok", "ok"]}, faults={"nebius": {fault: 1.0}}, echo_authorization=True
    )
    done = shell.run(*bench(shell, "-v", "--max-wait", "0.1", "--write-config", "c.toml"))
    assert done.code in (75, 77), done.err
    assert kept(shell)["stopped"]
    hunt(shell, done)


def test_no_token_is_said_first(here: Here) -> None:
    done = here.run(*bench(here), environment={"NEBIUS_API_KEY": ""})
    assert done.code == 77
    assert "no token" in done.err
    assert here.emulator.summary()["nebius"]["uploads_received"] == 0


def test_without_the_chart_s_library(shell: Shell, tmp_path: Path) -> None:
    """It says what to install, and all else is there."""
    block = tmp_path / "block"
    block.mkdir()
    (block / "leather.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join(filter(None, [str(block), shell.environment.get("PYTHONPATH")]))
    done = subprocess.run(  # a process of its own from the start: the others come with everything imported
        [sys.executable, "-m", "bulkup", *bench(shell, "--max-requests", "5")],
        cwd=shell.folder,
        env={**shell.environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'bulkup[chart]'" in done.stderr
    assert kept(shell)["cells"]


def test_sigterm(shell: Shell) -> None:
    shell.emulator.patch(faults={"nebius": {"hang": 1.0}})
    running = shell.start(*bench(shell))
    eventually(lambda: shell.emulator.summary()["nebius"]["by_fault"].get("hang"))
    running.interrupt(signal.SIGTERM)
    done = running.wait(15)
    assert done.code == 143
    assert "no best setting" in done.out
