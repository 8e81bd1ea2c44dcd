"""Tab: what the shell's own script gets when it asks."""

from __future__ import annotations

import fcntl
import operator
import os
import shutil
import subprocess
import sys
import termios
from functools import partial
from pathlib import Path

import pytest

from bulkup.journal.sqlite import DATABASE
from bulkup.version import VERSION
from tests.cli.screens import Terminal
from tests.cli.shell import eventually


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


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes_by_its_own_function(shell: str, tmp_path: Path) -> None:
    """Without a terminal, which zsh needs."""
    if shutil.which(shell) is None and shell != "bash":
        pytest.skip(f"{shell} is not installed")
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = subprocess.run(
        [sys.executable, "-m", "bulkup", "--show-completion", shell], env=environment, capture_output=True, text=True
    ).stdout
    shim = tmp_path / "bulkup"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bulkup "$@"\n')
    shim.chmod(0o755)
    asked = {
        "bash": "COMP_WORDS=(bulkup upload --to col); COMP_CWORD=3; _bulkup_completion bulkup; echo ${COMPREPLY[@]}",
        "fish": "complete -C 'bulkup upload --to col'",
    }
    done = subprocess.run(
        [shell, "-c", f"{script}\n{asked[shell]}"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "collinear", done.stderr


PROMPT = "ready> "
SHELLS = {
    "bash": (".bashrc", f"PS1='{PROMPT}'\n", ["bash", "-i"]),
    "zsh": (".zshrc", f"PS1='{PROMPT}'\n", ["zsh", "-i"]),
    "fish": (".config/fish/config.fish", f"function fish_prompt; echo -n '{PROMPT}'; end\n", ["fish", "-i"]),
}
"""Of each shell: what it reads when a person starts it, how to give it a prompt, how it is started."""


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_tab_in_a_shell(shell: str, tmp_path: Path) -> None:
    """`bulkup --install-completion` in the shell itself; then a new one on a real terminal, where a person presses Tab."""
    if shutil.which(shell) is None and shell != "bash":
        pytest.skip(f"{shell} is not installed")
    home, work = tmp_path / "home", tmp_path / "work"
    settings, prompt, command = SHELLS[shell]
    (home / settings).parent.mkdir(parents=True)
    (home / settings).write_text(prompt)
    (work / ".bulkup" / "mine-4b1d").mkdir(parents=True)
    (work / ".bulkup" / "mine-4b1d" / DATABASE).touch()
    (work / "rows.jsonl").touch()
    (tmp_path / "bulkup").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bulkup "$@"\n')
    (tmp_path / "bulkup").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(home), "TERM": "xterm", "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    asked = "bulkup --install-completion; exit $?" if shell != "fish" else "bulkup --install-completion; exit $status"
    installed = subprocess.run(
        [shell, "-c", asked], cwd=work, env=environment, capture_output=True, text=True, timeout=60
    )
    assert installed.returncode == 0, installed.stderr
    with Terminal(100, 30) as terminal:
        running = subprocess.Popen(
            command, cwd=work, env=environment, stdin=terminal.fd, stdout=terminal.fd, stderr=terminal.fd,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        try:
            eventually(lambda: PROMPT.strip() in terminal.text)
            for typed, whole in (
                ("bulkup upload rows.jsonl --to neb", "bulkup upload rows.jsonl --to nebius"),
                ("bulkup stat", "bulkup status"),
                ("bulkup upload ro", "bulkup upload rows.jsonl"),
                ("bulkup resume mi", "bulkup resume mine-4b1d"),
            ):
                terminal.type(f"{typed}\t")
                eventually(partial(operator.contains, terminal, whole))
                terminal.type("\x15")  # Ctrl-U: the line is empty again
        finally:
            running.kill()
            running.wait()


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
