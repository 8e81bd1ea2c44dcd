"""A scan goes on after a kill, and several processes find what one finds."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bulkup.run import scan_hands, scanning
from bulkup.run.checking import Checked, check
from bulkup.scan import spread
from bulkup.scan.spread import Part
from bulkup.sources.sequential import SequentialSource
from tests.e2e.harness import Bench

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from bulkup import Nebius
from bulkup.run import scan_hands, scanning
from bulkup.run.checking import check
from bulkup.run.wish import Upload
from bulkup.scan import spread
from bulkup.settings.config import RunSettings

spread.PART_BYTES, spread.LEAST_BYTES, scanning.LEAST_BYTES = 4096, 1, 1
look, looked_at = scan_hands.look_at_part, 0

def look_until_killed(*args, **more):
    global looked_at
    looked_at += 1
    if looked_at == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return look(*args, **more)

scan_hands.look_at_part = look_until_killed
settings = RunSettings(name="rows", state_dir=Path(sys.argv[2]), workers=1)
upload = Upload((sys.argv[1],), (Nebius(folder="/tests"),), settings)
asyncio.run(check(upload, tell=lambda _: None))
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in many parts, with something new and something wrong in each."""
    monkeypatch.setattr(spread, "PART_BYTES", 4096)
    monkeypatch.setattr(spread, "LEAST_BYTES", 1)
    monkeypatch.setattr(scanning, "LEAST_BYTES", 1)
    lines = [json.dumps({"n": n, "text": "x" * 40, **({f"late {n}": n} if n % 50 == 49 else {})}) for n in range(500)]
    lines[::70] = [line[:-5] for line in lines[::70]]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Part]]:
    """Who has looked at which parts."""
    made: list[tuple[str, Part]] = []
    for kind in (scan_hands.ThisHand, scan_hands.WorkerHand):

        async def look(self: Any, lanes: Any, part: Part, was: Any = kind.look) -> Any:
            made.append((type(self).__name__, part))
            return await was(self, lanes, part)

        monkeypatch.setattr(kind, "look", look)
    return made


async def _checked(bench: Bench, source: Path, state: Path, workers: int) -> Checked:
    lane = bench.nebius()
    return await check(bench.upload(lane, source=source, state_dir=state, workers=workers), tell=lambda _: None)


async def test_several_processes_find_what_one_finds(
    bench: Bench, tmp_path: Path, source: Path, looked_at: list[tuple[str, Part]]
) -> None:
    alone = await _checked(bench, source, tmp_path / "one", 1)
    parts = [part for _, part in looked_at]
    assert len(parts) > 5
    looked_at.clear()
    together = await _checked(bench, source, tmp_path / "two", 2)
    assert {who for who, _ in looked_at} == {"WorkerHand"}
    assert sorted((part for _, part in looked_at), key=lambda part: part.start) == parts
    assert together.lanes == alone.lanes


async def test_a_scan_that_was_killed_goes_on(
    bench: Bench, tmp_path: Path, source: Path, looked_at: list[tuple[str, Part]]
) -> None:
    """The command looks at the fourth part, and is gone."""
    state = tmp_path / "state"
    command = [sys.executable, "-c", KILLED, str(source), str(state)]
    done = subprocess.run(command, capture_output=True, timeout=60, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [path.suffix for path in (state / "scans").iterdir()] == [".parts"]
    after = await _checked(bench, source, state, 1)
    again = list(looked_at)
    assert [path.suffix for path in (state / "scans").iterdir()] == [".json"], "it is whole now"
    looked_at.clear()
    assert after.lanes == (await _checked(bench, source, tmp_path / "other", 1)).lanes
    assert again == looked_at[3:]
    os.utime(source, ns=(1, 1))
    looked_at.clear()
    await _checked(bench, source, state, 1)
    assert len(looked_at) == len(again) + 3, "of another file nothing is taken"


async def test_of_packed_files_it_is_known_where_each_begins(
    bench: Bench, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run that goes on, or another process, opens any of them without reading those before: also after a check."""
    shards = tmp_path / "shards"
    shards.mkdir()
    lengths = []
    for number, end in enumerate((b"", b"\n\n", b"  \n")):
        data = b"".join(b'{"n":%d}\n' % n for n in range(2000 + number)) + end
        (shards / f"{number}.jsonl.gz").write_bytes(gzip.compress(data))
        lengths.append(len(data))
    monkeypatch.setattr(spread, "PART_BYTES", 1)
    learned: list[list[int]] = []
    was = SequentialSource.learn

    def learn(self: SequentialSource, bases: Sequence[int]) -> None:
        learned.append(list(bases))
        was(self, bases)

    monkeypatch.setattr(SequentialSource, "learn", learn)
    await _checked(bench, shards, tmp_path / "state", 1)
    assert learned[-1] == [0, lengths[0], lengths[0] + lengths[1]]
    learned.clear()
    receipt = await bench.run(bench.nebius(), source=shards, state_dir=tmp_path / "state", workers=1)
    assert learned[-1] == [0, lengths[0], lengths[0] + lengths[1]], "from the scan that the check has kept"
    assert receipt.destinations["nebius"].rows_landed == 6003
