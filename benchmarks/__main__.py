"""`python -m benchmarks`: how fast bulkup is on this machine, and in how much memory.

One JSON line a run on standard output; what happens meanwhile on standard error. Exit code 1 only where a run is broken (a row
too few or too many), never for a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.machine import machine, versions
from benchmarks.rows import Shape, Text, parse_size
from benchmarks.run import BrokenRun, Source, measured

__all__ = ["main"]

SMOKE_BYTES = 8_000_000
_SMOKE_CHUNK_BYTES = 1_000_000
"""So that even the smoke has several requests in flight."""


def main() -> int:
    """The command; its exit code."""
    wanted = _arguments()
    cases = [CASES[name] for name in wanted.case or CASES]
    size = SMOKE_BYTES if wanted.smoke else wanted.size
    rounds = 1 if wanted.smoke else wanted.rounds
    chunk_bytes = _SMOKE_CHUNK_BYTES if wanted.smoke else wanted.max_chunk_bytes
    try:
        with ExitStack() as stack:
            folder = wanted.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkup-benchmark-")))
            sources = {
                shape: _source(folder, shape, wanted.text, size)
                for shape in dict.fromkeys(case.shape for case in cases)
            }
            known = versions()
            for number in range(1, rounds + 1):
                for case in cases:
                    on = machine()
                    found = measured(
                        case, sources[case.shape], check=wanted.check or wanted.smoke, max_chunk_bytes=chunk_bytes
                    )
                    _report(found, number, {"text": wanted.text, "versions": known, "machine": on})
    except BrokenRun as broken:
        _say(f"broken: {broken}")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--case", action="append", choices=list(CASES), help="may be repeated; all of them by default")
    parser.add_argument("--size", type=_size, default=10**9, help="of the source, such as 250MB; 1GB by default")
    parser.add_argument(
        "--text", type=Text, choices=list(Text), default=Text.MIXED, help="of the rows; mixed by default"
    )
    parser.add_argument("--rounds", type=int, default=3, help="each goes through all cases; 3 by default")
    parser.add_argument("--max-chunk-bytes", type=_size, help="of one request's body; by default what bulkup chooses")
    parser.add_argument("--dir", type=Path, help="keep the sources there for the next time; else they are removed")
    parser.add_argument("--check", action="store_true", help="the sink parses every body (then it is the bottleneck)")
    parser.add_argument("--smoke", action="store_true", help="every case once with 8 MB, checked: does it work?")
    return parser.parse_args()


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _report(found: dict[str, object], number: int, grounds: dict[str, object]) -> None:
    at = datetime.now(UTC).isoformat("T", "seconds")
    print(json.dumps({**found, "round": number, "at": at, **grounds}), flush=True)
    _say(
        f"{found['case']}, round {number}: {found['mb_per_s']} MB/s, {found['cpu_s_per_gb']} CPU s/GB, "
        f"peak {found['peak_rss_mib']} MiB"
    )


def _source(folder: Path, shape: Shape, text: Text, size: int) -> Source:
    """The file of that shape and size, made if it is not there. In a process of its own: this one must stay small, since
    a child's peak begins with its parent's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{shape}-{text}-{size}.jsonl"
    if not path.exists():
        _say(f"making {path}")
        part = path.with_suffix(".part")
        command = [sys.executable, "-m", "benchmarks.rows", "--shape", shape, "--text", text, "--size", str(size)]
        command += ["--out", str(part)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        part.rename(path)
    return Source.of(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
