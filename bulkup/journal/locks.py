"""Locks between processes: one process a run, one run a destination's dataset."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import time
from pathlib import Path

from bulkup.errors import RunLocked
from bulkup.journal.state_files import NO_LOCKS, make_folder, open_in, refused
from bulkup.light_dataclass import dataclass

__all__ = ["Holder", "Lock", "Still", "holder_of"]


HEIRS_END_S = 10.0
"""How long to wait for the workers of a holder that has died.

They end as soon as they run. On a busy machine, or while they start, that takes seconds: at a load of eight on two cores, 2 s were
too few in two of 200 kills.
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a lock."""

    pid: int
    host: str


class Lock:
    """An advisory lock on a file, held until `release` or the end of the process, whatever ends it.

    The file names its holder for the message that a second process gets (process id and host). It is never deleted.
    """

    def __init__(self, path: Path, what: str) -> None:
        """Take the lock, or raise `RunLocked` naming the holder. *what* is locked, in words for a person.

        Raises `JournalUnusable` where the file is not bulkup's, `LocalDisk` where there are no locks.
        """
        make_folder(path.parent)
        self._fd = open_in(path.parent, path.name, os.O_RDWR | os.O_CREAT)
        try:
            self._take(path, what)
        except BaseException:
            self.release()
            raise

    def _take(self, path: Path, what: str) -> None:
        deadline = time.monotonic() + HEIRS_END_S
        try:
            while not _taken(self._fd, fcntl.LOCK_EX):
                holder = _read(os.pread(self._fd, 1024, 0))
                if not _is_dead(holder) or time.monotonic() >= deadline:
                    raise RunLocked(f"{what} is held by {_named(holder)}; wait for it to end, or stop it")
                time.sleep(0.01)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        except OSError as error:
            raise refused(path, error) from error

    @property
    def fd(self) -> int:
        """The descriptor by which it is held: a process that inherits it holds the lock too, until it ends."""
        return self._fd

    def release(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Still:
    """Keeps every `Lock` of the file at *path* away until `release`: others that only look may have it too."""

    def __init__(self, path: Path, what: str) -> None:
        """Raises `RunLocked` naming the holder where *what* is locked, and `LocalDisk` where that cannot be known."""
        try:
            self._fd = open_in(path.parent, path.name, os.O_RDONLY)
        except FileNotFoundError:  # whoever writes makes it first
            self._fd = -1
            return
        try:
            if _taken(self._fd, fcntl.LOCK_SH):
                return
            holder = _read(os.pread(self._fd, 1024, 0))
        except OSError as error:
            self.release()
            raise refused(path, error) from error
        self.release()
        raise RunLocked(
            f"{what} is being written by {_named(holder)}, and cannot be looked at from here until that has ended"
        )

    def release(self) -> None:
        """Let others write again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder_of(path: Path) -> Holder | None:
    """The process that has the lock in the file at *path*, None if none has. Raises as `open_in`."""
    try:
        fd = open_in(path.parent, path.name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        holder = _read(os.pread(fd, 1024, 0))
        if holder is None or _is_dead(holder):
            return None
        try:
            return None if _taken(fd, fcntl.LOCK_SH) else holder
        except OSError:  # no locks here: its process is all that can be asked
            return holder if holder.host == socket.gethostname() else None
    except OSError:
        return None
    finally:
        os.close(fd)


def _taken(fd: int, kind: int) -> bool:
    """Take the lock if that can be done now. Where the filesystem has no `flock` but locks of ranges, one of those, which hangs on
    the open file and is inherited likewise (`F_OFD_SETLK`, fcntl(2)). Raises `OSError` where it has neither."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        of_ranges = getattr(fcntl, "F_OFD_SETLK", None)
        if error.errno not in NO_LOCKS or of_ranges is None:
            raise
        wanted = fcntl.F_WRLCK if kind == fcntl.LOCK_EX else fcntl.F_RDLCK
        try:
            fcntl.fcntl(fd, of_ranges, struct.pack("hhqqi4x", wanted, os.SEEK_SET, 0, 0, 0))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            raise error from None
    return True


def _named(holder: Holder | None) -> str:
    """The holder, in words for a person."""
    if holder is None:
        return "another process"
    if _is_dead(holder):
        return f"a worker of process {holder.pid} on {holder.host}, which has died itself"
    return f"process {holder.pid} on {holder.host}"


def _is_dead(holder: Holder | None) -> bool:
    """The holder's process on this host is gone: its workers, which hold the lock too, end by themselves."""
    if holder is None or holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _read(data: bytes) -> Holder | None:
    """The holder that a lock's file names."""
    try:
        record = json.loads(data)
        pid, host = int(record["pid"]), record["host"]
    except (ValueError, KeyError, TypeError):
        return None
    return Holder(pid, host) if 0 < pid < 1 << 31 and isinstance(host, str) else None
