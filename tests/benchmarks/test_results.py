"""Targets, tables and charts come from the records alone, and missing figures are said to be missing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks.bench import Bench
from benchmarks.charts import draw
from benchmarks.memory import can_measure
from benchmarks.processes import watched
from benchmarks.results import FAILED, OK, Record, Results, read_records
from benchmarks.rows import Text
from benchmarks.suites import SUITES
from benchmarks.suites.uploads import IDENTITY, upload_name
from benchmarks.table import report
from benchmarks.targets import TARGETS, judged

_WAY = IDENTITY[0].name
_FULL = {"what": "bulkup", "way": _WAY, "validation": "full", "wire": "plain", "source": "plain"}


def _record(name: str, labels: dict[str, str], speeds: list[float], status: str = OK) -> list[Record]:
    return [
        {
            "suite": "uploads", "case": name, "labels": labels, "share": 1.0, "at": "2026-01-01T00:00:00+00:00",
            "status": status, "why": "" if status == OK else "it said | no", "round": number,
            "figures": {"mb_per_s": speed, "seconds": 1.0, "peak_pss_mib": 50.0} if status == OK else {},
            "grounds": {"versions": {"bulkup": "0"}, "machine": {"cpus": 2}, "size": 10**9, "text": "mixed"},
        }
        for number, speed in enumerate(speeds, start=1)
    ]  # fmt: skip


def _measured() -> Results:
    return Results(
        [
            *_record("msgspec", {"what": "msgspec", "cores": "1"}, [400.0, 500.0, 600.0]),
            *_record(upload_name(IDENTITY[0], "full", 1), {**_FULL, "workers": "1"}, [350.0, 310.0, 200.0]),
            *_record(upload_name(IDENTITY[0], "full", 2), {**_FULL, "workers": "2"}, [420.0, 440.0, 430.0]),
            *_record("broken", {"what": "peer", "peer": "dlt, dicts", "way": _WAY}, [0.0], FAILED),
        ]
    )


def test_targets_are_judged_by_medians_and_what_is_not_there_is_not_measured() -> None:
    verdicts = {verdict.target.text: verdict for verdict in judged(_measured())}
    one, two = (verdicts[f"identity, full, {n}, of msgspec on one core"] for n in ("1 worker", "2 workers"))
    assert (one.word, two.word) == ("met", "missed")
    assert one.value == pytest.approx(310 / 500)
    assert two.value == pytest.approx(430 / 500)
    for text in ("identity, against dlt, dicts into Collinear", "bulkup --help"):
        assert (verdicts[text].word, verdicts[text].value) == ("not measured", None)
    assert len(verdicts) == len(TARGETS)


def test_every_target_asks_for_a_case_that_exists(tmp_path: Path) -> None:
    """With one figure for each case, no target is left unmeasured."""
    bench = Bench(folder=tmp_path, size=10**9, text=Text.MIXED)
    cases = [case for suite in SUITES.values() for case in suite(bench)]
    assert len({case.name for case in cases}) == len(cases)
    records = [record for case in cases for record in _record(case.name, case.labels, [100.0])]
    for record in records:
        record["figures"] |= {
            "cpu_s": 1.0,
            "cpu_s_per_gb": 1.0,
            "requests": 10,
            "times_least": 1.0,
            "limited_share": 0.0,
            "progress_cpu_s": 0.1,
            "progress_start_cpu_s": 0.1,
        }
        record["figures"] |= {f"plateau_{n}_mb_per_s": 1.0 for n in (1, 2, 3)}
    assert [v.target.text for v in judged(Results(records)) if v.word == "not measured"] == []


def test_the_table_has_medians_with_their_range_and_names_what_failed() -> None:
    text = report(_measured())
    assert "310.0 (200.0..350.0)" in text
    assert "| broken | failed: it said \\| no |" in text
    assert "## Failed\n" in text


def test_the_table_says_how_many_times_as_fast_as_a_peer() -> None:
    labels = {"what": "peer", "peer": "split + curl", "way": _WAY}
    peer = _record("curl", labels, [43.0])[0] | {"suite": "peers"}
    ours = _record(upload_name(IDENTITY[0], "full", 2), {**_FULL, "workers": "2"}, [430.0])
    assert "| curl | 430.0 | 43.0 | 10.0 | – |" in report(Results([*ours, peer]))


def test_records_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    results = Results()
    for record in _record("a", {"what": "wrk"}, [1.0, 3.0]):
        results.add(record, tmp_path / "results.jsonl")
    again = read_records(tmp_path / "results.jsonl")
    assert again.lines() == results.lines()
    assert again.lines()[0].value("mb_per_s") == 2.0


def test_the_same_results_draw_the_same_charts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="in the extra `bench`")
    written = draw(_measured(), tmp_path)
    before = [path.read_bytes() for path in written]
    assert [path.name for path in written] == ["speed.svg"]
    assert [path.read_bytes() for path in draw(_measured(), tmp_path)] == before


_GRANDCHILD = "x = bytearray(b'x' * 60_000_000); import time; time.sleep(0.5); sum(range(3_000_000))"
_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_GRANDCHILD!r}]); print('said')"


@pytest.mark.skipif(not can_measure(), reason="this system does not tell a process's share of memory")
def test_descendants_count_in_memory_and_in_cpu_time() -> None:
    ended = watched([sys.executable, "-c", _CHILD], environment={}, timeout_s=60)
    assert (ended.code, ended.said) == (0, "said\n")
    assert ended.peak_pss_bytes is not None
    assert ended.peak_pss_bytes > 60_000_000
    assert ended.cpu_s > 0.05


def test_what_takes_too_long_is_ended_with_all_its_descendants() -> None:
    endless = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    began = time.monotonic()
    ended = watched([sys.executable, "-c", endless], environment={}, timeout_s=0.3)
    assert ended.stopped == "took too long"
    assert time.monotonic() - began < 60
