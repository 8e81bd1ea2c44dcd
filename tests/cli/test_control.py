"""A running run is paused, changed, continued and stopped from other processes, and what it did is on record."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.shell import TOKENS, Done, Running, Shell, eventually

FAULTS = {"nebius": {"not_stored_500": 0.05, "429": 0.05}, "collinear": {"not_stored_502": 0.05}}
QUICK = ("--settle-after", "0.05", "--retry-for", "60s")


def run_folder(shell: Shell) -> Path:
    found: Path = eventually(lambda: next(iter(shell.folder.glob(".bulkup/*/status.json")), None))
    return found.parent


def events_of(shell: Shell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder(shell) / "events.jsonl").read_text().splitlines()]


def live(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_folder(shell) / "status.json").read_text())
    return found


def sent(shell: Shell) -> int:
    summary = shell.emulator.summary()
    return sum(summary[name]["uploads_received"] for name in ("nebius", "collinear"))


@pytest.fixture
def rows(shell: Shell, gsm8k: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Few rows, in forty chunks or so."""
    some = gsm8k[:120]
    (shell.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return some


def started(shell: Shell, *more: str) -> Running:
    shell.emulator.patch(faults=FAULTS, retry_after_s=0, latency_ms=20, seed=5)
    running = shell.start(
        *(
            "upload",
            "rows.jsonl",
            *shell.both,
            "--preset",
            "question-answer",
            "--max-chunk-bytes",
            "2KiB",
            *QUICK,
            *more,
        )
    )
    eventually(lambda: sent(shell) >= 6)
    return running


def test_paused_set_continued_and_stopped_under_faults(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """With both destinations and two workers: nothing lost, nothing doubled; display, `status` and log say what happened."""
    running = started(shell, "--workers", "2")
    said = shell.run("pause")
    assert (said.code, said.out.split(": ")[-1]) == (0, "paused\n"), said.err
    eventually(lambda: live(shell)["state"] == "paused")
    assert "paused" in shell.run("runs").out
    eventually(lambda: all(lane["in_flight"] == 0 for lane in live(shell)["lanes"].values()))
    before = sent(shell)
    told = r"\npaused: process \d+ on .*\n  nebius: .*waiting for `bulkup continue`: it is paused"
    eventually(lambda: re.search(told, shell.run("status").out))
    assert shell.run("set", "--concurrency", "2", "--bytes-per-second", "1MB").out.endswith(
        "set: --concurrency 2, --bytes-per-second 1,000,000\n"
    )
    assert sent(shell) == before
    wrong = shell.run("set", "--concurrency", "900")
    assert (wrong.code, wrong.err) == (
        2,
        "bulkup: --concurrency 900: give a number from 1 to 256, or to 4,096 with workers on other machines (--listen)\n",
    )
    assert shell.run("continue").code == 0
    eventually(lambda: sent(shell) > before + 2)
    eventually(lambda: all(lane["concurrency_limit"] <= 2 for lane in live(shell)["lanes"].values()))
    assert shell.run("stop").code == 0
    done = running.wait()
    assert done.code == 10, done.err
    for words in ("paused: requests that are under way end", "going on", "set by another process"):
        assert words in done.err
    assert "stopped by `bulkup stop`" in done.err + done.out
    kinds = Counter(event["event"] for event in events_of(shell))
    assert (kinds["paused"], kinds["continued"], kinds["set"], kinds["ended"]) == (1, 1, 1, 1)
    late = shell.run("stop")
    assert late.code == 2
    assert "no process works on it, so there is nothing to stop" in late.err
    shell.emulator.patch(faults={"nebius": {}, "collinear": {}}, latency_ms=0)
    assert shell.run("resume", live(shell)["run_id"]).code == 0
    assert_whole(shell, rows)


def assert_whole(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """Each row is stored once at each service: no two of them are equal."""
    for service in ("nebius", "collinear"):
        stored = shell.emulator.rows(service)
        assert len(stored) == len({json.dumps(row, sort_keys=True) for row in stored}) == len(rows), service


def test_a_command_without_an_answer_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that works on the run does not look: it may be stopped. The command stays for it."""
    from bulkup.cli import controlling
    from bulkup.errors import RunLocked
    from bulkup.run.folder import RunFolder

    monkeypatch.setattr(controlling, "holder_in", lambda _: SimpleNamespace(pid=7, host="elsewhere"))
    monkeypatch.setattr(controlling, "ANSWERED_WITHIN_S", 0.1)
    with pytest.raises(RunLocked) as told:
        controlling.command_run(RunFolder(tmp_path), "pause")
    assert str(told.value) == (
        f"run {tmp_path.name}: process 7 on elsewhere has not answered within 0.1 s. It will obey as soon as it can, if it lives: "
        "it may be stopped, or still be opening its source"
    )


@pytest.mark.slow
def test_a_stopped_process_obeys_when_it_goes_on(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """Ctrl-Z, or a machine that hangs: the command is not answered within two seconds, and obeyed afterwards."""
    running = started(shell)
    running.interrupt(signal.SIGSTOP)
    began_s = time.monotonic()
    unanswered = shell.run("pause")
    assert time.monotonic() - began_s >= 2
    assert (unanswered.code, "has not answered within 2 s" in unanswered.err) == (8, True)
    running.interrupt(signal.SIGCONT)
    eventually(lambda: live(shell)["state"] == "paused")
    assert shell.run("stop").code == 0
    assert running.wait().code == 10


LOUD = {
    "nebius": {"not_stored_500": 0.05, "429": 0.05, "stored_then_reset": 0.05, "reset_in_body": 0.05},
    "collinear": {"not_stored_502": 0.05, "503_retry_after": 0.05, "stored_then_reset": 0.03},
}
VERBS = (
    ("pause",),
    ("continue",),
    ("continue",),
    ("set", "--concurrency", "1"),
    ("set", "--concurrency", "8"),
    ("stop",),
    (),
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_commanded_nothing_is_lost(seed: int, shell: Shell, rows: list[dict[str, Any]]) -> None:
    """Commands at random, kills among them, under faults: each row is there once at the end, and each process's log comes to its
    receipt."""
    chance = random.Random(seed)
    shell.emulator.patch(faults=LOUD, retry_after_s=0, latency_ms=20, seed=seed)
    command = ("upload", "rows.jsonl", *shell.both, "--preset", "question-answer", "--max-chunk-bytes", "2KiB", *QUICK)
    for _ in range(40):
        running = shell.start(*command, "--workers", "2")
        was_killed = False
        while running.process.poll() is None:
            verb = chance.choice(VERBS)
            if verb:
                done = shell.run(*verb)
                assert done.code in (0, 2, 8), done
            elif chance.random() < 0.3:
                was_killed = True
                running.process.kill()
        ended = running.wait()
        assert was_killed or ended.code in (0, 4, 10), ended
        if not was_killed:
            events, receipt = events_of(shell), shell.receipt()
            for lane, counts in receipt["destinations"].items():
                found = counted(events, lane)
                found.pop("requests", None)
                found["rows_left"] += (
                    counts["rows_left"] - counts["rows_planned"]
                )  # what no chunk is planned of is in no log
                found["rows_read"] += counts["rows_left"] - counts["rows_planned"]
                assert found == {key: counts[key] for key in found}, lane
        if ended.code == 0:
            break
    assert_whole(shell, rows)


def test_a_run_that_was_killed_is_called_dead(shell: Shell, rows: list[dict[str, Any]]) -> None:
    running = started(shell)
    running.process.kill()
    running.wait()
    listed = shell.run("runs").out
    assert "dead: its process died" in listed
    refused = shell.run("pause")
    assert refused.code == 2
    assert "no process works on it" in refused.err


def counted(events: list[dict[str, Any]], lane: str) -> dict[str, int]:
    """The receipt's counts of a lane, from the log alone."""
    found: Counter[str] = Counter()
    for event in events:
        if event.get("lane") != lane:
            continue
        if event["event"] == "taken_up":
            found = Counter({key: event[key] for key in ("rows_landed", "rows_rejected", "rows_in_doubt", "rows_left")})
            found["rows_read"] = event["lines"] - event["rows_blank"]
            found["chunks_landed"], found["chunks_in_doubt"] = event["chunks_landed"], event["chunks_in_doubt"]
            found["bytes_landed"] = event["bytes_landed"]
        if event["event"] == "request":
            found["requests"] += 1
        if event["event"] != "chunk":
            continue
        for state, sign in ((event["from"], -1), (event["to"], 1)):
            if state is None or state == "split":
                continue
            found["rows_read"] += sign * (event["lines"] - event["blank"])
            found["rows_rejected"] += sign * event["rejected"]
            kind = {"landed": "landed", "in doubt": "in_doubt", "sending": "in_doubt"}.get(state, "left")
            found[f"rows_{kind}"] += sign * event["rows"]
            if kind != "left":
                found[f"chunks_{kind}"] += sign
            if kind == "landed":
                found["bytes_landed"] += sign * event["body_bytes"]
    return dict(found)


def test_the_log_suffices_for_the_receipt_s_counts(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """Under faults, with rows that are rejected; and no token stands in any file but the tester's."""
    shell.emulator.patch(
        faults={"nebius": {"not_stored_500": 0.2, "429": 0.1}}, retry_after_s=0, seed=7, echo_authorization=True
    )
    with (shell.folder / "rows.jsonl").open("a") as stream:
        stream.write("{broken\n\n")
    command = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "8KiB", *QUICK)
    done = shell.run(*command, "--log-file", "own.log", "--log-format", "json", "-vv")
    assert done.code == 3, done.err
    receipt = shell.receipt()["destinations"]["nebius"]
    lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    own = [json.loads(line) for line in (shell.folder / "own.log").read_text().splitlines()]
    for events in (events_of(shell), own, lines):
        found = counted(events, "nebius")
        assert found.pop("requests") == receipt["this_invocation"]["requests"]
        assert found == {key: receipt[key] for key in found}
        assert events[-1]["event"] == "ended"
        assert events[-1]["exit_code"] == 3
    for path in (shell.folder / "own.log", run_folder(shell) / "events.jsonl", run_folder(shell) / "status.json"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert not any(token in path.read_text() for token in TOKENS.values())
    assert not any(token in done.err for token in TOKENS.values())
    shown = shell.run("logs").out
    assert "nebius: chunk 00000 planned -> landed" in shown
    assert "ended: landed, some rows rejected, exit code 3" in shown


def test_verbose_says_what_becomes_of_chunks_and_requests(shell: Shell, rows: list[dict[str, Any]]) -> None:
    command = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "64KiB")
    assert "chunk 000" not in shell.run(*command, "--name", "a").err
    once = shell.run(*command, "--name", "b", "-v").err
    assert "nebius: chunk 00000 planned -> landed: " in once
    assert "request with chunk" not in once
    assert "nebius: request with chunk 00000: landed, " in shell.run(*command, "--name", "c", "-vv").err


@pytest.mark.parametrize(("limit", "words"), [("30rows", "30rows"), ("20kB", "20kB"), ("2500ms", "2500ms")])
def test_it_stops_after_what_the_user_said(limit: str, words: str, shell: Shell, rows: list[dict[str, Any]]) -> None:
    shell.emulator.patch(latency_ms=100)
    command = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "2KiB", "--concurrency", "1")
    done = shell.run(*command, "--stop-after", limit)
    assert done.code == 10, done.err
    assert f"--stop-after {words} is reached" in done.err
    assert 0 < shell.receipt()["destinations"]["nebius"]["rows_landed"] < len(rows)
    assert "to continue: bulkup resume" in done.err


def test_runs_are_listed_and_cleaned(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """The newest first; what is cleaned is said, and the same command still sends nothing."""
    command = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls)
    for name in ("first", "second"):
        assert shell.run(*command, "--name", name).code == 0
    head, *lines = shell.run("runs").out.splitlines()
    assert head.split() == ["run", "state", "done", "rows", "landed", "code", "age"]
    assert [line.split("-")[0] for line in lines] == ["second", "first"]
    assert all("ended: landed" in line and "100%" in line and "  0  " in line for line in lines)
    asked = shell.run("clean")
    assert (asked.code, "give --yes to agree" in asked.err) == (2, True)
    cleaned: Done = shell.run("clean", "--yes")
    assert cleaned.code == 0
    assert "events.jsonl" in cleaned.err
    assert not list(shell.folder.glob(".bulkup/*/events.jsonl"))
    assert len(list(shell.folder.glob(".bulkup/*/receipt.json"))) == 2
    before = sent(shell)
    assert shell.run(*command, "--name", "first").code == 0
    assert sent(shell) == before
    listed = json.loads(shell.run("runs", "--json").out)
    assert {run["state"] for run in listed} == {"ended"}


def test_status_is_watched_until_the_end(shell: Shell, rows: list[dict[str, Any]]) -> None:
    shell.emulator.patch(latency_ms=500)  # the run must not be done before the watch has begun
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "2KiB")
    eventually(lambda: sent(shell) >= 3)
    watching = shell.start("status", "--watch")
    assert watching.process.stdout is not None
    assert any("rows/s" in line for line in watching.process.stdout)
    shell.emulator.patch(latency_ms=0)
    watched = watching.wait()
    assert watched.code == 0, watched.err
    assert "last receipt: landed, exit code 0" in watched.out
    assert running.wait().code == 0


def test_a_live_journal_of_another_machine_is_not_opened(
    shell: Shell, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `status.json` is all that is read; one that has grown old is said to be silent."""
    from bulkup.cli import standing_lines as status
    from bulkup.run import standing
    from bulkup.run.folder import RunFolder

    assert shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls).code == 0
    folder = run_folder(shell)
    there = {**live(shell), "state": "running", "host": "elsewhere", "pid": 7}
    (folder / "status.json").write_text(json.dumps(there))

    def never(_: object) -> None:
        raise AssertionError("the journal was opened")

    monkeypatch.setattr(standing, "view", never)
    said = "\n".join(status.status_lines(standing.status_json(RunFolder(folder))))
    assert "running now: process 7 on elsewhere" in said
    assert "120 rows landed" in said
    (folder / "status.json").write_text(json.dumps({**there, "unix": there["unix"] - 60}))
    said = "\n".join(status.status_lines(standing.status_json(RunFolder(folder))))
    assert re.search(r"process 7 on elsewhere has said nothing for 1 min \d\d s: it may be stopped, or dead", said)


def test_left_is_all_that_has_not_landed(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """The scan has counted the source; what is planned, while requests are waited for, is said apart."""
    shell.emulator.patch(latency_ms=200)
    command = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "2KiB", "--concurrency", "1")
    done = shell.run(*command, "--stop-after", "30rows")
    lane = shell.receipt()["destinations"]["nebius"]
    assert lane["reason"] == "--stop-after 30rows was reached"
    assert f"  {lane['rows_landed'] / len(rows):.0%}  " in shell.run("runs").out
    assert lane["rows_read"] == len(rows)
    assert lane["rows_left"] == len(rows) - lane["rows_landed"]
    assert 0 < lane["rows_planned"] <= lane["rows_left"]
    assert re.search(rf"left +{lane['rows_left']}\n", done.out)
    assert re.search(rf"landed of the source +{lane['rows_landed'] / len(rows):.0%}\n", done.out)
    status = shell.run("status", "--json").json["lanes"]["nebius"]
    assert (status["rows_left"], status["rows_planned"]) == (lane["rows_left"], lane["rows_planned"])
