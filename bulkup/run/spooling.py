"""Rows that a program has, instead of a file: they are put into a file first, so that a run of them can be gone on with."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import orjson

from bulkup.errors import UsageProblem
from bulkup.journal.state_files import make_folder, refused

__all__ = ["Rows", "are_rows", "spooled_rows"]

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]

FOLDER = "rows"
WRITE_BYTES = 1 << 20


def are_rows(sources: object) -> bool:
    """Whether *sources* are rows: an async iterable, or an iterable of anything but paths."""
    if isinstance(sources, str | os.PathLike):
        return False
    if isinstance(sources, list | tuple):
        return bool(sources) and isinstance(sources[0], Mapping)
    return isinstance(sources, AsyncIterable | Iterable)


async def spooled_rows(rows: Rows, state_dir: Path, name: str) -> Path:
    """The file with *rows* as JSON lines, readable by its owner alone, in *state_dir*: the same for the same *name*.

    It is written anew each time; a run that goes on compares it with what it has sent. Raises `UsageProblem`, `LocalDisk`.
    """
    folder = state_dir / FOLDER
    await anyio.to_thread.run_sync(make_folder, state_dir)
    await anyio.to_thread.run_sync(make_folder, folder)
    path = folder / (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") + ".jsonl")
    draft = path.with_suffix(".new")
    try:
        with suppress(FileNotFoundError):
            draft.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
        try:
            if isinstance(rows, AsyncIterable):
                await _write_async(descriptor, rows)
            else:
                await anyio.to_thread.run_sync(_write, descriptor, rows)
        finally:
            os.close(descriptor)
        draft.replace(path)
    except OSError as error:
        raise refused(path, error) from error
    return path


def _write(descriptor: int, rows: Iterable[Mapping[str, Any]]) -> None:
    held: list[bytes] = []
    size = 0
    for number, row in enumerate(rows, 1):
        held.append(_line(row, number))
        size += len(held[-1])
        if size >= WRITE_BYTES:
            _all(descriptor, b"".join(held))
            held, size = [], 0
    _all(descriptor, b"".join(held))


async def _write_async(descriptor: int, rows: AsyncIterable[Mapping[str, Any]]) -> None:
    held: list[bytes] = []
    number = size = 0
    async for row in rows:
        number += 1
        held.append(_line(row, number))
        size += len(held[-1])
        if size >= WRITE_BYTES:
            await anyio.to_thread.run_sync(_all, descriptor, b"".join(held))
            held, size = [], 0
    await anyio.to_thread.run_sync(_all, descriptor, b"".join(held))


def _line(row: object, number: int) -> bytes:
    if not isinstance(row, Mapping):
        raise UsageProblem(f"row {number:,} is a {type(row).__name__}: each row must be a dict")
    try:
        return orjson.dumps(dict(row)) + b"\n"
    except (TypeError, ValueError) as error:
        raise UsageProblem(f"row {number:,} cannot be written as JSON: {error}") from None


def _all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
