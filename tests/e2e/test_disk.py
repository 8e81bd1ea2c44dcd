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

from tests.e2e.harness import SPACE, TOKENS, Bench

LANES = ("nebius", "collinear")
ENVIRONMENT = {**os.environ, **TOKENS}


def _command(bench: Bench, state: Path, *more: str, name: str = "rows") -> list[str]:
    return [
        sys.executable, "-m", "bulkup", "upload", str(bench.source), "--to", "nebius", "--to", "collinear", "--name", name,
        "--folder", "/tests", "--space-id", SPACE, "--nebius-url", bench.emulator.url, "--collinear-url", bench.emulator.url,
        "--state-dir", str(state), "--max-chunk-rows", "5", "--settle-after", "0.1", "--json", "-q", *more,
    ]  # fmt: skip


def _go(
    bench: Bench, state: Path, *more: str, before: Callable[[], None] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = _command(bench, state, *more)
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=110, preexec_fn=before, cwd=cwd
    )


def _check_whole(bench: Bench, receipt: dict[str, Any]) -> None:
    assert receipt["exit_code"] == 0, receipt
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane), lane


@pytest.mark.parametrize("limit", [30_000, 400_000, 1_200_000])
def test_a_file_that_may_not_grow(small: Bench, limit: int) -> None:
    """RLIMIT_FSIZE: a write past it fails. Landed in the journal or settled by a look: nothing twice, nothing lost."""
    small.emulator.patch(latency_ms=5)
    state = small.folder / "state"

    def shrink() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    refused = _go(small, state, before=shrink)
    assert refused.returncode == 74, refused.stderr
    said = refused.stderr.strip().splitlines()
    assert any("disk" in line or "too large" in line for line in said), said
    assert "Traceback" not in refused.stderr
    assert "internal error" not in refused.stderr
    landed = sum(small.stored(lane).total() for lane in LANES)
    print(f"limit {limit:,}: {landed} rows had landed when the disk refused")
    small.emulator.idle()
    assert _accounted(state) >= landed, "the journal forgot what had landed"
    again = _go(small, state)
    assert again.returncode == 0, again.stderr
    _check_whole(small, json.loads(again.stdout))


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
@pytest.mark.parametrize("size", ["40k", "600k", "1500k"])
def test_a_disk_that_is_full(small: Bench, size: str, tmp_path: Path) -> None:
    """A real ENOSPC; then there is space again."""
    small.emulator.patch(latency_ms=5)
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "go.sh").write_text(
        'set -u; mount -t tmpfs -o size="$1" none "$2"; shift; disk="$1"; shift\n'
        '"$@" >first.json 2>first.err; echo "first $?"\n'
        'mount -o remount,size=64m "$disk"; "$@" >second.json 2>second.err; echo "second $?"\n'
    )
    command = ["unshare", "-rm", "sh", str(tmp_path / "go.sh"), size, str(disk), *_command(small, disk / "state")]
    here = Path(__file__).parents[2]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(here)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, cwd=tmp_path)
    print(f"{size}: {sum(small.stored(lane).total() for lane in LANES)} rows there in the end")
    first, second = (tmp_path / "first.err").read_text(), (tmp_path / "second.err").read_text()
    assert done.stdout.split() == ["first", "74", "second", "0"], (done.stderr, first, second)
    assert first.count("\n") <= 3
    assert "Traceback" not in first
    _check_whole(small, json.loads((tmp_path / "second.json").read_text()))


def test_a_state_directory_that_moves(small: Bench, tmp_path: Path) -> None:
    """Killed here, copied, resumed there: by its command and by `resume`, with the original gone."""
    small.emulator.patch(latency_ms=25)
    state, copy = small.folder / "state", tmp_path / "elsewhere" / "state"
    with subprocess.Popen(_command(small, state), env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while small.emulator.summary()["nebius"]["uploads_received"] < 20:
            pass
        process.kill()
    small.emulator.idle()
    shutil.copytree(state, copy)
    shutil.rmtree(state)
    run = next(path.name for path in copy.iterdir() if (path / "journal.db").exists())
    command = [sys.executable, "-m", "bulkup", "resume", run, "--state-dir", str(copy), "--json", "-q"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    _check_whole(small, receipt)
    assert not state.exists()
    assert _go(small, copy).returncode == 0, "the same command finds it done"
    assert small.stored("nebius") == small.expected("nebius")


def test_a_second_process_is_told_who_holds_the_run(small: Bench) -> None:
    import socket

    small.emulator.patch(latency_ms=1500)  # the first process must not be done before the others have asked
    state = small.folder / "state"
    with subprocess.Popen(_command(small, state), env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while not small.emulator.summary()["nebius"]["uploads_received"]:
            pass
        second = _go(small, state)
        assert second.returncode == 8
        assert f"process {process.pid} on {socket.gethostname()}" in second.stderr
        other = small.folder / "other.jsonl"
        other.write_bytes(small.source.read_bytes())
        command = [str(other) if word == str(small.source) else word for word in _command(small, state)]
        third = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert third.returncode == 8, "another run, the same dataset"
        assert f"process {process.pid} on {socket.gethostname()}" in third.stderr
        assert "dataset" in third.stderr
        small.emulator.patch(latency_ms=0)
        assert process.wait(100) == 0
    for lane in LANES:
        assert small.stored(lane) == small.expected(lane)


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
        (lambda path: _version(path, 1), "older bulkup"),
        (lambda path: path.with_name("ids.jsonl").write_bytes(b""), "ids.jsonl lacks"),
    ],
    ids=["torn", "garbled", "foreign", "no database", "newer", "older", "a log cut short"],
)
def test_a_journal_that_cannot_be_used(small: Bench, damage: Callable[[Path], None], words: str) -> None:
    """Exit code 7, what is wrong and how to recover, and nothing is sent."""
    small.emulator.patch(script={"nebius": [*["ok"] * 20, *["forbidden_403"] * 50]})
    state = small.folder / "state"
    assert _go(small, state).returncode == 77
    journal = next(state.glob("*/journal.db"))
    sent = {lane: small.emulator.summary()[lane]["uploads_received"] for lane in LANES}
    damage(journal)
    done = _go(small, state)
    assert done.returncode == 7, done.stderr
    assert words in done.stderr
    assert any(way in done.stderr for way in ("Restore", "restore", "upgrade", "finish the run with"))
    assert done.stderr.count("\n") == 1
    assert {lane: small.emulator.summary()[lane]["uploads_received"] for lane in LANES} == sent
