"""From lines to chunks: every line once, in order, in bodies that fit, under names and hashes that hold."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.chunk import WHOLE
from bulkup.doubt.by_count import BY_COUNT
from bulkup.doubt.by_name import BY_NAME
from bulkup.doubt.naming import family_name
from bulkup.flow.tiling import Limits
from bulkup.journal.memory import MemoryJournal
from tests.examples import examples
from tests.flow.rig import NAME, Made, Planned, Setting, expected, plan, planned, scratch_dir, write_source

SETTINGS = examples(15)

line = st.one_of(
    st.integers(0, 60).map(lambda size: b'{"t":"' + b"x" * size + b'"}'),
    st.integers(0, 60).map(lambda size: b'{"t":"' + b"y" * size + b'"}'),
    st.integers(80, 390).map(lambda size: b'{"t":"' + b"z" * size + b'"}'),
    st.sampled_from(
        [b"", b"  ", b"{}", b"no json", b'{"t":1}', b'{"t":"' + b"w" * 500 + b'"}', b"\xff", b'{"t": "sp"}']
    ),
)


@st.composite
def contents(draw: st.DrawFn) -> list[bytes]:
    """One to three files; the first begins with a row, so that it is told as JSON lines."""
    files = []
    for number in range(draw(st.integers(1, 3))):
        lines = draw(st.lists(st.tuples(line, st.sampled_from([b"\n", b"\n", b"\r\n"])), max_size=20))
        body = b"".join(text + end for text, end in lines)
        if draw(st.booleans()):
            body = body.removesuffix(b"\n")
        files.append(b'{"t":"first"}\n' + body if number == 0 or body else b'{"t":"only"}')
    return files


setting = st.builds(
    Setting,
    tile=st.integers(1, 900),
    room=st.integers(1, 700),
    rows=st.none() | st.integers(1, 9),
    block_bytes=st.integers(1, 200),
    policy=st.sampled_from([BY_NAME, BY_COUNT]),
)


def assert_whole(found: Planned, files: Sequence[bytes], how: Setting) -> None:
    """What the design promises of chunks."""
    rows = expected(files)
    made = sorted(found.made, key=lambda m: m.chunk.start)
    good = [row.body for row in rows if row.body is not None]
    assert b",".join(m.body for m in made) == b",".join(good), "every good row once, in order"
    limits = Limits(how.room, how.rows)
    for m in made:
        assert len(m.body) == m.chunk.body_bytes
        assert limits.allow(body_bytes=m.chunk.body_bytes, rows=m.chunk.rows), (
            "no body over the limit but a single row's"
        )
        assert m.chunk.start < m.chunk.stop
    spans = [(m.chunk.start, m.chunk.stop) for m in made]
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans)), "no overlap"
    for totals in (found.totals, found.stored):
        assert totals.lines == len(rows)
        assert totals.rows_left == len(good)
        assert totals.rows_rejected == sum(row.reject is not None for row in rows)
        assert totals.rows_blank == sum(row.body is None and row.reject is None for row in rows)
    assert [one["position"] for one in found.rejects] == [row.position for row in rows if row.reject is not None]
    assert found.budget.held_bytes == 0, "all memory is given back"
    assert_named(made, how)


def assert_named(made: Sequence[Made], how: Setting) -> None:
    names = [m.chunk.name for m in made]
    ids = [m.chunk.id for m in made]
    assert len(set(ids)) == len(ids)
    if how.policy is BY_COUNT or len(made) == 1:
        if how.policy is BY_COUNT:
            assert set(names) <= {NAME}
        return
    assert names == [family_name(NAME, m.chunk.id, m.chunk.rows_hash) for m in made]
    per_tile = Counter(id_.tile for id_ in ids)
    for id_ in ids:
        assert (id_.child == WHOLE) <= (per_tile[id_.tile] == 1), "a tile is one chunk, or children"


def run(files: Sequence[bytes], how: Setting, kind: str) -> tuple[Planned, Planned]:
    """Planned, and planned once more from the journal."""

    async def main(folder: Path) -> tuple[Planned, Planned]:
        paths = write_source(folder, files, kind)
        journal = MemoryJournal()
        first = await plan(journal, paths, how)
        return first, await plan(journal, paths, how)

    with scratch_dir() as scratch:
        return asyncio.run(main(Path(scratch)))


@SETTINGS
@given(contents(), setting, st.sampled_from(["plain", "gzip"]))
def test_every_line_once_in_bodies_that_fit_and_the_same_again(files: list[bytes], how: Setting, kind: str) -> None:
    """Whatever the rows, T, the limits and the blocks; and what is planned is read again with the same hashes."""
    first, again = run(files, how, kind)
    assert_whole(first, files, how)
    assert [(planned(m.chunk), m.body) for m in again.made] == [
        (planned(m.chunk), m.body) for m in sorted(first.made, key=lambda m: m.chunk.start)
    ]
    assert again.stored == first.stored


@SETTINGS
@given(contents(), setting, st.integers(1, 200))
def test_hashes_and_cuts_do_not_depend_on_blocks_or_compression(files: list[bytes], how: Setting, other: int) -> None:
    """A resumed run, on another machine or of another kind of file, makes the same chunks of the same tiles."""
    different = Setting(how.tile, how.room, how.rows, other, how.memory, how.policy)

    def chunks(found: Planned) -> list[object]:
        return [
            (m.chunk.id, m.chunk.start, m.chunk.rows, m.chunk.raw_hash, m.chunk.rows_hash, m.chunk.lines)
            for m in found.made
        ]

    one, _ = run(files, how, "plain")
    two, _ = run(files, different, "plain")
    assert chunks(one) == chunks(two)
    three, _ = run(files, different, "gzip")
    assert [m.body for m in three.made if m.chunk.rows] == [m.body for m in one.made] or how.tile > how.room


rows_ = st.lists(st.integers(0, 90).map(lambda size: b'{"t":"' + b"x" * size + b'"}'), min_size=1, max_size=25)


@SETTINGS
@given(rows_, setting, st.integers(1, 200))
def test_hashes_of_an_array_do_not_depend_on_blocks(rows: list[bytes], how: Setting, other: int) -> None:
    """Its blocks lack the last break, wherever they end."""
    different = Setting(how.tile, how.room, how.rows, other, how.memory, how.policy)
    one, again = run([b"\n".join(rows)], how, "array")
    two, _ = run([b"\n".join(rows)], different, "array")
    hashes = [[(m.chunk.id, m.chunk.start, m.chunk.raw_hash, m.chunk.rows_hash) for m in r.made] for r in (one, two)]
    assert hashes[0] == hashes[1]
    assert [m.body for m in again.made] == [m.body for m in one.made]
    assert b",".join(m.body for m in one.made) == b",".join(rows)


@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        "gzip",
    ],
)
@SETTINGS
@given(files=contents(), how=setting, stops=st.lists(st.integers(1, 4), max_size=3))
@example(
    files=[b'{"t":"first"}\n', b'{"t":"first"}\n{"t":""}\n'], how=Setting(tile=1, room=1, block_bytes=1), stops=[1]
)
def test_stopped_anywhere_and_gone_on_covers_every_line_once(
    kind: str, files: list[bytes], how: Setting, stops: list[int]
) -> None:
    """Between two chunks of one tile, too. Nothing that is planned is planned again."""

    async def main(folder: Path) -> Planned:
        paths = write_source(folder, files, kind)
        journal = MemoryJournal()
        for stop in stops:
            await plan(journal, paths, how, stop_after=stop)
        return await plan(journal, paths, how)

    with scratch_dir() as scratch:
        found = asyncio.run(main(Path(scratch)))
    rows = expected(files)
    made = sorted(found.made, key=lambda m: m.chunk.start)
    assert b",".join(m.body for m in made) == b",".join(row.body for row in rows if row.body is not None)
    assert found.stored.lines == len(rows)
    assert found.stored.rows_left == sum(row.body is not None for row in rows)
    assert [one["position"] for one in found.rejects] == [row.position for row in rows if row.reject is not None]
    assert len({m.chunk.id for m in made}) == len(made)


def sizes_of(sizes: Sequence[int], room: int) -> list[Made]:
    """The chunks of a tile whose rows have these sizes."""
    rows = [b'{"t":"' + b"x" * (size - 8) + b'"}' for size in sizes]
    return run([b"\n".join(rows)], Setting(10**6, room), "plain")[0].made


@SETTINGS
@given(st.lists(st.integers(8, 60), min_size=1, max_size=60), st.integers(30, 300))
@example([20] * 30, 100)
@example([8] * 4, 30)
def test_the_parts_of_a_tile_are_even(sizes: list[int], room: int) -> None:
    """None but the last is smaller than an even share of bytes or rows, unless the next row would not have fitted."""
    made = sizes_of(sizes, room)
    body = sum(sizes) + len(sizes) - 1
    fewest = -(-body // room)
    for at, m in enumerate(made[:-1]):
        following = sizes[sum(one.chunk.rows for one in made[: at + 1])]
        full = m.chunk.body_bytes + 1 + following > room
        assert full or m.chunk.body_bytes >= body // fewest or m.chunk.rows >= len(sizes) // fewest


@pytest.mark.parametrize("sizes", [[8] * 100 + [60] * 100, [60] * 100 + [8] * 100])
def test_rows_of_uneven_sizes_make_no_more_chunks_than_their_bytes_need(sizes: list[int]) -> None:
    """Each chunk more is a dataset more. One more than the fewest is what the last row of each may cost."""
    body = sum(sizes) + len(sizes) - 1
    assert len(sizes_of(sizes, 1200)) <= -(-body // 1200) + 1


@pytest.mark.parametrize("kind", ["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b'{"t":"a"}\n{"t":"b"}\n', [NAME]),
        (b'{"t":"a"}\n' + b"\n" * 30, [NAME]),
        (b'{"t":"a"}\nno json\n\n\nno json\n', [NAME]),
    ],
)
def test_one_chunk_in_all_bears_the_name(content: bytes, names: list[str], kind: str) -> None:
    """However many tiles of blanks and rejects stand beside it."""
    first, again = run([content], Setting(20, 100), kind)
    assert [m.chunk.name for m in first.made] == names
    assert [m.chunk.name for m in again.made] == names


@pytest.mark.parametrize(
    ("count", "tiles", "room_for", "opened"),
    [(20, 1, 1, [2] * 20), (3, 1, 1, [4] * 3), (40, 2, 2, [2] * 40), (40, 2, 1, [2] * 20 + [4] * 20)],
)
async def test_many_small_files_are_held_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, tiles: int, room_for: int, opened: list[int]
) -> None:
    """Each is opened when it is looked into and to plan it, and once for each sending, of which there are two here, if not held.
    The first tile is held until there is a second one, which gives it its name."""
    paths = write_source(tmp_path, [b'{"t":"%02d"}\n{"t":"second"}\n' % number for number in range(count)], "plain")
    opens = Counter[str]()

    def counting(path: Any, *how: Any, **more: Any) -> int:
        opens[str(path)] += 1
        return _open(path, *how, **more)

    monkeypatch.setattr(os, "open", counting)
    tile = count // tiles * Path(paths[0]).stat().st_size
    found = await plan(MemoryJournal(), paths, Setting(tile, 2000, block_bytes=300, memory=room_for * 2000))
    assert [m.chunk.verbatim for m in found.made] == [True] * tiles
    assert [opens[path] for path in paths] == opened
    assert found.budget.held_bytes == 0


_open = os.open


def test_nothing_good_makes_no_chunk() -> None:
    first, _ = run([b"{}x\n\n"], Setting(10, 100), "plain")
    assert first.made == []
    assert first.stored.rows_rejected == 1


STANDS_STILL_S = 30
"""Long, since the machine may be busy: whoever gets on waits for none of it."""


async def _within(files: Sequence[bytes], how: Setting, kind: str) -> Planned | None:
    with scratch_dir() as scratch:
        with anyio.move_on_after(STANDS_STILL_S):
            return await plan(MemoryJournal(), write_source(Path(scratch), files, kind), how)
    return None


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("gzip", 3),  # Nebius's defaults: 48 MiB for a lane whose body takes 16, held encoded and as read
        ("gzip", 1.5),  # and with two lanes
        ("blank lines", 1.5),
    ],
)
async def test_holding_the_first_chunk_back_for_its_name_does_not_block_the_lane(kind: str, share: float) -> None:
    """The second tile must be read for the first one to go, so it must not wait for what the first one holds."""
    room = 700
    rows = b"".join(b'{"t":"%d"}\n' % n + (b"\n" if kind == "blank lines" else b"") for n in range(300))
    found = await _within([rows], Setting(600, room, memory=int(share * 600)), "gzip" if kind == "gzip" else "plain")
    assert found is not None, "the lane stands still"
    assert found.stored.rows_left == 300
