"""A lease as this machine's processes share it: a few bytes in a mapped file, so that workers ask it without asking anybody.

The clock is one for all processes of a machine, and goes on while that sleeps. A run's process that is stopped no longer renews
what stands there, and so its workers end their requests too.
"""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path

from bulkup.journal.state_files import open_in
from bulkup.machine import machine_clock

__all__ = ["LeaseCell", "SharedLease"]

_UNTIL = struct.Struct("=d")


class LeaseCell:
    """The file of the process that holds *epoch*. Raises as `open_in`, and `OSError`."""

    def __init__(self, folder: Path, epoch: int) -> None:
        self.path = folder / f"lease.{epoch}"
        fd = open_in(folder, self.path.name, os.O_RDWR | os.O_CREAT)
        try:
            os.ftruncate(fd, _UNTIL.size)
            self._cell = mmap.mmap(fd, _UNTIL.size)
        finally:
            os.close(fd)

    def set(self, until: float) -> None:
        """The lease goes on until *until*, by the machine's clock."""
        _UNTIL.pack_into(self._cell, 0, until)

    def close(self) -> None:
        """The lease has ended."""
        self.set(0.0)
        self._cell.close()
        with suppress(OSError):
            self.path.unlink()


class SharedLease:
    """What a worker of the process that holds *epoch* asks: an `Authority`. Raises `OSError` where the file is not there."""

    def __init__(self, path: Path, epoch: int) -> None:
        self._epoch = epoch
        fd = open_in(path.parent, path.name, os.O_RDONLY)
        try:
            self._cell = mmap.mmap(fd, _UNTIL.size, prot=mmap.PROT_READ)
        finally:
            os.close(fd)

    @property
    def epoch(self) -> int:
        return self._epoch

    def holds(self) -> bool:
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        (until,) = _UNTIL.unpack_from(self._cell, 0)
        return float(until) - machine_clock()
