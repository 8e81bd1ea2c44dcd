"""What a scan has read and is slow to read again is kept: nothing of it is read where it stands a second time."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import json
import lzma
from collections.abc import Iterator, Sequence
from contextlib import aclosing, closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from bulkup.destinations.nebius.rows import TARGET
from bulkup.encoding import RowOptions
from bulkup.errors import SourceUnreadable
from bulkup.model import Block
from bulkup.run.scan_hands import ThisHand
from bulkup.scan.scanner import first_rows, made_way, scan
from bulkup.scan.spread import END, Part, whole_in_parts
from bulkup.sources import KeptRows, KeptSource, Source, open_source
from tests.scan.whole import NothingKept

LINES = b"".join(json.dumps({"prompt": f"p{n}", "completion": "c" * (n % 40)}).encode() + b"\n" for n in range(3000))
"""In several blocks, and more than a stream makes in one batch."""


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptRows]:
    folder = tmp_path / "state"
    folder.mkdir()
    with closing(KeptRows(folder, whole_files=False)) as made:
        yield made


def _scanned(source: Source, kept: KeptRows, parts: Sequence[Part] | None = None) -> None:
    hand = ThisHand(source, 1 << 20, lambda _part, _bytes: None, goes_on=False, runs_user_code=False, keeps=kept)
    way = made_way(TARGET, RowOptions(), first_rows(source, TARGET, RowOptions(), lambda: None))
    asyncio.run(scan({"lane": way}, parts or whole_in_parts(source.files), [hand], NothingKept(), hand, is_whole=True))


def _opened(paths: Sequence[Path]) -> Source:
    return open_source([str(path) for path in paths], max_row_bytes=1 << 20)


def _lines(source: Source) -> tuple[bytes, bool]:
    """All rows, and whether the source could be read to its end."""

    async def read() -> tuple[bytes, bool]:
        cursor, found = source.cursor(), bytearray()
        try:
            async with aclosing(cursor.read(0, END)) as items:
                async for item in items:
                    assert isinstance(item, Block)
                    found += item.data if item.data.endswith(b"\n") else item.data + b"\n"
        except SourceUnreadable:
            return bytes(found), False
        finally:
            await cursor.aclose()
        return bytes(found), True

    return asyncio.run(read())


def _parquet(path: Path) -> Path:
    rows = [json.loads(line) for line in LINES.splitlines()]
    pa.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=500)
    return path


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _emptied(paths: Sequence[Path]) -> None:
    """They are as long as they were, and hold nothing."""
    for path in paths:
        path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("cuts", [(), (1000, 1001, 30_000)])
def test_a_table_is_decoded_once(tmp_path: Path, kept: KeptRows, cuts: tuple[int, ...]) -> None:
    paths = [_parquet(tmp_path / "a.parquet"), _parquet(tmp_path / "b.parquet")]
    source = _opened(paths)
    wanted = _lines(_opened(paths))
    parts = [Part(0, a, b) for a, b in zip((0, *cuts), (*cuts, END), strict=True)]
    _scanned(source, kept, [*parts, Part(1)])
    _emptied(paths)
    assert _lines(KeptSource(source, kept)) == wanted
    assert wanted[1]


def test_packed_files_are_unpacked_once(tmp_path: Path) -> None:
    packed = [lzma.compress(LINES), b"", bz2.compress(LINES), json.dumps([{"prompt": "p"}]).encode()]
    names = ["a.jsonl.xz", "b.jsonl", "c.jsonl.bz2", "d.json"]
    paths = [_written(tmp_path / name, data) for name, data in zip(names, packed, strict=True)]
    source, other = _opened(paths), _opened(paths)
    wanted = _lines(other)
    with closing(KeptRows(tmp_path, whole_files=True)) as kept:
        _scanned(source, kept)
        source.learn(other.bases)  # as the run does
        _emptied(paths)
        assert _lines(KeptSource(source, kept)) == wanted
    assert wanted[1]


def test_plain_lines_are_not_kept(tmp_path: Path, kept: KeptRows) -> None:
    paths = [_written(tmp_path / "a.jsonl", LINES), _parquet(tmp_path / "b.parquet")]
    source = _opened(paths)
    _scanned(source, kept)
    assert kept.covered_to(0, 0) == 0
    assert kept.end_of(1) is not None


def test_nor_are_lines_that_are_quickly_unpacked(tmp_path: Path, kept: KeptRows) -> None:
    packed = [gzip.compress(LINES), zstandard.compress(LINES), lzma.compress(LINES)]
    names = ["a.jsonl.gz", "b.jsonl.zst", "c.jsonl.xz"]
    _scanned(_opened([_written(tmp_path / name, data) for name, data in zip(names, packed, strict=True)]), kept)
    assert [kept.end_of(number) is not None for number in range(3)] == [False, False, True]


def test_of_a_file_that_is_cut_off_nothing_is_lost(tmp_path: Path) -> None:
    whole, broken = lzma.compress(LINES), lzma.compress(LINES)[:-3000]
    paths = [_written(tmp_path / "a.jsonl.xz", whole), _written(tmp_path / "b.jsonl.xz", broken)]
    source = _opened(paths)
    wanted, is_whole = _lines(_opened(paths))
    with closing(KeptRows(tmp_path, whole_files=True)) as kept:
        _scanned(source, kept)
        _emptied(paths[:1])
        assert _lines(KeptSource(source, kept)) == (wanted, is_whole)
    assert not is_whole


def test_of_a_part_of_the_source_that_part_is_kept(tmp_path: Path, kept: KeptRows) -> None:
    path = _parquet(tmp_path / "a.parquet")
    source = _opened([path])
    assert source.size is not None
    _scanned(
        source, kept, [Part(0, 0, 5000, has_lines=False), Part(0, source.size - 5000, source.size, has_lines=False)]
    )
    assert kept.covered_to(0, 0) == 5000
    assert kept.covered_to(0, 5000) == 5000
    assert kept.covered_to(0, source.size - 5000) == source.size
    assert _lines(KeptSource(source, kept)) == _lines(_opened([path]))
