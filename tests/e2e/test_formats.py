"""Formats of another package, found by its entry points: the one of `docs/formats.md`, and one that is no text."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bulkup.emulator import Spawned
from tests.e2e.harness import SPACE, TOKENS, Bench, Row
from tests.sources import cells_format, others_package

LANES = ("nebius", "collinear")


def rows(name: str, count: int) -> list[Row]:
    return [{"question": f"{name} {number}", "answer": "x" * (number % 14)} for number in range(count)]


def as_toy(some: Sequence[Row]) -> bytes:
    return b"toy 1\n" + b"".join(b"question=%(question)s\tanswer=%(answer)s\n" % _bytes(row) for row in some)


def as_cells(some: Sequence[Row]) -> bytes:
    half = cells_format.RECORD // 2
    records = (b"%(question)s,%(answer)s" % _bytes(row) for row in some)
    return cells_format.MAGIC + b"".join(
        b"".join(field.ljust(half, b"\0") for field in record.split(b",")) for record in records
    )


def _bytes(row: Row) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in row.items()}


class Command:
    """`python -m bulkup`, with the other package installed beside it."""

    def __init__(self, bench: Bench, *sources: Path) -> None:
        site = others_package.install(bench.folder / "site", toy="toy_format:TOY", cells="cells_format:CELLS")
        self.bench = bench
        self.environment = {**os.environ, **TOKENS, "PYTHONPATH": str(site)}
        self.upload = [
            "upload", *map(str, sources), "--to", "nebius", "--to", "collinear", "--name", "rows", "--space-id", SPACE,
            "--nebius-url", bench.emulator.url, "--collinear-url", bench.emulator.url, *self._state,
            "--max-chunk-rows", "100", "--settle-after", "0.05", "--json", "-q",
        ]  # fmt: skip

    @property
    def _state(self) -> list[str]:
        return ["--state-dir", str(self.bench.folder / "state")]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bulkup", *arguments],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def interrupted(self) -> None:
        """An upload that is interrupted once the service has got five requests."""
        self.bench.emulator.patch(latency_ms=60)
        with self.start(*self.upload) as process:
            deadline = time.monotonic() + 30
            while self._received() < 5:
                assert process.poll() is None
                assert time.monotonic() < deadline
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        self.bench.emulator.patch(latency_ms=0)
        assert process.returncode == 130, err
        assert 0 < self.bench.stored("nebius").total() < len(self.bench.rows)

    def run(self, *arguments: str, code: int) -> Any:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        return json.loads(out)

    def verified(self, run_id: str) -> Any:
        return self.run("verify", run_id, "--sample", "1.0", "--json", *self._state, code=0)

    def _received(self) -> int:
        summary = self.bench.emulator.summary()
        return sum(summary[lane]["uploads_received"] for lane in LANES)


def check(bench: Bench) -> None:
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane)


def test_the_pages_format_is_uploaded_interrupted_resumed_and_verified(emulator: Spawned, tmp_path: Path) -> None:
    plain, packed = rows("plain", 1200), rows("packed", 800)
    bench = Bench(emulator, tmp_path, plain + packed)
    content = as_toy(plain).replace(b"question=plain 700\t", b"no field\nquestion=plain 700\t")
    (tmp_path / "a.toy").write_bytes(content)
    (tmp_path / "b.toy.gz").write_bytes(gzip.compress(as_toy(packed)))
    command = Command(bench, tmp_path / "a.toy", tmp_path / "b.toy.gz")
    command.interrupted()
    receipt = command.run(*command.upload, code=3)
    check(bench)
    for lane in LANES:
        assert receipt["destinations"][lane]["rows_rejected"] == 1
    (letter, _) = (
        json.loads(line)
        for line in (tmp_path / "state" / receipt["run_id"] / "rejects.jsonl").read_bytes().splitlines()
    )
    assert letter["row"] == "no field"
    assert letter["byte_offset"] == content.index(b"no field")
    assert letter["file"].endswith("a.toy")
    command.verified(receipt["run_id"])


def test_rows_by_number_go_beside_lines_in_any_order(emulator: Spawned, tmp_path: Path) -> None:
    """Workers read them by ranges, and nothing is sent from a file as it is."""
    first, second = rows("first", 900), rows("second", 900)
    bench = Bench(emulator, tmp_path, first + second)
    (tmp_path / "a.cells").write_bytes(as_cells(first))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in second))
    command = Command(bench, tmp_path / "a.cells", tmp_path / "b.jsonl")
    command.environment["BULKUP_WORKERS"] = "2"
    command.interrupted()
    command.run(*command.upload, code=0)
    check(bench)


def test_a_format_that_cannot_be_loaded_is_named(emulator: Spawned, tmp_path: Path) -> None:
    bench = Bench(emulator, tmp_path, [])
    (tmp_path / "a.what").write_bytes(b"what is this\n")
    command = Command(bench, tmp_path / "a.what")
    points = tmp_path / "site" / "others-1.dist-info" / "entry_points.txt"
    points.write_text("[bulkup.formats]\nwhat = no_such_module:WHAT\n")
    with command.start(*command.upload) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the format what (no_such_module:WHAT) cannot be loaded: No module named 'no_such_module'" in err
    assert bench.stored("nebius") == Counter()
