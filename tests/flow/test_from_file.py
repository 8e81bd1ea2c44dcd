"""The second pass: what is read from the file again is what was planned, or the request is never completed."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.chunk import Chunk, ChunkId
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, decide
from bulkup.errors import SourceChanged
from bulkup.flow.chunker import Chunker
from bulkup.flow.draft import Keep
from bulkup.flow.halt import Halt
from bulkup.flow.prepared import from_file
from bulkup.sources import open_source
from bulkup.sources.source import Source

BOM = b"\xef\xbb\xbf"
ROWS = st.lists(st.integers(0, 10**9).map(lambda number: b'{"n":%d}' % number), min_size=1, max_size=12)
FILES = st.lists(
    st.tuples(ROWS, st.sampled_from([b"\n", b"\r\n"]), st.booleans()).map(
        lambda file: file[1].join(file[0]) + (file[1] if file[2] else b"")
    )
    | ROWS.map(lambda rows: BOM + b"\n".join(rows)),
    min_size=1,
    max_size=3,
)


def opened(folder: Path, contents: list[bytes], block_bytes: int) -> Source:
    for number, content in enumerate(contents):
        (folder / f"{number}.jsonl").write_bytes(content)
    names = [str(folder / f"{number}.jsonl") for number in range(len(contents))]
    return open_source(names, max_row_bytes=1024, block_bytes=block_bytes)


async def planned(source: Source) -> tuple[Chunk, bytes]:
    """The whole source as a chunk, and its body."""
    cursor = source.cursor()
    first = await cursor.peek()
    plan = decide(first, NEBIUS, RowOptions())  # type: ignore[arg-type]
    draft = await Chunker(source, plan.encoder(), Halt()).whole(
        lambda: cursor.read(0, source.size or 0), Keep(encoded=True, raw=False)
    )
    await cursor.aclose()
    assert draft.verbatim
    return draft.chunk(ChunkId("nebius", 0, 0), "n"), b",".join(draft.encoded)


async def read_again(source: Source, chunk: Chunk) -> tuple[bytes, bool]:
    """What was handed out, and whether it ended as it should."""
    cursor = source.cursor()
    got = b""
    try:
        async for piece in from_file(cursor, chunk)():
            got += piece
    except SourceChanged:
        return got, False
    finally:
        await cursor.aclose()
    return got, True


@given(FILES, st.integers(1, 40))
def test_any_pieces_make_the_body_that_was_planned(contents: list[bytes], piece_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chunk, body = asyncio.run(planned(opened(Path(folder), contents, 4096)))
        source = opened(Path(folder), contents, piece_bytes)
        assert asyncio.run(read_again(source, chunk)) == (body, True)


@given(FILES, st.integers(1, 40), st.data())
def test_a_file_that_changed_never_completes_a_request(
    contents: list[bytes], piece_bytes: int, data: st.DataObject
) -> None:
    """One byte of a row or a break differs: less than the whole body is handed out."""
    with tempfile.TemporaryDirectory() as folder:
        chunk, body = asyncio.run(planned(opened(Path(folder), contents, 4096)))
        changed = [bytearray(content) for content in contents]
        file = data.draw(st.sampled_from(changed))
        place = data.draw(st.integers(len(BOM) if file.startswith(BOM) else 0, len(file) - 1))
        file[place] = data.draw(st.sampled_from([byte for byte in b'x{}\n\r,0"' if byte != file[place]]))
        source = opened(Path(folder), contents, piece_bytes)
        for number, content in enumerate(changed):
            Path(folder, f"{number}.jsonl").write_bytes(content)
        got, ended = asyncio.run(read_again(source, chunk))
        assert not ended
        assert len(got) < len(body)


def test_another_hash_never_completes_a_request(tmp_path: Path) -> None:
    """Even where the last piece is nothing but the break."""
    for size in range(1, 30):
        source = opened(tmp_path, [b'{"n":1}\n{"n":22}\n'], size)
        chunk, body = asyncio.run(planned(opened(tmp_path, [b'{"n":1}\n{"n":22}\n'], 4096)))
        got, ended = asyncio.run(read_again(source, replace(chunk, raw_hash=bytes(16))))
        assert not ended
        assert len(got) < len(body), size


def test_what_ended_without_a_break_is_sent_after_the_file_grew(tmp_path: Path) -> None:
    """As `--on-source-change append` reads what was planned before."""
    chunk, body = asyncio.run(planned(opened(tmp_path, [b'{"n":1}\n{"n":2}'], 4096)))
    for size in range(1, 40):
        source = opened(tmp_path, [b'{"n":1}\n{"n":2}\n{"n":3}\n'], size)
        assert asyncio.run(read_again(source, chunk)) == (body, True)


def test_a_sequential_source_has_no_raw_bytes(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(b'[{"n":1},{"n":2}]')
    source = open_source([str(tmp_path / "rows.json")], max_row_bytes=1024)
    with pytest.raises(ValueError, match="rows only"):
        source.cursor().raw(0, 1)
