"""A PostgreSQL server of the tests' own: in a temporary folder, on a unix socket, gone with the process that started it."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

__all__ = ["PostgresServer", "postgres_server", "unique"]

USERS = ("postgres", "nobody")
"""Who may run it where this process is root, which the server refuses to be."""


def _program(name: str) -> str | None:
    found = shutil.which(name)
    if found is None:
        installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = str(installed[-1]) if installed else None
    return found


class PostgresServer:
    """One server. *options*: of `postgres`, without their dashes."""

    def __init__(self, folder: Path, **options: str) -> None:
        self._initdb, self._postgres = _program("initdb"), _program("postgres")
        if self._initdb is None or self._postgres is None:
            raise FileNotFoundError("no PostgreSQL server is installed: apt-get install postgresql")
        self.folder = folder
        self._as: list[str] = []
        self._options = {
            "fsync": "off",
            "full_page_writes": "off",
            "listen_addresses": "",
            "max_connections": "200",
            **options,
        }
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            user = next(found for found in map(_user, USERS) if found is not None)
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        folder.chmod(0o700)
        self._run(
            self._initdb, "-D", str(self.data), "-U", "bulkup", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def address(self, *, user: str = "bulkup", password: str | None = None, database: str = "postgres") -> str:
        """Where it is, as `--journal` takes it."""
        word = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{user}{word}@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The address of a database that nobody else has."""
        name = unique("db")
        with psycopg.connect(self.address(), autocommit=True) as db:
            db.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.address(database=name)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._postgres is not None
        chosen = [word for name, value in self._options.items() for word in ("-c", f"{name}={value}")]
        ends_with_us = ["setpriv", "--pdeathsig=INT"] if shutil.which("setpriv") else []
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._as, *ends_with_us, self._postgres, "-D", self.data, "-k", self.folder, *chosen],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.address(), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the server does not come up"
                assert self.process.poll() is None, "the server has ended"
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it at once and in order; SIGQUIT as a crash of the machine would, less its disk."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)
        self.process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it so, and start it again."""
        self.stop(how)
        self.start()

    def cpu_s(self) -> float:
        """CPU seconds of the server, of its processes that live and of those that have ended."""
        assert self.process is not None
        ticks = 0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(entry.parent.name) == self.process.pid:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self.process.pid:
                ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _run(self, *command: str) -> None:
        done = subprocess.run([*self._as, *command], capture_output=True, cwd="/")
        assert done.returncode == 0, done.stderr.decode()


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


@functools.cache
def postgres_server() -> PostgresServer:
    """One for all tests of this process, without fsync. Where none is installed the test is skipped, which `.ci/run` does not let
    pass."""
    if _program("postgres") is None:
        if os.environ.get("BULKUP_TEST_POSTGRES") == "needed":
            pytest.fail("no PostgreSQL server is installed: apt-get install postgresql")
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="bulkup-pg-"))
    folder.chmod(0o755)
    made = PostgresServer(folder / "server")

    def end() -> None:
        made.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    made.start()
    return made


def unique(name: str = "run") -> str:
    """A run's name that no other test has: they share a database."""
    return f"{name}-{secrets.token_hex(4)}"
