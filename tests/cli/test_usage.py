"""What cannot be done is said in one line, with the right exit code, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import SPACE, Done, Shell


def one_line(done: Done, code: int) -> str:
    """The only line of stderr."""
    assert done.code == code, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("bulkup: ")
    return lines[0]


CASES: dict[str, tuple[list[str], int, str]] = {
    "missing file": (["upload", "gone.jsonl", "--to", "nebius"], 2, "gone.jsonl: there is no such file"),
    "no source": (["upload", "--to", "nebius"], 2, "nothing to upload: name at least one file"),
    "no destination": (["upload", "rows.jsonl"], 2, "nowhere to upload to"),
    "unknown destination": (["upload", "rows.jsonl", "--to", "s3"], 2, "no destination 's3'"),
    "no space": (["upload", "rows.jsonl", "--to", "collinear"], 2, "--space-id"),
    "space": (["upload", "rows.jsonl", "--to", "collinear", "--space-id", "x"], 2, "--space-id"),
    "plain http": (["upload", "rows.jsonl", "--to", "nebius", "--nebius-url", "http://example.com"], 2, "plain http"),
    "bad url": (["upload", "rows.jsonl", "--to", "nebius", "--nebius-url", "http://[::1"], 2, "is not a base URL"),
    "size": (
        ["upload", "rows.jsonl", "--to", "nebius", "--max-chunk-bytes", "8 apples"],
        2,
        "--max-chunk-bytes '8 apples'",
    ),
    "time": (["upload", "rows.jsonl", "--to", "nebius", "--retry-for", "soon"], 2, "--retry-for 'soon'"),
    "rejects": (["upload", "rows.jsonl", "--to", "nebius", "--max-rejects", "120%"], 2, "--max-rejects"),
    "concurrency": (["upload", "rows.jsonl", "--to", "nebius", "--concurrency", "0"], 2, "concurrency"),
    "doubt": (["upload", "rows.jsonl", "--to", "nebius", "--on-doubt", "pray"], 2, "hold or resend"),
    "config": (["upload", "rows.jsonl", "--config", "gone.toml"], 2, "gone.toml: there is no such file"),
    "several without a name": (["upload", "rows.jsonl", "more.jsonl", "--to", "nebius"], 2, "--name"),
    "unknown option": (["upload", "rows.jsonl", "--too", "nebius"], 2, "--too"),
    "unknown command": (["uplaod"], 2, "uplaod"),
    "a token": (["upload", "rows.jsonl", "--to", "nebius", "--token", "SECRET"], 2, "never an option"),
    "a token, joined": (["upload", "rows.jsonl", "--nebius-api-key=SECRET"], 2, "never an option"),
    "no runs": (["status"], 2, "there are no runs here"),
    "resume nothing": (["resume", "x"], 2, "there are no runs here"),
    "fault": (["emulator", "--fault", "nebius:fire=1"], 2, "no fault 'fire'"),
    "switch": (["emulator", "--settings", '{"latency": 1}'], 2, "latency"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line(case: str, shell: Shell) -> None:
    """No traceback, no usage text, no run left behind."""
    (shell.folder / "rows.jsonl").write_text('{"a": 1}\n')
    arguments, code, words = CASES[case]
    line = one_line(shell.run(*arguments), code)
    assert words in line
    assert "SECRET" not in line
    assert not (shell.folder / ".bulkup").exists()


def test_an_unknown_preset_names_those_there_are(shell: Shell) -> None:
    (shell.folder / "rows.jsonl").write_text('{"a": 1}\n')
    line = one_line(shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--preset", "poem"), 2)
    assert "question-answer" in line


def test_without_a_token(shell: Shell) -> None:
    (shell.folder / "rows.jsonl").write_text('{"a": 1}\n')
    del shell.environment["NEBIUS_API_KEY"]
    assert "set NEBIUS_API_KEY" in one_line(shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls), 77)


def test_keys_without_a_place_name_the_way_out(shell: Shell) -> None:
    """`--drop` is what the message says, and it helps."""
    (shell.folder / "rows.jsonl").write_text(
        '{"conv_prefix": [{"role": "user", "content": "q"}], "response": {"role": "assistant", "content": "a"}, "mood": 1}\n'
    )
    command = ["upload", "rows.jsonl", "--to", "collinear", "--space-id", SPACE, *shell.urls]
    done = shell.run(*command)
    assert done.code == 2
    assert "--drop 'mood'" in done.err
    assert shell.run(*command, "--drop", "mood").code == 0


def test_what_is_there_already_is_refused_without_append(shell: Shell, rows: list[dict[str, Any]]) -> None:
    command = [
        "upload",
        "rows.jsonl",
        "--to",
        "collinear",
        "--space-id",
        SPACE,
        *shell.urls,
        "--preset",
        "question-answer",
    ]
    shell.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[_row()])
    refused = shell.run(*command)
    assert refused.code == 2
    last = refused.err.splitlines()[-1]
    assert last.startswith("bulkup: collinear: the destination already holds rows")
    assert "--append" in last
    assert shell.emulator.summary()["collinear"]["uploads_received"] == 0
    assert shell.run(*command, "--append").code == 0
    assert len(shell.emulator.rows("collinear")) == 601


def _row() -> dict[str, Any]:
    return {"conv_prefix": [{"role": "user", "content": "q"}], "response": {"role": "assistant", "content": "a"}}


def test_a_port_that_is_taken(shell: Shell) -> None:
    line = one_line(shell.run("emulator", "--port", str(shell.emulator.port)), 2)
    assert "--port" in line


def test_verbose_shows_where(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`-v` adds the traceback of what lies in the code, or in the machine; the line stays the last."""
    from bulkup.run import standing

    def broken(_: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(standing, "status_json", broken)
    monkeypatch.setattr("bulkup.run.folder.StateDir.find", lambda *_: None)
    from bulkup.cli.app import main

    assert main(["status", "-v"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("bulkup: internal error: ZeroDivisionError: by nought")


def test_a_bug_is_one_line_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody thought of asks to be reported, exit code 1."""
    from bulkup.cli import app, outcome
    from bulkup.run import standing

    def broken(_: object) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [ZeroDivisionError("by nought\x1b[2J")])])

    monkeypatch.setattr(standing, "status_json", broken)
    monkeypatch.setattr("bulkup.run.folder.StateDir.find", lambda *_: None)
    assert app.main(["status"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("bulkup: internal error: ZeroDivisionError: by nought")
    assert "report" in said
    assert "\x1b" not in said
    assert outcome.exit_code_of(KeyboardInterrupt(), is_verbose=False) == 130


def test_the_gravest_error_of_a_group_stands_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    from bulkup.cli.outcome import exit_code_of
    from bulkup.errors import LocalDisk, TokenRefused

    group = ExceptionGroup("lanes", [TokenRefused("no"), ExceptionGroup("writer", [LocalDisk("disk full")])])
    assert exit_code_of(group, is_verbose=False) == 74
    assert capsys.readouterr().err == "bulkup: disk full\n"


def test_resume_from_elsewhere_says_where(shell: Shell, rows: list[Any], tmp_path: Path) -> None:
    shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls)
    run = shell.receipt()["run_id"]
    (tmp_path / "elsewhere").mkdir()
    there = Shell(tmp_path / "elsewhere", shell.emulator)
    line = one_line(there.run("resume", run, "--state-dir", "../.bulkup"), 2)
    assert "The run's paths count from the directory in which it was begun" in line
