"""What journal, echo and progress cost. The first two are switched off in turn, from outside the product, against the same with
them on; progress is so little that such a difference is noise, so the CPU time inside it is measured."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case, Metrics, SinkNeeds
from benchmarks.measure import alone, sent
from benchmarks.suites.uploads import UPLOAD

__all__ = ["CHUNKS_PER_SECOND", "JOURNAL_CHUNK_BYTES", "cases"]

JOURNAL_CHUNK_BYTES = 16 * 1024
"""Small, so that there are many chunks."""

CHUNKS_PER_SECOND = 1000
SECONDS, SMOKE_SECONDS = 10, 1


def cases(bench: Bench) -> list[Case]:
    """Three pairs, and one that is watched.

    The journal has two: told of a stated number of chunks a second; and in an upload as fast as it goes, where what it costs
    includes that two threads want one interpreter.
    """
    small = ("--max-chunk-bytes", str(JOURNAL_CHUNK_BYTES))
    echoless = SinkNeeds(arguments=("--no-echo",))
    return [
        _paced(bench, "on"),
        _paced(bench, "off", "--without", "journal"),
        _case("journal at full speed", "on", small, 0.05),
        _case("journal at full speed", "off", (*small, "--without", "journal"), 0.05, smoke=True),
        _case("echo", "on", (), 0.5),
        _case("echo", "off", ("--without", "echo"), 0.5, echoless, smoke=True),
        _case("progress", "on", ("--watched",), 0.5, smoke=True),
    ]


def _paced(bench: Bench, state: str, *arguments: str) -> Case:
    chunks = CHUNKS_PER_SECOND * (SMOKE_SECONDS if bench.smoke else SECONDS)

    def journaled(case: Case, bench: Bench) -> Metrics:
        return {**alone(case, bench), "requests": chunks}

    return Case(
        suite="cost",
        name=f"journal of {CHUNKS_PER_SECOND:,} chunks a second, {state}",
        measure=journaled,
        module="benchmarks.contenders.journal",
        arguments=("--chunks", str(chunks), "--per-second", str(CHUNKS_PER_SECOND), *arguments),
        share=0.0,
        sink=None,
        labels={"what": "cost", "thing": "journal", "state": state},
        smoke=True,
    )


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
