"""What others may put into the state directory, and what keeps a process away from a sound one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from tests.environments.disks import ROWS, Disk, few_files, mounted, no_privileges, one_line
from tests.environments.fixtures import served

__all__ = ["served"]


@pytest.fixture(scope="module")
def finished(served: Spawned, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """A run of which all has landed. Nobody changes its state directory."""
    served.reset()
    folder = tmp_path_factory.mktemp("finished")
    disk = Disk(folder, served, folder / "state")
    assert disk.upload().code == 3
    return disk


@pytest.fixture
def kept(finished: Disk, tmp_path: Path) -> Disk:
    """The same with a state directory of its own."""
    shutil.copytree(finished.state, tmp_path / "state")
    return Disk(tmp_path, finished.emulator, tmp_path / "state")


SLOW = pytest.mark.slow
SECRET = "export PATH=$PATH:/opt/bin\n"


@pytest.mark.parametrize(
    "name", ["rejects.jsonl", *(pytest.param(name, marks=SLOW) for name in ("ids.jsonl", "journal.db", "lock"))]
)
def test_an_archive_brings_a_link_along(finished: Disk, tmp_path: Path, name: str) -> None:
    """The run's name can be computed: what the link leads to stays as it is, and nothing is sent."""
    victim = tmp_path / ".bashrc"
    victim.write_text(SECRET)
    disk = Disk(tmp_path, finished.emulator, tmp_path / ".bulkup")
    folder = disk.state / finished.run_folder.name
    folder.mkdir(parents=True, mode=0o700)
    (folder / name).symlink_to(victim)
    landed = disk.landed
    done = disk.upload()
    assert done.code == 7, done
    assert name in one_line(done)
    assert victim.read_text() == SECRET
    assert disk.landed == landed


def _unreadable(path: Path) -> None:
    path.chmod(0)


OBSTACLES: dict[str, tuple[Callable[[Disk], None], str]] = {
    "state directory": (lambda disk: _unreadable(disk.state), "Permission denied"),
    "run folder": (lambda disk: _unreadable(disk.run_folder), "Permission denied"),
    "journal": (lambda disk: _unreadable(disk.run_folder / "journal.db"), "Permission denied"),
}


@pytest.mark.parametrize(
    "obstacle", ["run folder", *(pytest.param(name, marks=SLOW) for name in ("state directory", "journal"))]
)
def test_a_journal_that_cannot_be_reached_is_not_called_damaged(kept: Disk, obstacle: str) -> None:
    """Exit code 74, and the line says what to do about it. Afterwards the same command finds the run done."""
    hinder, words = OBSTACLES[obstacle]
    run, landed = kept.run_folder.name, kept.landed
    folder = kept.run_folder
    hinder(kept)
    for command in (("status", run), ("upload",)):
        done = kept.upload(before=no_privileges) if command == ("upload",) else kept.run(*command, before=no_privileges)
        assert done.code == 74, (command, done)
        assert words in one_line(done)
    for path in (kept.state, folder):
        path.chmod(0o700)
    (folder / "journal.db").chmod(0o600)
    assert kept.upload().code == 3
    assert kept.landed == landed


@pytest.mark.parametrize("count", [8, 9, *(pytest.param(count, marks=SLOW) for count in (6, 7))])
def test_however_few_files_may_be_open_the_journal_is_not_to_blame(kept: Disk, count: int) -> None:
    """Some of them are too few for Python itself."""
    done = kept.run("status", before=few_files(count))
    assert done.code in (0, 74) or not done.err.startswith("bulkup: "), (count, done)
    assert "--append" not in done.err
    assert "unusable journal" not in done.err


def test_a_read_only_place_is_named(kept: Disk) -> None:
    with mounted(kept.folder / "disk") as remount:
        shutil.copytree(kept.state, kept.folder / "disk" / "state")
        remount("ro")
        kept.state = kept.folder / "disk" / "state"
        done = kept.upload()
        assert done.code == 74, done
        assert f"the filesystem at {kept.folder / 'disk'} (tmpfs)" in one_line(done)


@pytest.mark.parametrize("mode", [0o777, pytest.param(0o1777, marks=SLOW)])
def test_a_folder_that_everybody_may_write_in(kept: Disk, mode: int) -> None:
    kept.run_folder.chmod(mode)
    landed = kept.landed
    done = kept.upload()
    assert done.code == 7, done
    assert "every user" in one_line(done)
    assert kept.landed == landed == ROWS


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders to another user")
def test_a_folder_of_another_user_in_one_that_a_group_shares(kept: Disk) -> None:
    """The folder above may be root's or a group's."""
    kept.state.chmod(0o2775)
    assert kept.upload().code == 3
    os.chown(kept.run_folder, 65534, 65534)
    for done in (kept.upload(), kept.run("status")):
        assert done.code == 7, done
        assert "belongs to " in one_line(done)


@SLOW  # test_locks begins and goes on with a run there
def test_no_shared_memory_is_no_full_disk(kept: Disk) -> None:
    kept.refuse = {"mmap": errno.ENODEV}
    for done in (kept.run("status"), kept.upload()):
        assert done.code in (0, 3), done
        assert "free some space" not in done.err
