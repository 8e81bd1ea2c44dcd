"""What a run says while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "Finished", "LaneSnapshot", "Note", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Note:
    """A line for a person. *lane* is empty where it concerns the whole run."""

    lane: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSnapshot:
    """Where one lane stands. Rows and chunks are the run's, over all invocations; bytes sent are this invocation's."""

    lane: str
    rows_read: int
    rows_landed: int
    rows_rejected: int
    rows_in_doubt: int
    chunks_landed: int
    chunks_in_doubt: int
    bytes_sent: int
    in_flight: int
    concurrency_limit: int
    retries: int
    waiting_for: str
    source_done: float | None
    """The share of the source's bytes read (0 to 1), None where its size is not known."""
    ended: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every lane at one moment, *elapsed_s* seconds after this invocation began."""

    elapsed_s: float
    lanes: tuple[LaneSnapshot, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a run: its receipt."""

    receipt: Any


Event = Note | Snapshot | Finished
