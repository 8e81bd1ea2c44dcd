"""Files that are smaller than a block are read together, and nobody who takes them one by one notices."""

from __future__ import annotations

import errno
import os
from contextlib import aclosing
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bulkup.encoding.lines import line_count
from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.model import Block
from bulkup.sources import Item, Source, open_source
from bulkup.sources.positions import by_file, line_counts, spans_by_file
from tests.examples import examples
from tests.sources.reading import written

ROW = b'{"a": 1}\n'
LINES = st.lists(st.sampled_from([ROW, b"\n", b"\r\n", b"x\r\n", b"y" * 5000 + b"\n"]), max_size=5).map(b"".join)


@examples(300)
@given(
    st.lists(LINES, min_size=1, max_size=8), st.integers(0, 50), st.integers(0, 3), st.sampled_from([b"", b"z", b"\r"])
)
def test_the_lines_of_each_file_in_a_block_are_those_of_its_part(
    files: list[bytes], before: int, behind: int, last: bytes
) -> None:
    data = b"".join(files) + last
    assume(data)
    files[-1] += last
    ends = list(accumulate(map(len, files), initial=before))
    bases = [0, *ends[:-1], *[ends[-1] + 7 * n for n in range(behind)]] if before else [*ends[:-1]]
    block = Block(data, before, before + len(data))
    parts = list(by_file(block, bases))
    assert line_counts(block, bases) == [
        (number, line_count(part.data)) for number, part in parts if isinstance(part, Block)
    ]
    assert list(spans_by_file(block, bases)) == [(number, part.start, part.end) for number, part in parts]
    assert b"".join(part.data for _, part in parts if isinstance(part, Block)) == data
    assert all(0 <= part.start - (*bases, 1 << 60)[number] < 1 << 50 for number, part in parts)
    assert all(part.end <= (*bases, 1 << 60)[number + 1] for number, part in parts)


def opened(folder: Path, files: list[bytes], block_bytes: int = 1000) -> Source:
    return open_source(written(folder, files), max_row_bytes=10_000, block_bytes=block_bytes)


async def came(source: Source, start: int = 0, stop: int = 1 << 40) -> list[Item]:
    async with aclosing(source.cursor()) as cursor, aclosing(cursor.together(start, stop)) as items:
        return [item async for item in items]


async def test_they_come_in_blocks(tmp_path: Path) -> None:
    assert await came(opened(tmp_path, [ROW] * 250)) == [
        Block(ROW * 111, 0, 999), Block(ROW * 111, 999, 1998), Block(ROW * 28, 1998, 2250),
    ]  # fmt: skip


async def test_a_file_without_a_last_break_ends_a_block(tmp_path: Path) -> None:
    assert await came(opened(tmp_path, [ROW, ROW + ROW[:-1], b"", ROW, ROW])) == [
        Block((ROW * 3)[:-1], 0, 26),
        Block(ROW * 2, 26, 44),
    ]


async def test_a_range_that_begins_or_ends_in_a_file_has_its_rows_alone(tmp_path: Path) -> None:
    items = await came(opened(tmp_path, [ROW * 3] * 4), 9, 27 * 3 + 1)
    assert items == [Block(ROW * 2, 9, 27), Block(ROW * 6, 27, 81), Block(ROW, 81, 90)]


@pytest.mark.parametrize("answer", [BlockingIOError(), OSError(errno.EOPNOTSUPP, "Not supported"), 3])
async def test_what_the_page_cache_lacks_is_read_in_one_hop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: OSError | int
) -> None:
    def preadv(*_: object) -> int:
        if isinstance(answer, OSError):
            raise answer
        return answer

    source = opened(tmp_path, [ROW * 2] * 30)
    monkeypatch.setattr(os, "preadv", preadv)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names of numbers
    assert await came(source) == [Block(ROW * 60, 0, 540)]
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize(
    ("lacking", "read"),
    [
        ({}, set()),
        ({7: -1}, {7}),
        ({0: 5, 29: -1, 12: 0}, {0, 12, 29}),
        ({2: 1, 3: -1, 5: 17, 8: -1}, {2, 3, 5, *range(8, 30)}),
    ],
)
async def test_only_what_the_page_cache_lacks_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: dict[int, int], read: set[int]
) -> None:
    """Of few files that are *lacking*, with how many bytes are there (-1: it would wait)."""

    def number_of(fd: int) -> int:
        return int(Path(f"/dev/fd/{fd}").readlink().stem)

    def preadv(fd: int, parts: list[memoryview], *_: int) -> int:
        there = lacking.get(number_of(fd), len(parts[0]))
        if there < 0:
            raise BlockingIOError
        data = whole(fd, there, 0)
        parts[0][: len(data)] = data
        return len(data)

    def pread(fd: int, count: int, offset: int) -> bytes:
        came_again.add(number_of(fd))
        return whole(fd, count, offset)

    whole, came_again = os.pread, set[int]()
    contents = [b'{"a": %d}\n' % (10 + number) * 2 for number in range(30)]
    source = opened(tmp_path, contents)
    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(os, "pread", pread)
    assert [item.data for item in await came(source) if isinstance(item, Block)] == [b"".join(contents)]
    assert came_again == read


async def test_a_file_that_is_gone_or_shorter_is_named(tmp_path: Path) -> None:
    source = opened(tmp_path, [ROW * 2] * 5)
    (tmp_path / "3.jsonl").write_bytes(ROW)
    with pytest.raises(SourceChanged, match=r"3\.jsonl: has become shorter: 9 bytes where there were 18"):
        await came(source)
    (tmp_path / "1.jsonl").unlink()
    with pytest.raises(SourceChanged, match=r"1\.jsonl: is gone"):
        await came(source)


async def test_a_disk_that_fails_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    source = opened(tmp_path, [ROW * 2] * 5)
    monkeypatch.setattr(os, "preadv", fail)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(SourceUnreadable, match=r"0\.jsonl: cannot be read at byte 0: Input/output error"):
        await came(source)


async def test_their_bytes_come_with_a_break_behind_each_last_row(tmp_path: Path) -> None:
    source = opened(tmp_path, [ROW, ROW[:-1], ROW * 300, ROW])
    async with aclosing(source.cursor()) as cursor, aclosing(cursor.raw(0, 1 << 40)) as pieces:
        assert b"".join([bytes(piece) async for piece in pieces]) == ROW * 303
