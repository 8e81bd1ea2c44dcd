"""`python -m benchmarks --smoke`: every case once, by the product as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from benchmarks import run
from benchmarks.bodies import multiset
from benchmarks.cases import CASES
from benchmarks.rows import Shape, write_rows
from benchmarks.run import BrokenRun, Source, measured

_ROOT = Path(__file__).parents[2]


def test_the_smoke_runs_every_case_and_prints_a_line_for_each(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--dir", str(tmp_path)],
        cwd=_ROOT,
        capture_output=True,
        check=True,
        timeout=100,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["case"] for line in lines] == list(CASES)
    for line in lines:
        assert line["sink_checked"]
        assert line["requests"] > 4
        assert min(line[key] for key in ("mb_per_s", "cpu_s_per_gb", "peak_rss_mib", "seconds")) > 0
        assert {"bulkup", "python", "msgspec"} <= line["versions"].keys()
        assert {"processor", "cpus"} <= line["machine"].keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chat-mixed-8000000.jsonl",
        "collinear-mixed-8000000.jsonl",
    ]


def test_the_checked_sink_gets_exactly_the_rows_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    rows = write_rows(path, Shape.COLLINEAR, 1_500_000)
    found = {}

    def noting(url: str) -> dict[str, object]:
        found.update(summary(url))
        return found

    summary = run.summary
    monkeypatch.setattr(run, "summary", noting)
    measured(CASES["collinear-identity"], Source.of(path), check=True, max_chunk_bytes=200_000)
    assert found["rows"] == rows
    assert found["digest"] == multiset([orjson.loads(line) for line in path.read_bytes().splitlines()])


def test_a_row_too_few_is_a_broken_run(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = write_rows(path, Shape.COLLINEAR, 50_000)
    with pytest.raises(BrokenRun, match="were to be sent"):
        measured(CASES["collinear-identity"], Source(path, path.stat().st_size, rows + 1), check=False)
