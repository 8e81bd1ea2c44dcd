"""What the parts of a lane share, as three frozen values: the lane, its plan, and one round of sending.

Each lives as long as its name says, and nothing in it is exchanged for another. What changes keeps its state to itself (`Halt`,
`Tally`, `BodyLimit`, `Requests`, `Fence`, …) and has one meaning each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import Any

from bulkup.authority import UNENDING, Authority
from bulkup.chunk import Chunk
from bulkup.destinations.base import Destination
from bulkup.destinations.settings import DestinationSettings
from bulkup.doubt.settlement import Others
from bulkup.encoding import RowOptions
from bulkup.flow.children import ChildNumbers
from bulkup.flow.chunker import Chunker
from bulkup.flow.clock import Clock
from bulkup.flow.creation import Creation
from bulkup.flow.executors import Executors
from bulkup.flow.fence import Fence
from bulkup.flow.halt import Halt
from bulkup.flow.kept_answers import KeptAnswers
from bulkup.flow.limit import BodyLimit
from bulkup.flow.plan import LanePlan
from bulkup.flow.processes import LaneWorkers
from bulkup.flow.requests import Requests
from bulkup.flow.stop_rules import StopRules
from bulkup.flow.tally import Tally
from bulkup.journal import LaneJournal
from bulkup.light_dataclass import dataclass
from bulkup.pacing import ByteBudget, Rate
from bulkup.settings.config import RunSettings
from bulkup.sources import Cursor, Source

__all__ = ["Chosen", "LaneContext", "PlannedLane", "SendingRound"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the user chose, as one lane has it: the run's settings, the destination's, and how *rows* are made by both.

    *memory_bytes* is the lane's share of the memory, *far_memory_bytes* its share of that of each far worker. *learned_limit* is
    the largest body that the destination is known to take from earlier runs, in bytes; None where it has never refused one.
    """

    run: RunSettings
    destination: DestinationSettings
    rows: RowOptions
    memory_bytes: int
    learned_limit: int | None = None
    far_memory_bytes: int = 0

    @property
    def rate(self) -> Rate:
        """What is not to be exceeded."""
        own = self.destination
        return Rate(
            requests_per_minute=own.requests_per_minute,
            rows_per_second=own.rows_per_second,
            bytes_per_second=own.bytes_per_second,
        )


def _unheard(_kind: str, _fields: dict[str, Any]) -> None:
    pass


async def _nobody() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneContext:
    """What a lane is made of, from its first question to its last.

    *others* says what other runs have put into the same dataset since a Unix time, *owners* which runs have put rows there at all;
    *say* tells the user a line, *log* the log what happened, with its fields.
    """

    destination: Destination
    source: Source
    journal: LaneJournal
    workers: LaneWorkers
    chosen: Chosen
    clock: Clock
    requests: Requests
    halt: Halt
    tally: Tally
    limit: BodyLimit
    others: Callable[[float], Awaitable[Others]]
    say: Callable[[str], None]
    owners: Callable[[], Awaitable[tuple[str, ...]]] = _nobody
    log: Callable[[str, dict[str, Any]], None] = _unheard
    authority: Authority = UNENDING
    """Without it nothing is sent."""
    kept: KeptAnswers = field(default_factory=KeptAnswers)
    """Answers that workers have kept."""

    @property
    def name(self) -> str:
        """The lane's name, which is the service's."""
        return self.destination.name


@dataclass(frozen=True, slots=True)
class PlannedLane:
    """A lane whose plan is frozen, and what makes its rows by that plan."""

    lane: LaneContext
    plan: LanePlan
    chunker: Chunker

    @classmethod
    def of(cls, lane: LaneContext, plan: LanePlan) -> PlannedLane:
        """*lane*, as *plan* has it."""
        return cls(lane, plan, Chunker(lane.source, plan.rows.line_encoder(), lane.halt))

    def content_length(self, chunk: Chunk) -> int:
        """How long the body of a request with *chunk* is, in bytes."""
        return chunk.body_bytes + self.envelope_bytes(chunk.name)

    def envelope_bytes(self, name: str) -> int:
        """How much stands around the rows of a chunk of that *name*."""
        return self.lane.destination.envelope(name, self.plan.rows).size


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingRound:
    """One round: everything that is planned, and whatever the source still holds, once.

    Chunks are held under *budget*, and tiles that are read ahead under *reading*, which may be the same. *settle_now* asks for a
    settlement of doubts. *creation* and *rules* outlive the round.
    """

    cursor: Cursor
    executors: Executors
    budget: ByteBudget
    reading: ByteBudget
    numbers: ChildNumbers
    fence: Fence
    creation: Creation
    rules: StopRules
    settle_now: Callable[[], None]
