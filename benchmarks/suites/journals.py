"""What a chunk costs in the journal, from its plan to its landing: in SQLite and in PostgreSQL, at a pace and as fast as it
goes."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case, Metrics
from benchmarks.measure import alone

__all__ = ["cases"]

KEEPERS = {"SQLite": (), "PostgreSQL": ("--postgres",), "none": ("--without", "journal")}
PACES = {"200 a second": (200, 16), "1,000 a second": (1000, 16), "as fast as it goes": (1_000_000_000, 64)}
"""Chunks a second, and how many are under way at once."""

SECONDS, SMOKE_SECONDS = 10, 1
FAST = 2000
"""So many chunks a second are taken for as fast as it goes, to know how many that are."""


def cases(bench: Bench) -> list[Case]:
    """Every keeper at every pace."""
    seconds = SMOKE_SECONDS if bench.smoke else SECONDS
    return [_case(keeper, pace, seconds) for pace in PACES for keeper in KEEPERS]


def _case(keeper: str, pace: str, seconds: int) -> Case:
    per_second, deliverers = PACES[pace]
    chunks = min(per_second, FAST) * seconds

    def measured(case: Case, bench: Bench) -> Metrics:
        found = alone(case, bench)
        each = 1e6 / chunks
        cpu, database, wall = (found.get(key) for key in ("cpu_s", "database_cpu_s", "seconds"))
        return {
            **found,
            "requests": chunks,
            "cpu_us_a_chunk": float(cpu) * each if cpu is not None else None,
            "database_us_a_chunk": float(database) * each if database is not None else None,
            "wall_us_a_chunk": float(wall) * each if wall is not None else None,
        }

    return Case(
        suite="cluster",
        name=f"journal in {keeper}, {pace}",
        measure=measured,
        module="benchmarks.contenders.journal",
        arguments=(
            "--chunks",
            str(chunks),
            "--per-second",
            str(per_second),
            "--deliverers",
            str(deliverers),
            *KEEPERS[keeper],
        ),
        share=0.0,
        sink=None,
        labels={"what": "cluster", "thing": "journal", "keeper": keeper, "pace": pace},
        smoke=keeper == "PostgreSQL" and pace == "1,000 a second",
    )
