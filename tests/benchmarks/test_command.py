"""`python -m benchmarks`: the smoke by the product as a user runs it, and the pieces that judge and write down."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.__main__ import _recorded
from benchmarks.bench import Bench, BrokenRun, Source, Unavailable
from benchmarks.bodies import multiset
from benchmarks.case import Case, Metrics
from benchmarks.measure import RunningSink, sent
from benchmarks.results import FAILED, MISSING, OK
from benchmarks.rows import Text
from benchmarks.suites import SUITES
from benchmarks.suites.uploads import UPLOAD

_ROOT = Path(__file__).parents[2]
_KNOWN_MISSING = ("wrk", "openssl", "curl", "no setting")


def _bench(folder: Path, *, check: bool = False) -> Bench:
    return Bench(folder=folder, size=1_000_000, text=Text.MIXED, check=check)


_IDENTITY = Case(
    suite="uploads",
    name="identity",
    measure=sent,
    module=UPLOAD,
    arguments=("--to", "collinear", "--max-chunk-bytes", "200000"),
)


_A_CASE_OF_EACH_KIND = (
    "msgspec alone", "imports alone", "full, 2 workers", "into Collinear, parquet",
    "aiohttp + gather", "chunks a second, on", "echo off", "--help",
    "600 requests a minute", "fixed at", "resume of", "bulkup, folder", "journal in PostgreSQL",
)  # fmt: skip


_FEW = ("imports alone", "into Collinear, parquet", "aiohttp + gather", "--help", "fixed at")
"""A case of five suites, each measured in a way of its own."""


def _smoke(out: Path, *more: str) -> list[dict[str, Any]]:
    """What a smoke has written down, once it is known to be whole."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--out", str(out), *more],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    records: list[dict[str, Any]] = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for record in records:
        if record["status"] == MISSING:
            assert any(word in record["why"] for word in _KNOWN_MISSING), record
            continue
        assert record["status"] == OK
        assert record["figures"]["seconds"] > 0
        assert {"bulkup", "python", "msgspec"} <= record["grounds"]["versions"].keys()
    table = (out / "table.md").read_text()
    assert all(f"## {record['suite'].capitalize()}" in table for record in records)
    return records


@pytest.mark.parametrize("parts", [_FEW, pytest.param(_A_CASE_OF_EACH_KIND, marks=pytest.mark.slow)], ids=len)
def test_the_smoke_runs_cases_of_many_suites_and_writes_down_what_it_found(
    tmp_path: Path, parts: tuple[str, ...]
) -> None:
    records = _smoke(tmp_path, *(f"--match={part}" for part in parts))
    assert len(records) >= len(parts)
    assert len({record["suite"] for record in records}) == (5 if parts is _FEW else len(SUITES))


@pytest.mark.slow
def test_the_whole_smoke(tmp_path: Path) -> None:
    records = _smoke(tmp_path)
    assert len(records) > len(_A_CASE_OF_EACH_KIND)
    assert {record["suite"] for record in records} == SUITES.keys()


def test_the_checked_sink_gets_exactly_the_rows_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, found = _bench(tmp_path, check=True), dict[str, object]()
    summary = RunningSink.summary

    def noting(sink: RunningSink) -> dict[str, object]:
        found.update(summary(sink))
        return found

    monkeypatch.setattr(RunningSink, "summary", noting)
    figures = sent(_IDENTITY, bench)
    source = bench.source(_IDENTITY.shape, bench.size)
    assert found["rows"] == source.rows
    assert found["digest"] == multiset([orjson.loads(line) for line in source.path.read_bytes().splitlines()])
    assert int(figures["requests"] or 0) > 4
    for key in ("mb_per_s", "cpu_s_per_gb", "seconds"):
        assert float(figures[key] or 0) > 0


def test_a_row_too_few_is_a_broken_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = _bench(tmp_path)
    source = bench.source(_IDENTITY.shape, bench.size)
    bench._sources[source.path.name] = Source(source.path, source.bytes, source.rows + 1)
    with pytest.raises(BrokenRun, match="were to be sent"):
        sent(_IDENTITY, bench)


def test_what_fails_is_recorded_with_its_last_words_and_what_is_missing_as_such(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    failing = replace(_IDENTITY, arguments=("--to", "nowhere"))
    record = _recorded(failing, bench)
    assert record["status"] == FAILED
    assert "invalid choice" in record["why"]

    def missing(_: Case, __: Bench) -> Metrics:
        raise Unavailable("wrk is not installed")

    record = _recorded(replace(_IDENTITY, measure=missing), bench)
    assert (record["status"], record["why"]) == (MISSING, "wrk is not installed")
