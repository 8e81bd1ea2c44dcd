"""The same rows as JSON lines and in other formats, into Collinear; and what it takes to unpack them and nothing else."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.kinds import Kind
from benchmarks.measure import alone, sent
from benchmarks.rows import Shape
from benchmarks.suites.uploads import UPLOAD

__all__ = ["PACKED", "ROWS", "cases"]

PACKED = (Kind.GZ, Kind.ZST)
ROWS: dict[str, tuple[Shape, tuple[str, ...], tuple[Kind, ...]]] = {
    "rows as they are": (Shape.COLLINEAR, (), (Kind.JSON_LINES, *PACKED)),
    "chats": (
        Shape.CHAT,
        ("--preset", "chat"),
        (Kind.JSON_LINES, Kind.PARQUET, Kind.LARGE_GROUPS, Kind.ARROW),
    ),
    "prompts": (Shape.FLAT, ("--drop", "tokens"), (Kind.JSON_LINES, Kind.CSV)),
    "small rows": (Shape.SMALL, (), (Kind.JSON_LINES, Kind.CSV)),
}
"""What is sent, and in which kinds of file."""


def cases(bench: Bench) -> list[Case]:
    """One worker each."""
    unpacking = [
        Case(
            suite="formats",
            name=f"{kind.rpartition('.')[2]} unpacked alone",
            measure=alone,
            module="benchmarks.contenders.unpacking",
            kind=kind,
            sink=None,
            labels={"what": "unpacking", "kind": str(kind)},
        )
        for kind in PACKED
    ]
    return unpacking + [
        Case(
            suite="formats",
            name=f"bulkup, {rows} into Collinear, {kind}",
            measure=sent,
            module=UPLOAD,
            arguments=("--to", "collinear", *arguments),
            shape=shape,
            kind=kind,
            labels={"what": "format", "rows": rows, "kind": str(kind)},
            smoke=rows == "chats" and kind is Kind.PARQUET,
        )
        for rows, (shape, arguments, kinds) in ROWS.items()
        for kind in kinds
    ]
