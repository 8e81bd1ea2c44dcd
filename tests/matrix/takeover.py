"""`python -m tests.matrix.takeover --cells 60 --seed 1`: an upload is stopped (SIGSTOP) or killed at a chosen point, and then

- *taken over*: another machine (a state directory of its own) goes on with it. The first one wakes, and must end with 8;
- *its database crashes* and comes back, at once or after the lease has ended; then it goes on;
- *its database crashes while another machine takes over*.

Whatever happens, every row is there once. A second or two a cell is the lease.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bulkup.emulator import ServiceName, Spawned, spawned
from tests.e2e.harness import SPACE, TOKENS, Row, as_collinear, canonical, write_rows
from tests.journal.postgres_server import PostgresServer, postgres_server
from tests.matrix.failpoints import POINTS
from tests.matrix.launcher import run as run_upload
from tests.matrix.numbers import numbers

__all__ = ["Takeover", "cells", "main", "run_cell"]

LEASE_S = 1.0
QUIET_S = 0.4
LONGEST_S = 90.0
LANES = ("nebius", "collinear")
EVENTS = (
    "stopped, taken over",
    "killed, taken over",
    "stopped, database crashed",
    "stopped, database away for longer than the lease",
    "stopped, database crashed, taken over",
    "cut off, taken over",
)
PLACES: dict[str, dict[str, Any]] = {"nebius": {"folder": "/tests"}, "collinear": {"space_id": SPACE}}


@dataclass(frozen=True, slots=True)
class Takeover:
    """One cell. *number*: the how-manieth time that *point* is reached."""

    index: int
    lane: str
    point: str
    number: int
    event: str
    rows: int
    chunk_rows: int

    def __str__(self) -> str:
        return f"#{self.index} {self.lane}, {self.point}@{self.number}, {self.event}, {self.rows} rows by {self.chunk_rows}"


def cells(count: int, seed: int) -> list[Takeover]:
    """*count* cells that go round every lane, point and event."""
    dice = random.Random(seed)
    points = [
        point
        for point in POINTS
        if point not in ("none", "in doubt", "looking", "looked", "before a verdict", "after a verdict")
    ]
    grid = [(lane, point, event) for lane in LANES for point in points for event in EVENTS if _has(lane, point)]
    dice.shuffle(grid)
    made = []
    for index in range(count):
        lane, point, event = grid[index % len(grid)]
        rows = dice.randint(60, 200)
        made.append(Takeover(index, lane, point, dice.randint(1, 4), event, rows, -(-rows // dice.randint(6, 12))))
    return made


def _has(lane: str, point: str) -> bool:
    return point not in ("answered", "before the audit")


def run_cell(cell: Takeover, emulator: Spawned, server: PostgresServer) -> tuple[list[str], str]:
    """What is wrong with it, in words: nothing should be. And the log of its processes."""
    folder = Path(tempfile.mkdtemp(prefix="bulkup-takeover-"))
    try:
        return _Cell(cell, emulator, server, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Cell:
    def __init__(self, cell: Takeover, emulator: Spawned, server: PostgresServer, folder: Path) -> None:
        self.cell = cell
        self.emulator = emulator
        self.server = server
        self.folder = folder
        self.journal = server.new_database()
        self.rows: list[Row] = [
            {"question": f"question {n:04d}", "answer": f"answer {n % 7}"} for n in range(cell.rows)
        ]
        self.source = write_rows(folder / "rows.jsonl", self.rows)
        self.faults: list[str] = []

    def run(self) -> tuple[list[str], str]:
        cell, emulator = self.cell, self.emulator
        emulator.idle()
        emulator.reset()
        emulator.patch(latency_ms=5)
        takes_over = "taken over" in cell.event
        first = self._start("a", cell.point, cell.number, signal.SIGKILL if "killed" in cell.event else signal.SIGSTOP)
        status = self._until_it_stops(first)
        if status is not None and not os.WIFSIGNALED(status):  # its point never came
            self._expect("the first", os.waitstatus_to_exitcode(status), {0})
            return self._judged()
        if "crashed" in cell.event:
            self.server.restart(signal.SIGQUIT)
        elif "away" in cell.event:
            self.server.stop(signal.SIGQUIT)
            os.kill(first, signal.SIGCONT)
            time.sleep(1.5 * LEASE_S)
            self.server.start()
        elif "cut off" in cell.event:
            self._cut_off()
        code = 0
        if takes_over:
            code = self._ended(self._start("b", "none", 1))
            self._expect("the one that took over", code, {0})
        if status is None:
            before = self.emulator.rows(self._service)
            if "away" not in cell.event:
                os.kill(first, signal.SIGCONT)
            # what has landed everywhere before it was stopped is done, and so is who only had to say so
            self._expect("the first", self._ended(first), {8} if takes_over else {0})
            if takes_over and len(self.emulator.rows(self._service)) != len(before):
                self.faults.append("the first one stored rows after it had been taken over")
        return self._judged()

    def _cut_off(self) -> None:
        """End the connections of the first one, as a network that is gone does."""
        import psycopg

        with psycopg.connect(self.journal, autocommit=True) as db:
            theirs = "datname = current_database() AND pid != pg_backend_pid()"
            db.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}".encode())

    @property
    def _service(self) -> ServiceName:
        return cast("ServiceName", self.cell.lane)

    def _start(self, machine: str, point: str, number: int, by: signal.Signals = signal.SIGKILL) -> int:
        """An upload on *machine*, in a process of its own."""
        settings = {
            "name": "rows", "state_dir": str(self.folder / machine), "settle_after_s": QUIET_S, "retry_for_s": 30.0,
            "journal": self.journal, "lease_s": LEASE_S,
        }  # fmt: skip
        place = {"url": self.emulator.url, "max_chunk_rows": self.cell.chunk_rows, **PLACES[self.cell.lane]}
        given = {
            "destinations": {self.cell.lane: place}, "source": str(self.source), "settings": settings,
            "log": str(self.folder / "log"), "point": point, "number": number, "by": by.name,
        }  # fmt: skip
        child = os.fork()
        if child == 0:
            code = 99
            try:
                code = run_upload(given)
            finally:
                os._exit(code)
        return child

    def _until_it_stops(self, child: int) -> int | None:
        """None once it is stopped, else how it ended."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if pid:
                return None if os.WIFSTOPPED(status) else status
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        raise TimeoutError("the first one neither stopped nor ended")

    def _ended(self, child: int) -> int:
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self.faults.append("a process did not end")
        return -9

    def _expect(self, who: str, code: int, wanted: set[int]) -> None:
        if code not in wanted:
            self.faults.append(f"{who} ended with {code}, not {sorted(wanted)}")

    def _judged(self) -> tuple[list[str], str]:
        self.emulator.idle()
        stored = canonical(self.emulator.rows(self._service))
        expected: Counter[str] = canonical(map(as_collinear, self.rows) if self.cell.lane == "collinear" else self.rows)
        if stored != expected:
            self.faults.append(f"{(expected - stored).total()} rows lost, {(stored - expected).total()} doubled")
        log = self.folder / "log"
        return self.faults, log.read_text() if self.faults and log.exists() else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.takeover")
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=numbers, help="run only these cells: 7, or 3,12-20")
    given = parser.parse_args(arguments)
    os.environ.update(TOKENS)
    failed, began = 0, time.monotonic()
    chosen = [cell for cell in cells(given.cells, given.seed) if given.number is None or cell.index in given.number]
    server = postgres_server()
    with spawned() as emulator:
        for cell in chosen:
            faults, log = run_cell(cell, emulator, server)
            if faults:
                failed += 1
                print(f"FAILED {cell}: {'; '.join(faults)}\n{log}", flush=True)
    print(f"{len(chosen)} cells, {failed} failed; {time.monotonic() - began:.0f} s, seed {given.seed}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
