"""What is measured: a contender's program, what it is given, and what it sends to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.kinds import Kind
from benchmarks.rows import Shape

if TYPE_CHECKING:
    from benchmarks.bench import Bench

__all__ = ["Case", "Measure", "Metrics", "SinkNeeds"]

Metrics = dict[str, float | int | str | bool | None]
Measure = Callable[["Case", "Bench"], Metrics]


@dataclass(frozen=True, slots=True)
class SinkNeeds:
    """How the sink is to behave for a case: over TLS or not, and `benchmarks.sink`'s further arguments."""

    tls: bool = False
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table. *name* is unique in all suites.

    *measure* does it and returns its figures. *share*: the part of the run's size that its file has (at least 1 MB): slow
    contenders get the beginning of the same file. *rounds*: at most so many. *peer* names the Python that runs it
    (`--python PEER=PATH`). *labels* say what it is, for tables and targets. *smoke*: it is part of `--smoke`.
    """

    suite: str
    name: str
    measure: Measure
    module: str = ""
    arguments: tuple[str, ...] = ()
    shape: Shape = Shape.COLLINEAR
    share: float = 1.0
    packed: bool = False
    kind: Kind = Kind.JSON_LINES
    sink: SinkNeeds | None = field(default_factory=SinkNeeds)
    rounds: int = 1000
    peer: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    smoke: bool = False
