"""Plain files: any range, cut anywhere, gives each row once."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.model import Block, LongRow
from bulkup.sources import open_source
from bulkup.sources.any_range import AnyRangeSource
from tests.examples import examples
from tests.sources import reading
from tests.sources.reading import Row, expected_rows, read_items, read_ranges, tiles, written

_files = st.lists(reading.contents(), min_size=1, max_size=4)


@examples(40)
@given(_files, st.integers(1, 400), st.integers(1, 90), st.integers(1, 150))
def test_tiles_give_every_row_once_and_in_order(
    files: list[bytes], tile: int, block_bytes: int, max_row_bytes: int
) -> None:
    with reading.scratch() as directory:
        source = open_source(written(directory, files), max_row_bytes=max_row_bytes, block_bytes=block_bytes)
        assert isinstance(source, AnyRangeSource)
        cuts = tiles(sum(map(len, files)), tile)
        ranges = read_ranges(source, cuts)
        assert [row for rows in ranges for row in rows] == expected_rows(files, max_row_bytes)
        for start, stop, rows in zip(cuts, cuts[1:], ranges, strict=False):
            assert all(start <= row.start < stop for row in rows)
            for row in rows:
                uri, offset = source.locate(row.start)
                assert offset is not None
                with Path(uri).open("rb") as file:
                    file.seek(offset)
                    assert file.read(len(row.data)) == row.data


@examples(20)
@given(_files, st.lists(st.integers(0, 2000), min_size=3, max_size=3).map(sorted))
def test_two_neighbouring_ranges_are_one_range(files: list[bytes], cuts: list[int]) -> None:
    with reading.scratch() as directory:
        paths = written(directory, files)
        first, second = read_ranges(open_source(paths, max_row_bytes=50, block_bytes=32), cuts)
        (both,) = read_ranges(open_source(paths, max_row_bytes=50, block_bytes=32), [cuts[0], cuts[2]])
        assert first + second == both


@examples(20)
@given(_files, st.integers(1, 300), st.integers(0, 2**32))
def test_what_the_page_cache_lacks_comes_from_a_thread(files: list[bytes], tile: int, seed: int) -> None:
    real = os.preadv
    calls = seed

    def reluctant(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        nonlocal calls
        calls = calls * 1103515245 + 12345 & 0xFFFFFFFF
        if calls >> 16 & 1:
            raise BlockingIOError(errno.EAGAIN, "not in the page cache")
        return real(fd, [buffers[0][: 1 + (calls >> 17) % 20]], offset, flags)

    with reading.scratch() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "preadv", reluctant)
        source = open_source(written(directory, files), max_row_bytes=40, block_bytes=32)
        ranges = read_ranges(source, tiles(sum(map(len, files)), tile))
        assert [row for rows in ranges for row in rows] == expected_rows(files, 40)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_nowait_is_read_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "preadv", refuse)
    content = b'{"a": 1}\n' * 500
    source = open_source(written(tmp_path, [content]), max_row_bytes=100)
    assert reading.read_all(source) == expected_rows([content], 100)


def test_a_huge_row_is_read_in_linear_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 MB on one line in tiles of 64 KiB: the tile it begins in reads it, the others look only at themselves."""
    real, got = os.preadv, 0

    def counting(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        nonlocal got
        count = real(fd, buffers, offset, flags)
        got += count
        return count

    monkeypatch.setattr(os, "preadv", counting)
    size = 50_000_000
    content = b'{"a": 1}\n{"a": "' + b"x" * size + b'"}\n{"a": 2}\n'
    source = open_source(written(tmp_path, [content]), max_row_bytes=1_000_000)
    rows = [row for rows in read_ranges(source, tiles(len(content), 65536)) for row in rows]
    assert [(row.start, row.long) for row in rows] == [(0, False), (9, True), (len(content) - 9, False)]
    assert got < 2.1 * size


def test_blocks_are_whole_lines_of_about_the_size_wanted(tmp_path: Path) -> None:
    content = b'{"a": "%s"}\n' % (b"x" * 90) * 1000
    source = open_source(written(tmp_path, [content]), max_row_bytes=10_000, block_bytes=4096)
    (items,) = asyncio.run(read_items(source, [0, len(content)]))
    blocks = [item for item in items if isinstance(item, Block)]
    assert b"".join(block.data for block in blocks) == content
    assert all(3990 < len(block.data) <= 4096 and block.data.endswith(b"\n") for block in blocks[:-1])


def test_a_row_longer_than_a_block_is_a_block_of_its_own(tmp_path: Path) -> None:
    rows = [b'{"a": 1}\n', b'{"b": "' + b"x" * 300 + b'"}\r\n', b'{"c": 1}\n']
    exact = len(rows[1]) - 2
    for limit, kind in ((exact, Block), (exact - 1, LongRow)):
        source = open_source(written(tmp_path, [b"".join(rows)]), max_row_bytes=limit, block_bytes=64)
        (items,) = asyncio.run(read_items(source, [0, 1000]))
        assert [type(item) for item in items] == [Block, kind, Block]
        assert [item.start for item in items] == [0, 9, 9 + len(rows[1])]


async def test_peek_takes_nothing_and_more_is_arithmetic(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, [b"", b'{"a": 1}\n{"a": 2}\n']), max_row_bytes=100)
    cursor = source.cursor()
    first = await cursor.peek()
    assert isinstance(first, Block)
    assert first.data == b'{"a": 1}\n{"a": 2}\n'
    async with aclosing(cursor.read(0, 18)) as items:
        assert [item async for item in items] == [first]
    assert cursor.progress == 18
    assert await cursor.more(17)
    assert not await cursor.more(18)
    await cursor.aclose()


async def test_many_readers_of_many_files_leave_nothing_open(tmp_path: Path) -> None:
    files = [b'{"a": %d}\n' % index for index in range(100)]
    source = open_source(written(tmp_path, files, "{:03}.jsonl"), max_row_bytes=100)
    assert source.size is not None
    before = reading.open_descriptors()
    cursor = source.cursor()

    async def rows(start: int, stop: int) -> list[Row]:
        async with aclosing(cursor.read(start, stop)) as items:
            return [row async for item in items for row in reading.rows_of(item)]

    got = await asyncio.gather(*(rows(start, start + 100) for start in range(0, source.size, 100)))
    assert [row for part in got for row in part] == expected_rows(files, 100)
    assert reading.open_descriptors() < before + 50
    await cursor.aclose()
    assert reading.open_descriptors() <= before + 1


@pytest.mark.parametrize("when", ["before", "between"])
async def test_a_file_that_became_shorter_is_a_changed_source(tmp_path: Path, when: str) -> None:
    paths = written(tmp_path, [b'{"a": 1}\n' * 1000])
    source = open_source(paths, max_row_bytes=100, block_bytes=256)
    cursor = source.cursor()
    if when == "between":
        await cursor.peek()
    os.truncate(paths[0], 500)
    got = 0
    with pytest.raises(SourceChanged, match=r"0\.jsonl.*shorter"):
        async with aclosing(cursor.read(0, 9000)) as items:
            async for item in items:
                got = item.end
    assert got <= 500
    await cursor.aclose()


async def test_a_failing_disk_is_told_with_file_and_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    source = open_source(written(tmp_path, [b'{"a": 1}\n']), max_row_bytes=100)
    monkeypatch.setattr(os, "preadv", fail)
    monkeypatch.setattr(os, "pread", fail)
    cursor = source.cursor()
    with pytest.raises(SourceUnreadable, match=r"0\.jsonl: cannot be read at byte 0: Input/output error"):
        await cursor.peek()
    await cursor.aclose()
