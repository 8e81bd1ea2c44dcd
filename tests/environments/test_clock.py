"""The wall clock is set while a chunk is in doubt: the quiet period is neither shortened nor made an hour long."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.account.receipt import seconds_between
from bulkup.flow.clock import Clock
from bulkup.journal import SqliteJournal
from bulkup.journal.facts import CLOCK, SURVEY, Anchor, Survey
from bulkup.run.run_clock import run_clock
from tests.environments.fixtures import machine, served
from tests.environments.processes import ROWS, Machine

__all__ = ["machine", "served"]

QUIET_S = 1.0
HOUR_S = 3600
LONGEST_S = 60
"""So long may a run take that waits for four quiet periods of a second; the machine may be busy. An hour it is not."""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the wall clock is set by a preloaded library, which needs Linux and a C compiler")
    built = tmp_path_factory.mktemp("shim") / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(built), str(source), "-ldl"], check=True)
    return built


class Hour:
    """A machine whose clock can be set."""

    def __init__(self, machine: Machine, shim: Path) -> None:
        self.machine = machine
        self._offset = machine.folder / "offset"
        self._shim = shim
        self.set(0)

    def set(self, seconds: int) -> None:
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(f"{seconds}\n", encoding="ascii")
        fresh.replace(self._offset)

    def start(self) -> subprocess.Popen[bytes]:
        command = self.machine.upload("rows.jsonl", "--name", "n")
        command[command.index("--settle-after") + 1] = str(QUIET_S)
        env = self.machine.environment(LD_PRELOAD=str(self._shim), WALL_CLOCK_OFFSET=str(self._offset))
        return subprocess.Popen(
            [sys.executable, "-m", "bulkup", *command],
            cwd=self.machine.folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


@pytest.fixture
def hour(machine: Machine, shim: Path) -> Hour:
    return Hour(machine, shim)


def doubts(folder: Path) -> list[float]:
    """When the chunks in doubt were sent, as the journal has it."""
    for path in folder.glob(".bulkup/n-*/journal.db"):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db, suppress(sqlite3.OperationalError):
            return [at for (at,) in db.execute("SELECT last_byte_at FROM chunks WHERE state = 'in doubt'")]
    return []


def wait_for_a_doubt(folder: Path) -> float:
    deadline = time.monotonic() + LONGEST_S
    while not (found := doubts(folder)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


@pytest.mark.parametrize("jump_s", [-HOUR_S, pytest.param(HOUR_S, marks=pytest.mark.slow)])
def test_set_while_it_waits(hour: Hour, jump_s: int) -> None:
    """One chunk, stored too late for its answer. Back: it does not wait the hour. On: it waits all the same."""
    hour.machine.emulator.patch(script={"nebius": ["not_stored_500"]})
    running = hour.start()
    wait_for_a_doubt(hour.machine.folder)
    began = time.monotonic()
    hour.set(jump_s)
    out, _ = running.communicate(timeout=LONGEST_S)
    assert (running.returncode, hour.machine.landed) == (0, ROWS), out
    # four quiet periods for a chunk after which nothing landed, and one of them may have passed before the clock was set
    assert time.monotonic() - began >= 3 * QUIET_S
    receipt = json.loads(hour.machine.receipts[0].read_bytes())
    assert receipt["duration_s"] >= 0


@pytest.mark.parametrize("jump_s", [pytest.param(-HOUR_S, marks=pytest.mark.slow), HOUR_S])
def test_set_between_two_processes(hour: Hour, jump_s: int) -> None:
    """Killed in a doubt, gone on with under another clock: time has passed as it really has."""
    hour.machine.emulator.patch(script={"nebius": ["not_stored_500"]})
    running = hour.start()
    wait_for_a_doubt(hour.machine.folder)
    killed = time.monotonic()
    running.kill()
    running.communicate()
    hour.set(jump_s)
    again = hour.start()
    out, _ = again.communicate(timeout=LONGEST_S)
    assert (again.returncode, hour.machine.landed) == (0, ROWS), out
    assert time.monotonic() - killed >= 3 * QUIET_S


UNIX, BOOTED = 1_800_000_000.0, 5_000.0
HERE = Anchor("boot a", BOOTED, UNIX)
seconds = st.floats(-1e6, 1e6)


@given(seconds, st.floats(0, 1e6), st.floats(0, 1e6))
def test_time_passes_as_the_boots_clock_says(wall_jump_s: float, before_s: float, after_s: float) -> None:
    """Whatever the wall clock says when the run is gone on with under the same boot."""
    later = Anchor("boot a", BOOTED + before_s, UNIX + before_s + wall_jump_s)
    assert HERE.goes_on(later)
    assert HERE.at(BOOTED + before_s + after_s) - HERE.at(BOOTED) == pytest.approx(before_s + after_s, abs=1e-6)


@pytest.mark.parametrize(
    "there",
    [
        replace(HERE, boot="boot b", elapsed_s=9e9),
        replace(HERE, boot=None, elapsed_s=9e9),
        replace(HERE, elapsed_s=4_999.0),
    ],
)
def test_another_boot_or_machine(there: Anchor) -> None:
    """The old timeline says nothing then."""
    assert not HERE.goes_on(there)


@given(seconds, st.lists(st.floats(0, 2e9), min_size=1))
def test_under_another_boot_nothing_lies_ahead(wall_jump_s: float, recorded: list[float]) -> None:
    """And what was sent before counts as sent now: not shortened where the clock is ahead, no hour where it is behind."""
    anchor = Anchor("boot b", 3.0, UNIX + wall_jump_s).not_before(max(recorded))
    clock = Clock(time.monotonic, lambda: anchor.at(3.0), asyncio.sleep, lambda low, _: low, anchor.unix)
    for at in recorded:
        assert clock.sent_at(at) == clock.unix()
    assert clock.sent_at(None) == clock.unix()
    assert clock.sent_at(clock.unix() + 1) == clock.unix() + 1  # of this process


@given(seconds)
def test_two_runs_of_one_boot_agree_on_a_moment(wall_jump_s: float) -> None:
    """Also where the clock was set between their beginnings."""
    other = Anchor("boot a", BOOTED + 100, UNIX + 100 + wall_jump_s)
    assert HERE.as_other(HERE.at(BOOTED + 200), other) == pytest.approx(other.at(BOOTED + 200))
    assert HERE.as_other(UNIX, replace(other, boot="boot b")) == UNIX
    assert HERE.as_other(UNIX, None) == UNIX


@pytest.mark.parametrize(
    "record",
    [
        None,
        3,
        {},
        {"boot": "a", "elapsed_s": "x", "unix": 1},
        {"boot": "a", "elapsed_s": inf, "unix": 1},
        {"boot": "a", "elapsed_s": 1, "unix": 1, "rest_s": -1},
        {"boot": "a", "elapsed_s": 1, "unix": 1, "rest_s": inf},
    ],
)
def test_an_anchor_that_makes_no_sense_is_none(record: Any) -> None:
    assert CLOCK.of_text(json.dumps(record)) is None


def test_an_anchor_of_an_earlier_version_is_read() -> None:
    assert CLOCK.of_text('{"boot": "a", "elapsed_s": 1, "unix": 2}') == Anchor("a", 1.0, 2.0)


async def test_the_journal_keeps_the_anchor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened again with the wall clock a day on, the run's time is where it was; of another boot, it begins anew."""
    with closing(SqliteJournal.open(tmp_path, create=True)) as journal:
        first = await run_clock(journal)
        kept = await journal.fact(CLOCK)
        real = time.time
        monkeypatch.setattr("bulkup.run.run_clock.time.time", lambda: real() + 86_400)
        again = await run_clock(journal)
        assert await journal.fact(CLOCK) == kept
        assert abs(again.unix() - first.unix()) < 60
        assert kept is not None
        await journal.set_fact(CLOCK, replace(kept, boot="another"))
        await journal.lane("nebius").set_fact(SURVEY, Survey(at=real() + 1e6, found=(), unavailable=None))
        anew = await run_clock(journal)
        assert anew.since >= real() + 1e6 - 60
        assert anew.unix() >= anew.since


def test_a_duration_is_never_negative() -> None:
    assert seconds_between("2026-11-28T12:00:00+00:00", "2026-11-28T11:00:00+00:00") == 0
    assert seconds_between("2026-11-28T12:00:00+00:00", "2026-11-28T12:00:01.500+00:00") == 1.5
