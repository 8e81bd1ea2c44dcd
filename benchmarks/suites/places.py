"""The same rows from a local file, from ten thousand small ones and from a bucket; and `--workers auto` against one worker."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.measure import sent

__all__ = ["PLACES", "cases"]

PLACES = ("file", "folder", "bucket")
PLACED = "benchmarks.contenders.placed"
SHARE = 0.2
"""Of a whole file: with the size by default, the folder has ten thousand files."""


def cases(_: Bench) -> list[Case]:
    """Each place with one worker, then `auto` where it takes more than one, and where it must not."""
    found = [_case(place, "1") for place in PLACES]
    return [*found, _case("file", "auto"), _case("file", "auto", packed=True), _case("file", "1", packed=True)]


def _case(place: str, workers: str, *, packed: bool = False) -> Case:
    gz = ", gz" if packed else ""
    return Case(
        suite="places",
        name=f"bulkup, {place}{gz}, {workers} worker{'s' * (workers != '1')}",
        measure=sent,
        module=PLACED,
        arguments=("--place", place, "--workers", workers),
        share=SHARE,
        packed=packed,
        labels={"what": "place", "place": place, "workers": workers, "source": "gz" if packed else "plain"},
        smoke=workers == "1",
    )
