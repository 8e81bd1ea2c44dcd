"""`python -m benchmarks.pairs DIR`: this bulkup against the one in DIR, by turns, on one machine.

    python -m benchmarks.pairs /tmp/base [--rounds 9] [--size 60MB] [--match chat] [--scan all] [--dir FOLDER]

DIR is another checkout with its own `.venv`. Each round uploads the same file once with each of the two, in fresh processes, to
one sink; which of them begins changes every round. The ratio is taken within each round, so what disturbs the machine for a while
disturbs both. Nobody scans the source first, since 0.1.0 cannot, unless `--scan all` says that who can does. A ratio of CPU seconds
is the steadier one on a machine that has other work; that and the time are the work's, without the imports, which the second column
has too. The fourth is the time from a process's start to its first upload.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench, BrokenRun, Source
from benchmarks.measure import RunningSink, running_sink
from benchmarks.processes import ROOT
from benchmarks.rows import Text, parse_size
from benchmarks.suites.uploads import IDENTITY, MAPPED, UPLOAD, Way

__all__ = ["main"]

TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Timed:
    """One upload: seconds and CPU seconds of the work, the CPU seconds of the whole process, and the seconds from its start to the
    first upload."""

    seconds: float
    cpu_s: float
    whole_cpu_s: float
    to_first_s: float


def timed(tree: Path, way: Way, source: Source, sink: RunningSink, folder: Path, scan: str) -> Timed:
    """Upload *source* with the bulkup in *tree*. Raises `BrokenRun`."""
    sink.forget()
    python = tree / ".venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("BULKUP_", "PYTHON"))}
    environment |= {"NEBIUS_API_KEY": "benchmark-nebius", "COLLINEAR_API_KEY": "benchmark-collinear"}
    with tempfile.TemporaryDirectory(dir=folder) as state:
        arguments = [*way.arguments, "--workers", "1", "--source", str(source.path), "--url", sink.url]
        if "--scan" in (tree / f"{UPLOAD.replace('.', '/')}.py").read_text():
            arguments += ["--scan", scan]
        before = _children_cpu_s()
        began = time.monotonic()
        done = subprocess.run(
            [str(python), "-m", UPLOAD, *arguments, "--state-dir", state],
            cwd=tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    taken = sink.summary()
    if done.returncode or taken["rows"] != source.rows:
        raise BrokenRun(f"{tree}: {done.returncode}, {taken['rows']} of {source.rows} rows: {done.stderr[-300:]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Timed(told["seconds"], told["cpu_s"], _children_cpu_s() - before, taken["first_at"] - began)


def _children_cpu_s() -> float:
    """Of the processes that have ended: the sink runs on."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compared(name: str, way: Way, source: Source, trees: Sequence[Path], rounds: int, folder: Path, scan: str) -> str:
    """A line of the table: how much faster this tree is, by rounds."""
    found: dict[Path, list[Timed]] = {tree: [] for tree in trees}
    with running_sink(["--nebius-key", way.shape.first_key]) as sink:
        for number in range(rounds):
            source.warm()
            for tree in trees if number % 2 else trees[::-1]:
                found[tree].append(timed(tree, way, source, sink, folder, scan))
    mine, its = (found[tree] for tree in trees)
    cpu, whole, wall, first = (
        [getattr(b, what) / getattr(a, what) for a, b in zip(mine, its, strict=True)]
        for what in ("cpu_s", "whole_cpu_s", "seconds", "to_first_s")
    )
    cells = (_spread(cpu), _spread(whole), _spread(wall), _spread(first), f"{median(one.cpu_s for one in mine):.2f}")
    return f"| {name} | {' | '.join(cells)} |"


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.3f} ({min(ratios):.2f}..{max(ratios):.2f})"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pairs")
    parser.add_argument("against", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=parse_size, default=60_000_000)
    parser.add_argument("--match", default="")
    parser.add_argument("--scan", choices=("all", "none"), default="none")
    parser.add_argument("--dir", type=Path)
    given = parser.parse_args()
    trees = (ROOT, given.against.resolve())
    with tempfile.TemporaryDirectory() as made:
        folder = given.dir or Path(made)
        bench = Bench(folder=folder, size=given.size, text=Text.MIXED)
        cases = [(way.name, way, given.size, False) for way in (*IDENTITY, *MAPPED)]
        cases.append((f"{IDENTITY[0].name}, gz", IDENTITY[0], given.size, True))
        cases.append(("one row", IDENTITY[1], 1000, False))
        print(
            "| | CPU: speed of this over the other | of the whole process | time | time to the first upload | CPU s |"
        )
        print("| --- | --- | --- | --- | --- | --- |")
        for name, way, size, packed in cases:
            if given.match in name:
                source = bench.source(way.shape, size, packed=packed)
                print(compared(name, way, source, trees, given.rounds, folder, given.scan), flush=True)
    print(f"\n{given.rounds} rounds; load {os.getloadavg()[0]:.1f} at the end", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
