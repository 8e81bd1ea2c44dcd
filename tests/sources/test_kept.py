"""Rows that are kept: however much of them is, and wherever it is cut, a source gives what it gives without them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, closing
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import SourceChanged
from bulkup.model import Block
from bulkup.sources import Item, KeptRows, KeptSource, Source, open_source
from bulkup.sources.kept_rows import MOST_BYTES
from tests.examples import examples
from tests.sources import reading
from tests.sources.reading import FAR, packed, read_items, tiles

_BLOCK_BYTES = 64


Keeping = Callable[..., KeptRows]
Row = tuple[int, bytes]
"""A line with its position."""


def _rows_of(item: Item) -> list[Row]:
    if not isinstance(item, Block):
        return [(item.start, item.head)]
    lines = item.data.removesuffix(b"\n").split(b"\n")
    if item.offsets is not None:
        return list(zip(item.offsets, lines, strict=True))
    return list(zip(accumulate((len(line) + 1 for line in lines), initial=item.start), lines, strict=False))


def _read(source: Source, cuts: Sequence[int]) -> list[list[Row]]:
    ranges = asyncio.run(read_items(source, cuts))
    return [[row for item in items for row in _rows_of(item)] for items in ranges]


def _all(source: Source) -> list[Row]:
    return _read(source, [0, FAR])[0]


def _rows(count: int, seed: int) -> list[dict[str, Any]]:
    return [{"n": n, "text": "ä" * ((n * seed) % 23)} for n in range(count)]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    match path.suffix:
        case ".parquet":
            pa.parquet.write_table(pa.table({"n": [r["n"] for r in rows], "t": [r["text"] for r in rows]}), path)
        case ".csv":
            lines = ["n,text", *(f'{r["n"]},"{r["text"]}"' for r in rows)]
            path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        case ".gz" | ".zst":
            packable = b"\n\n".join(json.dumps(row, ensure_ascii=False).encode() for row in rows)
            path.write_bytes(packed(packable, "gzip" if path.suffix == ".gz" else "zstd", 3))
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _files(folder: str, kinds: Sequence[tuple[str, int]], seed: int) -> list[str]:
    paths = [Path(folder) / f"{index}{suffix}" for index, (suffix, _) in enumerate(kinds)]
    for path, (_, count) in zip(paths, kinds, strict=True):
        _write(path, _rows(count, seed))
    return list(map(str, paths))


def _opened(paths: Sequence[str]) -> Source:
    return open_source(paths, max_row_bytes=45, block_bytes=_BLOCK_BYTES)


async def _keep(paths: Sequence[str], kept: KeptRows, ranges: Sequence[tuple[int, int]]) -> None:
    """As the scan does: read these *ranges* and keep what they hold."""
    source = _opened(paths)
    cursor = source.cursor()
    for start, stop in ranges:
        number = max(n for n, base in enumerate(source.bases) if base <= start)
        base = source.bases[number]
        async with aclosing(cursor.read(start, stop)) as items:
            async for item in items:
                kept.keep(number, item, base)
        kept.covers(number, start - base, stop - base, is_end=stop == (*source.bases, source.end)[number + 1])
    await cursor.aclose()


async def _keep_whole(paths: Sequence[str], kept: KeptRows, which: Sequence[int]) -> list[int]:
    """The same of whole files that are only read forwards; where each file begins."""
    source = _opened(paths)
    cursor = source.cursor()
    held: list[Any] = []
    async with aclosing(cursor.read(0, FAR)) as items:
        async for item in items:
            held.append(item)  # noqa: PERF401
    await cursor.aclose()
    assert source.end is not None
    ends = [*source.bases[1:], source.end]
    for number, (base, end) in enumerate(zip(source.bases, ends, strict=True)):
        if number in which:
            for item in held:
                if base <= item.start < end:
                    kept.keep(number, item, base)
            kept.covers(number, 0, end - base, is_end=True)
    return list(source.bases)


_kinds = st.lists(
    st.tuples(st.sampled_from([".parquet", ".csv", ".jsonl"]), st.integers(0, 30)), min_size=1, max_size=4
)
_packed = st.lists(
    st.tuples(st.sampled_from([".gz", ".zst", ".json", ".jsonl"]), st.integers(0, 30)), min_size=1, max_size=4
)
_little = st.sampled_from([MOST_BYTES, MOST_BYTES, 300, 0])


@examples(60)
@given(_kinds, st.data(), _little, st.integers(1, 300))
def test_whatever_is_kept_a_source_of_any_range_gives_the_same(
    kinds: list[tuple[str, int]], data: st.DataObject, most_bytes: int, tile: int
) -> None:
    with reading.scratch() as folder, ExitStack() as stack:
        paths = _files(folder, kinds, data.draw(st.integers(1, 9)))
        source = _opened(paths)
        if not source.any_range or not source.size:
            return
        edges = [*source.bases, source.size]
        cuts = data.draw(st.lists(st.integers(0, source.size), max_size=6))
        points = sorted({*edges, *cuts})
        pieces = list(pairwise(points))
        kept = stack.enter_context(closing(KeptRows(Path(folder), whole_files=False, most_bytes=most_bytes)))
        asyncio.run(_keep(paths, kept, [piece for piece in pieces if data.draw(st.booleans())]))
        wanted = _read(_opened(paths), tiles(source.size, tile))
        assert _read(KeptSource(source, kept), tiles(source.size, tile)) == wanted
        start, stop = sorted(data.draw(st.tuples(st.integers(0, source.size), st.integers(0, source.size))))
        assert _read(KeptSource(_opened(paths), kept), [start, stop]) == _read(_opened(paths), [start, stop])


@examples(60)
@given(_packed, st.data(), _little, st.integers(1, 300), st.booleans(), st.booleans())
def test_whatever_is_kept_a_source_that_is_read_forwards_gives_the_same(
    kinds: list[tuple[str, int]], data: st.DataObject, most_bytes: int, tile: int, learns: bool, asks: bool
) -> None:
    kinds = [*kinds, (".json", 2)]
    with reading.scratch() as folder, ExitStack() as stack:
        paths = _files(folder, kinds, data.draw(st.integers(1, 9)))
        kept = stack.enter_context(closing(KeptRows(Path(folder), whole_files=True, most_bytes=most_bytes)))
        which = data.draw(st.sets(st.integers(0, len(kinds) - 1)))
        bases = asyncio.run(_keep_whole(paths, kept, sorted(which)))
        source = _opened(paths)
        assert not source.any_range
        if learns:
            source.learn(bases)
        wanted = [row for rows in _read(_opened(paths), [0, FAR]) for row in rows]
        assert asyncio.run(_by_tiles(KeptSource(source, kept), tile, asks)) == wanted


async def _by_tiles(source: Source, tile: int, asks: bool) -> list[Row]:
    """As an upload goes through it."""
    cursor, rows, at = source.cursor(), [], 0
    if asks and (first := await cursor.peek()) is not None:
        assert _rows_of(first)
    while await cursor.more(at):
        async with aclosing(cursor.read(at, at + tile)) as items:
            async for item in items:
                assert at <= item.start < at + tile
                rows += _rows_of(item)
        at += tile
    assert cursor.progress <= sum(file.size or 0 for file in source.files)
    await cursor.aclose()
    return rows


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    """Makes `KeptRows` that are closed in the end."""
    with ExitStack() as stack:

        def made(folder: Path, **more: Any) -> KeptRows:
            return stack.enter_context(closing(KeptRows(folder, **{"whole_files": False, **more})))

        yield made


def _all_kept(paths: Sequence[str], kept: KeptRows) -> KeptRows:
    source = _opened(paths)
    assert source.size is not None
    ends = [*source.bases[1:], source.size]
    asyncio.run(_keep(paths, kept, list(zip(source.bases, ends, strict=True))))
    return kept


def test_what_is_kept_is_not_read_where_it_stands(tmp_path: Path, keeping: Keeping) -> None:
    path = tmp_path / "rows.parquet"
    _write(path, _rows(500, 7))
    source, rows = _opened([str(path)]), _all(_opened([str(path)]))
    kept = _all_kept([str(path)], keeping(tmp_path))
    path.write_bytes(bytes(path.stat().st_size))
    assert _all(KeptSource(source, kept)) == rows


@pytest.mark.parametrize("change", [os.unlink, lambda path: os.truncate(path, 10)])
def test_a_file_that_is_gone_or_shorter_is_noticed_all_the_same(tmp_path: Path, keeping: Keeping, change: Any) -> None:
    path = tmp_path / "rows.parquet"
    _write(path, _rows(50, 7))
    source = _opened([str(path)])
    kept = _all_kept([str(path)], keeping(tmp_path))
    change(path)
    with pytest.raises(SourceChanged, match=r"rows\.parquet"):
        _all(KeptSource(source, kept))


def test_a_spool_that_cannot_be_read_is_done_without(tmp_path: Path, keeping: Keeping) -> None:
    path = tmp_path / "rows.parquet"
    _write(path, _rows(500, 7))
    wanted = _all(_opened([str(path)]))
    kept = _all_kept([str(path)], keeping(tmp_path))
    assert kept._spool is not None
    os.truncate(kept._spool.fileno(), 1000)
    assert _all(KeptSource(_opened([str(path)]), kept)) == wanted
    assert not kept.is_readable


def test_a_disk_that_takes_no_more_is_done_without(tmp_path: Path, keeping: Keeping) -> None:
    path = tmp_path / "rows.parquet"
    _write(path, _rows(500, 7))
    wanted = _all(_opened([str(path)]))
    kept = keeping(tmp_path, whole_files=False)
    source = _opened([str(path)])
    assert source.size is not None
    half = source.size // 2
    asyncio.run(_keep([str(path)], kept, [(0, half)]))
    assert kept._spool is not None
    written = os.open(f"/proc/self/fd/{kept._spool.fileno()}", os.O_RDONLY)
    os.dup2(written, kept._spool.fileno())  # what is kept can still be read, and nothing written
    asyncio.run(_keep([str(path)], kept, [(half, source.size)]))
    assert kept.covered_to(0, 0) == half
    assert _all(KeptSource(source, kept)) == wanted


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path, keeping: Keeping) -> None:
    path = tmp_path / "rows.parquet"
    _write(path, _rows(50, 7))
    kept = _all_kept([str(path)], keeping(tmp_path / "missing"))
    assert _all(KeptSource(_opened([str(path)]), kept)) == _all(_opened([str(path)]))


def test_nobody_else_finds_the_spool(tmp_path: Path, keeping: Keeping) -> None:
    path = tmp_path / "in" / "rows.parquet"
    path.parent.mkdir()
    _write(path, _rows(50, 7))
    folder = tmp_path / "state"
    folder.mkdir()
    kept = _all_kept([str(path)], keeping(folder))
    assert kept._spool is not None
    assert list(folder.iterdir()) == []
    assert os.fstat(kept._spool.fileno()).st_mode & 0o077 == 0
    assert os.fstat(kept._spool.fileno()).st_size > 0
    kept.close()


def test_a_packed_file_that_has_no_room_leaves_it_to_the_next_one(tmp_path: Path, keeping: Keeping) -> None:
    paths = _files(str(tmp_path), [(".gz", 200), (".gz", 3)], 7)
    kept = keeping(tmp_path, whole_files=True, most_bytes=1000)
    asyncio.run(_keep_whole(paths, kept, [0, 1]))
    assert kept.end_of(0) is None
    assert kept.end_of(1) is not None
    assert kept._spool is not None
    assert os.fstat(kept._spool.fileno()).st_size < 1000


def test_a_part_of_the_free_space_is_taken_at_most(
    tmp_path: Path, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    _write(path, _rows(500, 7))
    room = os.statvfs(tmp_path)
    few = os.statvfs_result((room.f_bsize, 1000, *room[2:4], 8, *room[5:]))
    monkeypatch.setattr(os, "fstatvfs", lambda _: few)
    kept = _all_kept([str(path)], keeping(tmp_path))
    assert kept._spool is not None
    assert 0 < os.fstat(kept._spool.fileno()).st_size <= 1000
    assert _all(KeptSource(_opened([str(path)]), kept)) == _all(_opened([str(path)]))
