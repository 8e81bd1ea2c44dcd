"""How close a run comes to the least time that a quota allows, and how it follows a server whose capacity changes."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench, BrokenRun
from benchmarks.case import Case, Metrics, SinkNeeds
from benchmarks.measure import sent, sink_for, told_by
from benchmarks.processes import watched
from benchmarks.rows import Shape
from benchmarks.suites.uploads import UPLOAD

__all__ = ["FIXED", "PLATEAUS", "cases"]

REQUESTS_PER_MINUTE = 600
LATENCY_MS = 50
CHUNK_BYTES = 1024 * 1024
REQUESTS, SMOKE_REQUESTS = 300, 8
ROUNDS = 3
PLATEAUS = (16, 4, 16)
PLATEAU_S, SMOKE_PLATEAU_S = 10.0, 0.5
SERVICE_MS = 200
SMALL_BYTES = 262_144
FIXED = (2, 4, 8, 16, 24, 32)


def cases(bench: Bench) -> list[Case]:
    """The quota told, told by headers, and found out; then the changing capacity, adaptive and at each fixed concurrency."""
    found = [
        _quota("told", ("--requests-per-minute", str(REQUESTS_PER_MINUTE)), ()),
        _quota("told by headers", (), ("--quota-headers",)),
        _quota("found out, Retry-After", (), ("--retry-after-s", "1"), smoke=True),
        _quota("found out, no Retry-After", (), ()),
    ]
    seconds = SMOKE_PLATEAU_S if bench.smoke else PLATEAU_S
    steps = ",".join(f"{servers}:{seconds}" for servers in PLATEAUS)
    needs = SinkNeeds(arguments=("--capacity", steps, "--service-ms", str(SERVICE_MS), "--times"))
    adaptive = Case(
        suite="quota",
        name="changing capacity, bulkup",
        measure=_followed,
        module=UPLOAD,
        arguments=("--to", "nebius", "--max-chunk-bytes", str(SMALL_BYTES), "--concurrency", "64"),
        shape=Shape.FLAT,
        sink=needs,
        rounds=ROUNDS,
        labels={"what": "capacity", "concurrency": "adaptive"},
        smoke=True,
    )
    fixed = [
        replace(
            adaptive,
            name=f"changing capacity, fixed at {concurrency}",
            module="benchmarks.contenders.fixed",
            arguments=("--concurrency", str(concurrency), "--body-bytes", str(SMALL_BYTES)),
            labels={"what": "capacity", "concurrency": str(concurrency)},
            smoke=concurrency == FIXED[0],
        )
        for concurrency in FIXED
    ]
    return [*found, adaptive, *fixed]


def _quota(how: str, arguments: tuple[str, ...], sink: tuple[str, ...], *, smoke: bool = False) -> Case:
    return Case(
        suite="quota",
        name=f"bulkup, {REQUESTS_PER_MINUTE} requests a minute, {how}",
        measure=_limited,
        module=UPLOAD,
        arguments=("--to", "collinear", "--max-chunk-bytes", str(CHUNK_BYTES), *arguments),
        sink=SinkNeeds(
            arguments=("--requests-per-minute", str(REQUESTS_PER_MINUTE), "--latency-ms", str(LATENCY_MS), *sink)
        ),
        rounds=ROUNDS,
        labels={"what": "quota", "how": how},
        smoke=smoke,
    )


def _limited(case: Case, bench: Bench) -> Metrics:
    """The upload, and its time from the first request's beginning to the last answer against the least that the quota allows."""
    wanted = SMOKE_REQUESTS if bench.smoke else REQUESTS
    found = sent(replace(case, share=wanted * CHUNK_BYTES / bench.size), bench)
    requests, limited, took = (float(found[key] or 0) for key in ("requests", "limited", "wire_s"))
    least_s = (requests - 1) * 60 / REQUESTS_PER_MINUTE
    return {
        **found,
        "least_s": round(least_s, 3),
        "times_least": round(took / least_s, 4) if least_s else None,
        "limited_share": round(limited / (requests + limited), 4),
        "fill": round(float(found["body_bytes"] or 0) / requests / CHUNK_BYTES, 4),
    }


def _followed(case: Case, bench: Bench) -> Metrics:
    """Goodput in the second half of each plateau. The first half is for finding it."""
    assert case.sink is not None
    plateau_s = SMOKE_PLATEAU_S if bench.smoke else PLATEAU_S
    length_s = plateau_s * len(PLATEAUS)
    most = max(PLATEAUS) / (SERVICE_MS / 1000) * SMALL_BYTES * (length_s + 5)
    with ExitStack() as stack:
        sink = stack.enter_context(sink_for(case, case.sink, bench))
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.folder)))
        command = [sys.executable, "-m", case.module, *case.arguments, "--url", sink.url]
        ends: list[float] = []
        if case.module == UPLOAD:
            source = bench.source(case.shape, int(most))
            source.warm()
            command += ["--source", str(source.path), "--state-dir", str(state)]
        else:
            command += ["--seconds", str(length_s + 0.5)]

        def is_over() -> bool:
            if not ends:
                began = sink.summary()["began_at"]
                ends.extend([began + length_s + 0.2] if began is not None else [])
            return bool(ends) and time.monotonic() > ends[0] and case.module == UPLOAD

        ended = watched(command, environment=bench.environment(), timeout_s=bench.timeout_s, until=is_over)
        if ended.stopped != "done":
            told_by(case.name, ended)
        taken = sink.summary()
    began, times = taken["began_at"], taken["times"]
    if began is None:
        raise BrokenRun(f"{case.name}: nothing was sent: {ended.last_words}")
    found: Metrics = {"seconds": round(ended.seconds, 3), "requests": taken["requests"]}
    for place in range(len(PLATEAUS)):
        start, stop = began + (place + 0.5) * plateau_s, began + (place + 1) * plateau_s
        size = sum(size for at, size in times if start <= at < stop)
        found[f"plateau_{place + 1}_mb_per_s"] = round(size / 1e6 / (stop - start), 3)
    return found
