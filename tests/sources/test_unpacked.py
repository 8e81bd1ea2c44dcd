"""Files of columns and workbooks that are packed, in archives or come through a pipe are unpacked first."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import os
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import zstandard

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.model import Block
from bulkup.sources import Source, open_source, unpacking
from tests.sources import reading

TABLE = pa.table({"n": list(range(300)), "text": [f"{number} é" for number in range(300)]})


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(TABLE, out, row_group_size=100)
    return out.getvalue()


def arrow() -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_file(out, TABLE.schema) as file:
        file.write_table(TABLE, max_chunksize=70)
    return out.getvalue()


def stream() -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, TABLE.schema) as file:
        file.write_table(TABLE, max_chunksize=70)
    return out.getvalue()


def workbook() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    assert book.active is not None
    book.active.append(TABLE.column_names)
    for row in TABLE.to_pylist():
        book.active.append(list(row.values()))
    book.save(out)
    return out.getvalue()


MADE: dict[str, Callable[[], bytes]] = {"parquet": parquet, "arrow": arrow, "ipc": stream, "xlsx": workbook}


def in_zip(content: bytes, name: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("folder/other.md", "no rows")
        archive.writestr(f"folder/{name}", content)
    return out.getvalue()


def in_tar(content: bytes, name: str, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


WAYS: dict[str, Callable[[bytes, str], bytes]] = {
    "gz": lambda content, _: gzip.compress(content),
    "zst": lambda content, _: zstandard.compress(content),
    "zip": in_zip,
    "stored.zip": lambda content, name: in_zip(content, name, zipfile.ZIP_STORED),
    "tar": in_tar,
    "tar.gz": lambda content, name: in_tar(content, name, "w:gz"),
}


def rows_of(source: Source) -> bytes:
    items = [item for part in asyncio.run(reading.read_items(source, [0, reading.FAR])) for item in part]
    return b"".join(item.data for item in items if isinstance(item, Block))


def fed(content: bytes) -> int:
    """The reading end of a pipe that *content* is written into."""
    end, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=write, daemon=True).start()
    return end


@pytest.mark.parametrize("kind", MADE)
def test_however_it_is_packed_its_rows_are_the_same(tmp_path: Path, kind: str) -> None:
    content = MADE[kind]()
    (tmp_path / f"a.{kind}").write_bytes(content)
    wanted = rows_of(open_source([str(tmp_path / f"a.{kind}")], max_row_bytes=1000))
    assert wanted.count(b"\n") == 300
    before = set(Path("/dev/fd").iterdir())
    for way, pack in WAYS.items():
        path = tmp_path / (f"a.{kind}.{way}" if way in ("gz", "zst") else f"a.{way}")
        path.write_bytes(pack(content, f"a.{kind}"))
        source = open_source([str(path)], max_row_bytes=1000, spool_dir=tmp_path / "not there yet")
        assert rows_of(source) == wanted, way
        (file,) = source.files
        again = pickle.loads(pickle.dumps(file))
        assert (again.uri, again.length, again.packing) == (file.uri, file.length, file.packing)
        source.close()
        del source, file, again
    gc.collect()
    assert set(Path("/dev/fd").iterdir()) <= before
    assert not (tmp_path / "not there yet").exists()


@pytest.mark.parametrize("kind", MADE)
def test_through_a_pipe_it_is_read_by_as_many_lanes_as_there_are(tmp_path: Path, kind: str) -> None:
    content = MADE[kind]()
    (tmp_path / f"a.{kind}").write_bytes(content)
    wanted = rows_of(open_source([str(tmp_path / f"a.{kind}")], max_row_bytes=1000))
    source = open_source(["-"], max_row_bytes=1000, stdin_fd=fed(content), spool_dir=tmp_path, lanes=2)
    assert source.rereadable
    assert rows_of(source) == rows_of(source) == wanted


def test_what_is_damaged_or_cut_off_within_its_packing_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(parquet())
    (tmp_path / "a.parquet.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceUnreadable, match=r"a\.parquet\.gz: damaged Parquet"):
        open_source([str(tmp_path / "a.parquet.gz")], max_row_bytes=1000)
    content = in_zip(parquet(), "a.parquet", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sum_ = archive.getinfo("folder/a.parquet").CRC.to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content.replace(sum_, b"\0\0\0\0"))
    with pytest.raises(SourceUnreadable, match="the checksum does not fit"):
        open_source([str(tmp_path / "a.zip")], max_row_bytes=1000)


def test_a_bomb_and_too_many_to_unpack_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES_OF_SMALL", 1000)
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(b"PAR1" + b"\0" * 2_000_000))
    with pytest.raises(UsageProblem, match="a decompression bomb: unpacks to more than"):
        open_source([str(tmp_path / "a.parquet.gz")], max_row_bytes=1000)
    monkeypatch.setattr(unpacking, "_MOST_AT_ONCE", 0)
    with pytest.raises(UsageProblem, match="unpack them, and name their folder"):
        open_source([str(tmp_path / "a.parquet.gz")], max_row_bytes=1000)


def test_what_is_no_workbook_in_an_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(in_zip(in_zip(b"{}\n", "b.jsonl"), "b.xlsx"))
    with pytest.raises((SourceUnreadable, UsageProblem), match=r"b\.xlsx"):
        open_source([str(tmp_path / "a.zip")], max_row_bytes=1000)
