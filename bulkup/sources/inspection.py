"""What a file is, told from its content, and from its name only where a format says so."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.model import BLOCK_BYTES
from bulkup.sources.archives import Kind, archive_kind, members_of
from bulkup.sources.decompress import Compression, bare_name
from bulkup.sources.format import Format, Sign, SourceFile
from bulkup.sources.head import Head
from bulkup.sources.json_lines import JSON_LINES
from bulkup.sources.locators import STDIN
from bulkup.sources.not_rows import NotRows, other_bytes
from bulkup.sources.places.place import Entry
from bulkup.sources.places.reading import input_of, whole_pieces
from bulkup.sources.reading import Reading
from bulkup.sources.registry import formats, formats_of_others
from bulkup.sources.shape import SURE_BYTES, is_plainly_lines, shape_of
from bulkup.sources.workbook.format import is_workbook

__all__ = ["Found", "Told", "begins_as_json", "inspect", "look_into", "tell"]


@dataclass(frozen=True, slots=True)
class Told:
    """What the first bytes say."""

    compression: Compression
    inner: Compression
    format: Format
    bom: bool
    rows_at: tuple[str, ...] | None
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Found:
    """The files that hold rows: one, or an archive's members. *note* is what a person should know of it."""

    files: tuple[SourceFile, ...]
    note: str | None = None


def inspect(uri: str, reading: Reading = Reading()) -> SourceFile:  # noqa: B008 - it is frozen
    """As `look_into`, for a file that is no archive."""
    (file,) = look_into(uri, reading).files
    return file


def look_into(uri: str, reading: Reading, entry: Entry | None = None) -> Found:
    """Freeze the file at *uri* as it is now, or the members of the archive that it is. *entry*: it is that object.

    Raises `UsageProblem` where it is missing, may not be read, is no regular file, is of a kind that is not read yet, or where an
    option has to say how it is read; `SourceUnreadable` where no format knows it, or no option could read it.
    """
    if entry is not None:
        return _look_into_remote(entry, reading)
    try:
        fd = os.open(uri, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer must not hang
    except OSError as error:
        raise UsageProblem(f"{uri}: cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageProblem(f"{uri}: is not a regular file; pipe it in, with - as the source")
        if _is_plain_lines(fd, uri, reading):
            size = found.st_size
            return Found(
                (SourceFile(uri, size, found.st_mtime_ns, found.st_ino, Compression.NONE, JSON_LINES, False, size),)
            )
        head = Head(lambda count: os.read(fd, count), encoding=reading.encoding, zstd_window=reading.zstd_window)
        kind = archive_kind(head)
        if kind is not None and not (kind is Kind.ZIP and head.compression is Compression.NONE and is_workbook(uri)):
            listed = members_of(uri, kind, head, found, reading, partial(_tell_member, reading))
            return Found(tuple(listed.files), listed.note(uri))
        told = _tell(uri, head, reading)
        size = found.st_size
    except OSError as error:
        raise SourceUnreadable(f"{uri}: cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    file = SourceFile(
        uri, size, found.st_mtime_ns, found.st_ino, told.compression, told.format, told.bom, size,
        inner=told.inner, encoding=reading.encoding, rows_at=told.rows_at, zstd_window=reading.zstd_window,
        detail=told.detail,
    )  # fmt: skip
    if told.format.length is not None:
        file = replace(file, length=told.format.length(file))
    return Found((file,))


def _tell_member(reading: Reading, name: str, inside: Head) -> Told:
    if archive_kind(inside) is not None:
        raise UsageProblem(f"{name}: is an archive in an archive; unpack it, and name its files")
    return _tell(name, inside, reading, is_member=True)


def _look_into_remote(entry: Entry, reading: Reading) -> Found:
    with closing(input_of(entry.uri, entry.remote, entry.size, BLOCK_BYTES)) as source:
        head = Head(whole_pieces(source), encoding=reading.encoding, zstd_window=reading.zstd_window)
        if (kind := archive_kind(head)) is not None:
            if entry.size is None or not entry.remote.ranges:
                raise UsageProblem(
                    f"{entry.uri}: its server gives no parts of this {kind} archive; fetch it, and name that file"
                )
            listed = members_of(entry.uri, kind, head, None, reading, partial(_tell_member, reading), entry)
            return Found(tuple(listed.files), listed.note(entry.uri))
        told = _tell(entry.uri, head, reading, entry=entry)
    file = SourceFile(
        entry.uri, entry.size, None, None, told.compression, told.format, told.bom, entry.size,
        inner=told.inner, encoding=reading.encoding, rows_at=told.rows_at, zstd_window=reading.zstd_window,
        detail=told.detail, remote=entry.remote,
    )  # fmt: skip
    if told.format.length is not None:
        file = replace(file, length=told.format.length(file))
    return Found((file,))


def begins_as_json(uri: str, reading: Reading, entry: Entry | None = None) -> bool:
    """Whether the file at *uri* begins as JSON does, once it is unpacked. Raises `UsageProblem` where it cannot be read."""
    if entry is not None:
        with closing(input_of(entry.uri, entry.remote, entry.size, BLOCK_BYTES)) as source:
            head = Head(whole_pieces(source), encoding=reading.encoding, zstd_window=reading.zstd_window)
            return head.text().startswith((b"{", b"["))
    try:
        with open(uri, "rb", buffering=0) as stream:  # noqa: PTH123 - a name need not be Unicode
            head = Head(stream.read, encoding=reading.encoding, zstd_window=reading.zstd_window)
            return head.text().startswith((b"{", b"["))
    except OSError as error:
        raise UsageProblem(f"{uri}: cannot be read: {error.strerror}") from error


def tell(read: Callable[[int], bytes], reading: Reading) -> Told:
    """Tell what standard input is from as few calls of *read* as needed (each gives what there is, empty at the end).

    Raises as `look_into`.
    """
    head = Head(read, is_pipe=True, encoding=reading.encoding, zstd_window=reading.zstd_window)
    if (kind := archive_kind(head)) is not None:
        raise UsageProblem(
            f"standard input: a {kind} archive is not read from a pipe: write it to a file, and name that file"
        )
    return _tell(STDIN, head, reading)


def _tell(uri: str, head: Head, reading: Reading, *, is_member: bool = False, entry: Entry | None = None) -> Told:
    if head.is_packed_thrice:
        raise UsageProblem(f"{_name(uri)}: is packed more than twice; unpack it")
    found = _format_of(uri, head, reading)
    if found.cutter is None and (uri == STDIN or is_member or head.compression is not Compression.NONE):
        packed = "an archive" if is_member else head.compression
        what = "a pipe: write it to a file, and name" if uri == STDIN else f"{packed}: unpack it, and name"
        raise UsageProblem(f"{_name(uri)}: {found.title} is not read from {what} that file")
    if entry is not None and found.cutter is None and not found.reads_remote:
        raise UsageProblem(f"{uri}: {found.title} is read from a local disk only; fetch it, and name that file")
    if head.too_wide is not None:
        raise UsageProblem(f"{_name(uri)}: {head.too_wide}")
    rows_at = reading.rows_at if found.takes_path else None
    detail = None if found.examine is None else found.examine(head, _bare(uri, head), reading, entry)
    return Told(head.compression, head.inner, found, head.bom, rows_at, detail)


def _is_plain_lines(fd: int, uri: str, reading: Reading) -> bool:
    """Whether a short look shows what the long way would find: of ten thousand small files that is most of the work."""
    if reading.rows_at is not None or reading.encoding is not None:
        return False
    if os.pread(fd, 2, 0) != b'{"':
        return False
    start = os.pread(fd, SURE_BYTES, 0)
    return is_plainly_lines(start) and not uri.lower().endswith(_suffixes())


@functools.cache
def _suffixes() -> tuple[str, ...]:
    return tuple(suffix for one in _told_by_signs() for suffix in one.suffixes)


@functools.cache
def _told_by_signs() -> tuple[Format, ...]:
    return tuple(one for one in formats() if one.magic or one.suffixes)


def _format_of(uri: str, head: Head, reading: Reading) -> Format:
    """Ours before others', a magic before a suffix, and that before what the text looks like."""
    name = _bare(uri, head)
    for sign in (Sign.MAGIC, Sign.SUFFIX):
        for one in _told_by_signs():
            if one.is_meant_by(sign, name, head):
                return one
    shape = other_bytes(head) or shape_of(head, name, reading)
    if not isinstance(shape, NotRows):
        return shape
    for sign in (Sign.MAGIC, Sign.SUFFIX) if shape.error is UsageProblem else Sign:
        for one in formats_of_others():
            if one.is_meant_by(sign, name, head):
                return one
    raise shape.error(f"{_name(uri)}: {shape.text}")


def _bare(uri: str, head: Head) -> str:
    """The name that the file would have if it were not packed."""
    return bare_name(bare_name(uri, head.compression), head.inner)


def _name(uri: str) -> str:
    return "standard input" if uri == STDIN else uri
