"""What a lane asks of whoever does its heavy work, and what it gets back. Plain values, so that they can cross any channel.

Keys are chosen by the lane, so that it can let go of what it has asked for whether or not the answer came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from bulkup.chunk import Chunk
from bulkup.flow.tiling import Limits
from bulkup.journal.facts import PlanRecord
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, LongRow
from bulkup.outcome import Outcome
from bulkup.sources import SourceFile
from bulkup.workers import Attempt

__all__ = [
    "AddLines",
    "CloseParts",
    "CpuUsed",
    "DraftAll",
    "DraftClean",
    "Forget",
    "KeptAnswer",
    "LaneOrder",
    "LastWord",
    "NextPart",
    "OpenLane",
    "OpenParts",
    "QuotaHeaders",
    "SendChunk",
    "Sent",
    "Shipped",
    "SourceRange",
    "Stalled",
]


@dataclass(frozen=True, slots=True)
class SourceRange:
    """The rows whose first byte lies in [start, stop), which whoever drafts them reads from the source."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Shipped:
    """Lines that came before, by `AddLines` under *key*: *count* items in all."""

    key: int
    count: int


@dataclass(frozen=True, slots=True)
class OpenLane:
    """Get ready for *lane*. *opening* is what the wiring makes a destination of, *plan* the lane's plan as the journal has it."""

    lane: str
    opening: object
    files: tuple[SourceFile, ...]
    plan: PlanRecord


@dataclass(frozen=True, slots=True)
class AddLines:
    """Lines for what will be drafted from `Shipped` under *key*, in order. *bases*: where the source's files begin, as far as
    known. It has no answer."""

    lane: str
    key: int
    items: list[Block | LongRow]
    bases: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DraftClean:
    """Answered with a draft of rows that are sent as their own bytes, holding nothing; None where one is not, or cannot be read."""

    lane: str
    span: SourceRange


@dataclass(frozen=True, slots=True)
class DraftAll:
    """Answered with a draft of everything in *lines*, whose encoded rows are held under *key* if they come to one chunk within
    *limits* (None: whatever they come to).

    Where the source cannot be read further the draft says so, and is of what came before. With *keep_raw* it has the lines as
    they were read.
    """

    lane: str
    key: int
    lines: SourceRange | Shipped
    limits: Limits | None
    keep_raw: bool = False


@dataclass(frozen=True, slots=True)
class OpenParts:
    """Get ready to cut *lines*, which come to *body_bytes* in *rows* rows, into even drafts within *limits*: `NextPart` under
    *key* asks for them."""

    lane: str
    key: int
    lines: SourceRange | Shipped
    limits: Limits
    body_bytes: int
    rows: int
    keep_raw: bool = False


@dataclass(frozen=True, slots=True)
class NextPart:
    """Answered with the next draft of what is cut under *parts*, whose encoded rows are held under *key*; None behind the last."""

    lane: str
    parts: int
    key: int


@dataclass(frozen=True, slots=True)
class CloseParts:
    """Cut no more of what is cut under *parts*."""

    lane: str
    parts: int


@dataclass(frozen=True, slots=True)
class SendChunk:
    """One attempt, answered with `Sent`. The rows are what is held under *key*, or where that is None the chunk's range of the
    file. *secrets* are all that the run knows: they are kept out of what is said of it.

    *attempt* is its number, from 1, as the journal counts them. The words before the answer are numbers of bytes that were handed
    to the connection, and in the end a `LastWord`.
    """

    lane: str
    chunk: Chunk
    attempt: int
    key: int | None
    authorization: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forget:
    """Let go of what is under *key*: rows that are held, or lines for a draft that will not be asked for. It has no answer."""

    lane: str
    key: int


LaneOrder = AddLines | DraftClean | DraftAll | OpenParts | NextPart | CloseParts | SendChunk | Forget


@dataclass(frozen=True, slots=True)
class Sent:
    """What one attempt came to; *ids* is the line for `ids.jsonl`, empty where the service gave no ids."""

    outcome: Outcome
    ids: bytes = b""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """From a worker: the service has taken a chunk whole, as it answered to an *attempt* that the run with the token *run* had
    ordered; whether that run was told is not known. *ids* as `Sent` has them. Unless it *is_ready* the service was not done with it
    then (PENDING)."""

    run: str
    lane: str
    tile: int
    child: int
    attempt: int
    rows_hash: bytes
    remote_id: str
    ids: bytes
    is_ready: bool = True

    @property
    def key(self) -> Attempt:
        """Which attempt it is about, among those of its run."""
        return (self.lane, self.tile, self.child, self.attempt)


@dataclass(frozen=True, slots=True)
class LastWord:
    """The last word on an attempt: so many bytes more were handed to the connection, and no other will be."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Stalled:
    """From a worker: something in *lane* does not move; *text* is a line for a person."""

    lane: str
    text: str


@dataclass(frozen=True, slots=True)
class QuotaHeaders:
    """From a worker: the `x-ratelimit-*` headers of an answer in *lane*."""

    lane: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CpuUsed:
    """From a worker: how many CPU seconds its process has used so far."""

    seconds: float
