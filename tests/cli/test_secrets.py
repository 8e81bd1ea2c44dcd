"""A token is nowhere but in the Authorization header."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import TOKENS, Done, Shell

PASSWORD = "hunter2-8ab1"


def hunt(shell: Shell, *done: Done) -> None:
    secrets = [*TOKENS.values(), PASSWORD]
    for one in done:
        for secret in secrets:
            assert secret not in one.out
            assert secret not in one.err
    for path in Path(shell.folder).rglob("*"):
        if path.is_file() and path.suffix != ".token":
            data = path.read_bytes()
            data += gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""
            assert not any(secret.encode() in data for secret in secrets), path


@pytest.mark.parametrize(
    "fault", ["unauthorized_401", "forbidden_403", "payment_402", "not_stored_500", "stored_then_502"]
)
def test_no_command_repeats_what_a_server_echoes(shell: Shell, rows: list[Any], fault: str) -> None:
    """The server's errors hold the Authorization header; nothing that a command says or writes does."""
    shell.emulator.patch(
        faults={"nebius": {fault: 1.0}, "collinear": {fault: 1.0}},
        echo_authorization=True,
    )
    (shell.folder / "c.toml").write_text('[nebius]\ntoken_file = "x.token"\n')
    (shell.folder / "x.token").write_text(TOKENS["NEBIUS_API_KEY"] + "\n")
    command = ["upload", "rows.jsonl", *shell.both, "--preset", "question-answer", "--retry-for", "0", "-v"]
    command += ["--settle-after", "0.1"]
    done = [shell.run(*command, "--config", "c.toml"), shell.run(*command, "--json")]
    assert done[0].code not in (0, 1), done
    assert done[1].code != 1, done
    assert done[1].code != 0 or fault.startswith("stored"), done  # what was stored is found by looking
    run = shell.receipt()["run_id"]
    shell.emulator.patch(readback_faults={"nebius": {fault: 1.0}, "collinear": {fault: 1.0}})
    more = [
        shell.run("status", "-v"),
        shell.run("status", "--json"),
        shell.run("rejects", run, "-v"),
        shell.run("resume", run, "-v", "--json"),
        shell.run("settle", run, "-v", "--json"),
        shell.run("verify", run, "-v", "--json"),
    ]
    hunt(shell, *done, *more)


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{PASSWORD}@127.0.0.1:1",
        f"https://{PASSWORD}@example.com",
        f"me:{PASSWORD}@127.0.0.1",
        f"http://127.0.0.1:1/?token={PASSWORD}",
        f"http://me:{PASSWORD}@[::1",
        f"http://me:{PASSWORD}\u2100@example.com",
    ],
)
def test_a_url_with_credentials_is_refused_and_not_repeated(shell: Shell, rows: list[Any], url: str) -> None:
    """Neither the message, nor a traceback, nor a file of a run that never was."""
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", "--nebius-url", url, "-v")
    assert done.code == 2
    hunt(shell, done)


def test_a_token_given_as_an_option_is_not_repeated(shell: Shell, rows: list[Any]) -> None:
    for form in (["--token", PASSWORD], [f"--nebius-token={PASSWORD}"], ["--api-key", PASSWORD]):
        done = shell.run("upload", "rows.jsonl", "--to", "nebius", *form, "-v")
        assert done.code == 2
        assert "NEBIUS_API_KEY" in done.err
        hunt(shell, done)


def test_a_bad_token_is_not_repeated(shell: Shell, rows: list[Any]) -> None:
    shell.environment["NEBIUS_API_KEY"] = f"{PASSWORD} with spaces"
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "-v")
    assert done.code == 77
    hunt(shell, done)
