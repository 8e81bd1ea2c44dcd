"""What the machine can do at best: wrk with pre-built bodies, msgspec alone, the bare codec; and the check of rows beside them."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case, SinkNeeds
from benchmarks.measure import alone, sent
from benchmarks.suites.uploads import MAPPED

__all__ = ["cases"]

_CODEC = "benchmarks.contenders.codec"


def cases(bench: Bench) -> list[Case]:
    """Two of wrk, two of msgspec, bulkup's check of rows as they are; and for each way that rows are rewritten a codec written by
    hand, and bulkup's encoder."""
    seconds = "1" if bench.smoke else "5"
    wrk = [
        Case(
            suite="ceilings",
            name=f"wrk, {wire}",
            measure=sent,
            module="benchmarks.contenders.wrk",
            arguments=("--seconds", seconds),
            share=0.1,
            sink=SinkNeeds(tls=wire == "TLS"),
            labels={"what": "wrk", "wire": wire},
            smoke=wire == "plain",
        )
        for wire in ("plain", "TLS")
    ]
    msgspec = [
        Case(
            suite="ceilings",
            name=f"msgspec alone, {cores} core{'s' * (cores > 1)}",
            measure=alone,
            module=_CODEC,
            arguments=("--work", "bare", "--codec", "identity", "--processes", str(cores)),
            share=0.5,
            sink=None,
            labels={"what": "msgspec", "cores": str(cores)},
            smoke=cores == 1,
        )
        for cores in (1, 2)
    ]
    check = Case(
        suite="ceilings",
        name="bulkup's check alone, identity",
        measure=alone,
        module=_CODEC,
        arguments=("--work", "encode", "--preset", "identity"),
        share=0.5,
        sink=None,
        labels={"what": "check"},
    )
    codecs = [
        Case(
            suite="ceilings",
            name=f"{name}, {way.name}",
            measure=alone,
            module=_CODEC,
            arguments=("--work", *work),
            shape=way.shape,
            share=0.25,
            sink=None,
            labels={"what": what, "way": way.name},
            smoke=way is MAPPED[0],
        )
        for way in MAPPED
        for name, what, work in (
            ("bare codec", "codec", ("bare", "--codec", way.codec)),
            ("bulkup's encoder alone", "encoder", ("encode", *way.arguments)),
        )
    ]
    return [*wrk, *msgspec, check, *codecs]
