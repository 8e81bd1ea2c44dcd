"""What a lane asks of a worker process, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bulkup.chunk import Chunk
from bulkup.errors import SourceUnreadable
from bulkup.flow.draft import Keep
from bulkup.model import Block, LongRow
from bulkup.outcome import Outcome
from bulkup.sources import SourceFile
from bulkup.tiling import Limits

__all__ = [
    "CpuUsed",
    "DraftClean",
    "DraftHeld",
    "DraftParts",
    "Forget",
    "LastWord",
    "Lines",
    "OpenLane",
    "QuotaTold",
    "SendChunk",
    "Sent",
    "Ship",
    "Shipped",
    "Span",
    "Stalled",
    "Unship",
]


@dataclass(frozen=True, slots=True)
class Span:
    """The rows whose first byte lies in [start, stop)."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that were read already. *broke_off* says why the source could not be read further."""

    items: list[Block | LongRow]
    broke_off: SourceUnreadable | None = None


@dataclass(frozen=True, slots=True)
class Shipped:
    """Lines that come by `Ship` under *key*, *count* items in all."""

    key: int
    count: int


@dataclass(frozen=True, slots=True)
class Ship:
    """Lines for the draft that will be asked for under *key*, in order. *bases*: where the source's files begin, if known."""

    lane: str
    key: int
    items: list[Block | LongRow]
    bases: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unship:
    """The draft for which lines came under *key* will not be asked for."""

    lane: str
    key: int


@dataclass(frozen=True, slots=True)
class OpenLane:
    """Get ready for *lane*. *opening* is what the wiring makes a destination of, *plan* the lane's plan as JSON."""

    lane: str
    opening: object
    files: tuple[SourceFile, ...]
    plan: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DraftClean:
    """A draft of rows that are sent as their own bytes, else None. Nothing is kept."""

    lane: str
    span: Span


@dataclass(frozen=True, slots=True)
class DraftHeld:
    """A draft of everything in *lines*, whose encoded rows the worker holds if they come to one chunk within *limits*."""

    lane: str
    lines: Span | Shipped
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class DraftParts:
    """Even drafts of *span* within *limits*, whose encoded rows the worker holds. In all it comes to so many bytes and rows."""

    lane: str
    span: Span
    keep: Keep
    limits: Limits
    body_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class SendChunk:
    """One attempt. The rows are what is held under *key*, or where that is None the chunk's range of the file. *secrets* are all
    that the run knows: they are kept out of what the worker says."""

    lane: str
    chunk: Chunk
    key: int | None
    authorization: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forget:
    """Let go of what is held under *key*."""

    lane: str
    key: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What one attempt came to; *ids* is the line for `ids.jsonl`, empty where the service gave no ids."""

    outcome: Outcome
    ids: bytes = b""


@dataclass(frozen=True, slots=True)
class LastWord:
    """A worker's last word on an attempt: so many bytes more were handed to the connection, and no other will be."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Stalled:
    """Something in *lane* does not move; *text* is a line for a person."""

    lane: str
    text: str


@dataclass(frozen=True, slots=True)
class QuotaTold:
    """The `x-ratelimit-*` headers of an answer in *lane*."""

    lane: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CpuUsed:
    """How many CPU seconds a worker's process has used so far."""

    seconds: float
