"""Commands as a user gives them: real processes, with an environment of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkup.emulator import Spawned
from tests.forking import LONGEST_S, Forked

__all__ = ["SPACE", "TOKENS", "Done", "Running", "Shell", "eventually"]

SPACE = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
TOKENS = {"NEBIUS_API_KEY": "nb-token-4c1d7e02b9", "COLLINEAR_API_KEY": "co-token-93fe55a81c"}


def eventually(holds: Callable[[], Any], deadline_s: float = 30) -> Any:
    """The first true thing that *holds* gives."""
    deadline = time.monotonic() + deadline_s
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Running:
    """A command under way."""

    def __init__(self, process: Forked) -> None:
        self.process = process

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def line_on_stderr(self, words: str) -> str:
        """The next line of stderr that holds *words*."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if words in line:
                return line
        raise AssertionError(f"stderr ended without {words!r}")

    def wait(self, timeout_s: float = LONGEST_S) -> Done:
        out, err = self.process.communicate(timeout=timeout_s)
        return Done(self.process.wait(), out, err)


class Shell:
    """A working directory with bulkup in it. *base* are the flags that lead to the emulator."""

    def __init__(self, folder: Path, emulator: Spawned) -> None:
        self.folder = folder
        self.emulator = emulator
        kept = {
            key: os.environ[key]
            for key in ("PATH", "HOME", "LANG", "PYTHONPATH", "BULKUP_WORKERS")
            if key in os.environ
        }
        self.environment = {**kept, **TOKENS, "PYTHONWARNINGS": "default", "TERM": "xterm"}

    @property
    def urls(self) -> list[str]:
        return ["--nebius-url", self.emulator.url, "--collinear-url", self.emulator.url]

    @property
    def both(self) -> list[str]:
        return ["--to", "nebius", "--to", "collinear", "--space-id", SPACE, *self.urls]

    def start(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, environment: dict[str, str] | None = None
    ) -> Running:
        process = Forked(*arguments, cwd=self.folder, env={**self.environment, **(environment or {})}, stdin=stdin)
        return Running(process)

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> Done:
        return self.start(*arguments, environment=environment).wait()

    def receipt(self) -> Any:
        """The newest run's receipt."""
        found = sorted(self.folder.glob(".bulkup/*/receipt.json"), key=lambda path: path.stat().st_mtime)
        return json.loads(found[-1].read_bytes())
