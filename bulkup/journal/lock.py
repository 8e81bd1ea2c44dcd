"""Locks between processes: one process a run, one run a destination's dataset."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path

from bulkup.errors import LocalDisk, RunLocked

__all__ = ["Lock"]


HEIRS_END_S = 2.0
"""How long to wait for the workers of a holder that has died."""


class Lock:
    """An advisory lock on a file, held until `release` or the end of the process, whatever ends it.

    The file names its holder for the message that a second process gets (process id and host). It is never deleted.
    """

    def __init__(self, path: Path, what: str) -> None:
        """Take the lock, or raise `RunLocked` naming the holder. *what* is locked, in words for a person."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LocalDisk(f"{path}: {error.strerror}; see to the state directory") from error
        deadline = time.monotonic() + HEIRS_END_S
        while not self._is_taken():
            holder = os.pread(self._fd, 1024, 0)
            if not _is_dead(holder) or time.monotonic() >= deadline:
                os.close(self._fd)
                raise RunLocked(f"{what} is held by {_holder(holder)}; wait for it to end, or stop it") from None
            time.sleep(0.01)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)

    def _is_taken(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def fd(self) -> int:
        """The descriptor by which it is held: a process that inherits it holds the lock too, until it ends."""
        return self._fd

    def release(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _is_dead(data: bytes) -> bool:
    """The holder's process on this host is gone: its workers, which hold the lock too, end by themselves."""
    try:
        record = json.loads(data)
        if record["host"] != socket.gethostname():
            return False
        os.kill(int(record["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return False


def _holder(data: bytes) -> str:
    try:
        record = json.loads(data)
        return f"process {int(record['pid'])} on {record['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
