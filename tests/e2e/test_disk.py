"""A disk that refuses, a state directory that moves, processes that meet: nothing that has landed is forgotten."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkup.emulator import Spawned
from tests.cli.shell import eventually
from tests.e2e.harness import SPACE, TOKENS, Bench, gsm8k_rows
from tests.emulators import emptied
from tests.forking import Forked

LANES = ("nebius", "collinear")
ENVIRONMENT = {**os.environ, **TOKENS}


@pytest.fixture
def few(emulator: Spawned, tmp_path: Path) -> Bench:
    """Sixty requests a lane."""
    return Bench(emulator, tmp_path, gsm8k_rows(300))


def _command(bench: Bench, state: Path, *more: str) -> list[str]:
    return [
        "upload", str(bench.source), "--to", "nebius", "--to", "collinear", "--name", "rows",
        "--folder", "/tests", "--space-id", SPACE, "--nebius-url", bench.emulator.url, "--collinear-url", bench.emulator.url,
        "--state-dir", str(state), "--max-chunk-rows", "5", "--settle-after", "0.1", "--json", "-q", *more,
    ]  # fmt: skip


def _start(command: list[str], stdout: int = subprocess.DEVNULL) -> Forked:
    return Forked(*command, cwd=Path.cwd(), env=ENVIRONMENT, stdout=stdout)


def _done(command: list[str]) -> subprocess.CompletedProcess[str]:
    with _start(command, subprocess.PIPE) as process:
        out, err = process.communicate(110)
        return subprocess.CompletedProcess(command, process.wait(), out, err)


def _go(bench: Bench, state: Path) -> subprocess.CompletedProcess[str]:
    return _done(_command(bench, state))


def _go_from_nothing(bench: Bench, state: Path, before: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    """In a process that *before* has made its own."""
    command = [sys.executable, "-m", "bulkup", *_command(bench, state)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=110, preexec_fn=before)


def _check_whole(bench: Bench, receipt: dict[str, Any]) -> None:
    assert receipt["exit_code"] == 0, receipt
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane), lane


@pytest.mark.parametrize(
    "limit", [pytest.param(30_000, marks=pytest.mark.slow), 150_000, pytest.param(400_000, marks=pytest.mark.slow)]
)
def test_a_file_that_may_not_grow(few: Bench, limit: int) -> None:
    """RLIMIT_FSIZE: a write past it fails. Landed in the journal or settled by a look: nothing twice, nothing lost."""
    few.emulator.patch(latency_ms=5)
    state = few.folder / "state"

    def shrink() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    refused = _go_from_nothing(few, state, shrink)
    assert refused.returncode == 74, refused.stderr
    said = refused.stderr.strip().splitlines()
    assert any("disk" in line or "too large" in line for line in said), said
    assert "Traceback" not in refused.stderr
    assert "internal error" not in refused.stderr
    landed = sum(few.stored(lane).total() for lane in LANES)
    print(f"limit {limit:,}: {landed} rows had landed when the disk refused")
    few.emulator.idle()
    assert _accounted(state) >= landed, "the journal forgot what had landed"
    again = _go(few, state)
    assert again.returncode == 0, again.stderr
    _check_whole(few, json.loads(again.stdout))


def _accounted(state: Path) -> int:
    """Rows that stand in the journal as landed, or as in doubt: being sent when the process ended."""
    paths = list(state.glob("*/journal.db"))
    if not paths or paths[0].stat().st_size == 0:
        return 0
    with sqlite3.connect(paths[0]) as db:
        has_table = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'chunks'").fetchone()[0]
        query = "SELECT coalesce(sum(rows), 0) FROM chunks WHERE state IN ('landed', 'sending', 'in doubt')"
        found = int(db.execute(query).fetchone()[0]) if has_table else 0
    db.close()
    return found


def _can_mount() -> bool:
    tried = subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"], capture_output=True)
    return tried.returncode == 0


@pytest.mark.skipif(shutil.which("unshare") is None or not _can_mount(), reason="needs a mount namespace")
@pytest.mark.parametrize(
    "size", [pytest.param("40k", marks=pytest.mark.slow), "300k", pytest.param("500k", marks=pytest.mark.slow)]
)
def test_a_disk_that_is_full(few: Bench, size: str, tmp_path: Path) -> None:
    """A real ENOSPC; then there is space again."""
    few.emulator.patch(latency_ms=5)
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "go.sh").write_text(
        'set -u; mount -t tmpfs -o size="$1" none "$2"; shift; disk="$1"; shift\n'
        '"$@" >first.json 2>first.err; echo "first $?"\n'
        'mount -o remount,size=64m "$disk"; "$@" >second.json 2>second.err; echo "second $?"\n'
    )
    upload = [sys.executable, "-m", "bulkup", *_command(few, disk / "state")]
    command = ["unshare", "-rm", "sh", str(tmp_path / "go.sh"), size, str(disk), *upload]
    here = Path(__file__).parents[2]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(here)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, cwd=tmp_path)
    print(f"{size}: {sum(few.stored(lane).total() for lane in LANES)} rows there in the end")
    first, second = (tmp_path / "first.err").read_text(), (tmp_path / "second.err").read_text()
    assert done.stdout.split() == ["first", "74", "second", "0"], (done.stderr, first, second)
    assert first.count("\n") <= 3
    assert "Traceback" not in first
    _check_whole(few, json.loads((tmp_path / "second.json").read_text()))


def test_a_state_directory_that_moves(few: Bench, tmp_path: Path) -> None:
    """Killed here, copied, resumed there: by its command and by `resume`, with the original gone."""
    few.emulator.patch(latency_ms=25)
    state, copy = few.folder / "state", tmp_path / "elsewhere" / "state"
    with _start(_command(few, state)) as process:
        eventually(lambda: few.emulator.summary()["nebius"]["uploads_received"] >= 20)
        assert process.poll() is None
        process.kill()
    few.emulator.idle()
    shutil.copytree(state, copy)
    shutil.rmtree(state)
    run = next(path.name for path in copy.iterdir() if (path / "journal.db").exists())
    done = _done(["resume", run, "--state-dir", str(copy), "--json", "-q"])
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    _check_whole(few, receipt)
    assert not state.exists()
    assert _go(few, copy).returncode == 0, "the same command finds it done"
    assert few.stored("nebius") == few.expected("nebius")


def test_a_second_process_is_told_who_holds_the_run(few: Bench) -> None:
    import socket

    few.emulator.patch(latency_ms=1500)  # the first process must not be done before the others have asked
    state = few.folder / "state"
    with _start(_command(few, state)) as process:
        eventually(lambda: few.emulator.summary()["nebius"]["uploads_received"])
        second = _go(few, state)
        assert second.returncode == 8
        assert f"process {process.pid} on {socket.gethostname()}" in second.stderr
        other = few.folder / "other.jsonl"
        other.write_bytes(few.source.read_bytes())
        command = [str(other) if word == str(few.source) else word for word in _command(few, state)]
        third = _done(command)
        assert third.returncode == 8, "another run, the same dataset"
        assert f"process {process.pid} on {socket.gethostname()}" in third.stderr
        assert "dataset" in third.stderr
        few.emulator.patch(latency_ms=0)
        assert process.wait(100) == 0
    for lane in LANES:
        assert few.stored(lane) == few.expected(lane)


@pytest.fixture(scope="module")
def kept(one_emulator: Spawned, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Path]:
    """A run that a service has stopped in the middle, and its state directory: a copy of it goes on, if nobody damages it."""
    emptied(one_emulator)
    bench = Bench(one_emulator, tmp_path_factory.mktemp("stopped"), gsm8k_rows(150))
    one_emulator.patch(script={"nebius": [*["ok"] * 20, *["forbidden_403"] * 50]})
    state, copy = bench.folder / "state", bench.folder / "copy"
    assert _go(bench, state).returncode == 77
    shutil.copytree(state, copy)
    one_emulator.patch(script={})
    assert _go(bench, copy).returncode == 0
    assert bench.stored("nebius") == bench.expected("nebius")
    return bench, state


@pytest.fixture
def stopped(kept: tuple[Bench, Path], emulator: Spawned) -> tuple[Bench, Path]:
    """The same, and a service that takes everything."""
    return kept


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : 4096 * 3] = b"\xa5" * 8192
    path.write_bytes(data)


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (title TEXT)")
    db.close()


def _no_database(path: Path) -> None:
    path.write_text("these are not the bytes of a database\n" * 20)


def _version(path: Path, number: int) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {number}")
    db.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_torn, "unusable journal"),
        (_garbled, "unusable journal"),
        (_foreign, "not a journal of bulkup"),
        (_no_database, "unusable journal"),
        (lambda path: _version(path, 99), "newer bulkup"),
        (lambda path: _version(path, 1), "written by a bulkup before"),
        (lambda path: path.with_name("ids.jsonl").write_bytes(b""), "ids.jsonl lacks"),
    ],
    ids=["torn", "garbled", "foreign", "no database", "newer", "older", "a log cut short"],
)
def test_a_journal_that_cannot_be_used(
    stopped: tuple[Bench, Path], tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    """Exit code 7, what is wrong and how to recover, and nothing is sent."""
    bench, whole = stopped
    state = tmp_path / "state"
    shutil.copytree(whole, state)
    received = {lane: bench.emulator.summary()[lane]["uploads_received"] for lane in LANES}
    damage(next(state.glob("*/journal.db")))
    done = _go(bench, state)
    assert done.returncode == 7, done.stderr
    assert words in done.stderr
    assert any(way in done.stderr for way in ("Restore", "restore", "upgrade", "finish the run with"))
    assert done.stderr.count("\n") == 1
    assert {lane: bench.emulator.summary()[lane]["uploads_received"] for lane in LANES} == received
