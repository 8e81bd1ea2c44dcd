"""How a run is verified: every request keeps to the rate, and the contents of several datasets are read at once under it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bulkup.destinations import http
from bulkup.destinations.base import Asking, StoredRow
from bulkup.destinations.nebius.wire import NebiusDestination
from bulkup.emulator import Spawned
from bulkup.flow.verify_each import READ_AT_ONCE
from bulkup.run.story import verify
from tests.e2e.harness import Bench, gsm8k_rows

PER_MINUTE = 6000
DATASETS = 20


async def test_it_keeps_to_the_rate_and_reads_several_at_once(
    emulator: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, schema, rows and contents of each dataset; and every chunk is compared with its own."""
    few = Bench(emulator, tmp_path, gsm8k_rows(20 * DATASETS))
    receipt = await few.run(few.nebius(max_chunk_rows=20))
    assert receipt.exit_code == 0
    emulator.patch(latency_ms=50)
    went: list[float] = []
    reading: set[str] = set()
    most = 0
    asked, read_rows = http._asked, NebiusDestination.read_rows

    async def counted(*about: Any) -> Any:
        went.append(time.monotonic())
        return await asked(*about)

    async def noted(self: NebiusDestination, asking: Asking, dataset_id: str, page: int, **how: int) -> list[StoredRow]:
        nonlocal most
        reading.add(dataset_id)
        most = max(most, len(reading))
        found = await read_rows(self, asking, dataset_id, page, **how)
        if not found:
            reading.remove(dataset_id)
        return found

    monkeypatch.setattr(http, "_asked", counted)
    monkeypatch.setattr(NebiusDestination, "read_rows", noted)
    upload = few.upload(few.nebius(max_chunk_rows=20, requests_per_minute=PER_MINUTE))
    found = await verify(upload, tell=lambda _: None, resume=receipt.run_id, sample=1.0, seed=1)
    lane = found.lanes["nebius"]
    assert (found.exit_code, lane.rows_compared, lane.row_differences) == (0, 20 * DATASETS, [])
    assert len(went) >= 5 * DATASETS, "a match of three requests, and two pages"
    assert went[-1] - went[0] >= 0.95 * (len(went) - 1) * 60 / PER_MINUTE
    assert 2 <= most <= READ_AT_ONCE
