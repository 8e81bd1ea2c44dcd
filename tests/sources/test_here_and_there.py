"""A cursor for ranges here and there gives what any cursor gives, and begins no file that lies behind the range."""

from __future__ import annotations

import asyncio
import gzip
import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import Block
from bulkup.sources import Cursor, Source, archive_stream, open_source
from bulkup.sources.decoder import Decoder
from bulkup.sources.decompress import decoder_for
from bulkup.sources.inputs import FileInput
from bulkup.sources.sequential import SequentialCursor
from tests.examples import examples

MIB = 1024 * 1024


@contextmanager
def reads_counted() -> Iterator[Counter[str]]:
    """How many bytes are read of each file, by its path."""
    counts = Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        read = FileInput.read

        def counted(self: FileInput, count: int) -> bytes | None:
            data = read(self, count)
            counts[self._file.path] += len(data or b"")
            return data

        patch.setattr(FileInput, "read", counted)
        yield counts


def written(folder: Path, files: Sequence[Sequence[int]]) -> tuple[list[Path], list[bytes]]:
    """Packed *files*, each of rows with so many characters; and what is in them."""
    paths, contents = [], []
    for number, sizes in enumerate(files):
        contents.append(b"".join(b'{"text": "%s"}\n' % (b"x" * size) for size in sizes))
        paths.append(folder / f"{number}.jsonl.gz")
        paths[-1].write_bytes(gzip.compress(contents[-1]))
    return paths, contents


async def text_of(cursor: Cursor, start: int, stop: int) -> bytes:
    found = b""
    async with aclosing(cursor.read(start, stop)) as items:
        async for item in items:
            assert isinstance(item, Block)
            found += item.data
    return found


def expected(data: bytes, start: int, stop: int) -> bytes:
    """The rows whose first bytes lie there."""
    firsts = [0, *accumulate(len(line) for line in data.splitlines(keepends=True))]
    return b"".join(data[a:b] for a, b in pairwise(firsts) if start <= a < stop)


@examples(60)
@given(
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=20), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.booleans(),
)
def test_it_reads_what_lies_in_its_ranges(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], cuts: list[float], are_known: bool
) -> None:
    paths, contents = written(tmp_path_factory.mktemp("rows"), files)
    bases = [0, *accumulate(map(len, contents))]
    data = b"".join(contents)
    places = sorted(int(cut * len(data)) for cut in cuts)
    spans = list(pairwise(places))[::2]

    async def read(source: Source) -> None:
        if are_known:
            source.learn(bases[:-1])
        cursor = source.cursor(reads_ahead=False)
        with reads_counted() as counts:
            for start, stop in spans:
                assert await text_of(cursor, start, stop) == expected(data, start, stop)
        await cursor.aclose()
        assert all(counts[str(path)] <= path.stat().st_size for path in paths), "none is begun twice"
        last = spans[-1][1]
        assert not any(counts[str(path)] for path, base in zip(paths, bases, strict=False) if base >= last)
        for start, stop in spans if are_known else ():
            with reads_counted() as counts:
                cursor = source.cursor(reads_ahead=False)
                assert await text_of(cursor, start, stop) == expected(data, start, stop)
                await cursor.aclose()
            within = [a < stop and start < b for a, b in pairwise(bases)]
            assert not any(counts[str(path)] for path, is_in in zip(paths, within, strict=True) if not is_in)

    asyncio.run(read(open_source([str(path) for path in paths], max_row_bytes=MIB, block_bytes=256)))


def is_reading_ahead(cursor: SequentialCursor) -> bool:
    return cursor._ahead is not None


async def test_a_large_file_is_unpacked_no_farther_than_a_batch_behind_the_range(tmp_path: Path) -> None:
    """Within the range the next batch is made while one is worked on."""
    rows = b"".join(b'{"n": %7d, "text": "%s"}\n' % (n, b"x" * 1000) for n in range(8000))
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(rows, 0))
    source = open_source([str(path)], max_row_bytes=MIB)
    cursor = source.cursor(reads_ahead=False)
    assert isinstance(cursor, SequentialCursor)
    with reads_counted() as counts:
        await text_of(cursor, 1000, 2000)
        assert counts[str(path)] < 1.6 * MIB
        assert not is_reading_ahead(cursor)
    async with aclosing(cursor.read(2000, 7 * MIB)) as items:
        await anext(items)
        assert await cursor.more(2 * MIB)
        assert is_reading_ahead(cursor)
    await cursor.aclose()


async def test_an_archive_is_unpacked_once_from_one_range_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [b"".join(b'{"member": %d, "row": %d}\n' % (number, n) for n in range(50)) for number in range(8)]
    with tarfile.open(tmp_path / "rows.tar.gz", "w:gz") as archive:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(f"{number}.jsonl")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    source = open_source([str(tmp_path / "rows.tar.gz")], max_row_bytes=MIB)
    assert len(source.files) == 8
    bases = [0, *accumulate(map(len, contents))]
    source.learn(bases[:-1])
    begun: list[str] = []

    def counted(*given: Any, **more: Any) -> Decoder:
        begun.append("")
        return decoder_for(*given, **more)

    monkeypatch.setattr(archive_stream, "decoder_for", counted)
    cursor = source.cursor(reads_ahead=False)
    for number in (1, 4, 5, 7):
        assert await text_of(cursor, bases[number], bases[number + 1]) == contents[number]
    await cursor.aclose()
    assert len(begun) == 1
