"""Rows that share large values, which a file of columns has once: no batch comes to much more than another, however few bytes the
file has."""

from __future__ import annotations

import tempfile
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import Block
from bulkup.sources import Source, open_source
from bulkup.sources.columnar import batches, parquet, table
from bulkup.sources.columnar.plain import LineMaker
from tests.examples import examples

MIB = 1024 * 1024
PROMPT = "x" * 60_000


def prompts(rows: int) -> pa.Table:
    return pa.table({"n": list(range(rows)), "text": [PROMPT] * rows})


def chats(rows: int) -> pa.Table:
    turns = [[{"role": "system", "content": PROMPT}, {"role": "user", "content": f"question {n}"}] for n in range(rows)]
    return pa.table({"n": list(range(rows)), "messages": turns})


def small_then_large(rows: int) -> pa.Table:
    return pa.table({"n": list(range(rows)), "text": ["", "y"] * (rows // 4) + [PROMPT] * (rows - rows // 4 * 2)})


def written(made: pa.Table, path: Path) -> Source:
    if path.suffix == ".parquet":
        pq.write_table(made, path, row_group_size=made.num_rows)
    else:
        made = made.set_column(1, "text", made["text"].combine_chunks().dictionary_encode())
        with pa.ipc.new_file(path, made.schema) as writer:
            writer.write_table(made)
    return open_source([str(path)], max_row_bytes=MIB)


async def rows_of(source: Source, start: int = 0, stop: int = 1 << 60) -> list[bytes]:
    async with aclosing(source.cursor()) as cursor, aclosing(cursor.read(start, stop)) as items:
        return [line async for item in items if isinstance(item, Block) for line in item.data.splitlines()]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (prompts, "a.parquet"),
        (chats, "a.parquet"),
        (small_then_large, "a.parquet"),
        (prompts, "a.arrow"),
        (small_then_large, "a.arrow"),
    ],
)
async def test_no_batch_comes_to_much_more_than_is_wanted(
    make: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are many rows decoded twice."""
    made: list[int] = []
    decoded: list[tuple[int, int]] = []
    lines, all_batches = LineMaker.lines, parquet._batches

    def noted_lines(self: LineMaker, batch: Any) -> Any:
        found = lines(self, batch)
        made.append(len(found))
        return found

    def noted_batches(*given: Any) -> Any:
        for batch in all_batches(*given):
            decoded.append((batch.num_rows, batch.nbytes))
            yield batch

    monkeypatch.setattr(LineMaker, "lines", noted_lines)
    monkeypatch.setattr(parquet, "_batches", noted_batches)
    rows = 2000
    found = await rows_of(written(make(rows), tmp_path / name))
    assert [int(line.split(b",")[0].removeprefix(b'{"n":')) for line in found] == list(range(rows))
    most = 8 * MIB if make is not small_then_large else 70 * MIB  # the first batch in which they are large
    assert max(made) <= most
    assert sum(size > 8 * MIB for size in made) <= (make is small_then_large)
    assert max([size for _, size in decoded], default=0) <= most
    assert sum(count for count, _ in decoded) <= 2 * rows + batches.FIRST_ROWS


def test_of_however_small_rows_there_are_not_too_many_at_once() -> None:
    assert batches.rows_of(0) == batches.rows_of(1) == 4096
    assert (batches.rows_of(1000), batches.rows_of(1 << 30)) == (1048, 1)


async def test_rows_that_share_nothing_come_in_batches_as_large_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    lines = LineMaker.lines

    def noted(self: LineMaker, batch: Any) -> Any:
        counts.append(batch.num_rows)
        return lines(self, batch)

    monkeypatch.setattr(LineMaker, "lines", noted)
    rows = 40_000
    source = written(
        pa.table({"n": list(range(rows)), "text": [f"{n} {'x' * 180}" for n in range(rows)]}), tmp_path / "a.parquet"
    )
    assert len(await rows_of(source)) == rows
    assert counts[0] == batches.FIRST_ROWS
    assert len(counts) <= 16  # of about 200 bytes each: 8 MB in batches of one


TEXTS = st.sampled_from(["", "a", "bb" * 20, "c" * 300, "d" * 2000])


@examples(60)
@given(
    st.lists(TEXTS, min_size=1, max_size=60),
    st.integers(1, 40),
    st.lists(st.integers(0, 100), max_size=3),
    st.sampled_from(["a.parquet", "a.arrow"]),
    st.integers(1, 6),
    st.integers(20, 3000),
)
def test_rows_are_the_same_however_large_batches_are(
    texts: list[str], group: int, cuts: list[int], name: str, first: int, size: int
) -> None:
    import asyncio

    made = pa.table({"n": list(range(len(texts))), "text": texts})
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in (parquet, table):
            patch.setattr(module, "FIRST_ROWS", first)
        patch.setattr(batches, "BATCH_BYTES", size)
        path = Path(folder) / name
        if name.endswith("parquet"):
            pq.write_table(made, path, row_group_size=group)
        else:
            with pa.ipc.new_file(path, made.schema) as writer:
                writer.write_table(made, max_chunksize=group)
        source = open_source([str(path)], max_row_bytes=MIB)
        end = source.size or 0
        edges = [0, *sorted(cut * end // 100 for cut in cuts), end]

        async def came() -> list[bytes]:
            found: list[bytes] = []
            async with aclosing(source.cursor()) as cursor:
                for start, stop in pairwise(edges):
                    async with aclosing(cursor.read(start, stop)) as items:
                        async for item in items:
                            assert isinstance(item, Block)
                            found += item.data.splitlines()
            return found

        wanted = [b'{"n":%d,"text":"%s"}' % (n, text.encode()) for n, text in enumerate(texts)]
        assert asyncio.run(came()) == wanted
