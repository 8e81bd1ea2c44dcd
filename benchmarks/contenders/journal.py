"""The hot path's records of a stated number of chunks a second, told to a real journal as an upload tells them, and nothing else.

A preparer plans, 16 deliverers say `sending`, wait for as long as an answer may take, and say `landed` with the row ids. Without
the journal all of it happens too, its records apart: the difference in CPU seconds is what the journal costs, the loop's share
of it included (futures, wake-ups), at the stated pace and not as fast as it goes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from benchmarks.contenders.told import Stopwatch, tell
from benchmarks.contenders.upload import without_journal
from bulkup.chunk import Chunk, ChunkId, Evidence, TileSpan
from bulkup.journal import LaneJournal, SqliteJournal

__all__ = ["main"]

LANE = "collinear"
DELIVERERS = 16
ANSWER_S = 0.004
TILE_BYTES = 16 * 1024
ROWS = 16
HASH = b"0123456789abcdef"
IDS = b",".join(b'"00000000-%012d"' % n for n in range(ROWS))


def _chunk(tile: int) -> Chunk:
    start = tile * TILE_BYTES
    return Chunk(
        id=ChunkId(LANE, tile, 0),
        start=start,
        stop=start + TILE_BYTES,
        file=0,
        byte_offset=start,
        rows=ROWS,
        blank=0,
        rejected=0,
        lines=((0, ROWS),),
        body_bytes=TILE_BYTES - 1,
        raw_hash=HASH,
        rows_hash=tile.to_bytes(16, "big"),
        name="bench",
        verbatim=True,
    )


async def _prepare(lane: LaneJournal, chunks: int, per_second: float, out: MemoryObjectSendStream[Chunk]) -> None:
    began = time.perf_counter()
    async with out:
        planned: asyncio.Future[None] | None = None
        for tile in range(chunks):
            early_s = began + tile / per_second - time.perf_counter()
            if early_s > 0:
                await asyncio.sleep(early_s)
            chunk = _chunk(tile)
            if planned is not None:
                await planned
            planned = lane.plan([chunk], tiles=[TileSpan(tile, chunk.start, chunk.stop)])
            await out.send(chunk)


async def _deliver(lane: LaneJournal, incoming: MemoryObjectReceiveStream[Chunk]) -> None:
    async with incoming:
        async for chunk in incoming:
            await lane.sending(chunk.id, time.time())
            await asyncio.sleep(ANSWER_S)
            line = b'{"lane":"%b","chunk":"%b","ids":[%b]}\n' % (LANE.encode(), str(chunk.id).encode(), IDS)
            await lane.landed(chunk.id, "3c90c3cc", evidence=Evidence.ANSWER, ids=line)


async def _run(folder: Path, chunks: int, per_second: float) -> dict[str, object]:
    journal = SqliteJournal.open(folder, create=True)
    clock = Stopwatch()
    out, incoming = anyio.create_memory_object_stream[Chunk](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_prepare, journal.lane(LANE), chunks, per_second, out)
        async with incoming:
            for _ in range(DELIVERERS):
                tasks.start_soon(_deliver, journal.lane(LANE), incoming.clone())
    journal.close()
    return {**clock.read(), "source_bytes": chunks * TILE_BYTES, "chunks": chunks}


def main() -> None:
    """The command. The journal stands beside *source*, on the disk where the bench's files are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.journal")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--chunks", type=int, required=True)
    parser.add_argument("--per-second", type=float, required=True)
    parser.add_argument("--without", choices=("journal",))
    wanted = parser.parse_args()
    if wanted.without:
        without_journal()
    with tempfile.TemporaryDirectory(dir=wanted.source.parent) as folder:
        tell(lambda: asyncio.run(_run(Path(folder), wanted.chunks, wanted.per_second)))


if __name__ == "__main__":
    main()
