"""The suites: each module makes the cases of one."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.suites import ceilings, cluster, cost, formats, growth, journals, peers, places, quota, start, uploads

__all__ = ["SUITES"]

SUITES: dict[str, Callable[[Bench], list[Case]]] = {
    "ceilings": ceilings.cases,
    "uploads": uploads.cases,
    "formats": formats.cases,
    "peers": peers.cases,
    "cost": cost.cases,
    "places": places.cases,
    "start": start.cases,
    "quota": quota.cases,
    "growth": growth.cases,
    "cluster": lambda bench: [*cluster.cases(bench), *journals.cases(bench)],
}
"""By name, in the order in which a round goes through them."""
