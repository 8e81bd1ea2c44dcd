"""A destination in memory, which keeps every promise of the seam and fails when it is told to."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from bulkup.destinations.base import (
    PAGE_ROWS,
    Asking,
    Capabilities,
    Envelope,
    LookFailed,
    Payload,
    StoredRow,
)
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.doubt.by_name import BY_NAME
from bulkup.doubt.policy import Policy
from bulkup.doubt.settlement import Look, Match, Seen
from bulkup.encoding import RowPlan, Target
from bulkup.outcome import (
    Accepted,
    CloseGate,
    InDoubt,
    Outcome,
    RemoteStatus,
    RowsRefused,
    TokenRejected,
    TooLarge,
    TryAgain,
)
from bulkup.tokens.token_source import TokenSource

__all__ = ["MemoryDestination", "Stored"]

EACH = Capabilities(
    gives_row_ids=True,
    max_chunk_bytes=1 << 20,
    max_chunk_rows=None,
)


@dataclass(slots=True)
class Stored:
    """One dataset."""

    id: str
    name: str
    rows: list[Any]
    polls_left: int = 0
    ends: RemoteStatus = RemoteStatus.READY


@dataclass(slots=True)
class MemoryDestination:
    """Holds datasets in a dictionary. *script* is what the next sends meet: an outcome that stores nothing, `"stored"` for an
    answer that is lost once the rows are stored, or `"pending"`/`"failed"` for a dataset that is not ready at once."""

    dataset_name: str
    token: TokenSource
    capabilities: Capabilities = EACH
    policy: Policy = BY_NAME
    name: str = "memory"
    max_body_bytes: int | None = None
    refuse: Callable[[Any], bool] = lambda row: False
    script: deque[Outcome | str] = field(default_factory=deque)
    look_unavailable: str | None = None
    datasets: dict[str, Stored] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    @property
    def identity(self) -> str:
        return f"memory {id(self)} {self.dataset_name}"

    @property
    def target(self) -> Target:
        return NEBIUS

    def envelope(self, name: str, plan: RowPlan) -> Envelope:
        return Envelope(b'{"name":' + orjson.dumps(name) + b',"rows":[', b"]}", "application/json")

    async def send(self, payload: Payload, on_bytes: Callable[[int], None]) -> Outcome:
        self.sent.append(payload.name)
        planned = self.script.popleft() if self.script else None
        if isinstance(planned, TryAgain | TokenRejected | CloseGate):
            return planned
        if self.max_body_bytes is not None and payload.content_length > self.max_body_bytes:
            return TooLarge("HTTP 413: too large")
        body = b""
        async for block in payload.blocks():
            on_bytes(len(block))
            body += block
        assert len(body) == payload.content_length, "the body is as long as it says"
        if planned is not None and not isinstance(planned, str):
            return planned
        rows = orjson.loads(body)["rows"]
        bad = tuple(number for number, row in enumerate(rows) if self.refuse(row))
        if bad:
            return RowsRefused("HTTP 422: refused", bad)
        stored = self._store(payload.name, rows)
        if planned == "stored":
            return InDoubt("the answer was lost")
        if planned in ("pending", "failed"):
            stored.polls_left = 2
            stored.ends = RemoteStatus.READY if planned == "pending" else RemoteStatus.FAILED
            return Accepted(stored.id, stored.name, RemoteStatus.PENDING)
        ids = tuple(range(len(rows))) if self.capabilities.gives_row_ids else None
        return Accepted(stored.id, stored.name, RemoteStatus.READY, ids)

    async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
        return await asking(partial(self._poll, remote_id))

    async def _poll(self, remote_id: str) -> RemoteStatus:
        stored = self.datasets.get(remote_id)
        if stored is None:
            raise LookFailed(TryAgain("no such dataset"))
        if stored.polls_left > 0:
            stored.polls_left -= 1
            return RemoteStatus.PENDING
        return stored.ends

    async def look(self, asking: Asking) -> Look:
        return await asking(self._look)

    async def _look(self) -> Look:
        if self.look_unavailable is not None:
            return Look(time.time(), unavailable=self.look_unavailable)
        family = re.compile(re.escape(self.dataset_name) + r"(-\d{5,}(-\d{3,})?-[0-9a-f]{8})?")
        ours = [d for d in self.datasets.values() if family.fullmatch(d.name)]
        return Look(time.time(), tuple(Seen(d.id, d.name, d.ends, len(d.rows)) for d in ours))

    async def match(self, asking: Asking, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        return await asking(partial(self._match, dataset_id, rows))

    async def _match(self, dataset_id: str, rows: int) -> Match:
        return Match.SAME if len(self.datasets[dataset_id].rows) == rows else Match.OTHER

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        return await asking(partial(self._page, dataset_id, page, page_rows))

    async def _page(self, dataset_id: str, page: int, page_rows: int) -> list[StoredRow]:
        rows = self.datasets[dataset_id].rows[page * page_rows : (page + 1) * page_rows]
        return [StoredRow(page * page_rows + n, orjson.dumps(row)) for n, row in enumerate(rows)]

    def row_key(self, row: bytes) -> bytes:
        return orjson.dumps(orjson.loads(row))

    def rows(self) -> list[Any]:
        """Every row that is held, FAILED datasets apart."""
        return [row for d in self.datasets.values() if d.ends is RemoteStatus.READY for row in d.rows]

    def _store(self, name: str, rows: list[Any]) -> Stored:
        if not self.policy.has_dataset_per_chunk:
            for stored in self.datasets.values():
                if stored.name == self.dataset_name:
                    stored.rows += rows
                    return stored
            name = self.dataset_name
        stored = Stored(f"ds-{len(self.datasets)}", name, list(rows))
        self.datasets[stored.id] = stored
        return stored
