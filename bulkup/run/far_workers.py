"""Workers that come to a run from other machines: the key that lets them in, and the door."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex

from bulkup.authority import Authority
from bulkup.errors import UsageProblem
from bulkup.journal import Journal
from bulkup.journal.facts import FAR_LEASE_S, RUN_TOKEN
from bulkup.journal.state_files import read_in
from bulkup.light_dataclass import dataclass
from bulkup.run.folder import RunFolder, write_private
from bulkup.run.wire import at_run
from bulkup.version import VERSION
from bulkup.workers import Pool
from bulkup.workers.door import Door, Hello, Refused, Welcome
from bulkup.workers.far import FarWorker, Frames
from bulkup.workers.keys import RunKey, WorkerKey, make_keys
from bulkup.workers.lease import LEASE_S, LOST_S

__all__ = ["FarWorkers", "Listening", "expected_in", "worker_key_at"]

RUN_KEY = "run.key"
WORKER_KEY = "worker.key"
MESSAGE_BYTES = 256 * 1024 * 1024
"""A message holds one row at the least, and the ids of a chunk's rows: six million of these."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a run listens for workers, and where the key is that they need."""

    host: str
    port: int
    key: Path

    @property
    def address(self) -> str:
        """As `bulkup worker --connect` takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class FarWorkers:
    """Lets workers in, and knows who they are."""

    def __init__(
        self,
        pool: Pool,
        authority: Authority,
        say: Callable[[str], None],
        *,
        token: str,
        max_row_bytes: int,
    ) -> None:
        """*authority* is the run's: a worker's lease is renewed only while it holds. *token*: the run's, as workers know it."""
        self._pool = pool
        self._authority = authority
        self._say = say
        self._token = token
        self._max_bytes = MESSAGE_BYTES + 2 * max_row_bytes
        self._known: dict[int, tuple[FarWorker, str]] = {}
        self._here: set[int] = set()
        self._door: Door | None = None

    def listen(self, host: str, port: int, folder: RunFolder, key_file: Path | None) -> Listening:
        """Let workers in there. *key_file*: where the workers' key is to stand too. Raises `UsageProblem`, `LocalDisk`."""
        run_key, worker_key = _keys(folder)
        key_at = folder.path / WORKER_KEY
        if key_file is not None:
            write_private(key_file.absolute(), worker_key.to_json())
            key_at = key_file
        self._door = Door(run_key, VERSION, self._answer, self._taken)
        self._door.other_versions = self._of_another_version
        try:
            host, port = self._door.open(host, port)
        except OSError as error:
            raise UsageProblem(
                f"--listen {host}:{port}: {os.strerror(error.errno or 0)}; choose another port (0: a free one)"
            ) from None
        return Listening(host, port, key_at)

    async def close(self) -> None:
        """Let nobody in any more."""
        if self._door is not None:
            await self._door.close()

    def name(self, number: int) -> str | None:
        """Who worker *number* is, in words; None where it is none of these."""
        found = self._known.get(number)
        return None if found is None else f"worker {number} ({found[1]})"

    def is_here(self, number: int) -> bool:
        """Whether worker *number* is one of these, and on this machine, as it says."""
        return number in self._here

    def sent_away(self, number: int) -> str:
        """Why worker *number* was of no use; empty where it was."""
        found = self._known.get(number)
        return "" if found is None else found[0].reason

    def has_left(self, number: int) -> bool:
        """Whether worker *number* has gone of its own will, with nothing under way."""
        found = self._known.get(number)
        return found is not None and found[0].said_bye

    def _answer(self, hello: Hello) -> Welcome | Refused:
        left_s = self._authority.left_s
        if hello.epoch > self._authority.epoch or left_s <= 0:
            return Refused("another process has taken over the run", is_final=False)
        return Welcome(self._authority.epoch, min(left_s, LEASE_S), self._max_bytes, self._token)

    def _taken(self, frames: Frames, hello: Hello) -> None:
        link = FarWorker(frames, at_run, self._authority, lease_s=LEASE_S, lost_s=LOST_S)
        number = self._pool.adopt(link)
        if hello.host == socket.gethostname()[:200]:
            self._here.add(number)
        self._known[number] = (link, f"{_word(hello.host)}, process {hello.pid}")
        self._say(f"{self.name(number)} has come: {self._pool.alive} are at work")

    def _of_another_version(self, hello: Hello) -> None:
        self._say(
            f"a worker on {_word(hello.host)} is bulkup {_word(hello.version)} and was sent away: this run is bulkup {VERSION}"
        )


async def expected_in(journal: Journal, lanes: Sequence[str]) -> str:
    """Have *journal* know, before any can, that workers of other machines may send for *lanes*; the run's token."""
    token = await journal.fact(RUN_TOKEN)
    if token is None:
        token = token_hex(16)
        await journal.set_fact(RUN_TOKEN, token)
    for lane in lanes:
        await journal.lane(lane).set_fact(FAR_LEASE_S, LEASE_S)
    return token


def worker_key_at(path: str | None, text: str | None) -> WorkerKey:
    """The key in the file at *path*, or else *text*, from the environment. Raises `UsageProblem`."""
    if path is not None:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UsageProblem(f"--key {path}: {error.strerror}") from None
        where = f"--key {path}"
    elif text:
        data, where = text.encode("utf-8", "surrogateescape"), "BULKUP_WORKER_KEY"
    else:
        raise UsageProblem(
            "a worker needs the run's key: give --key FILE, or set BULKUP_WORKER_KEY to what is in the file"
        )
    try:
        return WorkerKey.of_json(data)
    except ValueError:
        raise UsageProblem(f"{where}: this is no worker key; a run writes it to {WORKER_KEY} in its folder") from None


def _keys(folder: RunFolder) -> tuple[RunKey, WorkerKey]:
    """The run's keys: those that it has made before, so that its workers need no others when it goes on."""
    kept = Path(os.path.realpath(folder.path))
    mine, theirs = read_in(kept, RUN_KEY), read_in(kept, WORKER_KEY)
    if mine is not None and theirs is not None:
        try:
            return RunKey.of_json(mine), WorkerKey.of_json(theirs)
        except ValueError:
            pass  # torn, as by a full disk: they are made anew
    run_key, worker_key = make_keys()
    write_private(folder.path / RUN_KEY, run_key.to_json())
    write_private(folder.path / WORKER_KEY, worker_key.to_json())
    return run_key, worker_key


def _word(text: str) -> str:
    """What a worker says of itself, as it may be shown."""
    return "".join(c if c.isprintable() else "?" for c in text)[:100]
