"""bulkup in a process of its own, started as a shell starts it, with descriptors that are closed, full or without a reader."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bulkup.emulator import Spawned
from tests.forking import Forked

__all__ = ["ROWS", "TOKENS", "Done", "Machine"]

TOKENS = {"NEBIUS_API_KEY": "nb-token-71c0de55a2", "COLLINEAR_API_KEY": "co-token-20fe9ab314"}
ROWS = 40
FULL = {">/dev/full": 1, "2>/dev/full": 2}
"""Redirections to a disk that is full, each with its descriptor."""


@dataclass(frozen=True)
class Done:
    """What a process came to. Its output is bytes: no environment promises text."""

    code: int
    out: bytes
    err: bytes

    @property
    def said(self) -> str:
        return self.err.decode("utf-8", "backslashreplace")

    def is_clean(self) -> bool:
        """No traceback, and nothing that asks for a report."""
        return all(word not in self.out + self.err for word in (b"Traceback", b"internal error", b"Exception ignored"))


class Machine:
    """A directory with forty rows in it, and the emulator. *shell* are redirections as a shell takes them."""

    def __init__(self, folder: Path, emulator: Spawned) -> None:
        self.folder = folder
        self.emulator = emulator
        self.rows = folder / "rows.jsonl"
        self.rows.write_text("".join(f'{{"question":"q{n}","answer":"a{n}"}}\n' for n in range(ROWS)), encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ}
        return {**kept, **TOKENS, "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "default", **more}

    def upload(self, source: str | bytes = "rows.jsonl", *more: str) -> list[str | bytes]:
        return ["upload", source, "--to", "nebius", "--nebius-url", self.emulator.url, "--settle-after", "0", *more]

    def run(
        self, *arguments: str | bytes, shell: str = "", cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> Done:
        """Started anew where *shell* or *env* change what Python makes of its streams at the start; else forked."""
        if env is None and (not shell or shell in FULL):
            return self._fork(*map(os.fsdecode, arguments), cwd=cwd or self.folder, full=FULL.get(shell))
        command = [sys.executable, "-m", "bulkup", *map(os.fsdecode, arguments)]
        script = f"exec {shlex.join(command)} {shell}"
        done = subprocess.run(
            [b"/bin/sh", b"-c", os.fsencode(script)],
            cwd=cwd or self.folder,
            env=env or self.environment(),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _fork(self, *arguments: str, cwd: Path, full: int | None) -> Done:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path("/dev/full").open("wb") as disk:
            ends = {1: out.fileno(), 2: err.fileno()}
            if full is not None:
                ends[full] = disk.fileno()
            code = Forked(*arguments, cwd=cwd, env=self.environment(), stdout=ends[1], stderr=ends[2]).wait()
            out.seek(0)
            err.seek(0)
            return Done(code, out.read(), err.read())

    @property
    def landed(self) -> int:
        """Rows that the service holds."""
        return len(self.emulator.rows("nebius"))

    @property
    def receipts(self) -> list[Path]:
        return sorted(self.folder.glob(".bulkup/*/receipt.json"))
