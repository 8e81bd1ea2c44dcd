"""A relay that keeps a whole body and delivers it after its sender has reset the connection: found and named, never silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bulkup import Collinear, Nebius
from bulkup.errors import ExitCode
from bulkup.run.story import verify
from tests.e2e.harness import TOKENS, Bench, gsm8k_rows
from tests.emulators import emptied, shared
from tests.ends.relay import Fate, Relay

LANES = ("nebius", "collinear")
ROWS = 200


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay(emptied(shared()).port) as relay:
        yield relay


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(shared(), tmp_path, gsm8k_rows(ROWS))


SETTINGS: dict[str, Any] = {"stall_timeout_s": 0.3, "settle_after_s": 0.3}


def destination(bench: Bench, relay: Relay, lane: str) -> Nebius | Collinear:
    return cast("Nebius | Collinear", getattr(bench, lane)(url=relay.url, max_chunk_rows=40))


@pytest.mark.parametrize("lane", LANES)
async def test_delivered_behind_its_copy_it_is_found_by_the_audit(bench: Bench, relay: Relay, lane: str) -> None:
    """Exit code 5, and the receipt names the rows."""
    relay.stop_upload(3, Fate.DELIVERED_BEHIND_ITS_COPY)
    receipt = await bench.run(destination(bench, relay, lane), **SETTINGS)
    assert relay.stopped is not None
    assert relay.stopped.is_done.is_set()
    assert relay.stopped.is_whole
    found = receipt.destinations[lane]
    assert receipt.exit_code == 5, found
    assert "rows" in (found.reason or "")
    assert (bench.stored(lane) - bench.expected(lane)).total() > 0


@pytest.mark.parametrize("lane", LANES)
async def test_delivered_before_anybody_looks_it_counts_as_landed(bench: Bench, relay: Relay, lane: str) -> None:
    """Exit code 0: every row once."""
    relay.stop_upload(3, Fate.KEPT)

    async def deliver() -> None:
        stopped = await asyncio.to_thread(relay.wait_until_stopped)
        assert stopped.is_whole
        await asyncio.to_thread(relay.go_on)

    delivering = asyncio.create_task(deliver())
    receipt = await bench.run(destination(bench, relay, lane), **SETTINGS)
    await delivering
    assert receipt.exit_code == 0, receipt.destinations[lane]
    assert bench.stored(lane) == bench.expected(lane)


@pytest.mark.parametrize("lane", LANES)
async def test_delivered_after_the_run_it_is_found_by_verify(bench: Bench, relay: Relay, lane: str) -> None:
    """What a reset cannot reach, and no audit can wait for: exit code 5 of `bulkup verify`."""
    relay.stop_upload(3, Fate.KEPT)
    receipt = await bench.run(destination(bench, relay, lane), **SETTINGS)
    assert receipt.exit_code == 0, receipt.destinations[lane]
    await asyncio.to_thread(relay.go_on)
    assert (bench.stored(lane) - bench.expected(lane)).total() > 0
    chosen = bench.upload(destination(bench, relay, lane), **SETTINGS)
    found = await verify(chosen, tell=lambda _: None, resume=receipt.run_id, sample=1.0, seed=1)
    assert found.exit_code == ExitCode.DIFFERS
