"""Short looks at local files: most are lines and nothing else, and their beginnings show it. For ten thousand small files that
was a quarter of the work, so many files are looked at together.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterator, Sequence
from itertools import islice

from bulkup.encoding.utf8 import Utf8
from bulkup.sources.decompress import Compression
from bulkup.sources.format import SourceFile
from bulkup.sources.json_lines import JSON_LINES
from bulkup.sources.reading import Reading
from bulkup.sources.registry import formats
from bulkup.sources.shape import SURE_BYTES, are_plainly_lines, is_plainly_lines

__all__ = ["is_plain_lines", "plain_file", "plain_files"]

_SHORT_LOOK_BYTES = 4 * 1024
"""Enough for rows of a kilobyte; of many small files every byte that is looked at counts."""

_TOGETHER = 12
"""So many are looked at together: what was read of them is still in the processor's cache."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe without a writer must not hang


def is_plain_lines(fd: int, size: int, uri: str, reading: Reading) -> bool:
    """Whether a short look shows what the long way would find: that the file at *uri*, open as *fd*, has lines and nothing else."""
    if not _may_be_short(reading):
        return False
    start = os.pread(fd, _SHORT_LOOK_BYTES, 0)
    if not start.startswith(b'{"'):
        return False
    is_plain = is_plainly_lines(start, is_all=len(start) == size) or is_plainly_lines(os.pread(fd, SURE_BYTES, 0))
    return is_plain and not uri.lower().endswith(_suffixes())


def plain_files(uris: Sequence[str], reading: Reading) -> dict[str, SourceFile]:
    """Those of the files at *uris* of which a short look shows that, as they are now. It says nothing of the others. Blocks."""
    found: dict[str, SourceFile] = {}
    utf8 = Utf8()
    left = iter(uris if _may_be_short(reading) else ())
    while some := list(islice(left, _TOGETHER)):
        seen = list(_beginnings(some))
        if seen and not are_plainly_lines([(start, len(start) == about.st_size) for _, about, start in seen], utf8):
            seen = [one for one in seen if is_plainly_lines(one[2], is_all=len(one[2]) == one[1].st_size)]
        for uri, about, _ in seen:
            found[uri] = plain_file(uri, about)
    return found


def plain_file(uri: str, about: os.stat_result) -> SourceFile:
    """The file of lines at *uri*, of which the disk tells that *about* it."""
    return SourceFile(
        uri, about.st_size, about.st_mtime_ns, about.st_ino, Compression.NONE, JSON_LINES, False, about.st_size
    )


def _beginnings(uris: Sequence[str]) -> Iterator[tuple[str, os.stat_result, bytes]]:
    """Of the regular files at *uris* that begin as rows do."""
    suffixes = _suffixes()
    for uri in uris:
        try:
            fd = os.open(uri, _FLAGS)
        except (OSError, ValueError):
            continue
        try:
            about = os.fstat(fd)
            start = os.pread(fd, _SHORT_LOOK_BYTES, 0) if stat.S_ISREG(about.st_mode) else b""
        except OSError:
            continue
        finally:
            os.close(fd)
        if start.startswith(b'{"') and not uri.lower().endswith(suffixes):
            yield uri, about, start


def _may_be_short(reading: Reading) -> bool:
    return reading.rows_at is None and reading.encoding is None


@functools.cache
def _suffixes() -> tuple[str, ...]:
    return tuple(suffix for one in formats() for suffix in one.suffixes)
