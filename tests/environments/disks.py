"""bulkup on disks, and as a user, that refuse what it asks for."""

from __future__ import annotations

import atexit
import ctypes
import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from tests.forking import Forked

__all__ = ["TOKENS", "Disk", "Done", "few_files", "mounted", "no_privileges", "one_line", "shim"]

TOKENS = {"NEBIUS_API_KEY": "nb-token-0a6be23d91", "COLLINEAR_API_KEY": "co-token-cc719f8e02"}
ROWS = 40


@dataclass(frozen=True)
class Done:
    """What a process came to."""

    code: int
    out: str
    err: str


def one_line(done: Done) -> str:
    """The one line with which a command refused. It never says to begin anew beside what has landed."""
    lines = [line for line in done.err.splitlines() if line.startswith("bulkup: ")]
    assert len(lines) == 1, done
    said = done.out + done.err
    assert "Traceback" not in said, said
    assert "internal error" not in said, said
    assert "--append" not in said, said
    return lines[0]


@dataclass
class Disk:
    """A directory with forty rows in it, and a state directory *state*. *refuse*: what the shim lets fail there."""

    folder: Path
    emulator: Spawned
    state: Path
    refuse: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = "".join(f'{{"question":"q{n}","answer":"a{n}"}}\n' for n in range(ROWS))
        (self.folder / "rows.jsonl").write_text(rows + "no row\n", encoding="utf-8")

    def upload(self, *more: str, before: Callable[[], None] | None = None) -> Done:
        """The same command each time."""
        to = ("--to", "nebius", "--nebius-url", self.emulator.url, "--max-chunk-rows", "10", "--settle-after", "0")
        return self.run("upload", "rows.jsonl", *to, *more, before=before)

    def run(self, *arguments: str, before: Callable[[], None] | None = None) -> Done:
        """Started anew where something is refused, or done *before*; else forked."""
        environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ},
            **TOKENS,
            "BULKUP_STATE_DIR": str(self.state),
        }
        if self.refuse:
            state = self.state.resolve()
            environment["LD_PRELOAD"] = str(shim())
            environment["REFUSE"] = ";".join(f"{call}:{number}:{state}" for call, number in self.refuse.items())
        elif before is None:
            process = Forked(*arguments, cwd=self.folder, env=environment)
            out, err = process.communicate()
            return Done(process.wait(), out, err)
        done = subprocess.run(
            [sys.executable, "-m", "bulkup", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            preexec_fn=before,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def landed(self) -> int:
        """Rows that the service holds."""
        return len(self.emulator.rows("nebius"))

    @property
    def run_folder(self) -> Path:
        return next(path.parent for path in self.state.glob("*/journal.db"))


_built: list[Path] = []


def shim() -> Path:
    """The library to preload, built once. Skips the test where there is no compiler."""
    if not _built:
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            pytest.skip("a library to preload needs Linux and a C compiler (cc)")
        folder = tempfile.mkdtemp(prefix="bulkup-shim-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        library = Path(folder) / "refusing.so"
        source = Path(__file__).with_name("refusing.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
        _built.append(library)
    return _built[0]


@contextmanager
def mounted(place: Path) -> Iterator[Callable[[str], None]]:
    """A filesystem of its own at *place*, to be mounted anew with other options. Skips the test where that is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("needs a filesystem of its own")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m,mode=700", "none", str(place)], check=False).returncode:
        pytest.skip("mount is not allowed here")

    def remount(options: str) -> None:
        subprocess.run([mount, "-o", f"remount,{options}", str(place)], check=True)

    try:
        yield remount
    finally:
        subprocess.run([umount, str(place)], check=True)


def no_privileges() -> None:
    """Before a command: even root is asked for its rights to a file then (capabilities(7))."""
    if os.geteuid() == 0:
        drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (dac_override, dac_read_search):
            if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno() or errno.EPERM, "prctl")


def few_files(count: int) -> Callable[[], None]:
    """Before a command: it may have so many files open."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
