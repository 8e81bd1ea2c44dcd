"""What the tests of sources share: contents made at random, and a reader too simple to be wrong."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import zstandard
from hypothesis import strategies as st

from bulkup.model import HEAD_BYTES, Block
from bulkup.sources import Item, Source
from bulkup.sources.head import BOM

FAR = 1 << 60


@dataclass(frozen=True)
class Row:
    """A line with its position; *data* is its head where it was too long."""

    start: int
    data: bytes
    long: bool = False


def rows_of(item: Item) -> list[Row]:
    """The lines of *item*, each with its position."""
    if not isinstance(item, Block):
        return [Row(item.start, item.head, long=True)]
    assert item.data
    if item.offsets is not None:
        lines = item.data.removesuffix(b"\n").split(b"\n")  # a block that was cut off before another has its last break
        assert len(lines) == len(item.offsets)
        assert item.start == item.offsets[0]
        assert item.end == item.offsets[-1] + len(lines[-1])
        return [Row(offset, line) for offset, line in zip(item.offsets, lines, strict=True)]
    assert item.end - item.start == len(item.data)
    rows, at = [], item.start
    for line in _lines(item.data):
        rows.append(Row(at, line))
        at += len(line)
    return rows


def _lines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def expected_rows(contents: Sequence[bytes], max_row_bytes: int) -> list[Row]:
    """What a source of JSON lines files with these decoded *contents* holds."""
    rows, base = [], 0
    for content in contents:
        skip = len(BOM) if content.startswith(BOM) else 0
        at = base + skip
        for line in _lines(content[skip:]):
            bare = line.removesuffix(b"\n").removesuffix(b"\r")  # the last may end in half a break
            long = len(bare) > max_row_bytes
            rows.append(Row(at, bare[:HEAD_BYTES] if long else line, long))
            at += len(line)
        base += len(content)
    return rows


async def read_items(source: Source, cuts: Sequence[int]) -> list[list[Item]]:
    """The items of each range between two neighbours of *cuts*, read in order."""
    cursor = source.cursor()
    ranges = []
    try:
        for start, stop in pairwise(cuts):
            async with aclosing(cursor.read(start, stop)) as items:
                ranges.append([item async for item in items])
    finally:
        await cursor.aclose()
        source.close()
    return ranges


def read_ranges(source: Source, cuts: Sequence[int]) -> list[list[Row]]:
    """The rows of each range between two neighbours of *cuts*."""
    ranges = asyncio.run(read_items(source, cuts))
    return [[row for item in items for row in rows_of(item)] for items in ranges]


def read_all(source: Source) -> list[Row]:
    """Every row."""
    return read_ranges(source, [0, FAR])[0]


def written(directory: str | Path, contents: Sequence[bytes], name: str = "{}.jsonl") -> list[str]:
    """Files with these *contents* on disk."""
    paths = [Path(directory) / name.format(index) for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def packed(content: bytes, how: str, pieces: int = 1) -> bytes:
    """*content* compressed as *how*, in *pieces* members or frames."""
    if how == "plain":
        return content
    size = max(-(-len(content) // pieces), 1)
    parts = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    if how == "gzip":
        return b"".join(gzip.compress(part, 1) for part in parts)
    checked = zstandard.ZstdCompressor(write_checksum=pieces % 2 == 1, write_content_size=pieces % 3 == 1)
    return b"".join(checked.compress(part) for part in parts)


def tiles(length: int, size: int) -> list[int]:
    """The cuts that make tiles of *size*, the last of them reaching beyond the end."""
    return [*range(0, length, size), length + 5]


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory for one example (a fixture would be shared by all of them)."""
    return tempfile.TemporaryDirectory()


_line = st.one_of(
    st.sampled_from([b"", b" ", b"{}", b'{"a": "\xc3\xa4\xf0\x9f\x98\x80"}', b"not json", b"\xff\xfe", b"\r"]),
    st.integers(0, 120).map(lambda size: b'{"a": "' + b"x" * size + b'"}'),
)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """A JSON lines file in any of its shapes, its first line an object so that it is told as one."""
    lines = draw(st.lists(st.tuples(_line, st.sampled_from([b"\n", b"\r\n"])), max_size=25))
    body = b"".join(line + end for line, end in lines)
    if draw(st.booleans()):
        body = body.removesuffix(b"\n")
    first = draw(st.sampled_from([b"", b'{"first": 1}\n'])) if not body else b'{"first": 1}\n'
    return draw(st.sampled_from([b"", BOM])) + first + body


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/dev/fd").iterdir()))
