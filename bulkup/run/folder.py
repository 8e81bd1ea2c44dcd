"""The state directory: a folder a run, locks, and what destinations have taught. All of it is the owner's alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from bulkup.errors import BulkupError, LocalDisk, UsageProblem
from bulkup.journal import Lock
from bulkup.journal.place import MARKER, kept_in, mark
from bulkup.journal.sqlite import DATABASE
from bulkup.journal.state_files import check_folder, make_folder, read_in, refused
from bulkup.settings.near import did_you_mean

__all__ = ["LIMITS", "RECEIPT", "RunFolder", "StateDir", "private_file", "write_private"]

RECEIPT = "receipt.json"
LIMITS = "limits.json"
SHOWN_RUNS = 5
OTHER_NAMES = "names"
"""A folder of the state directory: a file for each further name of a run, with the run in it."""


NAMELESS = "run"


def slug_of(name: str) -> str:
    """What of a dataset's *name* stands in the name of its run; `NAMELESS` where nothing can."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or NAMELESS


class StateDir:
    """Everything that bulkup keeps between invocations."""

    def __init__(self, path: Path, journal: str | None = None) -> None:
        """*journal*: the address (as it is shown) of the database that has journals too."""
        self.path = path
        self.journal = journal

    def create(self) -> None:
        """Make the directory. Raises `LocalDisk`."""
        make_folder(self.path)

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run, whether it exists or not."""
        return RunFolder(self.path / run_id, self.journal)

    def runs(self) -> list[str]:
        """The names of the runs, the newest last. What cannot be looked into is none. Raises `LocalDisk`."""
        found = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    for name in (DATABASE, MARKER):
                        with suppress(OSError):
                            found[entry.name] = (self.path / entry.name / name).stat(follow_symlinks=False).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise refused(self.path, error) from error
        if self.journal is not None:
            from bulkup.journal.postgres.runs import names_of_runs

            found = {**found, **{name: at for at, name in names_of_runs(self.journal)}}
        return sorted(found, key=lambda name: (found[name], name))

    def called(self, name: str) -> str | None:
        """The run that is called *name*, or was given it as another name; None if there is none.

        Raises `JournalUnusable`, `LocalDisk`.
        """
        if self.run(name).exists:
            return name
        other = read_in(Path(os.path.realpath(self.path)) / OTHER_NAMES, name) if self._has_other_names() else None
        known = "" if other is None else other.decode("utf-8", "replace")
        return known if known and known == Path(known).name and self.run(known).exists else None

    def call(self, run_id: str, other: str) -> None:
        """Give the run *run_id* another name, by which `called` knows it. Raises `LocalDisk`, `JournalUnusable`."""
        if self.called(other) is not None:
            return
        make_folder(self.path / OTHER_NAMES)
        check_folder(self.path / OTHER_NAMES)
        write_private(self.path / OTHER_NAMES / other, run_id.encode())

    def _has_other_names(self) -> bool:
        return os.path.lexists(f"{self.path}/{OTHER_NAMES}")

    def find(self, run: str | None) -> RunFolder:
        """The run named *run* (a unique beginning will do), or the newest. Raises `UsageProblem`, `LocalDisk`."""
        runs = self.runs()
        if run and run not in runs and run == Path(run).name and _cannot_be_looked_into(self.path / run):
            return self.run(run)  # who opens it is told why
        if not runs:
            raise UsageProblem(f"{self.path}: there are no runs here; --state-dir says where else to look")
        if run is None:
            return self.run(runs[-1])
        matches = [name for name in runs if name == run] or [name for name in runs if name.startswith(run)]
        if not matches and (slug := slug_of(run)) != NAMELESS:  # the dataset's name, as it stands in the run's
            matches = [name for name in runs if name.rpartition("-")[0] == slug]
        if matches and all(name.startswith(min(matches, key=len)) for name in matches):
            matches = [min(matches, key=len)]  # the others are its retries, and what it was before it was begun anew
        if len(matches) == 1 and self.journal is not None and not self.run(matches[0]).exists:
            self.create()  # the run was begun on another machine
            self.run(matches[0]).create()
            mark(self.run(matches[0]).path, self.journal)
        if len(matches) != 1:
            what = "is the beginning of several runs" if matches else "is no run here"
            hint = "" if matches else did_you_mean(run, runs)
            there = ", ".join(matches or runs[: -SHOWN_RUNS - 1 : -1])
            raise UsageProblem(f"{run!r} {what}{hint}; there are: {there}")
        return self.run(matches[0])

    def lock_dataset(self, identity: str) -> Lock:
        """Take the lock on a destination's dataset. Raises `RunLocked`, `JournalUnusable`, `LocalDisk`."""
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        return Lock(self.path / "locks" / name, f"the dataset ({identity})")

    def learned_limit(self, service: str) -> int | None:
        """The largest body that *service* is known to take, bytes; None if it has never refused one."""
        value = self._limits().get(service)
        return value if isinstance(value, int) and value > 0 else None

    def learn_limit(self, service: str, max_body_bytes: int) -> None:
        """Remember the largest body that *service* takes. Where that cannot be written it is learned again the next time."""
        with suppress(LocalDisk):
            write_private(
                self.path / LIMITS, json.dumps({**self._limits(), service: max_body_bytes}, indent=1).encode()
            )

    def _limits(self) -> dict[str, Any]:
        try:
            found = json.loads(read_in(Path(os.path.realpath(self.path)), LIMITS) or b"null")
        except (BulkupError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class RunFolder:
    """One run's files."""

    def __init__(self, path: Path, journal: str | None = None) -> None:
        """*journal*: the address of the database where the run's journal is to be, where its folder says nothing else."""
        self.path = path
        self.run_id = path.name
        self._journal = journal
        self.held: Lock | None = None

    @property
    def exists(self) -> bool:
        """There is a journal in it, or it says where that is."""
        return os.path.lexists(f"{self.path}/{DATABASE}") or os.path.lexists(f"{self.path}/{MARKER}")

    @property
    def database(self) -> str | None:
        """Where the journal of a run is that was begun on another machine, so that it has no folder here; None for others."""
        return None if self.exists else self._journal

    def journal(self) -> str | None:
        """The address of the database where the run's journal is or is to be; None where it is in the folder. Asks that database.

        Raises `UsageProblem` where the run's journal is not where it is looked for."""
        wanted, known = self._journal, kept_in(self.path)
        if wanted is None or wanted == known:
            return known
        if os.path.lexists(self.path / DATABASE):
            raise UsageProblem(
                f"run {self.run_id} keeps its journal in {self.path}: leave out --journal, or give another --state-dir"
            )
        if known is not None:
            from bulkup.journal.postgres.runs import has_run

            if not has_run(wanted, self.run_id):
                raise UsageProblem(
                    f"run {self.run_id} keeps its journal in {known}, and {wanted} does not have it: leave out --journal"
                )
        return wanted

    def create(self) -> None:
        """Make the folder, or see that it is to be trusted. Raises `LocalDisk`, `JournalUnusable`."""
        make_folder(self.path)
        check_folder(self.path)

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
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with suppress(FileNotFoundError):  # of a process that was killed, or a link that somebody put there
            draft.unlink()
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        raise refused(path, error) from error


def write_private(path: Path, data: bytes) -> None:
    """Replace *path* by *data*, whole or not at all. Raises `LocalDisk`."""
    with private_file(path) as stream:
        stream.write(data)


def _cannot_be_looked_into(path: Path) -> bool:
    try:
        (path / DATABASE).stat(follow_symlinks=False)
    except PermissionError:
        return True
    except OSError:
        return False
    return False
