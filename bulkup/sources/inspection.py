"""What a file is, told from its content, and from its name only where a format says so."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from msgspec import Struct

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.model import BLOCK_BYTES
from bulkup.sources.archives import Kind, archive_kind, members_of
from bulkup.sources.decompress import Compression, bare_name
from bulkup.sources.format import Format, Member, Sign, SourceFile
from bulkup.sources.head import Head
from bulkup.sources.locators import STDIN
from bulkup.sources.not_rows import NotRows, other_bytes
from bulkup.sources.places.extent import Extent
from bulkup.sources.places.place import Entry
from bulkup.sources.places.reading import input_of, whole_pieces
from bulkup.sources.reading import Reading
from bulkup.sources.registry import formats, formats_of_others
from bulkup.sources.shape import shape_of
from bulkup.sources.short_looks import is_plain_lines, plain_file
from bulkup.sources.unpacking import unpacked
from bulkup.sources.workbook.format import is_named_workbook, is_workbook, may_be_workbook

__all__ = ["Found", "Told", "begins_as_json", "inspect", "look_into", "tell"]


@dataclass(frozen=True, slots=True)
class Told:
    """What the first bytes say. *part*: where the bytes stand, unpacked."""

    compression: Compression
    inner: Compression
    format: Format
    bom: bool
    rows_at: tuple[str, ...] | None
    detail: Any = None
    part: Extent | None = None


class Found(Struct, frozen=True, gc=False):
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
        size = found.st_size
        if is_plain_lines(fd, size, uri, reading):
            return Found((plain_file(uri, found),))
        head = Head(lambda count: os.read(fd, count), encoding=reading.encoding, zstd_window=reading.zstd_window)
        kind = archive_kind(head)
        if kind is not None and not _is_workbook(uri, kind, head):
            listed = members_of(uri, kind, head, found, reading, partial(_tell_member, reading, True))
            return Found(tuple(listed.files), listed.note(uri))
        size = found.st_size
        told = _tell(uri, head, reading, packed_bytes=size)
    except OSError as error:
        raise SourceUnreadable(f"{uri}: cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    file = SourceFile(
        uri, size, found.st_mtime_ns, found.st_ino, told.compression, told.format, told.bom, size,
        inner=told.inner, encoding=reading.encoding, rows_at=told.rows_at, zstd_window=reading.zstd_window,
        detail=told.detail, part=told.part,
    )  # fmt: skip
    return Found((_with_length(file),))


def _is_workbook(uri: str, kind: Kind, head: Head) -> bool:
    """Whether the archive of that *kind* at *uri* is a workbook. Raises `UsageProblem` where it is a zip file that is packed."""
    if kind is not Kind.ZIP:
        return False
    if head.compression is Compression.NONE:
        return is_workbook(uri)
    if not is_named_workbook(_bare(uri, head)):
        raise UsageProblem(f"{uri}: is a zip archive packed by {head.compression}; unpack it, and name the zip file")
    return True


def _with_length(file: SourceFile) -> SourceFile:
    return file if file.format.length is None else file.having(length=file.format.length(file))


def _tell_member(reading: Reading, is_local: bool, name: str, inside: Head, member: Member, size: int) -> Told:
    if archive_kind(inside) is not None and not is_named_workbook(name):
        raise UsageProblem(f"{name}: is an archive in an archive; unpack it, and name its files")
    stands = Extent(member.archive, member.offset, size) if is_local and member.is_bare else None
    return _tell(name, inside, reading, is_member=True, packed_bytes=size, stands=stands, crc=member.crc)


def _look_into_remote(entry: Entry, reading: Reading) -> Found:
    with closing(input_of(entry.uri, entry.remote, entry.size, BLOCK_BYTES)) as source:
        head = Head(whole_pieces(source), encoding=reading.encoding, zstd_window=reading.zstd_window)
        if (kind := archive_kind(head)) is not None:
            if entry.size is None or not entry.remote.ranges:
                raise UsageProblem(
                    f"{entry.uri}: its server gives no parts of this {kind} archive; fetch it, and name that file"
                )
            listed = members_of(entry.uri, kind, head, None, reading, partial(_tell_member, reading, False), entry)
            return Found(tuple(listed.files), listed.note(entry.uri))
        told = _tell(entry.uri, head, reading, packed_bytes=entry.size, entry=entry)
    file = SourceFile(
        entry.uri, entry.size, None, None, told.compression, told.format, told.bom, entry.size,
        inner=told.inner, encoding=reading.encoding, rows_at=told.rows_at, zstd_window=reading.zstd_window,
        detail=told.detail, remote=entry.remote, part=told.part,
    )  # fmt: skip
    return Found((_with_length(file),))


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


def tell(read: Callable[[int], bytes], reading: Reading, unpacking: Callable[[], None]) -> Told:
    """Tell what standard input is from as few calls of *read* as needed (each gives what there is, empty at the end). *unpacking*
    is called before all of it is read, and put onto the disk.

    Raises as `look_into`.
    """
    head = Head(read, is_pipe=True, encoding=reading.encoding, zstd_window=reading.zstd_window)
    stands = None
    if (kind := archive_kind(head)) is not None:
        if kind is Kind.ZIP and may_be_workbook(head.start(64)):
            unpacking()
            stands = unpacked(_name(STDIN), head, reading.unpack_in, packed_bytes=None)
        if stands is None or not is_workbook(stands.path):
            raise UsageProblem(
                f"standard input: a {kind} archive is not read from a pipe: write it to a file, and name that file"
            )
    return _tell(STDIN, head, reading, stands=stands, unpacking=unpacking)


def _tell(
    uri: str,
    head: Head,
    reading: Reading,
    *,
    is_member: bool = False,
    packed_bytes: int | None = None,
    stands: Extent | None = None,
    crc: int | None = None,
    entry: Entry | None = None,
    unpacking: Callable[[], None] = lambda: None,
) -> Told:
    """*packed_bytes*: its size on disk. *stands*: where its bytes are found as they are, if it is a member of an archive that does
    not pack it; else *crc* is the checksum of what it unpacks to, if that is known."""
    if head.is_packed_thrice:
        raise UsageProblem(f"{_name(uri)}: is packed more than twice; unpack it")
    found = _format_of(uri, head, reading)
    if head.too_wide is not None:
        raise UsageProblem(f"{_name(uri)}: {head.too_wide}")
    rows_at = reading.rows_at if found.takes_path else None
    is_packed = head.compression is not Compression.NONE
    part = None
    if found.cutter is None:
        if stands is not None and (stands.held is not None or (found.reads_remote and not is_packed)):
            part = stands
        elif uri == STDIN or is_member or is_packed or (entry is not None and not found.reads_remote):
            if not found.is_unpacked:
                where = "a pipe" if uri == STDIN else "an archive" if is_member else head.compression
                where = "another place" if entry is not None and not is_packed else where
                raise UsageProblem(
                    f"{_name(uri)}: {found.title} is not read from {where}: unpack it, and name that file"
                )
            unpacking()
            part = unpacked(_name(uri), head, reading.unpack_in, packed_bytes=packed_bytes, crc=crc)
    name = _bare(uri, head) if part is None else _name(uri)
    detail = None if found.examine is None else found.examine(head, name, reading, part or entry)
    return Told(head.compression, head.inner, found, head.bom, rows_at, detail, part)


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
