"""Standard input as a source: what is found out of its first bytes, what of it is held on disk, and who reads it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.sources.beginning import Beginning, BeginningInput, WholeInput
from bulkup.sources.decompress import Compression
from bulkup.sources.format import SourceFile
from bulkup.sources.inputs import Input, PipeInput
from bulkup.sources.inspection import tell
from bulkup.sources.locators import STDIN
from bulkup.sources.reading import Reading
from bulkup.sources.sequential import SequentialSource, notes_of
from bulkup.sources.source import FirstRows
from bulkup.sources.spool import Spool, SpoolInput

__all__ = ["Held", "Stdin", "look_at", "streamed"]


@dataclass(frozen=True, slots=True)
class Held:
    """How much of standard input is held: up to *most_bytes*, or what has come within *wait_s* seconds."""

    most_bytes: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Stdin:
    """What comes from *fd*, of which *head* was read already. It is read as *file* says, whose `part` is set where all of it was
    unpacked onto the disk."""

    fd: int
    head: bytes
    file: SourceFile


def look_at(fd: int, reading: Reading) -> Stdin:
    """Standard input, as far as its first bytes tell what it is. Blocks until they are there. Raises `UsageProblem`,
    `SourceUnreadable`, `LocalDisk`."""
    head, is_kept = bytearray(), True

    def read(count: int) -> bytes:
        try:
            data = os.read(fd, count)
        except OSError as error:
            raise SourceUnreadable(f"standard input: cannot be read: {error.strerror}") from error
        if is_kept:
            head.extend(data)
        return data

    def keep_no_more() -> None:
        nonlocal is_kept
        is_kept = False
        head.clear()

    told = tell(read, reading, keep_no_more)
    file = SourceFile(
        STDIN, None, None, None, told.compression, told.format, told.bom, None,
        inner=told.inner, encoding=reading.encoding, rows_at=told.rows_at, zstd_window=reading.zstd_window,
        detail=told.detail, renames=reading.renames, part=told.part,
    )  # fmt: skip
    return Stdin(fd, bytes(head), file)


def streamed(
    stdin: Stdin, *, max_row_bytes: int, block_bytes: int, lanes: int, spool_dir: Path | None, held: Held | None
) -> SequentialSource:
    """*stdin* as it comes, for so many *lanes*: more than one spool it into *spool_dir*. So much of it as *held* says is held there
    and can be looked at before. Blocks until that is there. Raises `LocalDisk`, `SourceUnreadable`."""
    source = partial(SequentialSource, (stdin.file,), max_row_bytes=max_row_bytes, block_bytes=block_bytes)
    first: Input = PipeInput(stdin.fd, stdin.head)
    beginning, looked_at = None, None
    if held is not None:
        beginning = Beginning(stdin.fd, stdin.head, spool_dir, most_bytes=held.most_bytes, wait_s=held.wait_s)
        first = WholeInput(beginning, PipeInput(stdin.fd))
        looked_at = FirstRows(source(open_input=partial(_beginning_of, beginning)), beginning.ended)
    spool = Spool(first, spool_dir) if lanes > 1 else None
    unclaimed = [first]

    def open_input(_: SourceFile) -> Input:
        if spool is not None:
            return SpoolInput(spool)
        if not unclaimed:
            raise UsageProblem("standard input can be read once: open it with as many lanes as there are cursors")
        return unclaimed.pop()

    def close() -> None:
        for one in (spool, beginning):
            if one is not None:
                one.close()

    return source(open_input=open_input, close=close, notes=tuple(notes_of((stdin.file,))), beginning=looked_at)


def _beginning_of(beginning: Beginning, file: SourceFile) -> Input:
    is_packed = file.compression is not Compression.NONE or file.encoding is not None
    return BeginningInput(beginning, is_packed=is_packed)
