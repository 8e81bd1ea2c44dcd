"""Cutting around rows: every line once, in order, and the cut where it was asked for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bulkup.flow.chunker import Chunker
from bulkup.flow.draft import Drafted, Keep
from bulkup.flow.halt import Halt
from bulkup.sources import open_source
from tests.examples import examples
from tests.flow.rig import MAX_ROW, expected, rows_plan, scratch_dir, write_source
from tests.flow.test_prepare import contents
from tests.sources.reading import FAR, written


async def drafts(folder: Path, files: list[bytes], kind: str, block_bytes: int, rows: list[int]) -> list[Drafted]:
    paths = write_source(folder, files, kind)
    source = open_source(paths, max_row_bytes=MAX_ROW, block_bytes=block_bytes)
    cursor = source.cursor()
    try:
        chunker = Chunker(source, rows_plan().encoder(), Halt())
        keep = Keep(encoded=True, raw=True)
        return [draft async for draft in chunker.cut_before(lambda: cursor.read(0, FAR), keep, rows)]
    finally:
        await cursor.aclose()
        source.close()


@examples(20)
@given(contents(), st.integers(1, 200), st.sampled_from(["plain", "gzip"]), st.data())
def test_cut_before_cuts_exactly_there(files: list[bytes], block_bytes: int, kind: str, data: st.DataObject) -> None:
    """The good rows asked for begin a draft each; lines, positions and rejects are all there, once."""
    lines = expected(files)
    good = [line.body for line in lines if line.body is not None]
    edges = sorted(data.draw(st.sets(st.integers(1, max(1, len(good) - 1)), max_size=5))) if len(good) > 1 else []
    with scratch_dir() as scratch:
        made = asyncio.run(drafts(Path(scratch), files, kind, block_bytes, edges))
    assert [draft.rows for draft in made] == [
        stop - start for start, stop in zip([0, *edges], [*edges, len(good)], strict=True)
    ]
    assert b",".join(b",".join(draft.encoded) for draft in made if draft.rows) == b",".join(good)
    assert sum(sum(count for _, count in draft.lines) for draft in made) == len(lines)
    assert [placed.reject.position for draft in made for placed in draft.rejects] == [
        line.position for line in lines if line.reject is not None
    ]
    assert all(draft.start < draft.stop for draft in made)
    assert [draft.start for draft in made] == sorted(draft.start for draft in made)


async def whole(folder: Path, files: list[bytes], block_bytes: int, *, together: bool) -> Drafted:
    source = open_source(written(folder, files), max_row_bytes=MAX_ROW, block_bytes=block_bytes)
    async with aclosing(source.cursor()) as cursor:
        read = cursor.together if together else cursor.read
        chunker = Chunker(source, rows_plan().encoder(), Halt())
        made = await chunker.whole(lambda: read(0, FAR), Keep(encoded=True, raw=False))
        # a reject's own line is counted in its block; where it stands in its file is beside it
        rejects = [replace(one, reject=replace(one.reject, line=0)) for one in made.rejects]
        return replace(made, encoded=[b",".join(filter(None, made.encoded))], rejects=rejects)


@examples(30)
@given(st.lists(contents().map(b"".join), min_size=2, max_size=8), st.sampled_from([30, 300, 10_000]))
def test_rows_of_small_files_that_come_together_are_those_of_each(files: list[bytes], block_bytes: int) -> None:
    """Counts, hashes, and each rejected row with its file and line."""
    with scratch_dir() as scratch:
        apart, together = (
            asyncio.run(whole(Path(scratch), files, block_bytes, together=together)) for together in (False, True)
        )
    assert replace(together, verbatim=apart.verbatim) == apart
    assert apart.verbatim or not together.verbatim
