"""Whether the source is still the one that the journal describes: size and content decide, time and inode only say when to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xxhash

from bulkup.chunk import Chunk
from bulkup.errors import SourceChanged
from bulkup.flow.draft import hash_raw
from bulkup.sources import Cursor, SourceFile

__all__ = ["check_ranges", "compare_files", "files_to_json"]


def files_to_json(files: Sequence[SourceFile]) -> list[dict[str, Any]]:
    """The files as the journal keeps them."""
    return [
        {
            "uri": f.uri,
            "size": f.size,
            "mtime_ns": f.mtime_ns,
            "inode": f.inode,
            "format": f.format,
            "compression": f.compression,
        }
        for f in files
    ]


def compare_files(then: Sequence[dict[str, Any]], now: Sequence[SourceFile]) -> bool:
    """Whether the contents must be looked at: something was touched. Raises `SourceChanged` where a change is plain."""
    old, new = [f["uri"] for f in then], [f.uri for f in now]
    if old != new:
        gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
        raise SourceChanged(
            "the source is not the one of this run: "
            + "; ".join(
                text
                for text in (
                    f"gone: {', '.join(gone[:3])}" if gone else "",
                    f"new: {', '.join(come[:3])}" if come else "",
                )
                if text
            )
            + ". Give the same files, or another --name for another run"
        )
    for before, file in zip(then, now, strict=True):
        if before["size"] != file.size:
            raise SourceChanged(
                f"{file.uri} has changed since this run began: it had {before['size']:,} bytes and has {file.size or 0:,}. "
                "Restore it, or upload it under another --name"
            )
        if (before["format"], before["compression"]) != (file.format, file.compression):
            raise SourceChanged(
                f"{file.uri} has changed since this run began: it was {before['compression']} {before['format']}"
            )
    return any((b["mtime_ns"], b["inode"]) != (f.mtime_ns, f.inode) for b, f in zip(then, now, strict=True))


async def check_ranges(cursor: Cursor, chunks: Sequence[Chunk]) -> None:
    """Read every planned range again and compare. Raises `SourceChanged` naming the first that differs."""
    for chunk in chunks:
        hasher = xxhash.xxh3_128()
        async for item in cursor.read(chunk.start, chunk.stop):
            hash_raw(hasher, item)
        if hasher.digest() != chunk.raw_hash:
            raise SourceChanged(
                f"the source has changed since this run began: bytes {chunk.start:,} to {chunk.stop:,} are not what they were. "
                "Restore it, or upload it under another --name"
            )
