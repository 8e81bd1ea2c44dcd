"""The Python API left early, called twice, cancelled, and called from where there is no asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import bulkup
from bulkup.account.finished import Finished
from bulkup.event import Snapshot
from bulkup.run.interrupt import Interrupt
from bulkup.run.story import execute
from tests.e2e.harness import TOKENS, Bench, gsm8k_rows
from tests.emulators import emptied, shared

HELD_MS = 400


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, token in TOKENS.items():
        monkeypatch.setenv(name, token)
    served = emptied(shared())
    served.patch(latency_ms=HELD_MS)
    return Bench(served, tmp_path, gsm8k_rows(300))


def arguments(bench: Bench) -> dict[str, Any]:
    nebius = bench.nebius(max_chunk_bytes=16_384, concurrency=2)
    return {"destinations": [nebius], "name": "rows", "state_dir": bench.folder / "state", "settle_after_s": 0.0}


def happenings(bench: Bench) -> AsyncGenerator[bulkup.Event, None]:
    return bulkup.events(bench.source, **arguments(bench))


async def whole(bench: Bench) -> None:
    """The same upload once more is let in, finds nothing in doubt, and ends with every row there once."""
    bench.emulator.patch(latency_ms=0)
    receipt = await bulkup.upload(bench.source, **arguments(bench))
    assert receipt.exit_code == 0
    assert bench.stored("nebius") == bench.expected("nebius")


async def test_a_run_that_goes_on_shows_where_it_stands(bench: Bench) -> None:
    """From the first snapshot on: not 0% for as long as it settles doubts."""
    stopped = await bulkup.upload(bench.source, stop_after="100rows", **arguments(bench))
    bench.emulator.patch(latency_ms=0)
    landed = stopped.destinations["nebius"].rows_landed
    assert 0 < landed < 300
    async with contextlib.aclosing(happenings(bench)) as events:
        async for event in events:
            if isinstance(event, Snapshot):
                break
    assert isinstance(event, Snapshot)
    share = event.lanes[0].done_share
    assert share is not None
    assert share >= 0.2


async def test_a_lane_that_has_ended_cannot_be_interrupted(bench: Bench) -> None:
    """Each lane ends with what it came to; the run with what interrupted the other."""
    bench.emulator.patch(latency_ms=0, faults={"collinear": {"hang": 1.0}})
    interrupt = Interrupt()

    def tell(event: bulkup.Event) -> None:
        if isinstance(event, Snapshot) and event.lanes[0].ended:
            interrupt.request()

    upload = bench.upload(bench.nebius(), bench.collinear(), drain_timeout_s=0.1)
    receipt = await execute(upload, tell=tell, interrupt=interrupt)
    nebius, collinear = receipt.destinations["nebius"], receipt.destinations["collinear"]
    assert (nebius.exit_code, nebius.status, nebius.reason) == (0, "landed", None)
    assert (collinear.exit_code, collinear.status, collinear.reason) == (130, "interrupted", "interrupted")
    assert receipt.exit_code == 130


async def test_a_break_lets_the_next_call_in(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """While chunks are in flight. It waits for their end instead of finding the run held, and nobody complains."""
    async for event in happenings(bench):
        if isinstance(event, Snapshot) and event.lanes[0].in_flight:
            break
    await whole(bench)
    assert caplog.messages == []


async def test_a_break_before_anything_was_sent(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async for _ in happenings(bench):
        break
    await whole(bench)
    assert caplog.messages == []


async def test_behind_aclosing_nothing_is_held(bench: Bench) -> None:
    """Neither the lock nor a request: the run has drained."""
    async with contextlib.aclosing(happenings(bench)) as running:
        async for event in running:
            if isinstance(event, Snapshot) and event.lanes[0].in_flight:
                break
    summary = bench.emulator.summary()["nebius"]
    assert summary["uploads_received"] == summary["uploads_stored"] > 0
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "bulkup run"]
    await whole(bench)


async def test_an_error_in_the_loop_is_the_callers(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with contextlib.aclosing(happenings(bench)) as running:
            async for _ in running:
                1 / 0  # noqa: B018
    await whole(bench)


async def test_events_to_the_end(bench: Bench) -> None:
    bench.emulator.patch(latency_ms=0)
    last = None
    async for event in happenings(bench):
        last = event
    assert isinstance(last, Finished)
    assert last.receipt.exit_code == 0


async def test_a_call_that_is_cancelled(bench: Bench) -> None:
    """What was in flight is in doubt, and settled by the next call."""
    running = asyncio.create_task(bulkup.upload(bench.source, **arguments(bench)))
    while bench.emulator.summary()["nebius"]["uploads_received"] < 2:
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await whole(bench)


async def test_two_calls_at_once(bench: Bench) -> None:
    """One has the run; the other is told so at once, and disturbs nothing."""
    both = [bulkup.upload(bench.source, **arguments(bench)) for _ in range(2)]
    ended = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(end).__name__ for end in ended) == ["Receipt", "RunLocked"]
    await whole(bench)


def test_from_a_thread(bench: Bench) -> None:
    """An event loop in any thread will do."""
    came: list[bulkup.Receipt] = []
    bench.emulator.patch(latency_ms=0)
    thread = threading.Thread(target=lambda: came.append(asyncio.run(bulkup.upload(bench.source, **arguments(bench)))))
    thread.start()
    thread.join(60)
    assert came[0].exit_code == 0


def test_without_asyncio(bench: Bench) -> None:
    """Under trio, and with a coroutine that is driven by hand: one line that says what is needed."""

    async def first() -> object:
        return await anext(aiter(happenings(bench)))

    for call in (bulkup.upload(bench.source, **arguments(bench)), first()):
        with pytest.raises(bulkup.UsageProblem, match="needs asyncio's event loop"):
            call.send(None)
        call.close()
