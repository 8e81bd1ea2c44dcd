"""`kill -9` at random moments of one upload, each followed by the same command."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from bulkup.emulator import Spawned
from tests.e2e.harness import SPACE, TOKENS, Bench, Row, as_collinear, canonical, gsm8k_rows
from tests.forking import Forked
from tests.matrix.launcher import Launcher

LANES = ("nebius", "collinear")
ROWS_A_REQUEST = 5


def _command(bench: Bench) -> list[str]:
    return [
        "upload", str(bench.source), "--to", "nebius", "--to", "collinear", "--name", "rows",
        "--folder", "/tests", "--space-id", SPACE, "--nebius-url", bench.emulator.url, "--collinear-url", bench.emulator.url,
        "--state-dir", str(bench.folder / "state"), "--max-chunk-rows", str(ROWS_A_REQUEST),
        "--settle-after", "0.05", "--json", "-q",
    ]  # fmt: skip


def _received(bench: Bench) -> int:
    summary = bench.emulator.summary()
    return sum(summary[lane]["uploads_received"] for lane in LANES)


def _start(bench: Bench) -> Forked:
    return Forked(*_command(bench), cwd=Path.cwd(), env={**os.environ, **TOKENS})


def _kill_somewhere(bench: Bench, dice: random.Random, most: int = 60) -> bool:
    """Start the upload and kill it at a random moment, at most *most* requests later; whether it was still running."""
    aim = _received(bench) + dice.choice([0, dice.randint(1, 5), dice.randint(5, most)])
    with _start(bench) as process:
        started = time.monotonic()
        least = dice.uniform(0, 0.9) if dice.random() < 0.2 else 0.0
        while process.poll() is None and (_received(bench) < aim or time.monotonic() - started < least):
            time.sleep(dice.uniform(0, 0.004))
        was_running = process.poll() is None
        process.kill()
    return was_running


def _doubtful_rows(bench: Bench, run_id: str, lane: str) -> list[Row]:
    """The rows of the chunks in doubt, by the manifest."""
    manifest = json.loads((bench.folder / "state" / run_id / "manifest.json").read_text())
    data = bench.source.read_bytes()
    if bench.source.suffix == ".gz":
        data = gzip.decompress(data)
    rows: list[Row] = []
    for chunk in manifest["lanes"][lane]:
        if chunk["state"] == "in doubt":
            lines = data[chunk["byte_offset"] :].split(b"\n", chunk["lines"])[: chunk["lines"]]
            rows += map(json.loads, lines)
    return rows


def _check_end(bench: Bench, receipt: dict[str, Any]) -> None:
    for lane in LANES:
        done = receipt["destinations"][lane]
        assert done["rows_left"] == 0
        assert done["rows_landed"] + done["rows_in_doubt"] == len(bench.rows)
        stored, expected = bench.stored(lane), bench.expected(lane)
        assert not stored - expected, f"{lane}: rows are there twice"
        doubtful = _doubtful_rows(bench, receipt["run_id"], lane)
        assert len(doubtful) == done["rows_in_doubt"]
        make = as_collinear if lane == "collinear" else dict
        assert not (expected - stored) - canonical(map(make, doubtful)), f"{lane}: rows are lost that are not in doubt"


def _killed(bench: Bench, kills: int, seed: int) -> dict[str, Any]:
    dice = random.Random(seed)
    bench.emulator.patch(latency_ms=25, store_delay_ms=5)
    requests = len(LANES) * len(bench.rows) // ROWS_A_REQUEST
    most = min(60, requests // kills // 2)  # so that half are left over, for those sent before a slow machine kills
    running = sum(_kill_somewhere(bench, dice, most) for _ in range(kills))
    bench.emulator.idle()
    with _start(bench) as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode in (0, 4), err
    receipt: dict[str, Any] = json.loads(out)
    _check_end(bench, receipt)
    receipt["kills"] = running
    print(
        f"{running} of {kills} kills hit a running upload;",
        {k: v["chunks_in_doubt"] for k, v in receipt["destinations"].items()},
    )
    return receipt


@pytest.fixture
def few(emulator: Spawned, tmp_path: Path) -> Bench:
    """Two hundred requests a lane."""
    return Bench(emulator, tmp_path, gsm8k_rows(1000))


def test_five_kills(few: Bench) -> None:
    assert _killed(few, 5, seed=11)["kills"] >= 4


def test_five_kills_of_a_compressed_source(few: Bench) -> None:
    """It cannot be read from the middle: every resume decodes from its beginning."""
    packed = few.source.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(few.source.read_bytes(), 1))
    few.source = packed
    assert _killed(few, 5, seed=12)["kills"] >= 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_kills(bench: Bench, tmp_path: Path) -> None:
    """The issue's fifty: all of GSM8K in requests of five rows."""
    assert _killed(bench, 50, seed=int(os.environ.get("BULKUP_TEST_SEED", "3")))["kills"] >= 45


ROWS = 100_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills_of_a_hundred_thousand_rows(emulator: Spawned, tmp_path: Path) -> None:
    """Every tenth upload loses its answer, and 200 times the process is killed at a random moment."""
    seed, wanted = int(os.environ.get("BULKUP_TEST_SEED", "3")), int(os.environ.get("BULKUP_TEST_KILLS", "200"))
    dice = random.Random(seed)
    rows = [{"question": f"question {n}", "answer": "x" * dice.randint(1, 60)} for n in range(ROWS)]
    bench = Bench(emulator, tmp_path, rows)
    emulator.patch(
        seed=seed, faults={lane: {"stored_then_reset": 0.1} for lane in LANES}, latency_ms=120, store_delay_ms=5
    )
    given = {
        "destinations": {
            "nebius": {"url": emulator.url, "folder": "/tests", "max_chunk_rows": 100},
            "collinear": {"url": emulator.url, "space_id": SPACE, "max_chunk_rows": 100},
        },
        "source": str(bench.source),
        "settings": {"name": "rows", "state_dir": str(tmp_path / "state"), "settle_after_s": 0.5},
        "log": str(tmp_path / "log"),
    }
    launcher = Launcher(TOKENS)
    began = time.monotonic()
    try:
        statuses: list[int] = []
        while statuses.count(-9) < wanted and (not statuses or statuses[-1] == -9):
            longest = 4.0 if dice.random() < 0.2 else 1.2
            statuses.append(launcher.run({**given, "kill_after_s": dice.uniform(0.02, longest)}))
        kills = statuses.count(-9)
        landed = {lane: sum(d["rows"] for d in emulator.summary()[lane]["datasets"]) for lane in LANES}
        print(f"{kills} kills in {time.monotonic() - began:.0f} s; stored by then: {landed}; statuses {set(statuses)}")
        last = launcher.run({**given, "longest_s": 900})
    finally:
        launcher.close()
    emulator.idle()
    receipt = json.loads(next((tmp_path / "state").glob("*/receipt.json")).read_text())
    print(f"{time.monotonic() - began:.0f} s in all; exit {last}; {(tmp_path / 'log').read_text()[-2000:]}")
    for lane in LANES:
        stored, expected = bench.stored(lane), bench.expected(lane)
        print(f"{lane}: {(expected - stored).total()} lost, {(stored - expected).total()} doubled")
        assert stored == expected
    assert last == 0
    assert receipt["exit_code"] == 0
    assert kills >= wanted
