"""What a file is, told from its content, and from its name only where a format says so."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.sources.decompress import Compression, bare_name
from bulkup.sources.format import Format, Sign, SourceFile
from bulkup.sources.head import Head
from bulkup.sources.locators import STDIN
from bulkup.sources.registry import formats, formats_of_others

__all__ = ["Told", "inspect", "tell"]

_NOT_READ: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow IPC"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
    (b"SQLite format 3\0", "SQLite"),
    (b"\x89HDF", "HDF5"),
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
"""What is refused by its name, unless a format claims it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the first bytes say."""

    compression: Compression
    format: Format
    bom: bool


def inspect(uri: str) -> SourceFile:
    """Freeze the file at *uri* as it is now.

    Raises `UsageProblem` where it is missing, may not be read, is no regular file, or is of a kind that is not read
    yet; `SourceUnreadable` where no format knows it.
    """
    try:
        fd = os.open(uri, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer must not hang
    except OSError as error:
        raise UsageProblem(f"{uri}: cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageProblem(f"{uri}: is not a regular file; pipe it in, with - as the source")
        told = tell(uri, lambda count: os.read(fd, count))
        size = found.st_size
        length = size if told.format.length is None else told.format.length(uri)
    except OSError as error:
        raise SourceUnreadable(f"{uri}: cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    return SourceFile(uri, size, found.st_mtime_ns, found.st_ino, told.compression, told.format, told.bom, length)


def tell(uri: str, read: Callable[[int], bytes]) -> Told:
    """Tell the kind of file from as few calls of *read* as needed (each gives what there is, empty at the end).

    Raises as `inspect`.
    """
    head = Head(read)
    found = _format_of(uri, head)
    if found.cutter is None and (uri == STDIN or head.compression is not Compression.NONE):
        what = "a pipe: write it to a file, and name" if uri == STDIN else f"{head.compression}: unpack it, and name"
        raise UsageProblem(f"{_name(uri)}: {found.title} is not read from {what} that file")
    return Told(head.compression, found, head.bom)


def _format_of(uri: str, head: Head) -> Format:
    """Ours before others', a magic before a suffix, and that before what rows look like."""
    name = bare_name(uri, head.compression)
    unread = _unread(head)
    signs = (Sign.MAGIC, Sign.SUFFIX) if unread is not None else tuple(Sign)
    for known in (formats, formats_of_others):
        for sign in signs:
            for one in known():
                if one.is_meant_by(sign, name, head):
                    return one
    if unread is not None:
        raise UsageProblem(f"{_name(uri)}: {unread} is not read yet; convert it to JSON lines")
    raise SourceUnreadable(f"{_name(uri)}: is neither JSON lines nor a JSON array; convert it to JSON lines")


def _unread(head: Head) -> str | None:
    if head.compression is not Compression.NONE:
        return None
    return next((name for magic, name in _NOT_READ if head.raw.startswith(magic)), None)


def _name(uri: str) -> str:
    return "standard input" if uri == STDIN else uri
