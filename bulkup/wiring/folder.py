"""The state directory: a folder a run, locks, and what destinations have taught. All of it is the owner's alone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bulkup.errors import LocalDisk, UsageProblem
from bulkup.journal import Lock

__all__ = ["RunFolder", "StateDir", "write_private"]


class StateDir:
    """Everything that bulkup keeps between invocations."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the directory. Raises `LocalDisk`."""
        _make(self.path)

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run, whether it exists or not."""
        return RunFolder(self.path / run_id)

    def runs(self) -> list[str]:
        """The names of the runs, the newest last."""
        if not self.path.is_dir():
            return []
        found = [p for p in self.path.iterdir() if (p / "journal.db").exists()]
        return [p.name for p in sorted(found, key=lambda p: (p / "journal.db").stat().st_mtime)]

    def find(self, run: str | None) -> RunFolder:
        """The run named *run* (a unique beginning will do), or the newest. Raises `UsageProblem`."""
        runs = self.runs()
        if not runs:
            raise UsageProblem(f"{self.path}: there are no runs here; --state-dir says where else to look")
        if run is None:
            return self.run(runs[-1])
        matches = [name for name in runs if name == run] or [name for name in runs if name.startswith(run)]
        if matches and all(name.startswith(min(matches, key=len)) for name in matches):
            matches = [min(matches, key=len)]  # the others are its retries, and what it was before it was begun anew
        if len(matches) != 1:
            what = "is the beginning of several runs" if matches else "is no run here"
            raise UsageProblem(f"{run!r} {what}; there are: {', '.join(matches or runs[-5:])}")
        return self.run(matches[0])

    def lock_dataset(self, identity: str) -> Lock:
        """Take the lock on a destination's dataset. Raises `RunLocked`."""
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        _make(self.path / "locks")
        return Lock(self.path / "locks" / name, f"the dataset ({identity})")

    def learned_limit(self, service: str) -> int | None:
        """The largest body that *service* is known to take, bytes; None if it has never refused one."""
        value = self._limits().get(service)
        return value if isinstance(value, int) and value > 0 else None

    def learn_limit(self, service: str, max_body_bytes: int) -> None:
        """Remember the largest body that *service* takes."""
        write_private(
            self.path / "limits.json", json.dumps({**self._limits(), service: max_body_bytes}, indent=1).encode()
        )

    def _limits(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / "limits.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


class RunFolder:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name
        self.held: Lock | None = None

    @property
    def exists(self) -> bool:
        """There is a journal in it."""
        return (self.path / "journal.db").exists()

    def create(self) -> None:
        """Make the folder. Raises `LocalDisk`."""
        _make(self.path)

    def generation(self, number: int) -> Path:
        """Where the folder goes when the run is begun anew."""
        return self.path.with_name(f"{self.path.name}.{number}")

    def lock(self) -> Lock:
        """Take the run's lock. Raises `RunLocked`."""
        self.held = Lock(self.path / "lock", f"run {self.run_id}")
        return self.held


@contextmanager
def private_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that replaces *path* once it was written whole. Raises `LocalDisk`."""
    draft = path.with_name(path.name + ".new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        raise LocalDisk(f"{path}: {error.strerror}") from error


def write_private(path: Path, data: bytes) -> None:
    """Replace *path* by *data*, whole or not at all. Raises `LocalDisk`."""
    with private_file(path) as stream:
        stream.write(data)


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalDisk(f"{path}: {error.strerror}; choose another --state-dir") from None
