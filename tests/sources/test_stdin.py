"""Standard input: read once by one lane, spooled for several."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path

import pytest

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.sources import Cursor, open_source
from bulkup.sources.json_array import JSON_ARRAY
from tests.sources.reading import FAR, Row, expected_rows, packed, rows_of

_ROWS = b"".join(b'{"number": %d, "text": "%s"}\n' % (index, b"abc" * (index % 50)) for index in range(20_000))

_COUNT = """
import asyncio, sys
from contextlib import aclosing
from pathlib import Path
from bulkup.sources import open_source
source = open_source(["-"], max_row_bytes=10_000, lanes=int(sys.argv[1]), spool_dir=Path(sys.argv[2]))
async def count(cursor):
    rows = 0
    async with aclosing(cursor.read(0, 1 << 60)) as items:
        async for item in items:
            rows += item.data.count(b"\\n")
    await cursor.aclose()
    return rows
async def main():
    return await asyncio.gather(*(count(source.cursor()) for _ in range(int(sys.argv[1]))))
print(asyncio.run(main()), [path.name for path in Path(sys.argv[2]).iterdir()])
source.close()
"""


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_pipe_into_a_process_is_read_to_its_end(tmp_path: Path, how: str, lanes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _COUNT, str(lanes), str(tmp_path)],
        input=packed(_ROWS, how, 2),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode().strip() == f"{[20_000] * lanes} []"
    assert not done.stderr


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_redirected_file_is_read_to_its_end(tmp_path: Path, lanes: int) -> None:
    path = tmp_path / "rows"
    path.write_bytes(_ROWS)
    spool = tmp_path / "spool"
    spool.mkdir()
    with path.open("rb") as file:
        command = [sys.executable, "-W", "error", "-c", _COUNT, str(lanes), str(spool)]
        done = subprocess.run(command, stdin=file, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().strip() == f"{[20_000] * lanes} []"


def _fed(content: bytes) -> int:
    """The reading end of a pipe that *content* is written into."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=write, daemon=True).start()
    return reading


async def _rows(cursor: Cursor, start: int = 0, stop: int = FAR) -> list[Row]:
    async with aclosing(cursor.read(start, stop)) as items:
        return [row async for item in items for row in rows_of(item)]


async def test_two_lanes_each_get_every_row_at_their_own_pace(tmp_path: Path) -> None:
    fd = _fed(_ROWS)
    source = open_source(["-"], max_row_bytes=10_000, lanes=2, spool_dir=tmp_path, stdin_fd=fd)
    assert not source.rereadable
    slow, fast = source.cursor(), source.cursor()
    head = await _rows(slow, 0, 500)
    everything = expected_rows([_ROWS], 10_000)
    assert await _rows(fast) == everything
    assert head + await _rows(slow, 500) == everything
    assert fast.progress == slow.progress == len(_ROWS)
    assert source.locate(500) == ("-", 500)
    await slow.aclose()
    await fast.aclose()
    source.close()
    os.close(fd)


@pytest.mark.parametrize("lanes", [1, 2])
async def test_waiting_for_a_silent_writer_can_be_cancelled_and_taken_up_again(tmp_path: Path, lanes: int) -> None:
    fd, writing = os.pipe()
    os.write(writing, b'{"a": 1}\n')
    source = open_source(["-"], max_row_bytes=10_000, lanes=lanes, spool_dir=tmp_path, stdin_fd=fd)
    cursors = [source.cursor() for _ in range(lanes)]
    waiting = [asyncio.create_task(cursor.peek()) for cursor in cursors]
    await asyncio.wait(waiting, timeout=0.05)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert waiting[0].cancelled()
    os.write(writing, b'{"a": 2}\n')
    os.close(writing)
    await asyncio.gather(*waiting[1:])
    for cursor in cursors[1:] + cursors[:1]:
        assert [row.data for row in await _rows(cursor)] == [b'{"a": 1}\n', b'{"a": 2}\n']
        await cursor.aclose()
    source.close()
    os.close(fd)


async def test_what_one_lane_fetched_the_other_need_not_wait_for(tmp_path: Path) -> None:
    """Both wait behind a block's worth; one write wakes both, though the writer then stays silent."""
    fd, writing = os.pipe()
    os.write(writing, b'{"a": 1}\n')
    source = open_source(["-"], max_row_bytes=10_000, block_bytes=9, lanes=2, spool_dir=tmp_path, stdin_fd=fd)
    cursors = [source.cursor() for _ in range(2)]
    assert all([await cursor.more(0) for cursor in cursors])
    waiting = [asyncio.create_task(cursor.more(9)) for cursor in cursors]
    await asyncio.wait(waiting, timeout=0.05)
    os.write(writing, b'{"a": 2}\n')
    done, _ = await asyncio.wait(waiting, timeout=20)
    os.close(writing)
    assert len(done) == 2
    assert all(task.result() for task in done)
    for cursor in cursors:
        await cursor.aclose()
    source.close()
    os.close(fd)


async def test_an_array_in_gzip_is_told_from_its_first_bytes() -> None:
    fd = _fed(packed(b"[" + _ROWS.rstrip().replace(b"\n", b",") + b"]", "gzip"))
    source = open_source(["-"], max_row_bytes=10_000, stdin_fd=fd)
    assert source.files[0].format is JSON_ARRAY
    cursor = source.cursor()
    assert len(await _rows(cursor)) == 20_000
    await cursor.aclose()
    os.close(fd)


async def test_one_lane_is_one_cursor() -> None:
    fd = _fed(_ROWS[:1000])
    source = open_source(["-"], max_row_bytes=10_000, stdin_fd=fd)
    cursor = source.cursor()
    with pytest.raises(UsageProblem, match="read once"):
        source.cursor()
    await cursor.aclose()
    os.close(fd)


async def test_a_stream_cut_off_is_told_as_standard_input() -> None:
    fd = _fed(packed(_ROWS, "gzip")[:-100])
    source = open_source(["-"], max_row_bytes=10_000, stdin_fd=fd)
    cursor = source.cursor()
    with pytest.raises(SourceUnreadable, match="standard input: cut off after"):
        await _rows(cursor)
    await cursor.aclose()
    os.close(fd)
