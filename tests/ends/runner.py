"""Schedules: a service that reads no further, a request that ends in some way, the run resumed to its end, and then it reads on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from benchmarks.certificate import Certificate, make_certificate
from bulkup.emulator import Spawned, spawned
from tests.e2e.harness import SPACE, TOKENS, Row, as_collinear, canonical, write_rows
from tests.e2e.test_workers import workers_of
from tests.emulators import emptied
from tests.ends.relay import Fate, Relay, Stopped
from tests.forking import Forked

__all__ = ["ENDS", "Came", "Schedule", "run_schedules", "schedules", "summary"]

ENDS = ("timeout", "stall", "Ctrl-C twice", "kill -9", "worker killed")
LANES = ("nebius", "collinear")
QUIET_S = 0.2
STALL_S = 0.2

CHUNKS = 4
ROWS_A_CHUNK = 4
HELD, LARGE = 30_000, 200_000
"""Bytes a row: a body that the two kernels hold together, and one that they do not."""

AGAIN = (-9, 75, 130)
STARTING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One run. The *upload*-th upload is read for *take* bytes; *delay_s* later it ends by *end*."""

    number: int
    lane: str
    tls: bool
    end: str
    row_bytes: int
    upload: int
    take: int
    delay_s: float

    def __str__(self) -> str:
        where = "handed over whole" if self.row_bytes == HELD else "in mid-body"
        return f"#{self.number} {self.lane} {'tls' if self.tls else 'plain'}, {self.end}, {where}, upload {self.upload}"


@dataclass(slots=True)
class Came:
    """What came of a schedule. *faults* says in words what is wrong; there should be none."""

    schedule: Schedule
    stopped: Stopped | None = None
    codes: list[int] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    took_s: float = 0.0
    faults: list[str] = field(default_factory=list)


def schedules(count: int, seed: int) -> list[Schedule]:
    """*count* schedules that go round lanes, plain and TLS, and ends; the rest is drawn from *seed*."""
    dice = random.Random(seed)
    grid = [(lane, tls, end) for end in ENDS for tls in (False, True) for lane in LANES]
    dice.shuffle(grid)
    made = []
    for number in range(count):
        lane, tls, end = grid[number % len(grid)]
        row_bytes = {"timeout": HELD, "stall": LARGE}.get(end) or dice.choice([HELD, LARGE])
        made.append(
            Schedule(
                number=number, lane=lane, tls=tls, end=end, row_bytes=row_bytes, upload=dice.randint(1, CHUNKS),
                take=dice.choice([0, 1, dice.randint(1, 20_000)]), delay_s=dice.choice([0.0, dice.uniform(0, 0.1)]),
            )
        )  # fmt: skip
    return made


def run_schedules(
    chosen: Sequence[Schedule], *, jobs: int = 4, tell: Callable[[Came], None] = lambda _: None
) -> list[Came]:
    """All of *chosen*, *jobs* at a time, in their order. Raises `NoCertificate` where one is needed and cannot be made."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkup-ends-")))
        certificate = make_certificate(folder) if any(one.tls for one in chosen) else None
        emulators: SimpleQueue[Spawned] = SimpleQueue()
        for _ in range(jobs):
            emulators.put(stack.enter_context(spawned()))

        def one(schedule: Schedule) -> Came:
            emulator = emulators.get()
            try:
                came = _run(schedule, emulator, certificate)
            finally:
                emulators.put(emulator)
            tell(came)
            return came

        return list(stack.enter_context(ThreadPoolExecutor(jobs)).map(one, chosen))


def summary(came: Sequence[Came]) -> str:
    """One line."""
    return (
        f"{len(came)} schedules, {sum(len(c.codes) for c in came)} invocations: {sum(c.lost for c in came)} rows lost, "
        f"{sum(c.doubled for c in came)} doubled in {sum(bool(c.doubled) for c in came)} schedules; "
        f"{sum(bool(c.faults) for c in came)} schedules failed"
    )


def _run(schedule: Schedule, emulator: Spawned, certificate: Certificate | None) -> Came:
    came = Came(schedule)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="bulkup-end-"))
    try:
        with Relay(emptied(emulator).port, certificate if schedule.tls else None) as relay:
            _Run(schedule, emulator, relay, certificate, folder, came).run()
    except Exception as error:  # noqa: BLE001 - one schedule's trouble must not hide the others
        came.faults.append(repr(error))
    came.took_s = time.monotonic() - began
    shutil.rmtree(folder, ignore_errors=True)
    return came


class _Run:
    def __init__(
        self,
        schedule: Schedule,
        emulator: Spawned,
        relay: Relay,
        certificate: Certificate | None,
        folder: Path,
        came: Came,
    ) -> None:
        self.schedule = schedule
        self.emulator = emulator
        self.relay = relay
        self.folder = folder
        self.came = came
        self.environment = {**os.environ, **TOKENS}
        if certificate is not None:
            self.environment["SSL_CERT_FILE"] = str(certificate.authority)
        self.rows: list[Row] = [
            {"question": f"question {n}", "answer": "x" * schedule.row_bytes} for n in range(CHUNKS * ROWS_A_CHUNK)
        ]
        write_rows(folder / "rows.jsonl", self.rows)
        stall_s = STALL_S if schedule.end in ("timeout", "stall") else 60.0  # nothing else ends it before
        (folder / "bulkup.toml").write_text(f"stall_timeout_s = {stall_s}\n")

    def run(self) -> None:
        """To the run's end, and then the service reads on."""
        self.relay.stop_upload(self.schedule.upload, Fate.PAUSED, self.schedule.take)
        said = ""
        with self._started() as process:
            self.came.stopped = self.relay.wait_until_stopped()
            self._end(process)
            said = process.communicate(150)[1]
            self.came.codes.append(process.wait())
        while self.came.codes[-1] in AGAIN and len(self.came.codes) < 6:
            with self._started() as process:
                said = process.communicate(150)[1]
                self.came.codes.append(process.wait())
        self.relay.go_on()
        self.emulator.idle()
        self._judge(said)

    def _started(self) -> Forked:
        lane, url = self.schedule.lane, self.relay.url
        place = ("--folder", "/tests") if lane == "nebius" else ("--space-id", SPACE, "--preset", "question-answer")
        workers = ("--workers", "2") if self.schedule.end == "worker killed" else ()
        # Without a scan each chunk has all its rows: of a smaller one the relay's kernel may have all, which no reset takes back.
        with STARTING:
            return Forked(
                "upload", "rows.jsonl", "--to", lane, f"--{lane}-url", url, *place, "--name", "rows", "--config", "bulkup.toml",
                "--settle-after", str(QUIET_S), "--max-chunk-rows", str(ROWS_A_CHUNK), "--scan", "none", *workers, "--json",
                cwd=self.folder, env=self.environment,
            )  # fmt: skip

    def _end(self, process: Forked) -> None:
        time.sleep(self.schedule.delay_s)  # the dice's choice of how much has left by then
        match self.schedule.end:
            case "Ctrl-C twice":
                process.send_signal(signal.SIGINT)
                assert process.stderr is not None
                while "stopping" not in (line := process.stderr.readline()):
                    assert line, "stderr ended without a word"
                process.send_signal(signal.SIGINT)
            case "kill -9":
                process.kill()
            case "worker killed":
                assert self.came.stopped is not None
                os.kill(_sender(self.came.stopped.port, workers_of(process.pid)), signal.SIGKILL)

    def _judge(self, said: str) -> None:
        came, lane = self.came, self.schedule.lane
        make = as_collinear if lane == "collinear" else dict
        stored = canonical(self.emulator.rows("nebius" if lane == "nebius" else "collinear"))
        expected = canonical(make(row) for row in self.rows)
        came.doubled, came.lost = (stored - expected).total(), (expected - stored).total()
        if came.lost or came.doubled:
            came.faults.append(f"{came.lost} rows lost, {came.doubled} doubled")
        if came.codes[-1] != 0:
            came.faults.append(f"ended with {came.codes}: {said[-1000:]}")


def _sender(port: int, pids: Sequence[int]) -> int:
    """The one of the processes whose connection has the local *port*."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if parts[1].endswith(f":{port:04X}"):
            inodes.add(f"socket:[{parts[9]}]")
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(link.readlink()) in inodes:
                    return pid
            except OSError:  # closed meanwhile
                continue
    raise AssertionError("no worker is sending that upload")
