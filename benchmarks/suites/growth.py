"""Whether memory grows with the file, and whether a long journal makes a resume slow."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.bench import Bench
from benchmarks.case import Case, SinkNeeds
from benchmarks.measure import sent
from benchmarks.resume import resumed
from benchmarks.rows import Shape
from benchmarks.suites.uploads import IDENTITY, MAPPED, UPLOAD, Way

__all__ = ["JOURNALED", "SIZES", "cases"]

ROUNDS = 3
SIZES = (0.25, 1.0, 4.0, 8.0)
"""Of the run's size, which is 1 GB by default."""

JOURNALED, SMOKE_JOURNALED = (1, 1_000, 30_000, 1_000_000), (300,)


def cases(bench: Bench) -> list[Case]:
    """The two-pass path and one that rewrites, at each size, with one worker and two; then resumes."""
    found = [_sized(way, size, workers) for way in (IDENTITY[0], MAPPED[0]) for size in SIZES for workers in (1, 2)]
    counts = SMOKE_JOURNALED if bench.smoke else JOURNALED
    return [*found, *(_resumed(count) for count in counts)]


def _sized(way: Way, size: float, workers: int) -> Case:
    return Case(
        suite="growth",
        name=f"bulkup, {way.name}, {size:g} × the size, {workers} worker{'s' * (workers > 1)}",
        measure=sent,
        module=UPLOAD,
        arguments=(*way.arguments, "--workers", str(workers)),
        shape=way.shape,
        share=size,
        rounds=ROUNDS,
        labels={"what": "growth", "way": way.name, "size": f"{size:g}", "workers": str(workers)},
    )


def _resumed(chunks: int) -> Case:
    case = Case(
        suite="growth",
        name=f"bulkup, resume of {chunks:,} chunk{'s' * (chunks != 1)}",
        measure=lambda case, bench: resumed(case, bench, chunks),
        module=UPLOAD,
        arguments=("--to", "collinear", "--preset", "question-answer", "--max-chunk-bytes", "1200"),
        shape=Shape.SMALL,
        sink=SinkNeeds(),
        rounds=ROUNDS,
        labels={"what": "resume", "chunks": str(chunks)},
    )
    return replace(case, smoke=chunks in SMOKE_JOURNALED)
