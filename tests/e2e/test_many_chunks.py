"""A run with very many chunks behind it: what is left goes out at once, and manifest and receipt are written as they are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bulkup.chunk import ChunkId, ChunkState, Evidence, TileSpan
from bulkup.journal import SqliteJournal
from bulkup.journal.facts import PLAN
from tests.e2e.harness import SPACE, TOKENS, Bench
from tests.journal.chunks import chunk

LANE = "collinear"
LEFT = 4
PORTION = 5_000
FIRST_BYTE_S = 2.0


def row(number: int) -> str:
    """A row of one length, whatever its number."""
    turns = [{"role": "user", "content": f"{number:09d}"}]
    return json.dumps({"conv_prefix": turns, "response": {"role": "assistant", "content": "yes"}})


async def nearly_done(bench: Bench, count: int) -> str:
    """A run of *count* chunks, a row each, of which all but the last few count as landed in its journal; its name."""
    bench.source.write_text("".join(row(n) + "\n" for n in range(count)))
    bench.emulator.patch(script={LANE: ["forbidden_403"] * 64})
    begun = await bench.run(bench.collinear(max_chunk_rows=1))
    bench.emulator.patch(script={})
    dataset = bench.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[json.loads(row(0))])
    assert begun.exit_code == 77
    size = len(row(0)) + 1
    journal = SqliteJournal.open(bench.folder / "state" / begun.run_id, create=False)
    lane = journal.lane(LANE)
    plan = await lane.fact(PLAN)
    assert plan is not None
    assert plan.tile_bytes == size, "a tile is a row"
    for one in await lane.open_chunks(ChunkState.PLANNED):
        await lane.landed(one.id, dataset, evidence=Evidence.ANSWER)
    first, planned_to = await lane.frontier()
    if planned_to is not None:  # its one chunk is planned, its end was not yet
        await lane.plan([], tiles=[TileSpan(first, first * size, planned_to)])
        first += 1
    like = replace(
        chunk(0), rows=1, lines=((0, 1),), body_bytes=size - 1, name="rows", state=ChunkState.LANDED, attempts=1,
        remote_id=dataset, evidence=Evidence.ANSWER,
    )  # fmt: skip
    for start in range(first, count - LEFT, PORTION):
        tiles = [TileSpan(n, n * size, (n + 1) * size) for n in range(start, min(start + PORTION, count - LEFT))]
        landed = [
            replace(like, id=ChunkId(LANE, t.tile, 0), start=t.start, stop=t.stop, byte_offset=t.start) for t in tiles
        ]
        await lane.plan(landed, tiles=tiles)
    journal.close()
    return begun.run_id


async def check_end(bench: Bench, run_id: str, count: int) -> None:
    """What was left has landed, once, and the run's papers have all of it."""
    assert sorted(turn["conv_prefix"][0]["content"] for turn in bench.emulator.rows("collinear")) == [
        f"{n:09d}" for n in (0, *range(count - LEFT, count))
    ]
    folder = bench.folder / "state" / run_id
    receipt = json.loads((folder / "receipt.json").read_bytes())["destinations"][LANE]
    assert (receipt["rows_landed"], receipt["chunks_landed"], receipt["datasets"]) == (count, count, 1)
    chunks = json.loads((folder / "manifest.json").read_bytes())["lanes"][LANE]
    assert [(c["chunk"], c["first_row"], c["state"]) for c in chunks] == [
        (f"{n:05d}", n + 1, "landed") for n in range(count)
    ]


async def test_ten_thousand_chunks(small: Bench) -> None:
    """In order beyond 99,999 tiles or not: positions count, not names."""
    run_id = await nearly_done(small, 10_000)
    receipt = await small.run(small.collinear(max_chunk_rows=1))
    assert receipt.exit_code == 0
    assert receipt.destinations[LANE].this_invocation.requests == LEFT
    await check_end(small, run_id, 10_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_million_chunks(small: Bench) -> None:
    """From the start of `bulkup resume` to the first upload at the service: 2 s at most, and little memory."""
    run_id = await nearly_done(small, 1_000_000)
    before = small.emulator.summary()[LANE]["uploads_received"]
    peak = small.folder / "peak"
    options = ["resume", run_id, "--state-dir", str(small.folder / "state"), "-q"]
    command = [sys.executable, "-m", "tests.peak", str(peak), *options]
    started = time.monotonic()
    with subprocess.Popen(command, env={**os.environ, **TOKENS}, cwd=Path.cwd()) as process:
        while small.emulator.summary()[LANE]["uploads_received"] == before:
            assert process.poll() is None
        first_s = time.monotonic() - started
        assert process.wait() == 0
    peak_mib = int(peak.read_text()) >> 20
    print(f"first upload after {first_s:.2f} s, end after {time.monotonic() - started:.1f} s, {peak_mib} MiB at most")
    assert peak_mib < 150
    await check_end(small, run_id, 1_000_000)
    assert first_s <= FIRST_BYTE_S
