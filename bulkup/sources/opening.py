"""Locators to a source that can be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.model import BLOCK_BYTES
from bulkup.sources.files import STDIN, SourceFile
from bulkup.sources.inputs import Input, PipeInput
from bulkup.sources.locators import resolve
from bulkup.sources.plain import PlainSource
from bulkup.sources.sequential import SequentialSource
from bulkup.sources.sniff import inspect, sniff
from bulkup.sources.source import Source
from bulkup.sources.spool import Spool, SpoolInput

__all__ = ["open_files", "open_source"]


def open_source(
    locators: Sequence[str],
    *,
    max_row_bytes: int,
    block_bytes: int = BLOCK_BYTES,
    lanes: int = 1,
    spool_dir: Path | None = None,
    stdin_fd: int = 0,
) -> Source:
    """Resolve *locators*, look into every file, freeze them.

    Blocks (for stdin until its first bytes are there): call it before the event loop runs, or in a thread.
    For stdin there may be *lanes* cursors; more than one spool it to a file without a name in *spool_dir*.
    Raises `UsageProblem` and `SourceUnreadable` as `resolve` and `inspect` do.
    """
    uris = resolve(locators)
    if uris == (STDIN,):
        return _open_stdin(stdin_fd, max_row_bytes, block_bytes, lanes, spool_dir)
    return open_files(tuple(map(inspect, uris)), max_row_bytes=max_row_bytes, block_bytes=block_bytes)


def open_files(files: tuple[SourceFile, ...], *, max_row_bytes: int, block_bytes: int = BLOCK_BYTES) -> Source:
    """A source of files that were inspected before."""
    if all(file.splittable for file in files):
        return PlainSource(files, max_row_bytes=max_row_bytes, block_bytes=block_bytes)
    return SequentialSource(files, max_row_bytes=max_row_bytes, block_bytes=block_bytes)


def _open_stdin(fd: int, max_row_bytes: int, block_bytes: int, lanes: int, spool_dir: Path | None) -> SequentialSource:
    head = bytearray()

    def read(count: int) -> bytes:
        try:
            data = os.read(fd, count)
        except OSError as error:
            raise SourceUnreadable(f"standard input: cannot be read: {error.strerror}") from error
        head.extend(data)
        return data

    told = sniff(STDIN, read)
    file = SourceFile(STDIN, None, None, None, told.compression, told.format, told.bom)
    stdin = PipeInput(fd, bytes(head))
    spool = Spool(stdin, spool_dir) if lanes > 1 else None
    unclaimed = [stdin]

    def open_input(_: SourceFile) -> Input:
        if spool is not None:
            return SpoolInput(spool)
        if not unclaimed:
            raise UsageProblem("standard input can be read once: open it with as many lanes as there are cursors")
        return unclaimed.pop()

    return SequentialSource(
        (file,),
        max_row_bytes=max_row_bytes,
        block_bytes=block_bytes,
        open_input=open_input,
        close=spool.close if spool is not None else lambda: None,
    )
