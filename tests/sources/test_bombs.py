"""A few kilobytes that decode to gigabytes of nothing: what came before is read, and then it ends, soon."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import zstandard

from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, decide
from bulkup.errors import SourceUnreadable
from bulkup.model import Block
from bulkup.sources import open_source, stream

PIECE = 1024 * 1024
ROW = b'{"a":1}\n'


def zst(head: bytes, unit: bytes, count: int) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([packer.compress(head), *(packer.compress(unit) for _ in range(count)), packer.flush()])


def gz(head: bytes, unit: bytes, count: int) -> bytes:
    return gzip.compress(head, 1) + gzip.compress(unit, 1) * count


async def _read(path: Path) -> tuple[int, int, str | None]:
    """Rows and blank lines up to the end, and what ended it early."""
    source = open_source([str(path)], max_row_bytes=PIECE)
    cursor = source.cursor()
    encoder = decide(Block(ROW, 0, len(ROW)), NEBIUS, RowOptions()).encoder()
    rows = blank = 0
    try:
        async with aclosing(cursor.read(0, 1 << 60)) as items:
            async for item in items:
                if isinstance(item, Block):
                    made = encoder.encode(item)
                    rows, blank = rows + made.rows, blank + made.blank
    except SourceUnreadable as trouble:
        return rows, blank, str(trouble)
    finally:
        await cursor.aclose()
        source.close()
    return rows, blank, None


@pytest.mark.parametrize("pack", [zst, gz])
@pytest.mark.parametrize("unit", [b"\n" * PIECE, b" \r\n" * (PIECE // 3)])
def test_newlines_without_end(tmp_path: Path, pack: Callable[[bytes, bytes, int], bytes], unit: bytes) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(pack(ROW * 3, unit, 200))
    rows, blank, trouble = asyncio.run(_read(path))
    assert rows == 3
    assert blank < 80 * unit.count(b"\n")
    assert trouble is not None
    assert str(path) in trouble
    assert "a decompression bomb: " in trouble
    assert "decoded bytes; what came before has been read" in trouble


@pytest.mark.parametrize("unit", [b"a" * PIECE, b" " * PIECE, b"[a]" * (PIECE // 64)])
@pytest.mark.parametrize("head", [ROW, b'[{"a":1},'])
def test_one_row_without_end(tmp_path: Path, unit: bytes, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_BYTES_OF_A_ROW", 20 * len(unit))
    path = tmp_path / "bomb"
    path.write_bytes(zst(head, unit, 60))
    rows, _, trouble = asyncio.run(_read(path))
    assert rows == 1
    assert trouble is not None
    assert "a decompression bomb: " in trouble


def test_commas_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_BYTES_OF_A_ROW", 20 * PIECE)
    path = tmp_path / "bomb"
    path.write_bytes(zst(b'[{"a":1},', b"," * PIECE, 60))
    assert "a decompression bomb: " in str(asyncio.run(_read(path))[2])


@pytest.mark.parametrize("pack", [zst, gz])
def test_what_has_rows_or_its_size_on_disk_is_no_bomb(
    tmp_path: Path, pack: Callable[[bytes, bytes, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows among blank lines, the same row ever again, and blank lines that nobody packed."""
    monkeypatch.setattr(stream, "MOST_BLANK_BYTES", 4 * PIECE)
    monkeypatch.setattr(stream, "MOST_BYTES_OF_A_ROW", 4 * PIECE)
    path = tmp_path / "rows"
    path.write_bytes(pack(ROW, b"\n" * (PIECE // 2) + ROW, 20))
    assert asyncio.run(_read(path)) == (21, 10 * PIECE, None)
    path.write_bytes(pack(ROW, ROW * 1000, 1000))
    assert asyncio.run(_read(path))[::2] == (1_000_001, None)
    path.write_bytes(b"[" + b"\n" * (8 * PIECE) + b'{"a":1}]')
    assert asyncio.run(_read(path)) == (1, 0, None)


@pytest.mark.parametrize("count", [1, 2, 2_000])
@pytest.mark.parametrize("row", [b"", b'{"a":1}', b' {"a":2}\t\r', b'{"a":"x"}'])
def test_blank_lines_are_counted_in_bulk_as_one_by_one(count: int, row: bytes) -> None:
    encoder = decide(Block(ROW, 0, len(ROW)), NEBIUS, RowOptions()).encoder()
    for data in (b"\n" * count + row, row + b" \n" * count, b"\r\n" * count + row + b"\n\n" + row):
        whole, rows = encoder.encode(Block(data, 0, len(data))), encoder.encode_rows(Block(data, 0, len(data)))
        assert whole.lines == len(rows)
        assert whole.blank == sum(row.body is None and row.reject is None for row in rows)
        assert whole.body == b",".join(row.body for row in rows if row.body is not None)
        assert whole.rejects == tuple(row.reject for row in rows if row.reject is not None)
