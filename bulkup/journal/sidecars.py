"""The two logs beside the journal, read as far as the journal counts on them."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bulkup.chunk import Chunk
from bulkup.errors import JournalUnusable
from bulkup.journal.state_files import open_in, refused

__all__ = [
    "IDS",
    "REJECTS",
    "REJECT_KEYS",
    "IdsLine",
    "decode_ids",
    "ids_line",
    "lines_of",
    "page_of_ids",
    "read_ids",
    "read_rejects",
]

REJECTS = "rejects.jsonl"
IDS = "ids.jsonl"


class IdsLine(msgspec.Struct, frozen=True):
    """The ids that a service gave for the rows of one chunk, in their order. *position* is where the chunk starts."""

    lane: str
    chunk: str
    position: int
    ids: list[str | int]


_ids_line = msgspec.json.Decoder(IdsLine)

REJECT_KEYS: dict[str, type] = {
    "id": str, "lane": str, "file": str, "stage": str, "reason": str, "length": int, "line_in_chunk": int, "position": int,
}  # fmt: skip
"""What every line of `rejects.jsonl` has."""


def read_ids(folder: Path, size: int, *, at: int = 0, name: str = IDS) -> Generator[tuple[IdsLine, int], None, None]:
    """What stands in `ids.jsonl` (or *name*) in *folder* from byte *at* to byte *size*, a line at a time, each with where the
    next begins.

    Raises `JournalUnusable` where they are not as they were written, `LocalDisk`."""
    for begin, line in lines_of(folder, name, size, at=at):
        try:
            yield decode_ids(line), begin + len(line)
        except ValueError as error:
            raise _damaged(folder / name, begin, error) from None


def page_of_ids(
    folder: Path, lane: str, at: int, size: int, page_bytes: int, name: str = IDS
) -> tuple[list[IdsLine], int | None]:
    """The ids of *lane* in `ids.jsonl` (or *name*) in *folder* from byte *at* on, about *page_bytes* of it, and where the next
    page begins, None where that is at byte *size*. Raises as `read_ids`."""
    found: list[IdsLine] = []
    after = at
    for line, after in read_ids(folder, size, at=at, name=name):
        if line.lane == lane:
            found.append(line)
        if after - at >= page_bytes:
            break
    return found, after if after < size else None


def ids_line(chunk: Chunk, dataset_id: str, ids: Sequence[str | int]) -> bytes:
    """A line for `ids.jsonl`: the ids that the rows of *chunk* have got, in their order."""
    record = {
        "lane": chunk.id.lane,
        "chunk": str(chunk.id),
        "position": chunk.start,
        "file": chunk.file,
        "byte_offset": chunk.byte_offset,
        "dataset_id": dataset_id,
        "rows": chunk.rows,
        "ids": ids,
    }
    return orjson.dumps(record) + b"\n"


def decode_ids(line: bytes) -> IdsLine:
    """A line of `ids.jsonl`. Raises `ValueError`."""
    return _ids_line.decode(line)


def read_rejects(
    folder: Path, size: int, lanes: Sequence[str], name: str = REJECTS
) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """The rejected rows in the first *size* bytes of `rejects.jsonl` (or *name*) in *folder*, each with its byte offset there and
    its line.

    *lanes* are the run's. Raises as `read_ids`."""
    for at, line in lines_of(folder, name, size):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _damaged(folder / name, at, error) from None
        if not isinstance(record, dict):
            raise _damaged(folder / name, at, "no rejected row")
        for key, kind in REJECT_KEYS.items():
            if type(record.get(key)) is not kind:
                raise _damaged(folder / name, at, f"no rejected row: {key} is not what it should be")
        if record["lane"] not in lanes:
            raise _damaged(folder / name, at, f"the run has no lane {record['lane']}")
        yield at, line, record


def lines_of(folder: Path, name: str, size: int, *, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines of *name* in *folder* from byte *at* to byte *size*, each with where it begins. Raises as `read_ids`."""
    if at >= size:
        return
    path = folder / name
    try:
        fd = open_in(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        raise JournalUnusable(f"{path} is gone, and the journal counts on it; restore it from a copy") from None
    try:
        with os.fdopen(fd, "rb") as stream:
            stream.seek(at)
            while at < size:
                line = stream.readline()
                if not line.endswith(b"\n") or at + len(line) > size:
                    raise _damaged(path, at, f"it ends there, and the journal counts on {size:,} bytes")
                yield at, line
                at += len(line)
    except OSError as error:
        raise refused(path, error) from error


def _damaged(path: Path, at: int, what: object) -> JournalUnusable:
    return JournalUnusable(f"{path}, byte {at:,}: not what bulkup wrote ({what}); restore it from a copy")
