"""The beginning of standard input is held for a look, and all of it is read after that."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import threading
from pathlib import Path

import pytest

from bulkup.destinations.nebius.rows import TARGET
from bulkup.encoding import RowOptions
from bulkup.model import Block
from bulkup.rows.schema import words
from bulkup.scan.found import Found
from bulkup.sources import Held, Source, open_source
from tests.scan.whole import found_in

ROWS = [b'{"n":%d,"text":"%s"}\n' % (n, b"x" * 100) for n in range(2000)]
LATE = b'{"n":1.5,"text":"late"}\n'


def opened(fd: int, folder: Path, *, most_bytes: int = 2**40, wait_s: float = 60, lanes: int = 1) -> Source:
    return open_source(
        ["-"], max_row_bytes=10_000, lanes=lanes, spool_dir=folder, stdin_fd=fd, stdin_held=Held(most_bytes, wait_s)
    )


def looked_at(source: Source) -> Found:
    assert source.beginning is not None
    first = source.beginning
    return found_in(first.source, TARGET, RowOptions(), goes_on=not first.are_all)


def read(source: Source, lanes: int = 1) -> list[bytes]:
    async def all_of() -> bytes:
        cursor = source.cursor()
        data = [item.data async for item in cursor.read(0, 2**62) if isinstance(item, Block)]
        await cursor.aclose()
        return b"".join(data)

    async def by_all() -> list[bytes]:
        return list(await asyncio.gather(*(all_of() for _ in range(lanes))))

    return asyncio.run(by_all())


def write(fd: int, data: bytes) -> threading.Thread:
    def work() -> None:
        with os.fdopen(fd, "wb") as out:
            out.write(data)

    writer = threading.Thread(target=work)
    writer.start()
    return writer


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_is_short_is_held_and_known_whole(tmp_path: Path, lanes: int) -> None:
    ours, theirs = os.pipe()
    writer = write(theirs, b"".join([*ROWS, LATE]))
    source = opened(ours, tmp_path, lanes=lanes)
    found = looked_at(source)
    assert found.is_whole
    assert [words(column) for column in found.plan.columns or ()] == ["n string (JSON text)", "text string"]
    assert read(source, lanes) == [b"".join([*ROWS, LATE])] * lanes
    source.close()
    writer.join()
    os.close(ours)


@pytest.mark.parametrize("lanes", [1, 2])
def test_of_what_is_long_the_beginning_is_known(tmp_path: Path, lanes: int) -> None:
    ours, theirs = os.pipe()
    writer = write(theirs, b"".join([*ROWS, LATE]))
    source = opened(ours, tmp_path, most_bytes=50_000, lanes=lanes)
    found = looked_at(source)
    assert not found.is_whole
    assert 0 < found.rows < 2000
    assert found.rejected == 0, "half a row at its end is none"
    assert [words(column) for column in found.plan.columns or ()] == ["n integer", "text string"]
    assert read(source, lanes) == [b"".join([*ROWS, LATE])] * lanes
    source.close()
    writer.join()
    os.close(ours)


def test_who_writes_slowly_is_waited_for_until_there_is_a_block(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    writer = write(os.dup(theirs), b"".join(ROWS[:1500]) + LATE[:10])
    source = opened(ours, tmp_path, wait_s=0)
    found = looked_at(source)
    assert not found.is_whole
    assert 1000 < found.rows <= 1500
    assert found.rejected == 0, "half a row at its end is none"
    rest = write(theirs, LATE[10:])
    assert read(source) == [b"".join(ROWS[:1500]) + LATE]
    source.close()
    for thread in (writer, rest):
        thread.join()
    os.close(ours)


def test_of_what_is_packed_whole_blocks_are_looked_at(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    rows = [b'{"n":%d,"text":"%s"}\n' % (n, str(random.Random(n).random()).encode() * 9) for n in range(20_000)]
    packed = gzip.compress(b"".join(rows))
    writer = write(theirs, packed)
    source = opened(ours, tmp_path, most_bytes=len(packed) // 2)
    found = looked_at(source)
    assert (found.is_whole, found.rejected, found.broke_off) == (False, 0, None)
    assert 0 < found.rows < 20_000
    assert read(source) == [b"".join(rows)]
    source.close()
    writer.join()
    os.close(ours)


def test_a_file_as_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(ROWS))
    fd = os.open(path, os.O_RDONLY)
    source = opened(fd, tmp_path)
    assert looked_at(source).rows == 2000
    assert read(source) == [b"".join(ROWS)]
    source.close()
    os.close(fd)
