"""Whether a worker on another machine finds the files that its run has."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from bulkup.errors import SourceChanged
from bulkup.sources import SourceFile

__all__ = ["check_here", "is_same_time"]


def check_here(files: Iterable[SourceFile]) -> None:
    """Raise `SourceChanged` naming the first of *files* that is not here as the run knows it. Blocks.

    Files in other places than a disk tell by themselves: every read of them is bound to the version that the run has seen.
    """
    for file in files:
        if file.remote is None:
            _check(file)


def _check(file: SourceFile) -> None:
    here = socket.gethostname()
    try:
        found = Path(file.path).stat()
    except OSError as error:
        raise SourceChanged(
            f"{file.path}: {error.strerror} on {here}; a worker needs the files at the run's paths"
        ) from None
    size = file.size if file.member is None else file.member.archive_bytes
    if size is not None and found.st_size != size:
        raise SourceChanged(f"{file.path}: on {here} it has {found.st_size:,} bytes, for the run {size:,}")
    if file.mtime_ns is not None and not is_same_time(found.st_mtime_ns, file.mtime_ns):
        raise SourceChanged(
            f"{file.path}: on {here} it was changed at another time than for the run; a copy must keep the time (cp -p, rsync -t)"
        )


def is_same_time(one_ns: int, other_ns: int) -> bool:
    """Whether two file systems mean the same moment: one may count coarser than the other."""
    for unit in (1_000_000_000, 1_000_000, 1_000, 100):
        if one_ns % unit == 0 or other_ns % unit == 0:
            return one_ns // unit == other_ns // unit
    return one_ns == other_ns
