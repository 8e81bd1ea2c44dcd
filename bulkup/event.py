"""What a run says while it works."""

from __future__ import annotations

from typing import Any

from bulkup.light_dataclass import dataclass

__all__ = ["LaneSnapshot", "Logged", "Note", "Progress", "Snapshot", "Stage", "Trouble"]


@dataclass(frozen=True, slots=True)
class Note:
    """A line for a person. *lane* is empty where it concerns the whole run."""

    lane: str
    text: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the last request that came to nothing did, at Unix time *at*, and what bulkup does about it (*doing*).

    *until* is the Unix time at which that ends, where there is one. *is_over*: a request has succeeded since.
    """

    reason: str
    at: float
    doing: str = ""
    until: float | None = None
    is_over: bool = False


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
    limited_by: str = ""
    """What the lane's pace is limited by now: source, CPU, network, server or quota; empty where nothing is being sent."""
    quota_per_minute: float | None = None
    """The quota as it was told, in requests; where another pace holds, that one; None where none is known."""
    left_s: float | None = None
    """Seconds left, the quota and its growth included; None where nobody can say."""
    chunks_expected: int | None = None
    """How many chunks the whole source comes to: about, until it is read; None where that is not known."""
    trouble: Trouble | None = None
    """Why the last request that came to nothing did; None where none has."""
    trouble_left_s: float | None = None
    """Seconds until what the trouble's `doing` says ends."""
    rows_skipped: int = 0
    """Rows that the user's function left out."""
    rows_made: int = 0
    """How many rows more were made of the source's."""

    @property
    def done_share(self) -> float | None:
        """The share of the source that is landed, rejected, skipped or in doubt (0 to 1); None where its size is not known."""
        if self.source_done is None:
            return None
        settled, rows = self.rows_settled, self.rows_read + self.rows_made
        return self.source_done * (settled / rows if rows else 1.0 if self.ended else 0.0)

    @property
    def rows_settled(self) -> int:
        """Rows that are landed, rejected, skipped or in doubt."""
        return self.rows_landed + self.rows_rejected + self.rows_skipped + self.rows_in_doubt


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every lane at one moment, *elapsed_s* seconds after this invocation began."""

    elapsed_s: float
    lanes: tuple[LaneSnapshot, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Something that a lane (or the run, where that is empty) is at: *done* of *total*; *what* says of what, and its verb:
    `chunks compared`. *are_bytes*: both are counts of bytes."""

    lane: str
    what: str
    done: int
    total: int
    are_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done where nothing is sent, *elapsed_s* seconds after this invocation began."""

    elapsed_s: float
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """Something for the log: *kind* and *fields* as `docs/cli.md` names them. *lane* is empty where it concerns the whole run."""

    kind: str
    lane: str
    fields: dict[str, Any]
