"""`python -m tests.matrix.machines --cells 60 --seed 1`: an upload over machines that fail, each in a network namespace of its own.

Two machines run the same command (`--listen`, `--journal postgresql://…`, the second with `--stand-by`), two have a `bulkup worker`
that knows both. At a chosen point of the coordinator, of a worker, or of the takeover itself, a process is killed, or stopped and
continued, a cable is pulled and put back, a way between two machines is cut and heals, or the database crashes. Whatever happens,
every row is there once, and who was taken over ends with 8 and stores nothing more. Linux, as root; it says so where it cannot run.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bulkup.emulator import ServiceName, Spawned, spawned
from bulkup.flow.lane_worker import LaneWorker
from bulkup.flow.plan import LanePlan
from bulkup.flow.processes import LaneWorkers
from bulkup.journal.postgres.runs import names_of_runs
from bulkup.run import far_workers
from bulkup.run.far_workers import worker_key_at
from bulkup.run.joining import Joining, join
from bulkup.sources import Source
from bulkup.transport import base_url, progress
from tests.e2e.harness import TOKENS, Row, as_collinear, canonical, write_rows
from tests.journal.postgres_server import PostgresServer
from tests.matrix.failpoints import POINTS
from tests.matrix.launcher import run as run_upload
from tests.matrix.network import DATABASE, HUB, Network, why_not
from tests.matrix.numbers import numbers
from tests.matrix.takeover import PLACES

__all__ = ["Cell", "cells", "main"]

# Everything is five to ten times as fast as in earnest: 10, 12, 10, 25 and 30 s.
TIMES = ((far_workers, "LEASE_S", 2.0), (far_workers, "LOST_S", 2.6), (progress, "USER_TIMEOUT_S", 1.0))
LEASE_S, QUIET_S = 4.0, 3.5
LONGEST_S = 90.0
PORT = 7420
LANES = ("nebius", "collinear")
COORDINATORS, WORKERS = ("a", "b"), ("v", "w")

OF_THE_RUN = ("surveyed", "planned", "before sending", "sending", "answer come", "before landed", "landed")
OF_A_TAKEOVER = (
    "surveyed",
    "before sending",
    "sending",
    "looking",
    "looked",
    "before a verdict",
    "after a verdict",
    "landed",
)
OF_A_WORKER = ("envelope sent", "rows sent", "body sent", "answered there")

EVENTS: dict[str, tuple[str, Sequence[str]]] = {
    "coordinator killed": ("a", OF_THE_RUN),
    "coordinator stopped, continued after the takeover": ("a", OF_THE_RUN),
    "coordinator's cable pulled, put back after the takeover": ("a", OF_THE_RUN),
    "coordinator cut off from the database, healed after the takeover": ("a", OF_THE_RUN),
    "coordinator cut off from the service, healed": ("a", OF_THE_RUN),
    "coordinator cut off from the workers, healed": ("a", OF_THE_RUN),
    "coordinator killed, database crashed": ("a", OF_THE_RUN),
    "database crashed": ("a", OF_THE_RUN),
    "coordinator stopped, the next one killed": ("b", OF_A_TAKEOVER),
    "coordinator killed, the next one stopped, continued after the third": ("b", OF_A_TAKEOVER),
    "coordinator killed, database crashed in the takeover": ("b", OF_A_TAKEOVER),
    "worker killed": ("v", OF_A_WORKER),
    "worker stopped, continued": ("v", OF_A_WORKER),
    "worker's cable pulled, put back": ("v", OF_A_WORKER),
    "worker cut off from the service, healed": ("v", OF_A_WORKER),
    "worker cut off from the coordinator, healed": ("v", OF_A_WORKER),
    "worker stopped, coordinator killed, worker continued": ("v", OF_A_WORKER),
    "worker's cable pulled, coordinator killed, put back after the takeover": ("v", OF_A_WORKER),
}
"""What happens, on whose machine its point is reached, and the points."""


@dataclass(frozen=True, slots=True)
class Cell:
    """*number*: the how-manieth time that *point* is reached."""

    index: int
    lane: str
    event: str
    point: str
    number: int
    rows: int
    chunk_rows: int
    row_bytes: int

    def __str__(self) -> str:
        what = f"{self.rows} rows of {self.row_bytes:,} bytes by {self.chunk_rows}"
        return f"#{self.index} {self.lane}, {self.event}, {self.point}@{self.number}, {what}"


def cells(count: int, seed: int) -> list[Cell]:
    """*count* cells that go round every lane, event and point."""
    dice = random.Random(seed)
    grid = [(lane, event, point) for lane in LANES for event, (_, points) in EVENTS.items() for point in points]
    dice.shuffle(grid)
    made = []
    for index in range(count):
        lane, event, point = grid[index % len(grid)]
        # a body in one packet, or one that no kernel's buffer holds
        rows, row_bytes = (dice.randint(80, 200), 100) if dice.random() < 0.6 else (dice.randint(40, 60), 400_000)
        chunks = dice.randint(10, 16)
        made.append(Cell(index, lane, event, point, dice.randint(1, 3), rows, -(-rows // chunks), row_bytes))
    return made


class Flag:
    """Shared with what is forked: the process that has reached a point and stands there, and how often it is still to be passed."""

    _FORM = struct.Struct("=qq")

    def __init__(self, number: int) -> None:
        self._memory = mmap.mmap(-1, self._FORM.size)
        self._FORM.pack_into(self._memory, 0, 0, number)

    def reached(self) -> None:
        """Stop this process, the time that was said."""
        pid, left = self._FORM.unpack_from(self._memory, 0)
        left -= 1
        self._FORM.pack_into(self._memory, 0, os.getpid() if left == 0 else pid, left)
        if left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)

    @property
    def pid(self) -> int:
        """The process that stands there; 0 as long as none does."""
        return int(self._FORM.unpack_from(self._memory, 0)[0])


def arm(point: str, flag: Flag) -> None:
    if point == "answered there":
        inner = LaneWorker._send

        async def send(self: LaneWorker, *given: Any) -> Any:
            came = await inner(self, *given)
            flag.reached()
            return came

        LaneWorker._send = send  # type: ignore[method-assign, assignment]
    else:
        POINTS[point](flag.reached)


def wait_for_two(longest_s: float) -> None:
    """From now on a lane in this process sends nothing before two workers know it, or so much time has passed."""
    opening = LaneWorkers.opening

    @asynccontextmanager
    async def waiting(self: LaneWorkers, plan: LanePlan, source: Source) -> AsyncIterator[None]:
        async with opening(self, plan, source):
            until = time.monotonic() + longest_s
            while len(self.ready) < 2 and time.monotonic() < until:
                await asyncio.sleep(0.005)
            yield

    LaneWorkers.opening = waiting  # type: ignore[method-assign]


class Run:
    """One cell."""

    def __init__(self, cell: Cell, network: Network, emulator: Spawned, server: PostgresServer, folder: Path) -> None:
        self.cell = cell
        self.network = network
        self.emulator = emulator
        self.server = server
        self.folder = folder
        database = server.new_database().partition("@/")[2].partition("?")[0]
        self.journal = f"postgresql://bulkup@{network.address(DATABASE)}/{database}"
        self.key = folder / "shared" / "worker.key"
        self.key.parent.mkdir(mode=0o700)
        filling = "x" * cell.row_bytes
        self.rows: list[Row] = [
            {"question": f"question {n:04d}", "answer": f"answer {n % 7} {filling}"} for n in range(cell.rows)
        ]
        self.source = write_rows(folder / "rows.jsonl", self.rows)
        self.faults: list[str] = []
        self.flag = Flag(cell.number)
        self.children: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        self.was_reached = False

    # --- who is there -----------------------------------------------------------------------------------------------------------

    def upload(self, machine: str, who: str, *, stands_by: bool, armed: bool = False) -> None:
        """Start the upload on *machine*; *who* is this process's name here."""
        settings = {
            "name": "rows", "state_dir": str(self.folder / machine), "settle_after_s": QUIET_S, "retry_for_s": 30.0,
            "journal": self.journal, "lease_s": LEASE_S, "stand_by": stands_by, "stall_timeout_s": 2.0, "connect_timeout_s": 2.0,
            "listen": f"{self.network.address(machine)}:{PORT}", "worker_key": str(self.key), "workers": 1,
        }  # fmt: skip
        place = {
            "url": f"http://{self.network.address(HUB)}:{self.emulator.port}", "max_chunk_rows": self.cell.chunk_rows,
            "concurrency": 6,
            **PLACES[self.cell.lane],
        }  # fmt: skip
        given = {
            "destinations": {self.cell.lane: place}, "source": str(self.source), "settings": settings,
            "log": str(self.folder / "log"),
        }  # fmt: skip

        def be() -> int:
            wait_for_two(10.0 if who == "a" else 3.0)
            if armed:
                arm(self.cell.point, self.flag)
            return run_upload(given)

        self._start(machine, who, be)

    def worker(self, machine: str, *, armed: bool = False) -> None:
        """Start a worker on *machine*, which knows both coordinators."""

        def say(text: str) -> None:
            with (self.folder / "log").open("a", encoding="utf-8") as log:
                log.write(f"{time.time() % 1000:.2f} {machine} {os.getpid()} {text}\n")

        def be() -> int:
            if armed:
                arm(self.cell.point, self.flag)
            return int(
                join(
                    Joining(
                        addresses=tuple((self.network.address(one), PORT) for one in COORDINATORS),
                        key=lambda: worker_key_at(str(self.key), None),
                        processes=1,
                        retry_for_s=60.0,
                        say=say,
                    )
                )
            )

        self._start(machine, machine, be)

    def _start(self, machine: str, who: str, be: Callable[[], int]) -> None:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                self.network.enter(machine)
                code = be()
            finally:
                os._exit(code)
        self.children[who] = child

    def ended(self, who: str, longest_s: float = LONGEST_S) -> int:
        """How process *who* ended."""
        deadline = time.monotonic() + longest_s
        while who not in self.codes:
            if time.monotonic() > deadline:
                self.faults.append(f"{who} did not end")
                self._kill(self.children[who])
            if (code := self._poll(who)) is None:
                time.sleep(0.005)
            else:
                self.codes[who] = code
        return self.codes[who]

    def _poll(self, who: str) -> int | None:
        if who not in self.codes:
            pid, status = os.waitpid(self.children[who], os.WNOHANG)
            if not pid:
                return None
            self.codes[who] = os.waitstatus_to_exitcode(status)
        return self.codes[who]

    def expect(self, who: str, *wanted: int) -> None:
        if (code := self.ended(who)) not in wanted:
            self.faults.append(f"{who} ended with {code}, not {' or '.join(map(str, wanted))}")

    def until_reached(self, *ends: str) -> bool:
        """Wait for the point; False where one of *ends* is over before it comes."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            if self.flag.pid:
                with suppress(OSError):
                    stat = Path(f"/proc/{self.flag.pid}/stat").read_text()
                    if stat.rpartition(")")[2].split()[0] == "T":
                        self.was_reached = True
                        return True
            if any(self._poll(who) is not None for who in ends):
                return False
            time.sleep(0.002)
        self.faults.append("the point neither came nor did the run end")
        return False

    # --- what happens ------------------------------------------------------------------------------------------------------------

    def run(self) -> tuple[list[str], str]:
        """What is wrong with it, in words: nothing should be. And the log of its processes."""
        self.emulator.reset()
        self.emulator.patch(latency_ms=20)
        where, event = EVENTS[self.cell.event][0], self.cell.event
        try:
            self.upload("a", "a", stands_by=False, armed=where == "a")
            for machine in WORKERS:
                self.worker(machine, armed=machine == where)
            if where == "b":
                self._in_a_takeover(event)
            else:
                self.upload_stands_by()
                if self.until_reached("a"):
                    self._happens(event)
            self._ends()
        finally:
            for who in self.children:
                if who not in self.codes:
                    self._kill(self.children[who])
                    with suppress(ChildProcessError):
                        os.waitpid(self.children[who], 0)
            for machine in (*COORDINATORS, *WORKERS):
                self.network.put_back(machine)
            if self.server.process is None:
                self.server.start()
        log = self.folder / "log"
        return self.faults, log.read_text() if log.exists() else ""

    def upload_stands_by(self) -> None:
        """The second machine, once the first has the run."""
        self._until(lambda: "listening for workers" in self._log() or self.flag.pid or self._poll("a") is not None)
        self.upload("b", "b", stands_by=True)

    def _in_a_takeover(self, event: str) -> None:
        """The first one is gone as soon as something has landed; the second is armed."""
        self._until(
            lambda: len(self.emulator.rows(self._service)) >= self.cell.chunk_rows or self._poll("a") is not None
        )
        if self._poll("a") is not None:
            return
        self.upload("b", "b", stands_by=True, armed=True)
        self._until(
            lambda: "until it ends or dies" in self._log() or any(self._poll(who) is not None for who in ("a", "b"))
        )
        if self._poll("a") is not None:  # it was done before the second one stood by
            if self.until_reached("b"):
                os.kill(self.flag.pid, signal.SIGCONT)
            return
        if "coordinator killed" in event:
            self._kill(self.children["a"])
        else:
            os.kill(self.children["a"], signal.SIGSTOP)
        if self.until_reached("b"):
            match event.rpartition(", ")[2]:
                case "the next one killed":
                    self._kill(self.flag.pid)
                case "database crashed in the takeover":
                    self.server.restart(signal.SIGQUIT)
                    os.kill(self.flag.pid, signal.SIGCONT)
                case _:
                    self.upload("a", "third", stands_by=True)
                    self.expect("third", 0)
                    self._wakes("b", self.flag.pid)
        if "coordinator stopped" in event and self._poll("b") is None and not self.was_reached:
            self.ended("b")
        if "the next one killed" in event and self.was_reached:
            self.upload("v", "third", stands_by=True)  # on one more machine
            self.expect("third", 0)
        if "coordinator stopped" in event:
            self.ended("b")
            self._wakes("a", self.children["a"])

    def _happens(self, event: str) -> None:
        net, pid = self.network, self.flag.pid
        match event:
            case "coordinator killed" | "worker killed":
                self._kill(pid)
            case "coordinator stopped, continued after the takeover":
                self.expect("b", 0)
                self._wakes("a", pid)
            case "coordinator's cable pulled, put back after the takeover":
                self._cut_and_taken_over(pid, lambda: net.pull("a"))
            case "coordinator cut off from the database, healed after the takeover":
                self._cut_and_taken_over(pid, lambda: net.part("a", DATABASE))
            case "coordinator cut off from the service, healed":
                self._cut_and_healed(pid, "a", lambda: net.part("a", HUB))
            case "coordinator cut off from the workers, healed":
                self._cut_and_healed(pid, "a", lambda: net.part("a", *WORKERS))
            case "coordinator killed, database crashed":
                self._kill(pid)
                self.server.restart(signal.SIGQUIT)
            case "database crashed":
                self.server.restart(signal.SIGQUIT)
                os.kill(pid, signal.SIGCONT)
            case "worker stopped, continued":
                time.sleep(3.2)
                os.kill(pid, signal.SIGCONT)
            case "worker's cable pulled, put back":
                self._cut_and_healed(pid, "v", lambda: net.pull("v"))
            case "worker cut off from the service, healed":
                self._cut_and_healed(pid, "v", lambda: net.part("v", HUB))
            case "worker cut off from the coordinator, healed":
                self._cut_and_healed(pid, "v", lambda: net.part("v", "a"))
            case "worker stopped, coordinator killed, worker continued":
                self._kill(self.children["a"])
                self._until(
                    lambda: ("chunk" in self._log() and "in doubt" in self._log()) or self._poll("b") is not None
                )
                os.kill(pid, signal.SIGCONT)
            case "worker's cable pulled, coordinator killed, put back after the takeover":
                net.pull("v")
                os.kill(pid, signal.SIGCONT)
                self._kill(self.children["a"])
                self.expect("b", 0)
                net.put_back("v")
            case _:
                raise AssertionError(event)

    def _cut_and_taken_over(self, pid: int, cut: Callable[[], object]) -> None:
        cut()
        os.kill(pid, signal.SIGCONT)
        self.expect("b", 0)
        before = len(self.emulator.rows(self._service))
        self.network.put_back("a")
        self.expect("a", 8, 75)  # what it is told first: that the database was away for too long, or the takeover
        self._nothing_more_than(before)

    def _cut_and_healed(self, pid: int, machine: str, cut: Callable[[], object]) -> None:
        cut()
        os.kill(pid, signal.SIGCONT)
        time.sleep(random.Random(self.cell.index).choice((0.3, 1.0, 3.0, 5.0)))
        self.network.put_back(machine)

    def _wakes(self, who: str, pid: int) -> None:
        before = len(self.emulator.rows(self._service))
        os.kill(pid, signal.SIGCONT)
        # who was stopped when it had done all, and had given the run back, only has to say so
        self.expect(who, 8, *((0,) if "this run is done: nothing is left to send" in self._log() else ()))
        self._nothing_more_than(before)

    def _nothing_more_than(self, before: int) -> None:
        if (now := len(self.emulator.rows(self._service))) != before:
            self.faults.append(f"{now - before} rows were stored after the takeover by who was taken over")

    def _ends(self) -> None:
        """Whoever is left ends, and every row is there once."""
        for who in [who for who in ("third", "b", "a") if who in self.children]:
            is_killed = who in ("a", "b") and self._was_killed(who)
            if not is_killed:
                self.expect(who, 0, *((8, 75) if self._has_another(who) else ()))
        if not any(self.codes.get(who) == 0 for who in ("a", "b", "third")):
            self.faults.append("nobody came to the end")
        with suppress(RuntimeError):  # half of a body may have no sender any more
            self.emulator.idle(2)
        stored = canonical(self.emulator.rows(self._service))
        expected: Counter[str] = canonical(map(as_collinear, self.rows) if self.cell.lane == "collinear" else self.rows)
        if stored != expected:
            self.faults.append(f"{(expected - stored).total()} rows lost, {(stored - expected).total()} doubled")
        if not names_of_runs(self.server.address(database=self.journal.rpartition("/")[2])):
            self.faults.append("the run's journal is gone")

    def _has_another(self, who: str) -> bool:
        """Whether another process has come to the end, so that this one may have been taken over."""
        return any(self.codes.get(other) == 0 for other in self.codes if other != who and other not in WORKERS)

    def _was_killed(self, who: str) -> bool:
        code = self._poll(who)
        return code is not None and code == -signal.SIGKILL

    @property
    def _service(self) -> ServiceName:
        return cast("ServiceName", self.cell.lane)

    def _log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def _until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + LONGEST_S
        while not holds():
            if time.monotonic() > deadline:
                self.faults.append("what was waited for did not come")
                return
            time.sleep(0.01)

    def _kill(self, pid: int) -> None:
        """And all that it has forked: the kernel does so where a machine dies."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.machines")
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=numbers, help="run only these cells: 7, or 202,205,222-251")
    parser.add_argument(
        "--part", default="1/1", help="K/N: every N-th cell, from the K-th on; parts may run beside each other"
    )
    parser.add_argument("--log", action="store_true", help="show what the processes say of each cell")
    given = parser.parse_args(arguments)
    if (why := why_not()) is not None:
        print(f"NOT RUN: {why}")
        return 2
    os.environ.update(TOKENS)
    for where, name, value in TIMES:
        setattr(where, name, value)
    base_url.is_loopback = lambda host: host.startswith(
        ("127.", "10.177.")
    )  # no token goes further than these namespaces
    network = Network((*COORDINATORS, *WORKERS))
    folder = Path(tempfile.mkdtemp(prefix="bulkup-machines-"))
    folder.chmod(0o755)
    server = PostgresServer(folder / "server", listen_addresses=network.address(DATABASE))
    with (server.data / "pg_hba.conf").open("a") as hba:
        hba.write("host all all 10.177.0.0/24 trust\n")
    server.start()
    failed = reached = kept = 0
    began = time.monotonic()
    part, parts = map(int, given.part.split("/"))
    mine = cells(given.cells, given.seed)[part - 1 :: parts]
    chosen = [cell for cell in mine if given.number is None or cell.index in given.number]
    try:
        with spawned(host="0.0.0.0") as emulator:
            for cell in chosen:
                place = Path(tempfile.mkdtemp(dir=folder))
                at = time.monotonic()
                run = Run(cell, network, emulator, server, place)
                faults, log = run.run()
                shutil.rmtree(place, ignore_errors=True)
                failed += bool(faults)
                reached += run.was_reached
                kept += "workers had kept the service's answers" in log
                word = "FAILED" if faults else "passed"
                print(
                    f"{word} {cell} ({time.monotonic() - at:.1f} s{'' if run.was_reached else ', its point never came'})",
                    *faults,
                    sep="; ",
                    flush=True,
                )
                if faults or given.log:
                    print(log, flush=True)
    finally:
        server.stop(signal.SIGQUIT)
        network.close()
        shutil.rmtree(folder, ignore_errors=True)
    took_s = time.monotonic() - began
    counted = f"{len(chosen)} cells, {reached} reached their point, {kept} with kept answers, {failed} failed"
    print(f"{counted}; {took_s:.0f} s, seed {given.seed}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
