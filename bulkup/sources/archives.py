"""Archives: the members of a tar or zip file that hold rows, each as a file of its own."""

from __future__ import annotations

import os
import posixpath
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import field
from enum import StrEnum
from io import RawIOBase
from typing import Any

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.path_text import as_text
from bulkup.sources.archive_stream import Unpacked
from bulkup.sources.decompress import Compression, DamagedError, decoder_for
from bulkup.sources.format import Member, SourceFile
from bulkup.sources.head import Head
from bulkup.sources.known_kinds import contents_of_zip
from bulkup.sources.named_places import is_hidden, refuse_table, without_companions
from bulkup.sources.places.file import AsFile, Bytes, bytes_of, where_in
from bulkup.sources.places.place import Entry
from bulkup.sources.reading import Reading
from bulkup.sources.selection import PERHAPS, ROWS, some_of, suffix_of, suffixes_of_formats

__all__ = ["Kind", "Listed", "archive_kind", "members_of"]

_METHODS = {
    zipfile.ZIP_STORED: Compression.NONE,
    zipfile.ZIP_DEFLATED: Compression.DEFLATE,
    zipfile.ZIP_BZIP2: Compression.BZIP2,
    93: Compression.ZSTD,
    95: Compression.XZ,
}
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL_HEADER_BYTES = 30
_TAR_MAGIC = b"ustar"
_TAR_END_BYTES = 20 * 512 + 512
"""What stands behind the last member, filled up to a record, and the header of what may come then."""

_ANOTHER = "is more than one {} archive, one behind the other, of which only one would be read; unpack them, and name their files"

Tell = Callable[[str, Head, Member, int], Any]
"""What a member holds, by its name, its beginning, its place and its size in the archive."""


class Kind(StrEnum):
    """The kind of an archive."""

    TAR = "tar"
    ZIP = "zip"


@dataclass(slots=True)
class Listed:
    """The files that hold rows, and the names of the members that were passed over."""

    files: list[SourceFile] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    def note(self, uri: str) -> str | None:
        """What a person should know of the archive at *uri*; None where that is nothing."""
        if not self.passed:
            return None
        held = "1 member holds" if len(self.files) == 1 else f"{len(self.files):,} members hold"
        return f"{uri}: {held} rows; passed over: {some_of(self.passed)}"


def archive_kind(head: Head) -> Kind | None:
    """Whether what begins with *head* is an archive."""
    if head.start(4).startswith(_ZIP_MAGIC):
        return Kind.ZIP
    return Kind.TAR if head.start(265)[257:262] == b"ustar" else None


def members_of(
    uri: str,
    kind: Kind,
    head: Head,
    found: os.stat_result | None,
    reading: Reading,
    tell: Tell,
    entry: Entry | None = None,
) -> Listed:
    """The members of the archive at *uri* that hold rows, in its order. Blocks; one that is packed as a whole is read whole.

    A member counts if its name ends as rows' names do, or says nothing and JSON stands in it. Raises `UsageProblem` where there is
    none, where a name stands twice, and what *tell* raises; `SourceUnreadable` where it is damaged.
    """
    listed = Listed()
    source = bytes_of(uri, *where_in(entry))
    members = _in_zip(uri, source) if kind is Kind.ZIP else _in_tar(uri, source, head, reading)
    mtime_ns, inode = (None, None) if found is None else (found.st_mtime_ns, found.st_ino)
    seen: set[str] = set()
    try:
        for name, size, member, read in members:
            if name in seen:
                raise UsageProblem(
                    f"{uri}: holds {name} twice, of which only the last would be unpacked; unpack it, and name its files"
                )
            seen.add(name)
            path = _path(name)
            refuse_table(uri, [path], otherwise="unpack it, and name the files")
            if not _may_hold_rows(name):
                # what a Mac has added nobody asks for; else a file of rows that is hidden is named
                listed.passed += [] if is_hidden(path) and (not _is_named_rows(name) or _is_of_mac(name)) else [name]
                continue
            packed = member.method if member.method is not Compression.NONE else None
            inside = Head(read, packed=packed, encoding=reading.encoding, zstd_window=reading.zstd_window)
            if not _is_named_rows(name) and not inside.text().startswith((b"{", b"[")):
                listed.passed.append(name)
                continue
            told = tell(f"{uri}::{name}", inside, member, size)
            compression, inner = (told.compression, told.inner) if packed is None else (told.inner, Compression.NONE)
            file = SourceFile(
                f"{uri}::{name}", size, mtime_ns, inode, compression, told.format, told.bom, size,
                inner=inner, encoding=reading.encoding, rows_at=told.rows_at, zstd_window=reading.zstd_window, member=member,
                detail=told.detail, remote=None if entry is None else entry.remote, part=told.part,
            )  # fmt: skip
            length = told.format.length
            listed.files.append(file if length is None else file.having(length=length(file)))
    except (tarfile.TarError, zipfile.BadZipFile, DamagedError, EOFError) as error:
        raise SourceUnreadable(f"{uri}: damaged {kind} ({error})") from error
    kept = set(without_companions([file.uri for file in listed.files]))
    listed.files = [file for file in listed.files if file.uri in kept]
    if not listed.files:
        there = f"; it has {some_of(listed.passed)}" if listed.passed else ""
        raise UsageProblem(f"{uri}: no member of this {kind} archive holds rows{there}{contents_of_zip(listed.passed)}")
    return listed


def _is_named_rows(name: str) -> bool:
    return suffix_of(name) in (*ROWS, *suffixes_of_formats())


def _path(name: str) -> str:
    """A member's name as a path below the archive."""
    return posixpath.normpath(name).lstrip("/")


def _is_of_mac(name: str) -> bool:
    return posixpath.basename(name).startswith("._") or name.startswith("__MACOSX/")


def _may_hold_rows(name: str) -> bool:
    return not is_hidden(_path(name)) and (_is_named_rows(name) or suffix_of(name) in PERHAPS)


_Found = tuple[str, int, Member, Callable[[int], bytes]]
"""A member's name, its size in the archive, where it stands, and what reads its raw bytes from the first on."""


class _Stream(RawIOBase):
    """An unpacked file, as tarfile reads one."""

    def __init__(self, unpacked: Unpacked) -> None:
        self._unpacked = unpacked

    def read(self, size: int = -1) -> bytes:
        data = b""
        while len(data) < size and (more := self._unpacked.read(size - len(data))):
            data += more
        return data


def _in_tar(uri: str, source: Bytes, head: Head, reading: Reading) -> Iterator[_Found]:
    outer, inner = head.compression, head.inner
    whole = AsFile(source)
    unpacked = Unpacked(whole.read, whole.close, decoder_for(outer, inner, zstd_window=reading.zstd_window))
    try:
        is_bare = outer is Compression.NONE
        mode: Any = "r:" if is_bare else "r|"
        with (
            nullcontext(whole) if is_bare else _Stream(unpacked) as stream,
            tarfile.open(fileobj=stream, mode=mode, errors="surrogateescape") as tar,
        ):
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined] # else it keeps every one
                if info.issparse():
                    raise UsageProblem(f"{uri}: {info.name} is a sparse file; unpack it, and name its files")
                inside = tar.extractfile(info) if info.isreg() else None
                if inside is not None:
                    yield as_text(info.name), info.size, _in_tar_at(uri, source, head, info), inside.read
            end: Any = tar.fileobj
            if is_bare:
                end.seek(tar.offset)
            if _TAR_MAGIC in end.read(_TAR_END_BYTES):
                raise UsageProblem(f"{uri}: {_ANOTHER.format('tar')}")
    finally:
        whole.close()


def _in_tar_at(uri: str, source: Bytes, head: Head, info: tarfile.TarInfo) -> Member:
    return Member(uri, info.offset_data, head.compression, head.inner, archive_bytes=source.size)


def _in_zip(uri: str, source: Bytes) -> Iterator[_Found]:
    whole = AsFile(source)
    try:
        with zipfile.ZipFile(whole) as archive:
            members = archive.infolist()
            if members and source.read(4, 0) == _ZIP_MAGIC[0] and min(info.header_offset for info in members) > 0:
                raise UsageProblem(f"{uri}: {_ANOTHER.format('zip')}")
            for info in members:
                if not info.is_dir():
                    yield info.filename, info.compress_size, _zipped(uri, source, info), _Range(source, info).read
    finally:
        whole.close()


def _zipped(uri: str, source: Bytes, info: zipfile.ZipInfo) -> Member:
    if not _may_hold_rows(info.filename):
        return Member(uri, 0)
    if info.flag_bits & 1:
        raise UsageProblem(f"{uri}: {info.filename} is encrypted; unpack it, and name its files")
    method = _METHODS.get(info.compress_type)
    if method is None:
        raise UsageProblem(f"{uri}: {info.filename} is packed in a way that is not read; unpack it, and name its files")
    return Member(uri, _data_offset(source, info), method=method, crc=info.CRC, unpacked=info.file_size)


def _data_offset(source: Bytes, info: zipfile.ZipInfo) -> int:
    header = source.read(_LOCAL_HEADER_BYTES, info.header_offset)
    if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile(f"{info.filename} has no header")
    lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return info.header_offset + _LOCAL_HEADER_BYTES + sum(lengths)


class _Range:
    """The raw bytes of a zip file's member."""

    def __init__(self, source: Bytes, info: zipfile.ZipInfo) -> None:
        self._source = source
        self._info = info
        self._at: int | None = None
        self._left = info.compress_size

    def read(self, count: int) -> bytes:
        if self._at is None:
            self._at = _data_offset(self._source, self._info)
        data = self._source.read(min(count, self._left), self._at)
        self._at += len(data)
        self._left -= len(data)
        return data
