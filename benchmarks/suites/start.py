"""How long it takes until something happens: the help text, and the imports."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.bench import Bench, BrokenRun
from benchmarks.case import Case, Metrics
from benchmarks.processes import ROOT

__all__ = ["cases"]

_COMMANDS = {
    "python alone": ("-c", "pass"),
    "bulkup --help": ("-m", "bulkup", "--help"),
    "import bulkup": ("-c", "import bulkup"),
    "from bulkup import upload": ("-c", "from bulkup import upload"),
}


def cases(_: Bench) -> list[Case]:
    """One a command."""
    return [
        Case(
            suite="start",
            name=f"start: {name}",
            measure=_started,
            arguments=arguments,
            sink=None,
            labels={"what": "start", "command": name},
            smoke=name == "bulkup --help",
        )
        for name, arguments in _COMMANDS.items()
    ]


def _started(case: Case, bench: Bench) -> Metrics:
    """The best of three: the first may read from the disk."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *case.arguments],
            env=bench.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        found.append(time.perf_counter() - began)
        if done.returncode:
            raise BrokenRun(f"{case.name}: ended with {done.returncode}: {done.stderr[-300:].strip()}")
    return {"seconds": round(min(found), 4)}
