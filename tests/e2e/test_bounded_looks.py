"""What looks at a whole run holds no list of its chunks: `verify`, and a source whose files were touched."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import xxhash

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence
from bulkup.doubt.verification import LaneVerification
from bulkup.journal import queries
from bulkup.run.story import verify
from tests.e2e.harness import SPACE, TOKENS, Bench
from tests.journal.chunks import chunk, ids_line

LANE = "collinear"
MOST_MIB = 64
"""So much more memory may a million chunks take than a thousand."""

FEW = 1000


def row(number: int) -> bytes:
    """A row of one length, whatever its number."""
    return orjson.dumps({"conv_prefix": [{"role": "user", "content": f"{number:07d}"}], "response": ANSWER}) + b"\n"


ANSWER = {"role": "assistant", "content": "y"}


async def chunk_a_row(bench: Bench, count: int, *, without_ids: int = 0) -> str:
    """A run whose *count* rows have landed, each in a chunk of its own; its name. The last *without_ids* have no ids."""
    bench.source.write_bytes(b"".join(map(row, range(count))))
    done = await bench.run(bench.collinear(max_chunk_rows=max(2, count // 200), max_chunk_bytes=8 << 20))
    assert done.exit_code == 0
    folder = bench.folder / "state" / done.run_id
    lines = sorted(
        map(orjson.loads, (folder / "ids.jsonl").read_bytes().splitlines()), key=lambda line: line["position"]
    )
    ids = [id_ for line in lines for id_ in line["ids"]]
    with (
        closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as db,
        (folder / "ids.jsonl").open("wb") as log,
    ):
        dataset = db.execute("SELECT remote_id FROM datasets").fetchone()[0]
        db.execute("BEGIN")
        for table in ("chunks", "tiles", "sums", "datasets"):
            db.execute(f"DELETE FROM {table}")
        like = replace(
            chunk(0), rows=1, lines=((0, 1),), name="rows", state=ChunkState.LANDED, attempts=1, remote_id=dataset,
            evidence=Evidence.ANSWER,
        )  # fmt: skip

        def chunks() -> Iterator[Chunk]:
            size = len(row(0))
            for number, id_ in enumerate(ids):
                start, data = number * size, row(number)
                has_ids = number < count - without_ids
                one = replace(
                    like, id=ChunkId(LANE, number, 0), start=start, stop=start + size, byte_offset=start,
                    body_bytes=size - 1, raw_hash=xxhash.xxh3_128_digest(data), ids_at=log.tell() if has_ids else None,
                )  # fmt: skip
                if has_ids:
                    log.write(ids_line(one, id_))
                yield one

        queries.plan(db, LANE, chunks(), [])
        queries.set_log_length(db, "ids.jsonl", log.tell())
        db.execute("COMMIT")
    return done.run_id


@pytest.mark.parametrize("sample", [1.0, 0.3])
@pytest.mark.usefixtures("_small_pages")
async def test_a_chunk_a_row_with_and_without_ids(bench: Bench, sample: float) -> None:
    """Pages of chunks, and parts of rows, that end anywhere."""
    run = await chunk_a_row(bench, 60, without_ids=13)

    async def verified() -> tuple[int, int, int]:
        upload = bench.upload(bench.collinear())
        found = await verify(upload, tell=lambda _: None, resume=run, sample=sample, seed=3)
        lane = found.lanes[LANE]
        return found.exit_code, lane.chunks_compared, lane.rows_differing

    assert await verified() == (0, 60 * sample, 0)
    altered = [json.loads(row(number)) for number in range(60)]
    bench.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=altered[:5])
    assert (await verified())[0] == 5


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkup.journal.queries.PAGE_CHUNKS", 7)
    monkeypatch.setattr("bulkup.flow.verify_context.PART_ROWS", 11)


@pytest.mark.usefixtures("_small_pages")
async def test_more_rows_are_gone_than_are_named(bench: Bench) -> None:
    """All are counted; the first by their place in the source are named, wherever their hashes lie."""
    run = await chunk_a_row(bench, 150, without_ids=150)
    bench.emulator.reset()
    others = [json.loads(row(number)) for number in range(1000, 1150)]
    bench.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=others)
    found = await verify(bench.upload(bench.collinear()), tell=lambda _: None, resume=run, sample=1.0, seed=3)
    lane = found.lanes[LANE]
    assert (found.exit_code, lane.chunks_compared, lane.rows_differing) == (5, 150, 150)
    assert [one.row_number for one in lane.row_differences] == list(range(1, 101))


@pytest.mark.usefixtures("_small_pages")
async def test_a_dataset_a_chunk(bench: Bench) -> None:
    bench.source.write_bytes(b"".join(b'{"text":"%d"}\n' % number for number in range(40)))
    upload = bench.upload(bench.nebius(max_chunk_rows=2))
    done = await bench.run(bench.nebius(max_chunk_rows=2))

    async def verified(sample: float) -> LaneVerification:
        found = await verify(upload, tell=lambda _: None, resume=done.run_id, sample=sample, seed=3)
        return found.lanes["nebius"]

    lane = await verified(0.4)
    assert (lane.exit_code, lane.chunks_landed, lane.chunks_compared) == (0, 21, 9)
    name = done.destinations["nebius"].remote[13].name
    schema = [{"name": "text", "type": {"name": "string"}}]
    bench.emulator.write("nebius", name=name, folder="/tests", schema=schema, rows=[{"text": "26"}, {"text": "27"}])
    lane = await verified(1.0)
    assert (lane.exit_code, lane.chunks_compared, lane.rows_differing) == (5, 21, 0)
    (double,) = lane.dataset_differences
    assert f"is a second one named {name}: the rows of chunk 000" in double.what


def peak_mib(bench: Bench, *options: str) -> int:
    """The most memory that the command took."""
    peak = bench.folder / "peak"
    command = [sys.executable, "-m", "tests.peak", str(peak), *options, "--state-dir", str(bench.folder / "state")]
    done = subprocess.run(
        command, env={**os.environ, **TOKENS}, cwd=Path.cwd(), check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(peak.read_text()) >> 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_million_chunks_take_no_more_than_a_thousand(bench: Bench) -> None:
    """In both ways to look: all rows compared, and a sample of them; and the source read again since it was touched."""
    taken: dict[int, dict[str, int]] = {}
    for count in (FEW, 1_000_000):
        bench.emulator.reset()
        (bench.folder / str(count)).mkdir()
        bench.source = bench.folder / str(count) / "rows.jsonl"
        run = await chunk_a_row(bench, count, without_ids=count // 100)
        few = peak_mib(bench, "verify", run, "--sample", "0.01")
        whole = peak_mib(bench, "verify", run, "--sample", "1")
        os.utime(bench.source)
        touched = peak_mib(bench, "resume", run)
        taken[count] = {"a sample": few, "all": whole, "touched": touched}
    print(f"MiB at most: {taken}")
    for what, few in taken[FEW].items():
        assert taken[1_000_000][what] - few <= MOST_MIB, taken
