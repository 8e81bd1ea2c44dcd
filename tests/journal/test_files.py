"""The journal's files: who may read them, which are refused, and a disk that is full."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from bulkup.chunk import ChunkState, Evidence
from bulkup.errors import ExitCode, JournalUnusable, RunLocked
from bulkup.journal import AppendLog, Lock, SqliteJournal, opening
from bulkup.journal.memory import MemoryJournal
from bulkup.journal.reading import read_chunks, view
from tests.journal.chunks import LANE, Step, assert_knows, chunk

DATABASE = "journal.db"


async def filled(folder: Path, count: int = 200) -> MemoryJournal:
    """A closed journal with something in it, and what it must know."""
    journal, twin = SqliteJournal.open(folder, create=True), MemoryJournal()
    for n in range(count):
        await Step("plan", 2 * n, 3, n % 2).apply(journal.lane(LANE), twin.lane(LANE))
    journal.close()
    return twin


def refused(folder: Path, *, create: bool = True) -> str:
    """The one line with which the journal in *folder* is refused."""
    with pytest.raises(JournalUnusable) as caught:
        SqliteJournal.open(folder, create=create)
    said = str(caught.value)
    assert "\n" not in said
    assert str(folder) in said
    assert caught.value.exit_code is ExitCode.JOURNAL_UNUSABLE
    return said


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask says, while it is open and afterwards."""
    old = os.umask(0)
    try:
        folder = tmp_path / "run"
        folder.mkdir(0o700)
        lock = Lock(folder / "lock", "run x")
        journal = SqliteJournal.open(folder, create=True)
        await journal.lane(LANE).plan([chunk(0)], rejects=b"{}\n")
        assert {path.name for path in folder.iterdir()} >= {DATABASE, f"{DATABASE}-wal", "rejects.jsonl", "ids.jsonl"}
        assert modes(folder) == {0o600}
        journal.close()
        assert modes(folder) == {0o600}
        Lock(tmp_path / "state" / "locks" / "x", "x").release()
        assert stat.S_IMODE((tmp_path / "state" / "locks").stat().st_mode) == 0o700
        lock.release()
    finally:
        os.umask(old)


def test_there_is_no_journal(tmp_path: Path) -> None:
    assert "no journal" in refused(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"hello, world\n", b"hello, world\n" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database(tmp_path: Path, data: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(data)
    assert "Restore it from a copy" in refused(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == data, "what is not ours is left as it is"


def test_another_programs_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    assert "not a journal of bulkup's" in refused(tmp_path)


async def test_a_newer_format(tmp_path: Path) -> None:
    await filled(tmp_path, 1)
    db = sqlite3.connect(tmp_path / DATABASE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    assert "upgrade bulkup" in refused(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
async def test_a_torn_database(tmp_path: Path, damage: str) -> None:
    await filled(tmp_path)
    path = tmp_path / DATABASE
    size = path.stat().st_size
    assert size > 40_000
    with path.open("r+b") as file:
        if damage == "cut":
            file.truncate(size // 2)
        else:
            file.seek(4096)
            file.write(b"\xa5" * (size - 8192))
    refused(tmp_path)


async def test_a_log_that_lacks_what_the_journal_counts_on(tmp_path: Path) -> None:
    """Rejected rows that are gone are not silently forgotten."""
    await filled(tmp_path, 4)
    os.truncate(tmp_path / "rejects.jsonl", 3)
    assert "lacks" in refused(tmp_path)


@pytest.mark.parametrize("left", [0, 1])
async def test_a_database_cut_to_nothing_beside_logs_that_hold_something(tmp_path: Path, left: int) -> None:
    """It is a torn journal, not a new one: what landed must not be sent again, and the rejected rows must not be deleted."""
    twin = await filled(tmp_path, 4)
    os.truncate(tmp_path / DATABASE, left)
    try:
        refused(tmp_path)
    finally:
        assert (tmp_path / "rejects.jsonl").read_bytes() == twin.rejects


async def test_a_crash_while_the_journal_was_made(tmp_path: Path) -> None:
    """An empty file is where every journal begins."""
    (tmp_path / DATABASE).touch(0o600)
    twin = await filled(tmp_path, 1)
    await assert_knows(tmp_path, twin)


def test_an_append_log_keeps_what_is_kept(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log", good_length=0)
    log.append(b"one\n")
    assert (log.sync(), log.is_ahead) == (4, True)
    log.keep()
    log.append(b"two\n")
    log.undo()
    log.append(b"3\n")
    log.sync()
    log.keep()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\n3\n"
    AppendLog(tmp_path / "log", good_length=4).close()
    assert (tmp_path / "log").read_bytes() == b"one\n"


# --- other processes --------------------------------------------------------------------------------------------------


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


HOLD = """
import sys
from pathlib import Path
from typing import IO
from bulkup.journal import Lock
lock = Lock(Path(sys.argv[1]), "run x")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_run_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with python(HOLD, str(path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(
            RunLocked, match=f"run x is held by process {holder.pid} on {os.uname().nodename}"
        ) as caught:
            Lock(path, "run x")
        assert caught.value.exit_code is ExitCode.LOCKED
        holder.kill()
        holder.wait()
        lock = Lock(path, "run x")
    with pytest.raises(RunLocked, match=f"process {os.getpid()} on "):
        Lock(path, "run x")
    lock.release()
    lock.release()
    Lock(path, "run x").release()


LEAVE_AN_HEIR = HOLD.replace("import sys", "import subprocess, sys").replace(
    'print("held", flush=True)',
    'heir = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock.fd])\nprint("held", heir.pid, flush=True)',
)


def test_a_worker_that_outlives_its_dead_run_is_waited_for_and_named_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    with python(LEAVE_AN_HEIR, str(path)) as holder:
        assert holder.stdout is not None
        heir = int(holder.stdout.readline().split()[1])
        os.kill(heir, signal.SIGSTOP)
        holder.kill()
        holder.wait()
        with monkeypatch.context() as patch:
            patch.setattr("bulkup.journal.locks.HEIRS_END_S", 0.0)
            with pytest.raises(RunLocked, match=f"run x is held by a worker of process {holder.pid} on .* died itself"):
                Lock(path, "run x")
        os.kill(heir, signal.SIGCONT)  # its input has ended with its parent, so it ends
        Lock(path, "run x").release()


def test_a_lock_whose_holder_cannot_be_read_is_held_all_the_same(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", "run x")
    (tmp_path / "lock").write_bytes(b"\xff garbage")
    with pytest.raises(RunLocked, match="another process"):
        Lock(tmp_path / "lock", "run x")
    lock.release()


WORK = """
import asyncio, sys
from pathlib import Path
from typing import IO
from bulkup.journal import SqliteJournal
from tests.journal.chunks import LANE, chunk

async def main():
    lane = SqliteJournal.open(Path(sys.argv[1]), create=True).lane(LANE)
    async def one(n):
        await lane.plan([chunk(n)], rejects=b'{"n":%d}\\n' % n)
        await lane.sending(chunk(n).id, 1.0)
        print(n, flush=True)
    at = 0
    while True:
        await asyncio.gather(*(one(n) for n in range(at, at + 8)))
        at += 8

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 173])
async def test_kill_minus_nine_forgets_nothing_that_was_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    with python(WORK, str(tmp_path)) as worker:
        assert worker.stdout is not None
        for _ in range(acknowledged):
            worker.stdout.readline()
        worker.send_signal(signal.SIGKILL)
        known = acknowledged + len([line for line in worker.stdout.read().split("\n") if line.isdigit()])
    journal = SqliteJournal.open(tmp_path, create=False)
    lane = journal.lane(LANE)
    totals, in_doubt = await lane.totals(), await lane.recover(9.0)
    journal.close()
    assert known <= in_doubt <= totals.chunks
    letters = (tmp_path / "rejects.jsonl").read_bytes().splitlines()
    assert len(letters) == totals.chunks, "a chunk and its rejected rows are one transaction"


FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from typing import IO
from bulkup.errors import LocalDisk
from bulkup.journal import SqliteJournal
from tests.journal.chunks import LANE, NUMBERS, chunk

async def main():
    lane = SqliteJournal.open(Path(sys.argv[1]), create=True).lane(LANE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
    letter = b"x" * int(sys.argv[3]) + b"\\n"
    n = acknowledged = 0
    failed = []

    async def planned(n, letter):
        await lane.plan([chunk(n)], rejects=letter)
        await lane.totals()  # a plan is durable before what is asked later

    while not failed:
        done = await asyncio.gather(*(planned(n + i, letter) for i in range(8)), return_exceptions=True)
        n, acknowledged = n + 8, acknowledged + done.count(None)
        failed = [error for error in done if error is not None]
    for _ in range(2):  # and still it says so, and nothing of it is kept
        failed += await asyncio.gather(planned(n, letter * 9), return_exceptions=True)
    if not all(isinstance(error, LocalDisk) for error in failed):
        sys.exit(f"{failed}")
    print(failed[0])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    print(acknowledged)

asyncio.run(main())
"""


def full(folder: Path, limit: int, letter: int) -> tuple[str, int]:
    """What is said when no more can be written, and how many chunks were acknowledged before."""
    with python(FULL, str(folder), str(limit), str(letter)) as worker:
        out, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, out
    said, acknowledged = out.splitlines()
    return said, int(acknowledged)


async def known(folder: Path) -> int:
    """How many chunks the journal in *folder* knows; it has a letter for each."""
    journal = SqliteJournal.open(folder, create=False)
    chunks = (await journal.lane(LANE).totals()).chunks
    journal.close()
    assert len((folder / "rejects.jsonl").read_bytes().splitlines()) == chunks
    return chunks


@pytest.mark.parametrize("letter", [pytest.param(30_000, id="log"), pytest.param(1, id="database")])
async def test_a_file_that_may_not_grow_is_the_local_disks_fault(tmp_path: Path, letter: int) -> None:
    """By a limit or the file system: exit 74, and nothing that was acknowledged is lost."""
    said, acknowledged = full(tmp_path, 300_000, letter)
    assert "run the same command" in said
    assert await known(tmp_path) == acknowledged > 3


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs a file system of its own")
@pytest.mark.parametrize("letter", [30_000, 1])
async def test_a_full_disk_forgets_nothing(tmp_path: Path, letter: int) -> None:
    """ENOSPC on a tmpfs of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mount is not allowed here")
    try:
        said, acknowledged = full(disk, -1, letter)
        assert "run the same command" in said
        shutil.copytree(disk, tmp_path / "copy")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert await known(tmp_path / "copy") == acknowledged > 3


async def test_a_folder_copied_to_another_place_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    twin = await filled(tmp_path / "a", 5)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    await assert_knows(tmp_path / "b", twin)


# --- damage in a journal too large to be checked whole ----------------------------------------------------------------


async def large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal that counts as large, and its file."""
    await filled(folder, 600)
    journal = SqliteJournal.open(folder, create=False)
    chunks = [one.id for one in await journal.lane(LANE).open_chunks(ChunkState.PLANNED)]
    landing = [journal.lane(LANE).landed(id_, "ds", evidence=Evidence.ANSWER) for id_ in chunks]
    await asyncio.gather(*landing)
    journal.close()
    monkeypatch.setattr(opening, "CHECKED_WHOLE_BYTES", 0)
    SqliteJournal.open(folder, create=False).close()
    return folder / DATABASE


@pytest.mark.parametrize("kept", [0.3, 0.9])
async def test_a_large_journal_that_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float) -> None:
    """A half copied file is refused however large it is."""
    path = await large(tmp_path, monkeypatch)
    os.truncate(path, int(path.stat().st_size * kept))
    refused(tmp_path)


async def test_a_large_journal_with_garbage_at_its_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await large(tmp_path, monkeypatch)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 8192))
    refused(tmp_path)


async def test_damage_that_is_found_later_is_told_as_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn page in the middle of a large journal: what reads it says so, and what to do; the rest is served."""
    path = await large(tmp_path, monkeypatch)
    page = whole_page_of(path, b"n-300-0")
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xa5" * 4096)
    journal = SqliteJournal.open(tmp_path, create=False)
    lane = journal.lane(LANE)
    assert (await lane.totals()).chunks == 600
    with pytest.raises(JournalUnusable, match=r"journal\.db.*Restore it from a copy"):
        await lane.chunk(300, 0)
    journal.close()
    with pytest.raises(JournalUnusable, match=r"journal\.db.*Restore it from a copy"):
        list(read_chunks(tmp_path, LANE))
    with pytest.raises(JournalUnusable, match=r"journal\.db.*Restore it from a copy"), view(tmp_path) as looked:
        list(looked.split_ranges(LANE))


def whole_page_of(path: Path, name: bytes) -> int:
    """The number (from 0) of the page of chunks in which *name* stands."""
    data = path.read_bytes()
    at = data.index(name)
    while True:
        found = data[at // 4096 * 4096 :][:4096]
        if b"n-299-0" in found and b"r" * 16 in found:  # not an index, not another table, and not the first on its page
            break
        at = data.index(name, at + 1)
    return at // 4096


def test_a_journal_is_looked_through_when_it_is_opened_and_not_by_its_own_writer_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def lost(wal: IO[bytes]) -> bool:
        looked.append(str(wal))
        return False

    monkeypatch.setattr(opening, "lost_commits", lost)
    folder = tmp_path / "run"
    folder.mkdir(0o700)
    journal = SqliteJournal.open(folder, create=True)
    with view(folder):
        assert not looked
    journal.close()
    assert not (folder / "journal.db-wal").exists()
    (folder / "journal.db-wal").write_bytes(b"")
    (folder / "journal.db-wal").chmod(0o600)
    with view(folder):
        assert len(looked) == 1
