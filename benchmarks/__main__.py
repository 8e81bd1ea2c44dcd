"""`python -m benchmarks`: what bulkup does on this machine, against its limits and against what else there is.

Every round goes through all cases; each contender runs in a fresh process. After every case the results folder is up to date:
`results.jsonl` (a line a case and round), `table.md` (targets and medians), and at the end the charts. A case that fails is written
down with its last words, and the rest goes on. Exit code 1 only where a case was broken, never for a time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench import Bench, Unavailable
from benchmarks.case import Case
from benchmarks.machine import machine, versions
from benchmarks.results import FAILED, MISSING, OK, Record, Results, read_records
from benchmarks.rows import Text, parse_size
from benchmarks.suites import SUITES
from benchmarks.table import report, target_lines

__all__ = ["main"]

SMOKE_BYTES = 4_000_000
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """The command; its exit code."""
    wanted = _arguments()
    if wanted.report is not None:
        return _written(read_records(wanted.report / "results.jsonl"), wanted.report)
    out: Path = wanted.out or RESULTS / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = wanted.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkup-benchmark-")))
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(
            folder=folder,
            size=SMOKE_BYTES if wanted.smoke else wanted.size,
            text=wanted.text,
            check=wanted.check,
            smoke=wanted.smoke,
            pythons=dict(wanted.python or ()),
            timeout_s=wanted.timeout,
        )
        cases = _cases(bench, wanted)
        rounds = 1 if wanted.smoke else wanted.rounds
        ends_at = time.monotonic() + wanted.minutes * 60 if wanted.minutes else None
        results = Results()
        try:
            _measure(results, cases, bench, rounds, out, ends_at)
        except KeyboardInterrupt:
            _say("interrupted; what was measured stands")
    return _written(results, out)


def _cases(bench: Bench, wanted: argparse.Namespace) -> list[Case]:
    found = [case for suite in wanted.suite or SUITES for case in SUITES[suite](bench)]
    if wanted.smoke:
        found = [case for case in found if case.smoke]
    if wanted.match:
        found = [case for case in found if any(part in case.name for part in wanted.match)]
    return found


def _measure(results: Results, cases: list[Case], bench: Bench, rounds: int, out: Path, ends_at: float | None) -> None:
    """Round by round into *results*, until the rounds or the time are over."""
    missing = set[str]()
    grounds = {"versions": versions(), "size": bench.size, "text": str(bench.text), "smoke": bench.smoke}
    for number in range(1, rounds + 1):
        for place, case in enumerate(cases, start=1):
            if number > case.rounds or case.name in missing:
                continue
            if ends_at is not None and time.monotonic() > ends_at:
                _say(f"the time is over in round {number}")
                return
            record = _recorded(case, bench)
            if record["status"] == MISSING:
                missing.add(case.name)
            results.add(
                {**record, "round": number, "grounds": {**grounds, "machine": machine()}}, out / "results.jsonl"
            )
            _write(out / "table.md", report(results))
            _say(f"[{number}/{rounds} {place}/{len(cases)}] {_summary(record)}")


def _recorded(case: Case, bench: Bench) -> Record:
    """What came of one case in one round. A failure is a record too."""
    record: Record = {
        "suite": case.suite,
        "case": case.name,
        "labels": case.labels,
        "share": case.share,
        "at": datetime.now(UTC).isoformat("T", "seconds"),
        "status": OK,
        "why": "",
        "figures": {},
    }
    try:
        record["figures"] = case.measure(case, bench)
    except Unavailable as missing:
        record |= {"status": MISSING, "why": str(missing)}
    except Exception as failed:  # noqa: BLE001 - whatever it is, the other cases go on
        record |= {"status": FAILED, "why": f"{type(failed).__name__}: {failed}"}
    return record


def _summary(record: Record) -> str:
    if record["status"] != OK:
        return f"{record['case']}: {record['status']}: {record['why']}"
    said = ("mb_per_s", "seconds", "cpu_s_per_gb", "peak_pss_mib", "times_least", "limited_share")
    figures = {key: record["figures"].get(key) for key in said}
    return f"{record['case']}: " + ", ".join(f"{key} {value}" for key, value in figures.items() if value is not None)


def _written(results: Results, out: Path) -> int:
    """The table and the charts; the exit code."""
    _write(out / "table.md", report(results))
    if not results.is_smoke:
        _try_to_draw(results, out)
    for line in target_lines(results):
        print(line)
    _say(f"results in {out}")
    return 1 if results.is_broken() else 0


def _try_to_draw(results: Results, out: Path) -> None:
    from benchmarks.charts import draw

    try:
        draw(results, out)
    except ImportError as missing:
        _say(f"no charts: {missing} (it is in the extra: pip install -e '.[bench]')")


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--suite", type=_suites, help=f"of {', '.join(SUITES)}; several with commas; all by default")
    parser.add_argument("--match", action="append", help="only cases with this in their name; may be repeated")
    parser.add_argument("--size", type=_checked(parse_size), default=10**9, help="of a whole file; 1GB by default")
    parser.add_argument(
        "--text", type=Text, choices=list(Text), default=Text.MIXED, help="of the rows; mixed by default"
    )
    parser.add_argument("--rounds", type=int, default=5, help="each goes through all cases; 5 by default")
    parser.add_argument("--minutes", type=float, help="begin no case after so many; what was measured stands")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds after which a contender is ended")
    parser.add_argument("--dir", type=Path, help="keep the files there for the next time; else they are removed")
    parser.add_argument("--out", type=Path, help="where results go; benchmarks/results/ and the time by default")
    parser.add_argument("--python", action="append", type=_peer, metavar="PEER=PATH", help="the Python that has a peer")
    parser.add_argument("--check", action="store_true", help="the sink parses every body (then it is the bottleneck)")
    parser.add_argument("--smoke", action="store_true", help="some cases of each suite, once, with 4 MB: does it work?")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write table and charts of a run anew")
    return parser.parse_args()


def _suites(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no suite {unknown[0]!r}; there are {', '.join(SUITES)}")
    return names


def _peer(text: str) -> tuple[str, str]:
    name, found, path = text.partition("=")
    if not found or not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r}: give PEER=PATH, the path of a Python")
    return name, path


def _checked(parse: Callable[[str], int]) -> Callable[[str], int]:
    def checked(text: str) -> int:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


if __name__ == "__main__":
    sys.exit(main())
