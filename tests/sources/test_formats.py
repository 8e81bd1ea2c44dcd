"""What a format says of itself, and rows that are found by number."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.model import Block
from bulkup.sources import Access, Format, Item, Source, Unit, inspect, open_source
from bulkup.sources.json_lines import JSON_LINES, LineCutter, LinesInFile
from bulkup.sources.registry import format_named, formats, formats_of_others
from tests.examples import examples
from tests.sources import others_package, reading
from tests.sources.cells_format import MAGIC, RECORD, STEP


@pytest.fixture(scope="module", autouse=True)
def _others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Another package's formats: the one of the page, and one that is no text."""
    site = others_package.install(tmp_path_factory.mktemp("site"), toy="toy_format:TOY", cells="cells_format:CELLS")
    sys.path.insert(0, str(site))
    formats_of_others.cache_clear()
    yield
    sys.path.remove(str(site))
    formats_of_others.cache_clear()


def cells(name: str, count: int) -> bytes:
    return MAGIC + b"".join((b"%b %d" % (name.encode(), number)).ljust(RECORD, b"\0") for number in range(count))


def cell_rows(name: str, count: int) -> list[str]:
    return [f"{name} {number}" for number in range(count)]


def questions(item: Item) -> list[tuple[int, str]]:
    """The rows of *item*: where each stands, and its text."""
    assert isinstance(item, Block)
    lines = item.data.splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    places = item.offsets
    if places is None:
        starts = [0, *(index + 1 for index, byte in enumerate(item.data) if byte == 10)]
        places = [item.start + start for start in starts[:-1]]
    assert len(lines) == len(places)
    return [(place, json.loads(line)["question"]) for place, line in zip(places, lines, strict=True)]


def read(source: Source, cuts: list[int]) -> list[list[tuple[int, str]]]:
    ranges = asyncio.run(reading.read_items(source, cuts))
    return [[row for item in items for row in questions(item)] for items in ranges]


@examples(25)
@given(
    st.lists(st.tuples(st.sampled_from(["cells", "lines", "packed"]), st.integers(0, 40)), min_size=1, max_size=4),
    st.integers(1, 700),
    st.integers(60, 400),
)
def test_any_mix_of_formats_in_tiles_gives_every_row_once(
    files: list[tuple[str, int]], tile: int, block_bytes: int
) -> None:
    with reading.scratch() as directory:
        expected, paths = [], []
        for number, (kind, count) in enumerate(files):
            path = Path(directory) / f"{number}"
            lines = "".join(f'{{"question": "{row}"}}\n' for row in cell_rows(str(number), count)).encode()
            path.write_bytes({"cells": cells(str(number), count), "lines": lines, "packed": gzip.compress(lines)}[kind])
            expected += cell_rows(str(number), count)
            paths.append(str(path))
        source = open_source(paths, max_row_bytes=1000, block_bytes=block_bytes)
        assert source.any_range == all(kind != "packed" for kind, _ in files)
        assert source.verbatim == all(kind == "lines" for kind, _ in files)
        cuts = reading.tiles(sum(max(STEP * count, 40 * count) for _, count in files) + 100, tile)
        ranges = read(source, cuts)
        assert [text for rows in ranges for _, text in rows] == expected
        for (start, stop), rows in zip(pairwise(cuts), ranges, strict=True):
            assert all(start <= position < stop for position, _ in rows)
            for position, text in rows:
                uri, byte_offset = source.locate(position)
                assert Path(uri).name == text.split()[0]
                assert (byte_offset is None) == (files[int(Path(uri).name)][0] == "cells")


def test_a_format_crosses_to_a_worker_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(cells("a", 3))
    file = inspect(str(tmp_path / "a"))
    assert pickle.loads(pickle.dumps(file)).format is file.format is format_named("cells")
    assert pickle.loads(pickle.dumps(JSON_LINES)) is JSON_LINES


async def test_rows_by_number_that_break_off_give_what_comes_before(tmp_path: Path) -> None:
    """Beside what is packed, where they are read in order."""
    (tmp_path / "a").write_bytes(cells("a", 40))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b'{"question": "b"}\n'))
    source = open_source([str(tmp_path / "a"), str(tmp_path / "b.gz")], max_row_bytes=100, block_bytes=100)
    cursor = source.cursor()
    os.truncate(tmp_path / "a", len(MAGIC) + 31 * RECORD)
    got: list[str] = []
    with pytest.raises(SourceUnreadable, match="cut off"):
        async with aclosing(cursor.read(0, reading.FAR)) as items:
            async for item in items:
                got += [text for _, text in questions(item)]
    assert got == cell_rows("a", 30)
    with pytest.raises(SourceUnreadable, match="cut off"):
        await cursor.more(reading.FAR)
    await cursor.aclose()


async def test_what_is_not_verbatim_has_no_raw_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(cells("a", 3))
    cursor = open_source([str(tmp_path / "a")], max_row_bytes=100).cursor()
    with pytest.raises(ValueError, match="not its rows"):
        await anext(cursor.raw(0, 100))
    await cursor.aclose()


def test_what_has_a_reader_alone_is_not_read_packed(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(cells("a", 3)))
    with pytest.raises(UsageProblem, match=r"a\.gz: the cells format is not read from gzip: unpack it"):
        inspect(str(tmp_path / "a.gz"))


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("a.toy", b"question=1\n", "toy"),
        ("a.TOY.gz", gzip.compress(b"question=1\n", mtime=0), "toy"),
        ("a", b"toy 1\nquestion=1\n", "toy"),
        ("a.toy", b'{"question": 1}\n', "jsonl"),
        ("a.toy", b"[]", "array"),
        ("a.toy.txt", b'# a comment\n{"question": 1}\n', "jsonl"),
        ("a.toy", MAGIC, "cells"),
    ],
)
def test_magic_before_suffix_and_ours_before_others(tmp_path: Path, name: str, content: bytes, format_: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert inspect(str(tmp_path / name)).format.name == format_


def test_our_own_files_do_not_look_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes milliseconds, of which a start has few."""
    monkeypatch.setattr("bulkup.sources.inspection.formats_of_others", lambda: pytest.fail("it looked"))
    (tmp_path / "a").write_bytes(b'{"a": 1}\n')
    assert inspect(str(tmp_path / "a")).format is JSON_LINES


def test_names_of_formats_are_different() -> None:
    known = [*formats(), *formats_of_others()]
    assert len({one.name for one in known}) == len(known) == 11


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({}, "a cutter or a reader"),
        ({"cutter": LineCutter, "access": Access.ANY_RANGE}, "any range needs a reader"),
        ({"cutter": LineCutter, "verbatim": True}, "verbatim needs any range"),
        ({"reader": LinesInFile, "unit": Unit.ROW}, "need a length"),
        ({"cutter": LineCutter, "unit": Unit.ROW, "length": len}, "no cutter"),
    ],
)
def test_what_cannot_be_is_refused_at_once(what: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Format(name="new", title="a new format", **what)
