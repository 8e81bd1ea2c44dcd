"""bulkup itself: validation × workers × destination × how rows are made × wire, and packed files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from benchmarks.bench import Bench
from benchmarks.case import Case, Metrics, SinkNeeds
from benchmarks.measure import alone, sent
from benchmarks.rows import Shape

__all__ = ["IDENTITY", "MAPPED", "UPLOAD", "Way", "cases", "upload_name"]

UPLOAD = "benchmarks.contenders.upload"


@dataclass(frozen=True, slots=True)
class Way:
    """Rows of *shape* into *to*: as they are, or rewritten, as the bare *codec* would."""

    name: str
    to: str
    shape: Shape
    arguments: tuple[str, ...]
    codec: str = ""


IDENTITY = (
    Way("identity into Collinear", "collinear", Shape.COLLINEAR, ("--to", "collinear")),
    Way("identity into Nebius", "nebius", Shape.FLAT, ("--to", "nebius")),
)
"""Sent as their own bytes."""

MAPPED = (
    Way("chat into Collinear", "collinear", Shape.CHAT, ("--to", "collinear", "--preset", "chat"), "chat"),
    Way("chat as text into Nebius", "nebius", Shape.CHAT, ("--to", "nebius"), "text"),
    Way(
        "small rows into Collinear, mapping",
        "collinear",
        Shape.SMALL,
        ("--to", "collinear", "--mapping"),
        "question-answer",
    ),
    Way("wide nested rows into Nebius", "nebius", Shape.WIDE, ("--to", "nebius"), "wide"),
)
"""Rewritten on the way. The first two are measured with every option, the others with the plainest."""


def upload_name(way: Way, validation: str, workers: int, wire: str = "plain", *, packed: bool = False) -> str:
    """The name of the case."""
    count = f"{workers} worker{'s' * (workers > 1)}"
    return f"bulkup, {way.name}, {validation}, {count}, {wire}{', gz' * packed}"


def cases(bench: Bench) -> list[Case]:
    """The baseline of memory, then the matrix."""
    found = [
        Case(
            suite="uploads",
            name="bulkup, imports alone",
            measure=_imported,
            module=UPLOAD,
            arguments=("--only-import",),
            share=0.0,
            sink=None,
            labels={"what": "baseline"},
            smoke=True,
        )
    ]
    for way, validation, workers, wire in product(
        (*IDENTITY, *MAPPED[:2]), ("full", "trust"), (1, 2), ("plain", "TLS")
    ):
        found.append(_case(way, validation, workers, wire, packed=False))
    for way, workers in product(MAPPED[2:], (1, 2)):
        found.append(_case(way, "full", workers, "plain", packed=False))
    for way, workers in product((IDENTITY[0], MAPPED[0], MAPPED[1]), (1, 2)):
        found.append(_case(way, "full", workers, "plain", packed=True))
    return found


def _imported(case: Case, bench: Bench) -> Metrics:
    """Memory alone: nothing is uploaded."""
    found = alone(case, bench)
    return {key: found[key] for key in ("seconds", "process_cpu_s", "peak_pss_mib")}


def _case(way: Way, validation: str, workers: int, wire: str, *, packed: bool) -> Case:
    return Case(
        suite="uploads",
        name=upload_name(way, validation, workers, wire, packed=packed),
        measure=sent,
        module=UPLOAD,
        arguments=(*way.arguments, "--workers", str(workers), "--validation", validation),
        shape=way.shape,
        packed=packed,
        sink=SinkNeeds(tls=wire == "TLS"),
        labels={
            "what": "bulkup",
            "way": way.name,
            "validation": validation,
            "workers": str(workers),
            "wire": wire,
            "source": "gz" if packed else "plain",
        },
        smoke=(way is IDENTITY[0] and validation == "full" and not packed and (workers == 1 or wire == "plain"))
        or (way is MAPPED[1] and packed and workers == 1),
    )
