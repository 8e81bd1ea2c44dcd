"""Files and folders that others have made in the state directory, one at a time."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bulkup.errors import BulkupError, JournalUnusable, LocalDisk, RunLocked
from bulkup.journal import Lock, SqliteJournal, opening
from bulkup.journal.faults import meaning
from bulkup.journal.reading import view
from bulkup.journal.state_files import Filesystem, make_folder, mounted_at, refused
from bulkup.run.folder import StateDir, write_private
from tests.journal.chunks import LANE, chunk

VICTIM = b"not to be touched"


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _dangling(path: Path, victim: Path) -> None:
    victim.unlink()
    path.symlink_to(victim)


def _hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _: Path) -> None:
    path.mkdir()


def _device(path: Path, _: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices are root's to make")


def _foreign(path: Path, _: Path) -> None:
    path.touch()
    try:
        os.chown(path, 65534, 65534)
    except PermissionError:
        pytest.skip("files are root's to give away")


KINDS: list[Callable[[Path, Path], None]] = [_link, _dangling, _hard_link, _pipe, _folder, _device, _foreign]
NAMES = ["journal.db", "journal.db-wal", "journal.db-shm", "journal.db-journal", "rejects.jsonl", "ids.jsonl"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(0o700)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    return path


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(JournalUnusable) as caught:
        work()
    said = str(caught.value)
    assert "\n" not in said
    assert "--append" not in said
    return said


@pytest.mark.parametrize("plant", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_bulkup_did_not_make(
    run: Path, victim: Path, name: str, plant: Callable[[Path, Path], None]
) -> None:
    """Refused by name, and what it leads to is neither made nor changed; by who writes and by who looks."""
    plant(run / name, victim)
    assert name in refusal(lambda: SqliteJournal.open(run, create=True))
    if name.startswith("journal.db"):
        if name != "journal.db":
            (run / "journal.db").touch(0o600)
        with pytest.raises(JournalUnusable), view(run):
            pass
    assert not victim.exists() or victim.read_bytes() == VICTIM
    assert victim.exists() or plant is _dangling


@pytest.mark.parametrize("plant", KINDS, ids=lambda kind: kind.__name__)
def test_a_lock_that_bulkup_did_not_make(run: Path, victim: Path, plant: Callable[[Path, Path], None]) -> None:
    plant(run / "lock", victim)
    assert "lock" in refusal(lambda: Lock(run / "lock", "run x"))
    assert not victim.exists() or victim.read_bytes() == VICTIM


@pytest.mark.parametrize("plant", [_link, _dangling, _hard_link, _pipe], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ["receipt.json.new", "receipt.json"])
def test_the_draft_of_a_receipt_is_made_anew(
    run: Path, victim: Path, name: str, plant: Callable[[Path, Path], None]
) -> None:
    """A receipt comes at the end, when all has landed: it is written past whatever stands there."""
    plant(run / name, victim)
    write_private(run / "receipt.json", b"{}")
    assert (run / "receipt.json").read_bytes() == b"{}"
    assert [path.name for path in run.iterdir()] == ["receipt.json"]
    assert not (run / "receipt.json").is_symlink()
    assert not victim.exists() or victim.read_bytes() == VICTIM


def test_what_is_said_of_a_backup_by_hard_links_keeps_the_journal(tmp_path: Path) -> None:
    """`cp -al`, rsnapshot: the journal is sound. To remove it would begin the run anew, and send its rows twice under --append."""
    run = tmp_path / "run"
    run.mkdir(0o700)
    SqliteJournal.open(run, create=True).close()
    for file in run.iterdir():
        file.with_name(f"{file.name}.backup").hardlink_to(file)
    with pytest.raises(JournalUnusable, match="cp -a") as refusal:
        SqliteJournal.open(run, create=True)
    assert "remove" not in str(refusal.value)
    shutil.copytree(run, tmp_path / "copy")
    SqliteJournal.open(tmp_path / "copy", create=False).close()


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    state = StateDir(tmp_path / "state")
    state.create()
    (state.path / "run").symlink_to(elsewhere)
    (state.path / "locks").symlink_to(elsewhere)
    assert "link" in refusal(state.run("run").create)
    assert "link" in refusal(lambda: state.run("run").lock())
    assert "link" in refusal(lambda: state.lock_dataset("x"))
    assert list(elsewhere.iterdir()) == []


def test_the_state_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    """As on a cluster, from a home to a disk with space. What was learned is read there too."""
    (tmp_path / "scratch").mkdir(0o700)
    (tmp_path / ".bulkup").symlink_to(tmp_path / "scratch")
    state = StateDir(tmp_path / ".bulkup")
    state.learn_limit("nebius", 1000)
    assert state.learned_limit("nebius") == 1000
    state.run("run").create()
    state.run("run").lock().release()
    SqliteJournal.open(state.run("run").path, create=True).close()


STATEMENTS = [
    "CREATE TRIGGER more AFTER INSERT ON facts BEGIN DELETE FROM chunks; END",
    "CREATE VIEW seen AS SELECT * FROM chunks",
    "CREATE TABLE theirs (x)",
    "CREATE INDEX more ON tiles (start)",
    "DROP TRIGGER ended",
    "DROP INDEX open_chunks",
    "ALTER TABLE facts ADD COLUMN more TEXT",
]


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_schema_that_is_not_ours(run: Path, statement: str) -> None:
    """A trigger of somebody else's would run with our statements."""
    SqliteJournal.open(run, create=True).close()
    db = sqlite3.connect(run / "journal.db")
    db.execute(statement)
    db.close()
    refusal(lambda: SqliteJournal.open(run, create=False))
    with pytest.raises(JournalUnusable), view(run):
        pass


async def test_the_schema_is_not_trusted(run: Path) -> None:
    SqliteJournal.open(run, create=True).close()
    for connection in (
        opening.connect(run / "journal.db", may_create=False),
        opening.connect_read_only(run / "journal.db"),
    ):
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
        connection.close()


def test_a_rollback_journal_that_names_a_file_to_be_deleted(run: Path) -> None:
    SqliteJournal.open(run, create=True).close()
    (run / "journal.db-journal").write_bytes(b"/etc/passwd" + opening.SUPER_JOURNAL)
    assert "elsewhere" in refusal(lambda: SqliteJournal.open(run, create=False))


async def test_commits_behind_a_damaged_place_are_not_forgotten(run: Path, tmp_path: Path) -> None:
    """SQLite leaves out whatever comes behind a damaged frame, and would send those chunks again."""
    journal = SqliteJournal.open(run, create=True)
    for tile in range(6):
        await journal.lane(LANE).plan([chunk(tile)])
        await journal.lane(LANE).sending(chunk(tile).id, 1.0)
    copy = tmp_path / "copy"
    copy.mkdir(0o700)
    for name in ("journal.db", "journal.db-wal"):
        (copy / name).write_bytes((run / name).read_bytes())
    journal.close()
    wal = copy / "journal.db-wal"
    data = bytearray(wal.read_bytes())
    data[len(data) // 3] ^= 1
    wal.write_bytes(data)
    assert "journal.db-wal" in refusal(lambda: SqliteJournal.open(copy, create=False))
    assert wal.read_bytes() == data, "what could be mended is left as it is"


@pytest.mark.parametrize("left", ["rejects.jsonl", "ids.jsonl", "journal.db-wal", "manifest.json", "receipt.json"])
def test_a_journal_that_is_gone_is_not_a_new_run(run: Path, left: str) -> None:
    (run / left).write_bytes(b"{}\n")
    refusal(lambda: SqliteJournal.open(run, create=True))
    assert (run / left).read_bytes() == b"{}\n"


def _error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("unable to do that")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_X"
    return error


ENVIRONMENTS = [
    (sqlite3.SQLITE_BUSY, RunLocked),
    (sqlite3.SQLITE_LOCKED, RunLocked),
    (sqlite3.SQLITE_FULL, LocalDisk),
    (sqlite3.SQLITE_CANTOPEN, LocalDisk),
    (sqlite3.SQLITE_READONLY_DIRECTORY, LocalDisk),
    (sqlite3.SQLITE_IOERR_READ, LocalDisk),
    (sqlite3.SQLITE_IOERR_SHMMAP, LocalDisk),
    (sqlite3.SQLITE_PROTOCOL, LocalDisk),
    (sqlite3.SQLITE_CORRUPT, JournalUnusable),
    (sqlite3.SQLITE_NOTADB, JournalUnusable),
    (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, JournalUnusable),
]


@pytest.mark.parametrize(("code", "kind"), ENVIRONMENTS)
def test_only_what_was_read_makes_a_journal_unusable(run: Path, code: int, kind: type[BulkupError]) -> None:
    found = meaning(_error(code), run / "journal.db")
    assert type(found) is kind
    assert "--append" not in str(found)


def test_no_errno_advises_to_begin_anew(tmp_path: Path) -> None:
    for number in errno.errorcode:
        found = refused(tmp_path, OSError(number, os.strerror(number)))
        assert "--append" not in str(found)
        assert "\n" not in str(found)


async def test_too_few_open_files_are_no_damage(run: Path) -> None:
    """However many SQLite could still open: either it works, or the line says that the limit is at fault."""
    SqliteJournal.open(run, create=True).close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = 0
    for more in range(8):
        probe = os.dup(0)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe + more, hard))
        try:
            for opening in (_look, _write):
                said = _refused(opening, run)
                assert said is None or "ulimit -n" in said
                told += said is not None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told > 3


def _refused(opening: Callable[[Path], None], run: Path) -> str | None:
    try:
        opening(run)
    except LocalDisk as error:
        return str(error)
    return None


def _look(run: Path) -> None:
    with view(run) as looked:
        looked.totals(LANE)


def _write(run: Path) -> None:
    SqliteJournal.open(run, create=True).close()


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:44 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2,local_lock=none
31 22 0:45 / /scratch rw,relatime - lustre mgs@tcp:/fs rw,localflock
32 22 0:46 / /mnt/with\\040blank rw - fuse.sshfs me@there: rw
33 30 0:47 / /home/me/ram rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "point", "networked", "one_machine"),
    [
        ("/var/x", "ext4", "/", False, False),
        ("/home/me/.bulkup", "nfs4", "/home", True, False),
        ("/home/me/ram/x", "tmpfs", "/home/me/ram", False, False),
        ("/homestead", "ext4", "/", False, False),
        ("/scratch", "lustre", "/scratch", True, True),
        ("/mnt/with blank/x", "fuse.sshfs", "/mnt/with blank", True, False),
    ],
)
def test_a_filesystem_is_found_by_its_mount(
    path: str, kind: str, point: str, networked: bool, one_machine: bool
) -> None:
    found = mounted_at(MOUNTS, path)
    assert (found.kind, found.mount_point) == (kind, point)
    assert found.is_networked is networked
    assert found.has_locks_of_one_machine is one_machine


async def test_on_a_shared_filesystem_there_is_no_write_ahead_log(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other machines may look while it is written. The journal is the same, and goes on in the other way elsewhere."""
    with monkeypatch.context() as shared:
        shared.setattr(opening, "filesystem_of", lambda _: Filesystem("nfs4", "/home"))
        journal = SqliteJournal.open(run, create=True)
        await journal.lane(LANE).plan([chunk(0)])
        await journal.lane(LANE).sending(chunk(0).id, 1.0)
        assert not (run / "journal.db-wal").exists()
        with view(run) as looked:
            assert looked.totals(LANE).chunks == 1
        await journal.lane(LANE).plan([chunk(1)])
        journal.close()
    journal = SqliteJournal.open(run, create=False)
    await journal.lane(LANE).plan([chunk(2)])
    assert (run / "journal.db-wal").exists()
    journal.close()
    with monkeypatch.context() as shared:
        shared.setattr(opening, "filesystem_of", lambda _: Filesystem("nfs4", "/home"))
        journal = SqliteJournal.open(run, create=False)
        assert (await journal.lane(LANE).totals()).chunks == 3
        journal.close()


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    refusal(lambda: make_folder(tmp_path / "state"))


@pytest.mark.parametrize("beside", [None, "rejects.jsonl", "ids.jsonl", "receipt.json"])
def test_a_young_journal_whose_log_is_gone_is_not_begun_anew(beside: str | None, tmp_path: Path) -> None:
    """After `kill -9` all that a young run has recorded stands in `journal.db-wal`: the database alone knows nothing."""
    run, alone = tmp_path / "run", tmp_path / "alone"
    make_folder(run)
    make_folder(alone)
    with closing(SqliteJournal.open(run, create=True)):
        shutil.copy(run / "journal.db", alone)
    if beside is None:  # as it is after a kill while it was being made
        SqliteJournal.open(alone, create=True).close()
        return
    (alone / beside).touch(0o600)
    with pytest.raises(JournalUnusable, match="wal has been lost"):
        SqliteJournal.open(alone, create=True)
