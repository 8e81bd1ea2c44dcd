"""Tab: what the shell's own script gets when it asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bulkup.journal.sqlite import DATABASE
from bulkup.version import VERSION


def asked(words: list[str], tmp_path: Path, *, shell: str = "bash") -> list[str]:
    """What is offered for the last of *words*."""
    environment = {**os.environ, "_BULKUP_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        environment |= {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    else:
        environment |= {"_TYPER_COMPLETE_ARGS": " ".join(words), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-m", "bulkup"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return [line.split("\t")[0].strip('"') for line in done.stdout.replace("\r", "").splitlines()]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["bulkup", "stat"], ["status"]),
        (["bulkup", "pa"], ["pause"]),
        (["bulkup", "upload", "--to", "ne"], ["nebius"]),
        (["bulkup", "upload", "--preset", "sh"], ["sharegpt"]),
        (["bulkup", "upload", "--on-doubt", ""], ["hold", "resend"]),
        (["bulkup", "upload", "--concurr"], ["--concurrency"]),
        (["bulkup", "resume", "a-"], ["a-2", "a-1"]),
    ],
)
def test_what_is_offered(words: list[str], offered: list[str], tmp_path: Path) -> None:
    """Commands, options, destinations, presets, runs (the newest first)."""
    for age, name in ((20, "a-1"), (10, "a-2"), (5, "b-3")):
        (tmp_path / ".bulkup" / name).mkdir(parents=True)
        (tmp_path / ".bulkup" / name / DATABASE).touch()
        os.utime(tmp_path / ".bulkup" / name / DATABASE, (1e9 - age, 1e9 - age))
    found = asked(words, tmp_path)
    assert (sorted(found), len(found)) == (sorted(offered), len(offered))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_s_script_is_shown(shell: str, tmp_path: Path) -> None:
    """And where the shell is installed, it takes the script."""
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "bulkup", "--show-completion", shell],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "_BULKUP_COMPLETE" in done.stdout
    if shutil.which(shell):
        (tmp_path / "script").write_text(done.stdout)
        assert subprocess.run([shell, "-n", str(tmp_path / "script")], timeout=60).returncode == 0


def test_bash_completes_by_its_own_function(tmp_path: Path) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = subprocess.run(
        [sys.executable, "-m", "bulkup", "--show-completion", "bash"], env=environment, capture_output=True, text=True
    ).stdout
    shim = tmp_path / "bulkup"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bulkup "$@"\n')
    shim.chmod(0o755)
    program = (
        f"{script}\nCOMP_WORDS=(bulkup upload --to col); COMP_CWORD=3; "
        '_bulkup_completion bulkup; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "collinear", done.stderr


def test_the_version_for_a_bug_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Which variables are set, and none of what stands in them."""
    from bulkup.cli.app import main

    monkeypatch.setenv("NEBIUS_API_KEY", "secret-4c1d7e02b9")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bulkup {VERSION}\n"
    assert main(["--version", "-v"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"bulkup {VERSION}\npython 3.")
    assert "aiohttp " in said
    assert "NEBIUS_API_KEY" in said
    assert "secret" not in said
