"""The receipt: what a run came to, per destination, every row accounted for."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from html import escape
from typing import Any

from bulkup.account.reasons import RejectedFor
from bulkup.account.verdict import LaneRecord, lane_verdict
from bulkup.light_dataclass import as_dict, dataclass

__all__ = [
    "REMOTE_LISTED",
    "DestinationReceipt",
    "Invocation",
    "Receipt",
    "RemoteEntry",
    "SourceReceipt",
    "seconds_between",
]

REMOTE_LISTED = 10_000
"""So many datasets of a lane stand in its receipt; the manifest has all of them."""


def seconds_between(started_at: str, finished_at: str) -> float:
    """Seconds between two times of a receipt. They are the wall clock's: one that was set back in between gives 0, not less."""
    return max(
        0.0, round((datetime.fromisoformat(finished_at) - datetime.fromisoformat(started_at)).total_seconds(), 3)
    )


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """A dataset at the destination that holds rows of the run."""

    id: str
    name: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What this invocation did. Seconds and bytes (of request bodies)."""

    requests: int = 0
    attempts_by_outcome: dict[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    throttled_s: float = 0.0
    duration_s: float = 0.0
    limited_by: str | None = None
    """source, CPU, network, server or quota; None where nothing was sent."""
    mean_fill: float | None = None
    """What the bodies that landed fill of the largest allowed (0 to 1), the least filled of several left out; None without any."""
    quota_per_minute: float | None = None
    """The pace in requests that the quota set at the end; None where none was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationReceipt:
    """What one lane came to. Row and chunk counts are the run's, over all invocations."""

    status: str
    exit_code: int
    reason: str | None
    last_trouble: str | None
    """Why the last request that came to nothing did, whatever has become of it since; None where none has."""
    rows_read: int
    rows_blank: int
    rows_landed: int
    rows_rejected: int
    rows_in_doubt: int
    rows_left: int
    """All that has not landed: what no chunk was planned of yet too, where a scan has counted the source's rows."""
    rows_planned: int
    """Of those left, the rows of chunks that are planned, and not sent."""
    rows_skipped: int
    """Rows that the user's function left out."""
    rows_made: int
    """How many rows more came out of the function, or of a preset that makes two of one, than went in: read + made = landed +
    rejected + skipped + in doubt + left."""
    changes: dict[str, int]
    """In how many rows each kind of change was made, by presets, repairs and schemas."""
    chunks_landed: int
    chunks_in_doubt: int
    bytes_landed: int
    max_body_bytes: int
    datasets: int
    """How many datasets hold the rows that landed."""
    remote: tuple[RemoteEntry, ...]
    """The first 10,000 of them, in the source's order; the manifest has all."""
    evidence: dict[str, int]
    """How many chunks count as landed by which evidence: answer, read-back, count, a person. The manifest has each chunk's."""
    assumptions: tuple[str, ...]
    """What the guarantee rests on at this destination and cannot be proved."""
    rejected_for: tuple[RejectedFor, ...]
    """Why most of the rejected rows were rejected: the five commonest reasons."""
    this_invocation: Invocation

    @classmethod
    def of(
        cls,
        lane: LaneRecord,
        *,
        max_body_bytes: int,
        datasets: int,
        remote: tuple[RemoteEntry, ...],
        changes: dict[str, int],
        evidence: dict[str, int],
        assumptions: tuple[str, ...],
        rejected_for: tuple[RejectedFor, ...],
        this_invocation: Invocation,
    ) -> DestinationReceipt:
        """From what the journal says. Every row that was read is accounted for, or this raises `AssertionError`."""
        totals, verdict = lane.totals, lane_verdict(lane)
        receipt = cls(
            status=verdict.status,
            exit_code=int(verdict.exit_code),
            reason=verdict.reason,
            last_trouble=lane.trouble.reason if lane.trouble else None,
            rows_read=totals.rows_read + lane.rows_unread,
            rows_blank=totals.rows_blank,
            rows_landed=totals.rows_landed,
            rows_rejected=totals.rows_rejected,
            rows_in_doubt=totals.rows_in_doubt,
            rows_left=totals.rows_left + lane.rows_unread,
            rows_planned=totals.rows_left,
            rows_skipped=totals.rows_skipped,
            rows_made=totals.rows_made,
            changes=changes,
            chunks_landed=totals.chunks_landed,
            chunks_in_doubt=totals.chunks_in_doubt,
            bytes_landed=totals.bytes_landed,
            max_body_bytes=max_body_bytes,
            datasets=datasets,
            remote=remote,
            evidence=evidence,
            assumptions=assumptions,
            rejected_for=rejected_for,
            this_invocation=this_invocation,
        )
        assert totals.is_whole, f"not every row is accounted for: {totals}"
        is_whole = len(remote) == datasets
        assert not is_whole or sum(entry.rows for entry in remote) == receipt.rows_landed, (
            "the datasets' rows are not the rows landed"
        )
        assert sum(evidence.values()) == receipt.chunks_landed, "a chunk has landed without evidence"
        return receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReceipt:
    """What was read. *bytes* are the files' on disk (0 for stdin)."""

    uris: tuple[str, ...]
    bytes: int
    rows_read: int
    rows_blank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a run came to. Times are ISO 8601 in UTC; *started_at* is the run's first start, *finished_at* its last end."""

    run_id: str
    status: str
    exit_code: int
    source: SourceReceipt
    started_at: str
    finished_at: str
    duration_s: float
    destinations: dict[str, DestinationReceipt]
    manifest: str = "manifest.json"
    """The file beside it that has every chunk: where it stands, its hashes, where it landed, and by what evidence."""

    def to_json(self) -> dict[str, Any]:
        """As `receipt.json` has it."""
        return as_dict(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it: a table with a column for each destination."""
        lanes = self.destinations
        rows = [
            ("status", [f"{d.status} (exit code {d.exit_code})" for d in lanes.values()]),
            *((title, [f"{getattr(d, field):,}" for d in lanes.values()]) for title, field in _HTML_ROWS),
            ("reason", [d.reason or "" for d in lanes.values()]),
        ]
        head = "".join(f"<th>{escape(name)}</th>" for name in lanes)
        body = "".join(
            f"<tr><td>{escape(title)}</td>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
            for title, texts in rows
            if any(texts)
        )
        return f"<table><caption>{escape(self.run_id)}: {escape(self.status)}</caption><tr><th></th>{head}</tr>{body}</table>"


_HTML_ROWS = (
    ("rows read", "rows_read"),
    ("rows landed", "rows_landed"),
    ("rows rejected", "rows_rejected"),
    ("rows in doubt", "rows_in_doubt"),
    ("rows left", "rows_left"),
    ("datasets", "datasets"),
    ("bytes landed", "bytes_landed"),
)
