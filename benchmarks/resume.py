"""A resume of a run whose journal holds many chunks: from the process's start to the first byte that it sends.

A real run is begun and stopped; then the journal is given as many more landed chunks as wanted, each one tile, like those that the
run has landed itself. They lie where a real run would have put them, so the resume goes on behind them.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks.bench import Bench, BrokenRun
from benchmarks.case import Case, Metrics
from benchmarks.measure import running_sink, told_by
from benchmarks.processes import watched

__all__ = ["resumed"]

TILE_BYTES = 1024
"""No tile is larger, with requests of 1,200 bytes."""

_LANE = "collinear"


def resumed(case: Case, bench: Bench, chunks: int) -> Metrics:
    """Begin, stop, fill up to *chunks*, and resume until the first byte."""
    source = bench.source(case.shape, max(1_000_000, (chunks + 400) * TILE_BYTES))
    with tempfile.TemporaryDirectory(dir=bench.folder) as scratch, running_sink(("--nebius-key", "question")) as sink:
        state = Path(scratch) / "state"
        where = [*case.arguments, "--source", str(source.path), "--url", sink.url, "--state-dir", str(state)]
        begun = watched(
            [sys.executable, "-m", "benchmarks.contenders.interrupted", *where],
            environment=bench.environment(),
            timeout_s=120,
        )
        told_by(case.name, begun)
        (journal,) = state.glob("*/journal.db")
        held = _filled(journal, chunks)
        sink.forget()
        ended = watched(
            [sys.executable, "-m", case.module, *where],
            environment=bench.environment(),
            timeout_s=bench.timeout_s,
            until=lambda: sink.summary()["first_at"] is not None,
        )
        first_at = sink.summary()["first_at"]
    if first_at is None:
        raise BrokenRun(f"{case.name}: nothing was sent: {ended.said[-300:]} {ended.last_words}")
    return {
        "seconds": round(first_at - ended.began, 4),
        "process_cpu_s": round(ended.cpu_s, 3),
        "peak_pss_mib": None if ended.peak_pss_bytes is None else round(ended.peak_pss_bytes / 2**20, 1),
        "journaled_chunks": held,
    }


def _filled(journal: Path, chunks: int) -> int:
    """Bring the journal to *chunks* landed chunks, where it has fewer; how many there are then."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        columns = [row[1] for row in db.execute("PRAGMA table_info(chunks)")]
        landed = db.execute(f"SELECT {', '.join(columns)} FROM chunks WHERE state = 'landed' ORDER BY tile").fetchall()
        (tile_bytes,) = (
            json.loads(value)["tile_bytes"]
            for (value,) in db.execute("SELECT value FROM facts WHERE lane = ? AND key = 'plan'", (_LANE,))
        )
        if len(landed) < chunks:
            model = dict(zip(columns, landed[-1], strict=True))
            first, ended = db.execute("SELECT max(tile) + 1, max(stop) FROM chunks").fetchone()
            places = range(first, first + chunks - len(landed))
            db.execute("BEGIN")
            db.executemany(
                f"INSERT INTO chunks ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                (tuple({**model, **_place(tile, tile_bytes, ended)}.values()) for tile in places),
            )
            db.executemany(
                "INSERT OR IGNORE INTO tiles VALUES (?, ?, ?, ?)",
                ((_LANE, tile, tile * tile_bytes, (tile + 1) * tile_bytes) for tile in places),
            )
            db.execute("COMMIT")
        return int(db.execute("SELECT count(*) FROM chunks WHERE state = 'landed'").fetchone()[0])


def _place(tile: int, tile_bytes: int, ended: int) -> dict[str, int]:
    """*ended*: where the last chunk of the real run stops, which may be behind the first row of the next tile."""
    start = max(tile * tile_bytes, ended)
    return {"tile": tile, "child": 0, "start": start, "stop": (tile + 1) * tile_bytes, "byte_offset": start}
