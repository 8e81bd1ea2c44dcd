"""Many packed files: who goes on after a stop passes over those that are done."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from bulkup.run.interrupt import Interrupt
from bulkup.sources import inputs, kept_source
from bulkup.sources.format import SourceFile
from tests.e2e.harness import Bench, as_collinear, canonical, gsm8k_rows, write_rows

SHARDS = 40


def sharded(folder: Path, bench: Bench) -> Path:
    """The bench's rows in gz files of mixed sizes."""
    folder.mkdir()
    cuts = sorted(random.Random(5).sample(range(1, len(bench.rows)), SHARDS - 1))
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(bench.rows)], strict=True)):
        plain = write_rows(folder / f"{number}.jsonl", bench.rows[start:stop])
        (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return folder


@pytest.mark.parametrize("scan", ["all", "none"])
async def test_shards_that_are_done_are_not_read_again(
    emulator: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: str
) -> None:
    """It is stopped when the thirtieth file is opened to be sent."""
    bench = Bench(emulator, tmp_path, gsm8k_rows(3000))
    source, lane = sharded(tmp_path / "shards", bench), bench.collinear(max_chunk_bytes=50_000)
    opened: list[str] = []
    interrupt, loop = Interrupt(), asyncio.get_running_loop()
    real = inputs.open_file

    def recorded(file: SourceFile) -> int:
        opened.append(Path(file.uri).name)
        if opened.count("30.jsonl.gz") == (2 if scan == "all" else 1):
            loop.call_soon_threadsafe(interrupt.request)
        return real(file)

    monkeypatch.setattr(inputs, "open_file", recorded)
    monkeypatch.setattr(kept_source, "open_file", recorded)
    first = await bench.run(lane, source=source, scan=scan, interrupt=interrupt)
    assert first.exit_code == 130
    landed = bench.stored("collinear")
    first_left = next(number for number in range(SHARDS) if shard(source, number) - landed)
    assert 0 < first_left < SHARDS
    opened.clear()
    monkeypatch.setattr("bulkup.sources.opening.look_into", _nothing_is_looked_into)
    second = await bench.run(lane, source=source, scan=scan)
    assert second.exit_code == 0
    assert bench.stored("collinear") == bench.expected("collinear")
    assert opened == [f"{number}.jsonl.gz" for number in range(first_left, SHARDS)]


def _nothing_is_looked_into(*_: object) -> None:
    raise AssertionError("what has not changed is known")


def shard(folder: Path, number: int) -> Counter[str]:
    """What Collinear makes of a file's rows."""
    lines = gzip.decompress((folder / f"{number}.jsonl.gz").read_bytes()).splitlines()
    return canonical(as_collinear(json.loads(line)) for line in lines)
