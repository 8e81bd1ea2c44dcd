"""Records of one size, sorted into buckets on disk, so that what belongs together can be looked at a bucket at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import IO, Any

from bulkup.errors import LocalDisk

__all__ = ["Buckets"]

FILES = 24
"""How many files are open at once; more parts than that share them."""

READ_RECORDS = 2048


class Buckets:
    """*parts* buckets in a few unlinked files in *folder*. Raises `LocalDisk`. Use it as a context manager."""

    def __init__(self, folder: Path, parts: int, layout: str) -> None:
        """*layout* is that of a record's values, as `struct` has it, behind a key of 16 bytes."""
        self._spread = -(-parts // FILES)  # how many parts share a file
        self.parts = parts if self._spread == 1 else self._spread * FILES
        self._count = min(self.parts, FILES)
        self._folder = folder
        self._record = Struct("<16s" + layout)
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> Buckets:
        try:
            for _ in range(self._count):
                self._files.append(tempfile.TemporaryFile(dir=self._folder, buffering=8192))
        except OSError as error:
            self.__exit__()
            raise _refused(self._folder, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            with suppress(OSError):
                file.close()

    def add(self, key: bytes, *values: Any) -> None:
        """Put (*key*, *values*) into the part where all records of that key are."""
        try:
            self._files[_number(key) % self._count].write(self._record.pack(key, *values))
        except OSError as error:
            raise _refused(self._folder, error) from None

    def read(self, part: int) -> Iterator[tuple[Any, ...]]:
        """The records of one part (from 0 to *parts*), in the order in which they came."""
        try:
            file = self._files[part % self._count]
            file.seek(0)
            while data := file.read(READ_RECORDS * self._record.size):
                for record in self._record.iter_unpack(data):
                    if self._spread == 1 or _number(record[0]) % self.parts == part:
                        yield record
        except OSError as error:
            raise _refused(self._folder, error) from None


def _number(key: bytes) -> int:
    return int.from_bytes(key[:4], "little")


def _refused(folder: Path, error: OSError) -> LocalDisk:
    return LocalDisk(f"{folder}: the disk refused the comparison's scratch files: {error.strerror}")
