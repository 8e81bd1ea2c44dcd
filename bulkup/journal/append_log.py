"""A file that only grows, and whose good length the journal knows."""

from __future__ import annotations

import os
from pathlib import Path

from bulkup.journal.state_files import open_in

__all__ = ["AppendLog"]

HELD_BYTES = 1 << 20
"""What is appended is written in portions of about this size."""


class AppendLog:
    """Lines appended under the journal's transactions: what a transaction did not keep is cut off again.

    Owned by the journal's writer thread. Raises `OSError` as the disk does; on opening `JournalUnusable` where the file is not one
    that bulkup made, and `ValueError` where it lacks what the journal counts on.
    """

    def __init__(self, path: Path, *, good_length: int, base: int = 0) -> None:
        """*base*: bytes that stand in files before this one, of which it is the last; positions count them."""
        self.path = path
        self.base = base
        self._fd = open_in(path.parent, path.name, os.O_RDWR | os.O_CREAT)
        self.length = good_length
        self._written = good_length
        self._held: list[bytes] = []
        self._held_bytes = 0
        try:
            if (missing := good_length - os.fstat(self._fd).st_size) > 0:
                raise ValueError(f"{path} lacks {missing:,} bytes that the journal counts on")
            os.ftruncate(self._fd, good_length)
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, data: bytes) -> int:
        """Put *data* behind what stands; where it begins. It is durable after `sync`, and kept after `keep`."""
        at = self.base + self._written + self._held_bytes
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= HELD_BYTES:
            self._write()
        return at

    @property
    def is_ahead(self) -> bool:
        """Something was appended that has not been kept."""
        return bool(self._held) or self._written != self.length

    def sync(self) -> int:
        """Make what was appended durable; the length that the journal must record."""
        if self.is_ahead:
            self._write()
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)
        return self._written

    def _write(self) -> None:
        view = memoryview(b"".join(self._held))
        self._held, self._held_bytes = [], 0
        while view:
            count = os.pwrite(self._fd, view, self._written)
            self._written += count
            view = view[count:]

    def keep(self) -> None:
        """The journal has recorded the length."""
        self.length = self._written

    def undo(self) -> None:
        """The journal has not: cut back."""
        self._held, self._held_bytes = [], 0
        self._written = self.length
        os.ftruncate(self._fd, self.length)

    def close(self) -> None:
        os.close(self._fd)
