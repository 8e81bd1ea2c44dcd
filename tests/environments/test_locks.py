"""Filesystems without locks, without shared memory between processes, and read-only ones."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from tests.environments.disks import ROWS, Disk, mounted, one_line, shim
from tests.environments.fixtures import served

__all__ = ["served"]

NO_LOCKS = [
    pytest.param(errno.ENOSYS, id="ENOSYS"),
    pytest.param(errno.ENOLCK, id="ENOLCK", marks=pytest.mark.slow),
    pytest.param(errno.EOPNOTSUPP, id="EOPNOTSUPP", marks=pytest.mark.slow),
]


@pytest.fixture
def disk(served: Spawned, tmp_path: Path) -> Disk:
    served.patch(script={})
    served.reset()
    return Disk(tmp_path, served, tmp_path / "state")


@pytest.mark.parametrize("number", NO_LOCKS)
def test_without_flock_there_are_locks_of_ranges(disk: Disk, number: int) -> None:
    """Lustre mounted without `flock` and the like: the other kind of lock serves."""
    disk.refuse = {"flock": number}
    done = disk.upload()
    assert done.code == 3, done
    assert disk.landed == ROWS
    assert disk.run("status").code == 0


HOLD = """
import sys
from pathlib import Path
from bulkup.errors import RunLocked
from bulkup.journal import Lock
try:
    lock = Lock(Path(sys.argv[1]), "run x")
except RunLocked as error:
    sys.exit(str(error))
print("held", flush=True)
sys.stdin.read()
"""


def test_such_a_lock_keeps_a_second_process_out_until_the_first_has_ended(tmp_path: Path) -> None:
    environment = {"LD_PRELOAD": str(shim()), "REFUSE": f"flock:{errno.ENOSYS}:{tmp_path}"}

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    with start() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with start() as second:
            _, err = second.communicate(timeout=60)
        assert f"held by process {first.pid}" in err
        first.kill()
        first.wait()
        with start() as third:
            assert third.stdout is not None
            assert third.stdout.readline() == "held\n"
            third.kill()


@pytest.mark.parametrize("number", NO_LOCKS)
def test_without_any_lock_nothing_is_sent(disk: Disk, number: int) -> None:
    """Nothing would keep a second process out: the line names the filesystem and the option that leads elsewhere."""
    disk.refuse = {"flock": number, "lock": number}
    done = disk.upload()
    assert done.code == 74, done
    said = one_line(done)
    assert "the filesystem at " in said
    assert "--state-dir" in said
    assert disk.landed == 0
    disk.refuse = {}
    assert disk.upload().code == 3
    assert disk.landed == ROWS


def test_without_shared_memory_a_run_is_begun_and_gone_on_with(disk: Disk) -> None:
    """Some of FUSE cannot map a file: a rollback journal needs no `-shm`. Both kinds of place read each other's journals."""
    disk.refuse = {"mmap": errno.ENODEV}
    disk.emulator.patch(script={"nebius": ["ok", "forbidden_403", "forbidden_403", "forbidden_403", "forbidden_403"]})
    first = disk.upload("--concurrency", "1")
    assert first.code == 77, first
    assert "free some space" not in first.err
    assert (disk.run_folder / "journal.db").read_bytes()[18:20] == b"\1\1", "no write-ahead log"
    disk.emulator.patch(script={})
    assert disk.run("status").code == 0
    assert disk.run("rejects", disk.run_folder.name).code == 0
    disk.refuse = {}
    assert disk.run("status").code == 0
    second = disk.run("resume", disk.run_folder.name)
    assert second.code == 3, second
    assert disk.landed == ROWS
    disk.refuse = {"mmap": errno.ENODEV}
    third = disk.upload("--json")
    assert third.code == 3, third
    assert disk.run("verify", disk.run_folder.name, "--sample", "1.0").code == 0
    assert disk.landed == ROWS


def test_a_journal_left_in_wal_mode_goes_on_where_there_is_no_shared_memory(disk: Disk) -> None:
    """What its last process has not put into the database yet is not forgotten."""
    assert disk.upload().code == 3
    _leave_open(disk.run_folder)
    disk.refuse = {"mmap": errno.ENODEV}
    status = disk.run("status")
    assert status.code == 0, status
    assert "kept in the log" in status.out
    done = disk.upload()
    assert done.code == 3, done
    assert disk.landed == ROWS


LEAVE = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
decisions = '[{"chunk":"kept in the log","said":"landed","at":1}]'
db.execute("INSERT OR REPLACE INTO facts VALUES ('nebius', 'decisions', ?)", (decisions,))
os._exit(0)
"""


def _leave_open(folder: Path) -> None:
    """As a process does that is killed: the last change stands in the write-ahead log alone."""
    subprocess.run([sys.executable, "-c", LEAVE, str(folder / "journal.db")], check=True)
    assert (folder / "journal.db-wal").stat().st_size
    (folder / "journal.db-shm").unlink()


@pytest.mark.parametrize("is_left_open", [False, True], ids=["closed", "killed"])
def test_a_finished_run_is_read_in_a_read_only_place(disk: Disk, is_left_open: bool) -> None:
    """With what stands in its write-ahead log, and without a change to it. What needs to write says that it cannot."""
    assert disk.upload().code == 3
    run = disk.run_folder.name
    if is_left_open:
        _leave_open(disk.run_folder)
    with mounted(disk.folder / "disk") as remount:
        shutil.copytree(disk.state, disk.folder / "disk" / "state")
        remount("ro")
        disk.state = disk.folder / "disk" / "state"
        before = {path.name: path.read_bytes() for path in disk.run_folder.iterdir()}
        status = disk.run("status")
        assert status.code == 0, status
        assert f"{ROWS} landed" in status.out
        assert ("kept in the log" in status.out) == is_left_open
        rejects = disk.run("rejects", run)
        assert rejects.code == 0, rejects
        assert len(rejects.out.splitlines()) == 1
        for command in (disk.upload(), disk.run("verify", run), disk.run("settle", run)):
            assert command.code == 74, command
            said = one_line(command)
            assert "read-only" in said.lower()
            assert "--state-dir" in said
        assert {path.name: path.read_bytes() for path in disk.run_folder.iterdir()} == before
    assert disk.landed == ROWS
