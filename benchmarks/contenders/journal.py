"""The hot path's records of a stated number of chunks a second, told to a real journal as an upload tells them, and nothing else.

A preparer plans, 16 deliverers say `sending`, wait for as long as an answer may take, and say `landed` with the row ids. Without
the journal all of it happens too, its records apart: the difference in CPU seconds is what the journal costs, the loop's share
of it included (futures, wake-ups), at the stated pace and not as fast as it goes.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from benchmarks.contenders.told import Stopwatch, tell
from benchmarks.contenders.upload import without_journal
from bulkup.chunk import Chunk, ChunkId, Evidence, TileSpan
from bulkup.journal import Journal, LaneJournal, SqliteJournal

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


async def _run(journal: Journal, chunks: int, per_second: float, deliverers: int) -> dict[str, object]:
    clock = Stopwatch()
    out, incoming = anyio.create_memory_object_stream[Chunk](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_prepare, journal.lane(LANE), chunks, per_second, out)
        async with incoming:
            for _ in range(deliverers):
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
    parser.add_argument("--deliverers", type=int, default=DELIVERERS)
    parser.add_argument("--postgres", action="store_true", help="the journal is in a server of its own, with fsync")
    wanted = parser.parse_args()
    if wanted.without:
        without_journal()
    with tempfile.TemporaryDirectory(dir=wanted.source.parent) as folder:
        at = Path(folder)
        if wanted.postgres:
            tell(lambda: _in_postgres(at, wanted))
        else:
            journal = SqliteJournal.open(at, create=True)
            tell(lambda: asyncio.run(_run(journal, wanted.chunks, wanted.per_second, wanted.deliverers)))


def _in_postgres(folder: Path, wanted: argparse.Namespace) -> dict[str, object]:
    """The same, and the CPU seconds of the database, whose files are in a folder that its user may enter."""
    from bulkup.journal.postgres.keeper import PostgresJournal
    from bulkup.journal.postgres.wanted import Wanted
    from tests.journal.postgres_server import PostgresServer

    at = Path(tempfile.mkdtemp(prefix="bulkup-benchmark-pg-"))
    at.chmod(0o755)
    (folder / "run").mkdir()
    server = PostgresServer(at / "server", fsync="on", full_page_writes="on")
    try:
        server.start()
        journal = PostgresJournal.open(server.address(), folder / "run", "run", Wanted())
        before_s = server.cpu_s()
        found = asyncio.run(_run(journal, wanted.chunks, wanted.per_second, wanted.deliverers))
        return {**found, "database_cpu_s": server.cpu_s() - before_s}
    finally:
        server.stop()
        shutil.rmtree(at, ignore_errors=True)


if __name__ == "__main__":
    main()
