"""Runs cells of the matrix, several at a time, each against an emulator of its own, and judges what came of them."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from bulkup.emulator import Spawned, spawned
from tests.e2e.harness import SPACE, TOKENS, Row, as_collinear, canonical, write_rows
from tests.emulators import emptied
from tests.ends.relay import Fate, Relay
from tests.matrix.cells import QUIET_S, Cell
from tests.matrix.launcher import Launcher

__all__ = ["Came", "run_cells", "summary"]

MAX_INVOCATIONS = 10
PLACES: dict[str, dict[str, Any]] = {
    "nebius": {"folder": "/tests", "pending_timeout_s": 5.0},
    "collinear": {"space_id": SPACE},
    "thirdparty": {"box": "tests"},
}


@dataclass(slots=True)
class Came:
    """What came of a cell. *faults* says in words what is wrong; there should be none. Rows lost do not count those in doubt."""

    cell: Cell
    statuses: list[int] = field(default_factory=list)
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    in_doubt: int = 0
    took_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    log: str = ""


def run_cells(
    cells: Sequence[Cell],
    *,
    jobs: int = 4,
    tell: Callable[[Came], None] = lambda _: None,
    serve: Callable[[], AbstractContextManager[Spawned]] = spawned,
    environment: Mapping[str, str] = TOKENS,
    journals: Callable[[], str] | None = None,
) -> list[Came]:
    """All of *cells*, *jobs* at a time, in their order. *tell* hears of each when it is done. *serve* begins the service that they
    upload to, from processes with *environment*. *journals* makes a database for each cell's journal."""
    with ExitStack() as stack:
        places: SimpleQueue[tuple[Spawned, Launcher]] = SimpleQueue()
        for _ in range(jobs):
            launcher = Launcher(dict(environment))
            stack.callback(launcher.close)
            places.put((stack.enter_context(serve()), launcher))

        def one(cell: Cell) -> Came:
            place = places.get()
            try:
                came = _run(cell, *place, None if journals is None else journals())
            finally:
                places.put(place)
            tell(came)
            return came

        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        return list(pool.map(one, cells))


def summary(came: Sequence[Came]) -> str:
    """One line."""
    return (
        f"{len(came)} cells, {sum(c.kills for c in came)} kills, {sum(len(c.statuses) for c in came)} invocations: "
        f"{sum(c.lost for c in came)} rows lost, {sum(c.doubled for c in came)} doubled, "
        f"{sum(c.in_doubt for c in came if c.cell.is_provable)} in doubt where it could be settled, "
        f"{sum(c.in_doubt for c in came if not c.cell.is_provable)} where not; {sum(bool(c.faults) for c in came)} cells failed"
    )


def _run(cell: Cell, emulator: Spawned, launcher: Launcher, journal: str | None) -> Came:
    came = Came(cell)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="bulkup-cell-"))
    try:
        _Bench(cell, emulator, launcher, folder, came, journal).run()
    except Exception as error:  # noqa: BLE001 - one cell's trouble must not hide the others
        came.faults.append(f"{error!r}, invocations ended with {came.statuses}")
    came.took_s = time.monotonic() - began
    log = folder / "log"
    came.log = log.read_text() if came.faults and log.exists() else ""
    shutil.rmtree(folder, ignore_errors=True)
    return came


class _Bench:
    def __init__(
        self, cell: Cell, emulator: Spawned, launcher: Launcher, folder: Path, came: Came, journal: str | None
    ) -> None:
        self.journal = journal
        self.cell = cell
        self.emulator = emulator
        self.launcher = launcher
        self.folder = folder
        self.came = came
        self.rows = _rows(cell)
        self.source = write_rows(folder / "rows.jsonl", self.rows)
        self.others: list[Row] = []
        self.url = emulator.url

    def run(self) -> None:
        """The invocations that may die, then as many as it takes."""
        self._prepare()
        with self._through_a_relay(), self._beside():
            for point, number in self.cell.kills:
                self._invoke(point, number)
            while len(self.came.statuses) < MAX_INVOCATIONS:
                if self._invoke("none", 1) not in (-9, 75, 77):
                    break
        self._settled()
        self._judge()

    def _prepare(self) -> None:
        emptied(self.emulator)
        if self.cell.fault.startswith("old dataset"):
            self._write(self.rows[:7] + [{"question": f"old {n}", "answer": "old"} for n in range(5)])
            time.sleep(self.cell.emulator.get("readback_lag_s", 0.0))
        self.emulator.patch(**self.cell.emulator)
        if self.cell.fault == "token expiring":
            self._token(0)

    def _invoke(self, point: str, number: int) -> int:
        status = self.launcher.run(self._given(point, number))
        self.came.statuses.append(status)
        self.came.kills += status == -9
        return status

    def _given(self, point: str, number: int) -> dict[str, Any]:
        cell = self.cell
        destination: dict[str, Any] = {"url": self.url, "max_chunk_rows": cell.chunk_rows}
        destination |= PLACES[cell.lane]
        if cell.fault == "token expiring":
            destination["token_file"] = str(self.folder / "token")
        settings = {
            "name": "rows",
            "state_dir": str(self.folder / "state"),
            "settle_after_s": QUIET_S,
            "retry_for_s": 20.0,
            "stall_timeout_s": 0.6 if cell.fault in ("hang", "held by the kernel") else 10.0,
            "connect_timeout_s": 2.0,
            "append": cell.fault.startswith("old dataset"),
            "journal": self.journal,
        }
        return {
            "destinations": {cell.lane: destination}, "source": str(self.source), "settings": settings,
            "log": str(self.folder / "log"), "point": point, "number": number,
        }  # fmt: skip

    @contextmanager
    def _through_a_relay(self) -> Iterator[None]:
        """A relay that stops one upload, where the cell has one; it goes on when all invocations have ended."""
        cell = self.cell
        if not cell.stopped_at:
            yield
            return
        with Relay(self.emulator.port) as relay:
            self.url = relay.url
            relay.early_answers = {
                b"POST /v1/": json.dumps({"id": f"early-{cell.seed}", "name": "rows", "status": "READY"}).encode(),
                b"POST /api/": json.dumps([{"id": f"early-{cell.seed}-{n}"} for n in range(cell.chunk_rows)]).encode(),
            }
            fate = Fate.PAUSED if cell.fault == "held by the kernel" else Fate.ANSWERED_EARLY
            relay.stop_upload(cell.stopped_at, fate, take=cell.seed % 5_000)
            yield
            if relay.stopped is not None:
                relay.go_on()

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """What happens while the invocations run: another writer, a token renewed, a port that closes."""
        work = {
            "another writer": self._other_writer,
            "token expiring": self._renew,
            "closed port": self._close_port,
            "port closed at the start": self._close_port_at_once,
        }.get(self.cell.fault)
        stop = threading.Event()
        if work is None:
            yield
            return
        if self.cell.fault == "port closed at the start":
            self.emulator.shut(0.5)
        thread = threading.Thread(target=work, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _other_writer(self, stop: threading.Event) -> None:
        """More rows than all of ours together, so that no set of chunks adds up to them."""
        while not stop.wait(0.01):
            if self._tally()["uploads_received"]:
                self._write([{"question": f"other {n}", "answer": "other"} for n in range(self.cell.rows + 17)])
                return

    def _renew(self, stop: threading.Event) -> None:
        number = 1
        while not stop.wait(0.01):
            self._token(number)
            number += 1

    def _close_port(self, stop: threading.Event) -> None:
        while not stop.wait(0.005):
            if self._tally()["uploads_received"]:
                self.emulator.shut(0.4)
                return

    def _close_port_at_once(self, stop: threading.Event) -> None:
        stop.wait(0.6)

    def _tally(self) -> dict[str, Any]:
        return dict(self.emulator.summary()[self.cell.lane])

    def _token(self, number: int) -> None:
        fresh = self.folder / "token.new"
        fresh.write_text(f"token-{self.cell.seed}-{number}")
        fresh.replace(self.folder / "token")

    def _write(self, rows: list[Row]) -> None:
        self.others += rows
        if self.cell.lane == "nebius":
            schema = [{"name": key, "type": {"name": "string"}} for key in ("question", "answer")]
            self.emulator.write("nebius", name="rows", folder="/tests", schema=schema, rows=rows)
        elif self.cell.lane == "collinear":
            self.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[*map(as_collinear, rows)])
        else:
            self.emulator.write("thirdparty", box="tests", set="rows", rows=rows)  # type: ignore[arg-type]

    def _settled(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self.emulator.idle()
                return
            except ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def _judge(self) -> None:
        came, cell = self.came, self.cell
        stored = canonical(self.emulator.rows(cell.lane))  # type: ignore[arg-type]
        expected = self._canonical(self.rows) + self._canonical(self.others)
        doubtful = self._doubtful_rows()
        came.in_doubt = len(doubtful)
        came.doubled = (stored - expected).total()
        came.lost = ((expected - stored) - self._canonical(doubtful)).total()
        if came.lost or came.doubled:
            came.faults.append(f"{came.lost} rows lost, {came.doubled} doubled")
        if cell.is_provable and came.in_doubt:
            came.faults.append(f"{came.in_doubt} rows in doubt")
        wanted = 4 if came.in_doubt else 0
        if came.statuses[-1] != wanted:
            came.faults.append(f"ended with {came.statuses}, not {wanted}")

    def _canonical(self, rows: Sequence[Row]) -> Counter[str]:
        return canonical(map(as_collinear, rows) if self.cell.lane == "collinear" else rows)

    def _doubtful_rows(self) -> list[Row]:
        """The rows of the chunks in doubt, by the manifest."""
        manifest = json.loads(next((self.folder / "state").glob("*/manifest.json")).read_text())
        data = self.source.read_bytes()
        rows: list[Row] = []
        for chunk in manifest["lanes"][self.cell.lane]:
            if chunk["state"] == "in doubt":
                lines = data[chunk["byte_offset"] :].split(b"\n", chunk["lines"])[: chunk["lines"]]
                rows += map(json.loads, lines)
        return rows


def _rows(cell: Cell) -> list[Row]:
    """Rows of about equal size, some of them twice or more in the source: what is equal must be counted, not recognised."""
    return [
        {
            "question": f"question {n if n % 10 else 0:04d} of {cell.seed % 97:02d}",
            "answer": f"answer {n % 7} " + "x" * cell.row_bytes,
        }
        for n in range(cell.rows)
    ]
