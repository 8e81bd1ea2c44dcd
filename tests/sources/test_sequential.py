"""Compressed and mixed files: the same rows at the same positions, and a clear end where they are cut off."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from contextlib import aclosing
from itertools import accumulate
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import BulkupError, SourceChanged, SourceUnreadable
from bulkup.model import Block
from bulkup.sources import Item, Source, SourceFile, inputs, open_source
from bulkup.sources.sequential import SequentialSource
from tests.examples import examples
from tests.sources import reading
from tests.sources.reading import FAR, Row, expected_rows, packed, read_items, read_ranges, rows_of, tiles, written

_ROWS = b"".join(b'{"number": %d, "text": "%s"}\n' % (index, b"abc" * (index % 50)) for index in range(4000))


async def _until_error(source: Source) -> tuple[list[Row], BulkupError]:
    cursor = source.cursor()
    rows: list[Row] = []
    with pytest.raises(BulkupError) as caught:
        async with aclosing(cursor.read(0, FAR)) as items:
            async for item in items:
                rows += rows_of(item)
    with pytest.raises(type(caught.value)):
        await cursor.more(FAR)
    await cursor.aclose()
    return rows, caught.value


def rows_until_error(source: Source) -> tuple[list[Row], BulkupError]:
    """What comes before the error, and the error; it is raised again at the next call."""
    return asyncio.run(_until_error(source))


@examples(30)
@given(
    st.lists(st.tuples(reading.contents(), st.sampled_from(["gzip", "zstd", "plain"])), min_size=1, max_size=4),
    st.integers(1, 400),
    st.integers(1, 90),
    st.integers(1, 150),
    st.integers(1, 4),
)
def test_any_mix_of_files_in_tiles_gives_every_row_once(
    files: list[tuple[bytes, str]], tile: int, block_bytes: int, max_row_bytes: int, pieces: int
) -> None:
    contents = [content for content, _ in files] + [b'{"last": 1}']
    with reading.scratch() as directory:
        disk = [packed(content, how, pieces) for content, how in files] + [packed(contents[-1], "gzip")]
        source = open_source(written(directory, disk), max_row_bytes=max_row_bytes, block_bytes=block_bytes)
        assert isinstance(source, SequentialSource)
        cuts = tiles(sum(map(len, contents)), tile)
        ranges = read_ranges(source, cuts)
        assert [row for rows in ranges for row in rows] == expected_rows(contents, max_row_bytes)
        for start, stop, rows in zip(cuts, cuts[1:], ranges, strict=False):
            assert all(start <= row.start < stop for row in rows)
        whole = b"".join(contents)
        for row in expected_rows(contents, max_row_bytes):
            uri, offset = source.locate(row.start)
            assert offset is not None
            content = contents[[file.uri for file in source.files].index(uri)]
            assert content[offset : offset + len(row.data)] == row.data == whole[row.start : row.start + len(row.data)]


@examples(15)
@given(reading.contents(), st.integers(1, 60), st.integers(1, 2000), st.integers(1, 2000))
def test_block_boundaries_do_not_depend_on_read_sizes(content: bytes, block: int, raw: int, piece: int) -> None:
    def blocks(raw_bytes: int, piece_bytes: int) -> list[list[Item]]:
        patch.setattr("bulkup.sources.stream._RAW_BYTES", raw_bytes)
        patch.setattr("bulkup.sources.stream._PIECE_BYTES", piece_bytes)
        source = open_source(paths, max_row_bytes=100, block_bytes=block)
        return asyncio.run(read_items(source, [0, FAR]))

    with reading.scratch() as directory, pytest.MonkeyPatch.context() as patch:
        paths = written(directory, [packed(content, "gzip", 2), packed(content, "zstd", 2)])
        assert blocks(raw, piece) == blocks(65536, 262144)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("pieces", [1, 3])
def test_what_came_before_the_cut_is_read_and_then_it_is_told(
    tmp_path: Path, how: str, part: float, pieces: int
) -> None:
    disk = packed(_ROWS, how, pieces)
    source = open_source(written(tmp_path, [disk[: int(len(disk) * part)]]), max_row_bytes=10_000)
    rows, error = rows_until_error(source)
    got = b"".join(row.data for row in rows)
    assert _ROWS.startswith(got)
    assert len(got) > len(_ROWS) * part * 0.5 or how == "zstd"
    assert isinstance(error, SourceUnreadable)
    assert f"0.jsonl: cut off after {len(got)} decoded bytes; what came before has been read" in str(error)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_damage_in_the_middle_ends_the_source(tmp_path: Path, how: str) -> None:
    disk = bytearray(packed(_ROWS, how, 3))
    middle = len(disk) * 2 // 3
    disk[middle : middle + 200] = b"\xff" * 200
    source = open_source(written(tmp_path, [bytes(disk), packed(_ROWS, how)]), max_row_bytes=10_000)
    rows, error = rows_until_error(source)
    got = b"".join(row.data for row in rows)
    assert len(got) >= len(_ROWS) // 3
    assert got[: len(_ROWS) // 3] == _ROWS[: len(_ROWS) // 3]
    assert f"0.jsonl: damaged {how}" in str(error) or "cut off" in str(error)
    assert len(source.bases) == 1


def test_zero_bytes_behind_gzip_are_padding_and_others_are_damage(tmp_path: Path) -> None:
    disk = packed(_ROWS, "gzip", 2)
    source = open_source(written(tmp_path, [disk + b"\0" * 100_000]), max_row_bytes=10_000)
    assert reading.read_all(source) == expected_rows([_ROWS], 10_000)
    source = open_source(written(tmp_path, [disk + b"rubbish"]), max_row_bytes=10_000)
    rows, error = rows_until_error(source)
    assert rows == expected_rows([_ROWS], 10_000)
    assert "bytes behind its end that are not gzip" in str(error)


def test_zstd_frames_of_every_kind_are_read(tmp_path: Path) -> None:
    parts = [_ROWS[:1000], _ROWS[1000:1001], b"", _ROWS[1001:]]
    skippable = b"\x53\x2a\x4d\x18" + (70_000).to_bytes(4, "little") + b"s" * 70_000
    frames = [
        zstandard.ZstdCompressor(level=19).compress(parts[0]),
        zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(parts[1]),
        zstandard.ZstdCompressor().compress(parts[2]),
        zstandard.ZstdCompressor(level=-5).compress(parts[3]),
    ]
    source = open_source(written(tmp_path, [skippable + skippable.join(frames) + skippable]), max_row_bytes=10_000)
    assert reading.read_all(source) == expected_rows([_ROWS], 10_000)
    cut = skippable + skippable.join(frames) + skippable[:-1]
    rows, error = rows_until_error(open_source(written(tmp_path, [cut]), max_row_bytes=10_000))
    assert rows == expected_rows([_ROWS], 10_000)
    assert "cut off" in str(error)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_memory_is_bounded_where_little_becomes_much(tmp_path: Path, how: str) -> None:
    """40 MB in one row and 40 MB in equal rows, packed about a thousand times: blocks come, memory stays."""
    content = b'{"a": "' + b"x" * 40_000_000 + b'"}\n' + (b'{"a": "' + b"y" * 1000 + b'"}\n') * 40_000
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(content, 9) if how == "gzip" else zstandard.compress(content, 19))
    assert path.stat().st_size < 200_000
    source = open_source([str(path)], max_row_bytes=1_000_000)

    async def measure() -> int:
        cursor, rows = source.cursor(), 0
        async with aclosing(cursor.read(0, FAR)) as items:
            async for item in items:
                rows += item.data.count(b"\n") if isinstance(item, Block) else 1
        await cursor.aclose()
        return rows

    tracemalloc.start()
    try:
        assert asyncio.run(measure()) == 40_001
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


async def test_a_sequential_source_goes_forward_only(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, [packed(_ROWS, "gzip")]), max_row_bytes=10_000)
    assert source.rereadable
    assert not source.any_range
    assert source.size is None
    cursor = source.cursor()
    first = await cursor.peek()
    async with aclosing(cursor.read(1000, 1001)) as items:
        assert [item async for item in items] == []
    assert first is not None
    with pytest.raises(ValueError, match="forward only"):
        await cursor.more(999)
    with pytest.raises(ValueError, match="peek"):
        await cursor.peek()
    assert await cursor.more(len(_ROWS) - 400)
    assert not await cursor.more(len(_ROWS))
    assert cursor.progress == source.files[0].size
    await cursor.aclose()


async def test_a_row_handed_out_is_passed_though_its_range_is_not_done(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, [packed(_ROWS, "gzip")]), max_row_bytes=10_000)
    cursor = source.cursor()
    async with aclosing(cursor.read(0, FAR)) as items:
        item = await anext(items)
    last = rows_of(item)[-1]
    with pytest.raises(ValueError, match="forward only"):
        await cursor.more(last.start)
    async with aclosing(cursor.read(last.start + 1, FAR)) as items:
        assert (await anext(items)).start == item.end
    await cursor.aclose()


async def test_a_reader_cancelled_while_it_waits_loses_nothing(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, [packed(_ROWS, "gzip"), packed(_ROWS, "zstd")]), max_row_bytes=10_000)
    cursor = source.cursor()
    task = asyncio.create_task(cursor.peek())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rows = []
    async with aclosing(cursor.read(0, FAR)) as items:
        async for item in items:
            rows += rows_of(item)
    assert rows == expected_rows([_ROWS, _ROWS], 10_000)
    await cursor.aclose()


async def test_two_cursors_read_for_themselves_and_leave_nothing_open(tmp_path: Path) -> None:
    before = reading.open_descriptors()
    source = open_source(written(tmp_path, [packed(_ROWS, "gzip"), packed(_ROWS, "zstd")]), max_row_bytes=10_000)
    first, second = source.cursor(), source.cursor()
    assert await first.more(len(_ROWS) + 5)
    assert source.bases == (0, len(_ROWS))
    assert await second.peek() is not None
    await first.aclose()
    await second.aclose()
    source.close()
    assert reading.open_descriptors() <= before + 1


def test_a_plain_file_among_others_that_became_shorter_is_a_changed_source(tmp_path: Path) -> None:
    paths = written(tmp_path, [_ROWS, packed(_ROWS, "gzip")])
    source = open_source(paths, max_row_bytes=10_000)
    Path(paths[0]).write_bytes(_ROWS[:100])
    rows, error = rows_until_error(source)
    assert not rows
    assert isinstance(error, SourceChanged)


async def test_whole_files_between_what_is_wanted_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier process has said where the files begin. What is wanted lies in files 2 and 3, 7, and 9."""
    contents = [b"".join(b'{"a": %d}\n' % number for number in range(file * 7, file * 9 + 3)) for file in range(10)]
    paths = [tmp_path / f"{number}.jsonl.gz" for number in range(10)]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(gzip.compress(data))
    bases = [0, *accumulate(map(len, contents[:-1]))]
    expected = expected_rows(contents, 1000)
    opened: list[str] = []
    real = inputs.open_file

    def open_file(file: SourceFile) -> int:
        opened.append(Path(file.uri).name[0])
        return real(file)

    monkeypatch.setattr(inputs, "open_file", open_file)
    source = open_source([str(path) for path in paths], max_row_bytes=1000, block_bytes=64)
    source.learn(bases)
    wanted = [(bases[2] + 5, bases[3] + 20), (bases[7] + 30, bases[7] + 60), (bases[9] + 1, 1 << 60)]
    async with aclosing(source.cursor()) as cursor:
        for start, stop in wanted:
            assert await cursor.more(start)
            got = [row async for item in cursor.read(start, stop) for row in rows_of(item)]
            assert got == [row for row in expected if start <= row.start < stop]
        assert cursor.progress == sum(path.stat().st_size for path in paths)
    assert opened == ["2", "3", "4", "7", "8", "9"], "what comes next is begun while the last is worked on"
