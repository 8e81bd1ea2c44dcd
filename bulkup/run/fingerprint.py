"""Whether the source is still the one that the journal describes: size and content decide, time and inode only say when to look."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import xxhash

from bulkup.chunk import Chunk
from bulkup.errors import SourceChanged
from bulkup.flow.draft import hash_raw
from bulkup.journal.facts import FileRecord
from bulkup.light_dataclass import dataclass
from bulkup.path_text import portable
from bulkup.sources import Cursor, SourceFile, Unit

__all__ = ["Change", "change_of", "check_end", "check_ranges", "to_records", "was_touched"]

Then = Sequence[FileRecord]
"""The files as the journal keeps them."""


@dataclass(frozen=True, slots=True)
class Change:
    """*what* has changed about the files, in words. *obstacle*: why it is not a mere appending, None if it may be one."""

    what: str
    obstacle: str | None = None


def to_records(files: Sequence[SourceFile]) -> tuple[FileRecord, ...]:
    """The files as the journal keeps them."""
    return tuple(
        FileRecord(
            uri=portable(f.uri),
            size=f.size,
            mtime_ns=f.mtime_ns,
            inode=f.inode,
            format=f.format.name,
            compression=f.packing,
            version=None if f.remote is None else f.remote.version,
        )
        for f in files
    )


def change_of(then: Then, now: Sequence[SourceFile]) -> Change | None:
    """What is plainly not as it was, None where only the contents could tell."""
    old, new = [f.uri for f in then], [portable(f.uri) for f in now]
    if new[: len(old)] != old and list(map(_place, new))[: len(old)] != list(map(_place, old)):
        return _other_files(old, new)
    found = [_change(before, file) for before, file in zip(then, now, strict=False)]
    changes = [change for change in found if change is not None]
    what = "; ".join(change.what for change in changes)
    if come := new[len(old) :]:
        what = "; ".join(filter(None, (what, f"new: {_some(come)}")))
    if not what:
        return None
    if any(change is not None for change in found[:-1]):
        return Change(what, "only the last file may have grown")
    return Change(what, changes[0].obstacle if changes else None)


def _place(uri: str) -> str:
    """The file that *uri* names, however it is written."""
    return uri if "://" in uri else os.path.realpath(uri)


def _other_files(old: list[str], new: list[str]) -> Change:
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    texts = [f"gone: {_some(gone)}" if gone else "", f"new: {_some(come)}" if come else ""]
    what = "; ".join(filter(None, texts)) or "the files come in another order"
    obstacle = "files are missing" if gone else "new files must come behind the old ones, by their names"
    return Change(f"the source is not the one of this run: {what}", obstacle)


def _change(before: FileRecord, file: SourceFile) -> Change | None:
    if (before.format, before.compression) != (file.format.name, file.packing):
        was = f"{before.compression} {before.format}"
        return Change(f"{file.uri} was {was} and is {file.packing} {file.format.name}", "it is another kind of file")
    then, now = before.size or 0, file.size or 0
    if file.remote is not None and before.version is not None and before.version != file.remote.version:
        return Change(f"{file.uri} is another file than it was", "a remote file does not grow at its end")
    if then == now:
        return None
    what = f"{file.uri} had {then:,} bytes and has {now:,}"
    if file.format.unit is not Unit.BYTE:
        return Change(what, f"{file.format.title} does not grow at its end: it was written anew")
    return Change(what, "it has become shorter" if now < then and file.any_range else None)


def was_touched(then: Then, now: Sequence[SourceFile]) -> bool:
    """Whether the contents must be looked at."""
    return any(
        (b.mtime_ns, b.inode) != (f.mtime_ns, f.inode) or (f.remote is not None and f.remote.version is None)
        for b, f in zip(then, now, strict=False)
    )


def check_end(then: Then, now: Sequence[SourceFile]) -> None:
    """Raise `SourceChanged` where the old last row of a file of lines goes on behind its old end. Blocks."""
    before, file = then[-1], now[len(then) - 1]
    size = before.size or 0
    if not file.verbatim or size == 0 or size == file.size:
        return
    with Path(file.uri).open("rb") as stream:
        stream.seek(size - 1)
        if b"\n" not in stream.read(2):
            raise SourceChanged(
                f"{file.uri} has changed: where it ended, at byte {size:,}, is the middle of a row now, so its last row "
                "has grown or it is another file. Upload it as a run of its own under another --name"
            )


async def check_ranges(cursor: Cursor, chunks: AsyncIterator[Chunk], planned_to: int | None) -> None:
    """Read every planned range again and compare; the last ends at *planned_to*. Raises `SourceChanged` naming the first that
    differs."""
    async for chunk in chunks:
        hasher = xxhash.xxh3_128()
        async for item in cursor.read(chunk.start, chunk.stop):
            hash_raw(hasher, item)
        if hasher.digest() != chunk.raw_hash:
            end = ", or its last row has grown" if chunk.stop == planned_to else ""
            raise SourceChanged(
                f"the source has changed since this run began: bytes {chunk.start:,} to {chunk.stop:,} are not what they were{end}"
                ". Restore it, or upload it under another --name"
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
