"""What journal, echo and progress cost: each switched off in turn, from outside the product, against the same with it on."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case, SinkNeeds
from benchmarks.measure import sent
from benchmarks.suites.uploads import UPLOAD

__all__ = ["JOURNAL_CHUNK_BYTES", "cases"]

JOURNAL_CHUNK_BYTES = 16 * 1024
"""Small, so that there are many chunks."""


def cases(_: Bench) -> list[Case]:
    """Three pairs."""
    small = ("--max-chunk-bytes", str(JOURNAL_CHUNK_BYTES))
    echoless = SinkNeeds(arguments=("--no-echo",))
    return [
        _case("journal", "on", small, 0.05),
        _case("journal", "off", (*small, "--without", "journal"), 0.05, smoke=True),
        _case("echo", "on", (), 0.5),
        _case("echo", "off", ("--without", "echo"), 0.5, echoless, smoke=True),
        _case("progress", "on", ("--watched",), 0.5, smoke=True),
        _case("progress", "off", ("--without", "progress"), 0.5),
    ]


def _case(
    thing: str,
    state: str,
    arguments: tuple[str, ...],
    share: float,
    sink: SinkNeeds | None = None,
    *,
    smoke: bool = False,
) -> Case:
    return Case(
        suite="cost",
        name=f"bulkup, {thing} {state}",
        measure=sent,
        module=UPLOAD,
        arguments=("--to", "collinear", *arguments),
        share=share,
        sink=sink or SinkNeeds(),
        labels={"what": "cost", "thing": thing, "state": state},
        smoke=smoke,
    )
