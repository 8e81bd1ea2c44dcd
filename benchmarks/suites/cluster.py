"""Workers that come over TCP against workers that were forked, in turn: the same bytes, and many small chunks."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.measure import sent
from benchmarks.suites.uploads import UPLOAD

__all__ = ["SMALL_BYTES", "WORKERS", "cases"]

WORKERS = {"forked": ("--workers", "2"), "over TCP": ("--far", "2"), "none": ("--workers", "1")}

SMALL_BYTES = 16 * 1024
"""Of a body: so there are so many chunks that what each costs is seen."""


def cases(_: Bench) -> list[Case]:
    """Large chunks and small ones, by two workers of each kind, and by the run's own process."""
    return [
        Case(
            suite="cluster",
            name=f"bulkup, workers {workers}, {chunks} chunks",
            measure=sent,
            module=UPLOAD,
            arguments=("--to", "collinear", *arguments, *more),
            share=share,
            labels={"what": "cluster", "workers": workers, "chunks": chunks},
            smoke=workers == "over TCP" and chunks == "large",
        )
        for workers, arguments in WORKERS.items()
        for chunks, share, more in (
            ("large", 1.0, ()),
            ("small", 0.1, ("--max-chunk-bytes", str(SMALL_BYTES), "--concurrency", "64")),
        )
    ]
