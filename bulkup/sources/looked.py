"""What an earlier command has found files to hold. Who goes on looks into none of them again: of four hundred shards that would
read a part of each, also of those that are done, and of objects it would be a request for each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from msgspec import Struct

from bulkup.sources.decompress import Compression
from bulkup.sources.format import SourceFile
from bulkup.sources.places.place import Entry
from bulkup.sources.reading import Reading
from bulkup.sources.registry import formats

__all__ = ["LookedInto", "file_of", "looked_into"]


class LookedInto(Struct, frozen=True, array_like=True):
    """A file as it was, and what is in it. *version* is a remote file's; a local one has its time and inode."""

    uri: str
    size: int
    mtime_ns: int | None
    inode: int | None
    version: str | None
    format: str
    compression: Compression
    inner: Compression
    bom: bool


def looked_into(files: Iterable[SourceFile]) -> Mapping[str, LookedInto]:
    """What is kept of *files*, by their names: of those that say by themselves when they have changed, and of which a look finds
    nothing more than is kept here. A plain local file is looked into as fast as it is compared."""
    return {
        file.uri: LookedInto(
            file.uri,
            file.size or 0,
            file.mtime_ns,
            file.inode,
            None if file.remote is None else file.remote.version,
            file.format.name,
            file.compression,
            file.inner,
            file.bom,
        )
        for file in files
        if _is_simple(file)
    }


def file_of(known: LookedInto, reading: Reading, entry: Entry | None) -> SourceFile | None:
    """The file that *known* is about, read as *reading* says, if it is as it was. *entry*: it is that object. Blocks."""
    found = {one.name: one for one in formats()}.get(known.format)
    if found is None:
        return None
    if entry is not None:
        remote = entry.remote
        is_same = (entry.size, remote.version) == (known.size, known.version) and remote.version is not None
    else:
        remote = None
        try:
            now = os.stat(known.uri)  # noqa: PTH116 - a name need not be Unicode
        except (OSError, ValueError):
            return None
        is_same = stat.S_ISREG(now.st_mode) and known.version is None
        is_same = is_same and (now.st_size, now.st_mtime_ns, now.st_ino) == (known.size, known.mtime_ns, known.inode)
    if not is_same:
        return None
    return SourceFile(
        known.uri, known.size, known.mtime_ns, known.inode, known.compression, found, known.bom, known.size,
        inner=known.inner, encoding=reading.encoding, rows_at=reading.rows_at if found.takes_path else None,
        zstd_window=reading.zstd_window, remote=remote,
    )  # fmt: skip


def _is_simple(file: SourceFile) -> bool:
    if file.remote is None and file.compression is Compression.NONE:
        return False
    one = file.format
    has_more = file.detail is not None or file.member is not None or one.length is not None or one.agree is not None
    if has_more or one not in formats() or not file.size or not file.uri.isprintable():
        return False
    return file.remote is None or (file.remote.version is not None and file.remote.ranges)
