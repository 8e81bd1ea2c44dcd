"""A source may be scanned in any parts, by any number of hands, over any number of commands: what is found is the same."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions
from bulkup.errors import UsageProblem
from bulkup.run.kept_scans import KeptScans
from bulkup.scan import spread
from bulkup.scan.found import Found
from bulkup.scan.judging import Way
from bulkup.scan.learned import Learned, joined
from bulkup.scan.scanner import first_rows, made_way, scan
from bulkup.scan.spread import END, Part, whole_in_parts
from bulkup.sources import Reading, Source, open_source
from tests.encoding import lines as ln
from tests.examples import examples
from tests.scan.whole import Here, NothingKept, found_in

MIB = 1024 * 1024


def opened(*paths: Path) -> Source:
    reading = Reading(as_lines=True, max_row_bytes=MIB)
    return open_source([str(path) for path in paths], max_row_bytes=MIB, block_bytes=256, reading=reading)


def pieces(source: Source, cuts: list[int]) -> list[Part]:
    """The files of *source*, each cut at the *cuts* that lie in it."""
    parts = []
    for number, file in enumerate(source.files):
        within = sorted({cut for cut in cuts if 0 < cut < (file.length or 0)})
        parts += [Part(number, a, b) for a, b in zip([0, *within], [*within, END], strict=True)]
    return parts


def bare(found: Found) -> Found:
    """Without what is measured on a sample of blocks, which are others in other parts."""
    return replace(found, measure=None, plan=replace(found.plan, rewrite=False, fit=None))  # type: ignore[arg-type]


def test_of_small_files_in_one_block_each_is_counted_as_alone(tmp_path: Path) -> None:
    row = b'{"a": "1"}\n'
    contents = [
        row * 3, b"", b'{"a": "' + b"x" * 5000 + b'"}\n' + row, row[:-1] + b"\r\n", b'{"a": "' + b"x" * 4087 + b'"}\n',
        row + b'{"a": "' + b"x" * 6000 + b'"}',
    ]  # fmt: skip
    contents *= 4  # each in a block of its own: in the first one columns are learned row by row
    paths = [tmp_path / f"{n}.jsonl" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    parts = [Part(0, files=len(paths))]
    alone, together = (found_in(opened(*paths), NEBIUS, RowOptions(), parts, block_bytes=size) for size in (64, MIB))
    assert bare(together) == bare(alone)
    assert [counts.largest for counts in together.files] == [0, 5009, 0, 0, 6009] * 4
    assert [(read.lines, read.end, read.last_line) for read in together.read] == [
        (3, 33, 22), (0, 0, None), (2, 5021, 5010), (1, 12, 0), (1, 4097, 0), (2, 6020, 11),
    ] * 4  # fmt: skip


cell = st.one_of(st.integers(-5, 5), ln.scalar, ln.value)
row = st.fixed_dictionaries({}, optional={"a": cell, "b": ln.scalar, "c": ln.text, "odd key": ln.integer})


@examples(40)
@given(st.lists(ln.soup(ln.spelled(row)), min_size=1, max_size=3), st.lists(st.integers(0, 500), max_size=6), st.data())
def test_any_parts_put_together_in_any_order_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], cuts: list[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("scan")
    paths = [folder / f"{n}.jsonl" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    try:
        source = opened(*paths)
        together = data.draw(st.sampled_from([64, MIB]))  # of several files that fit, a block holds the rows of all
        whole = found_in(source, NEBIUS, RowOptions(), [Part(0, files=len(paths))], block_bytes=together)
    except UsageProblem:
        return
    way = made_way(NEBIUS, RowOptions(), first_rows(source, NEBIUS, RowOptions(), lambda: None))
    here = Here(source, goes_on=False, block_bytes=64, max_row_bytes=MIB)
    learned = [here.learned({"x": way}, part)["x"] for part in pieces(source, cuts)]
    while len(learned) > 1:
        at = data.draw(st.integers(0, len(learned) - 2))
        learned[at : at + 2] = [joined(learned[at : at + 2])]
    assert bare(way.found(learned[0])) == bare(whole)


CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
PAIR = {"question": "q", "answer": "a"}


def test_shapes_are_counted_over_all_parts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [CHAT] * 10 + [PAIR] * 400 + [{"question": "q"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = opened(path)
    found = found_in(source, COLLINEAR, RowOptions(), pieces(source, [500, 1500, 9000]))
    assert found == found_in(source, COLLINEAR, RowOptions())
    assert (found.plan.preset, found.plan.fit, found.rejected) == ("question-answer", (400, 411), 11)
    assert {place.line for reason in found.reasons for place in reason.places} == {1, 2, 3, 411}


def test_behind_what_cannot_be_read_nothing_counts(tmp_path: Path) -> None:
    rows = b"".join(b'{"n":%d}\n' % n for n in range(20_000))
    paths = [tmp_path / f"{n}.jsonl.gz" for n in range(3)]
    for n, path in enumerate(paths):
        path.write_bytes(gzip.compress(rows)[: -2000 if n == 1 else None])
    source = opened(*paths)
    found = found_in(source, NEBIUS, RowOptions(), [Part(n) for n in range(3)])
    assert found.broke_off is not None
    assert found == replace(found_in(source, NEBIUS, RowOptions(), [Part(0, files=3)]), measure=found.measure)
    assert next(file.lines for file in found.read) == 20_000
    assert len(found.read) == 2
    assert found.read[0].end == len(rows)


class Hand:
    """One of several: it hands back what it is told to, and ends after so many parts."""

    def __init__(self, here: Here, most: int, seen: list[Part]) -> None:
        self._here, self._most, self._seen = here, most, seen

    async def look(self, lanes: Mapping[str, Way], part: Part) -> Mapping[str, Learned] | None:
        if self._most == 0:
            return None
        self._most -= 1
        self._seen.append(part)
        return await self._here.look(lanes, part)


def rows_of(count: int) -> bytes:
    return b"".join(
        json.dumps({"n": n, "text": "x" * (n % 50), **({"late": n} if n > count // 2 else {})}).encode() + b"\n"
        for n in range(count)
    )


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "PART_BYTES", 4096)
    monkeypatch.setattr(spread, "LEAST_BYTES", 1)


def test_hands_that_end_leave_their_parts_to_the_last(tmp_path: Path, small_parts: None) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(rows_of(1000))
    source = opened(path)
    here = Here(source, goes_on=False, block_bytes=256, max_row_bytes=MIB)
    way = made_way(NEBIUS, RowOptions(), first_rows(source, NEBIUS, RowOptions(), lambda: None))
    parts = whole_in_parts(source.files)
    assert len(parts) > 5
    seen: list[Part] = []
    hands = [Hand(here, 2, seen), Hand(here, 1, seen), Hand(here, 99, seen)]
    found = asyncio.run(scan({"lane": way}, parts, hands, NothingKept(), here, is_whole=True))["lane"]
    assert sorted(seen, key=lambda part: part.start) == parts, "each once"
    assert found == found_in(source, NEBIUS, RowOptions(), parts, block_bytes=256)
    assert (found.rows, found.key("late").present, found.key("n").present) == (1000, 499, 1000)


def test_what_an_earlier_scan_has_looked_at_is_not_looked_at_again(tmp_path: Path, small_parts: None) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(rows_of(1000) + b'{"n":null}\n{"n":[1]}\njunk\n')
    source = opened(path)
    here = Here(source, goes_on=False, block_bytes=256, max_row_bytes=MIB)
    way = made_way(NEBIUS, RowOptions(), first_rows(source, NEBIUS, RowOptions(), lambda: None))
    parts = whole_in_parts(source.files)
    scans = KeptScans(tmp_path / "state")

    def scanned(most: int, key: str = "key") -> tuple[Found | None, int]:
        seen: list[Part] = []
        hand = Hand(here, most, seen)

        async def ending(lanes: Mapping[str, Way], part: Part, look: Callable[..., Any] = hand.look) -> Any:
            found = await look(lanes, part)
            if found is None:
                raise KeyboardInterrupt
            return found

        hand.look = ending  # type: ignore[method-assign]
        try:
            kept = scans.parts({"lane": key})
            return asyncio.run(scan({"lane": way}, parts, [hand], kept, here, is_whole=True))["lane"], len(seen)
        except KeyboardInterrupt:
            return None, len(seen)

    assert scanned(3) == (None, 3)
    (kept,) = (tmp_path / "state" / "scans").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(kept.read_bytes()[:-5])  # it was killed while it wrote
    assert scanned(2) == (None, 2)
    found, count = scanned(99)
    assert count == len(parts) - 4
    assert found == found_in(source, NEBIUS, RowOptions(), parts, block_bytes=256)
    assert scanned(99, "another")[1] == len(parts)


def test_parts_depend_on_the_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "PART_BYTES", 1000)
    monkeypatch.setattr(spread, "LEAST_BYTES", 1000)
    sizes = [10, 20, 30, 2500, 400, 500, 600]
    paths = [tmp_path / f"{n}.jsonl" for n in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(b"{}\n" * (size // 3) + b"\n" * (size % 3))
    parts = whole_in_parts(opened(*paths).files)
    assert [(part.file, part.files, part.start, part.stop) for part in parts] == [
        (0, 3, 0, END), (3, 1, 0, 833), (3, 1, 833, 1666), (3, 1, 1666, END), (4, 2, 0, END), (6, 1, 0, END),
    ]  # fmt: skip
    assert sum(part.sampled for part in parts) <= 16
