"""What the emulator has counted, by service."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """Counters of one service since the start or the last reset.

    *uploads_received* counts upload requests whose headers came in, *uploads_stored* those of which anything was
    stored (late ones when they are); *by_status* the answers to uploads, with `aborted` for a connection broken on
    purpose and `gone` for a client that left in mid-body; *by_fault* the faults they met.
    """

    requests: int = 0
    readback_requests: int = 0
    uploads_received: int = 0
    uploads_stored: int = 0
    rows_stored: int = 0
    bytes_received: int = 0
    max_body_bytes: int = 0
    concurrent_uploads: int = 0
    peak_concurrent_uploads: int = 0
    late_pending: int = 0
    redirects_followed: int = 0
    tokens_sent_after_redirect: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_fault: Counter[str] = field(default_factory=Counter)
    readback_by_status: Counter[str] = field(default_factory=Counter)

    def upload_began(self) -> None:
        """One more upload is under way."""
        self.uploads_received += 1
        self.concurrent_uploads += 1
        self.peak_concurrent_uploads = max(self.peak_concurrent_uploads, self.concurrent_uploads)

    def body_came(self, size: int) -> None:
        """A body, or what came of it, was read."""
        self.bytes_received += size
        self.max_body_bytes = max(self.max_body_bytes, size)

    def stored(self, rows: int) -> None:
        """An upload's rows stand in the store."""
        self.uploads_stored += 1
        self.rows_stored += rows

    def as_json(self) -> dict[str, Any]:
        """All counters, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}
