"""One contender measured: a sink and the contender's program, each in a fresh process, checked against each other."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.bench import Bench, BrokenRun, Source, Unavailable
from benchmarks.case import Case, Metrics, SinkNeeds
from benchmarks.processes import ROOT, Ended, watched

__all__ = ["RunningSink", "alone", "figures", "running_sink", "sent", "told_by"]

_START_TIMEOUT_S = 10.0
_SINK_SAYS = b"sink on "
_MIB = 1024 * 1024


class RunningSink:
    """A sink in another process, at *url*."""

    def __init__(self, url: str) -> None:
        self.url = url

    def summary(self) -> dict[str, Any]:
        """What it has taken."""
        return dict(json.loads(self._ask("GET", "/_sink/summary")))

    def forget(self) -> None:
        """Count anew."""
        self._ask("POST", "/_sink/forget")

    def _ask(self, method: str, path: str) -> bytes:
        place = urlsplit(self.url)
        if place.scheme == "https":
            trusting = ssl._create_unverified_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                place.netloc, timeout=_START_TIMEOUT_S, context=trusting
            )
        else:
            connection = http.client.HTTPConnection(place.netloc, timeout=_START_TIMEOUT_S)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def running_sink(arguments: Sequence[str] = ()) -> Iterator[RunningSink]:
    """A sink in a process of its own, which ends with this block and with this process, however that ends."""
    command = [sys.executable, "-m", "benchmarks.sink", "--until-stdin-closes", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith(_SINK_SAYS):
                raise BrokenRun("the sink did not start")
            yield RunningSink(line.removeprefix(_SINK_SAYS).decode().strip())
        finally:
            process.stdin.close()
            process.wait(_START_TIMEOUT_S)


@contextmanager
def sink_for(case: Case, needs: SinkNeeds, bench: Bench) -> Iterator[RunningSink]:
    """The sink that *case* needs. Raises `Unavailable`."""
    arguments = ["--nebius-key", case.shape.first_key, *needs.arguments]
    if needs.tls:
        made = bench.certificate()
        arguments += ["--certificate", str(made.chain), "--key", str(made.key)]
    if bench.check:
        arguments.append("--check")
    with running_sink(arguments) as sink:
        yield sink


def told_by(case: str, ended: Ended) -> dict[str, Any]:
    """What a contender's process told at its end. Raises `BrokenRun` with its last words, and `Unavailable`."""
    if ended.code or ended.stopped:
        how = ended.stopped or f"ended with {ended.code}"
        raise BrokenRun(f"{case}: the process {how}: {ended.last_words or ended.said[-300:].strip() or 'nothing said'}")
    lines = ended.said.strip().splitlines()
    try:
        told: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise BrokenRun(f"{case}: the process told nothing: {ended.last_words}") from None
    if "not_available" in told:
        raise Unavailable(told["not_available"])
    return told


def alone(case: Case, bench: Bench) -> Metrics:
    """A contender that sends nothing: it is given the file, where it has arguments at all."""
    source = bench.source(case.shape, bench.sized(case.share), kind=case.kind)
    source.warm()
    command = [bench.python(case.peer), "-m", case.module, *case.arguments, "--source", str(source.path)]
    ended = watched(command, environment=bench.environment(), timeout_s=bench.timeout_s)
    return figures(told_by(case.name, ended), ended, source.bytes)


def sent(case: Case, bench: Bench) -> Metrics:
    """A contender that sends the whole file to a sink, which must then have every row, once."""
    assert case.sink is not None
    source = bench.source(case.shape, bench.sized(case.share), packed=case.packed, kind=case.kind)
    source.warm()
    with ExitStack() as stack:
        sink = stack.enter_context(sink_for(case, case.sink, bench))
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.folder)))
        command = [bench.python(case.peer), "-m", case.module, *case.arguments]
        command += ["--source", str(source.path), "--url", sink.url, "--state-dir", str(state)]
        ended = watched(command, environment=bench.environment(), timeout_s=bench.timeout_s)
        told = told_by(case.name, ended)
        taken = sink.summary()
    if "source_bytes" not in told:
        _compare(source, told, taken)
    return {
        **figures(told, ended, source.bytes),
        "source_bytes": told.get("source_bytes", source.bytes),
        "rows": taken["rows"],
        "requests": taken["requests"],
        "limited": taken["limited"],
        "body_bytes": taken["bytes"],
        "wire_s": (taken["last_at"] or 0) - (taken["first_at"] or 0),
        "sink_cpu_s": taken["cpu_s"],
        "sink_checked": taken["checked"],
    }


def figures(told: dict[str, Any], ended: Ended, size: int) -> Metrics:
    """What follows from the times. MB are 10^6 bytes of the source, GB 10^9, MiB 2^20.

    `seconds` and `cpu_s` are the work's, without the interpreter's start and imports, descendants included; `process_…` are those
    of the whole process; the peak is that of the process and its descendants together.
    """
    size = told.get("source_bytes", size)
    peak = ended.peak_pss_bytes
    return {
        "source_bytes": size,
        "seconds": round(told["seconds"], 4),
        "mb_per_s": round(size / 1e6 / told["seconds"], 2),
        "cpu_s": round(told["cpu_s"], 4),
        "cpu_s_per_gb": round(told["cpu_s"] / (size / 1e9), 3),
        "process_s": round(ended.seconds, 3),
        "process_cpu_s": round(ended.cpu_s, 3),
        "peak_pss_mib": None if peak is None else round(peak / _MIB, 1),
        "max_body_bytes": told.get("max_body_bytes"),
        "database_cpu_s": told.get("database_cpu_s"),
        "throttled_s": told.get("throttled_s"),
        "progress_cpu_s": told.get("progress_cpu_s"),
        "progress_start_cpu_s": told.get("progress_start_cpu_s"),
    }


def _compare(source: Source, told: dict[str, Any], taken: dict[str, Any]) -> None:
    if told.get("exit_code"):
        raise BrokenRun(f"the upload ended with exit code {told['exit_code']}: {told['reason']}")
    found = {"the sink": taken["rows"]}
    if "rows" in told:
        found["the contender"] = told["rows"]
    for where, rows in found.items():
        if rows != source.rows:
            raise BrokenRun(f"{source.rows:,} rows were to be sent, {where} has {rows:,}")
    for what, mine, its in (
        ("requests", told.get("requests"), taken["requests"] + taken["limited"]),
        ("bytes of bodies", told.get("body_bytes"), taken["bytes"]),
    ):
        if mine is not None and mine != its and not taken["limited"]:
            raise BrokenRun(f"{what}: the receipt has {mine:,}, the sink {its:,}")
