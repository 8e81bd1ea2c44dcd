"""The pace against the emulator, over real sockets: quotas told, read and learned, capacity, fill, and what limits."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from bulkup.account.finished import Event
from bulkup.account.receipt import Invocation, Receipt
from bulkup.event import Snapshot
from bulkup.run.story import execute
from tests.e2e.harness import Bench, Row, write_rows

LANES = ("nebius", "collinear")
MINUTE = {"requests": 600, "window_s": 60.0, "counts": "all"}


def done(receipt: Receipt, lane: str) -> Invocation:
    assert receipt.exit_code == 0, receipt.destinations[lane]
    return receipt.destinations[lane].this_invocation


@pytest.mark.parametrize("lane", LANES)
async def test_headers_are_followed_from_the_first_look(small: Bench, lane: str) -> None:
    """A quota that a minute of full speed would use up at once: no refusal, evenly spaced, and the receipt says why."""
    small.emulator.patch(rate={lane: {**MINUTE, "headers": "on"}}, latency_ms=50)
    told = done(await small.run(getattr(small, lane)(max_chunk_bytes=25_000)), lane)
    assert "told_to_wait" not in told.attempts_by_outcome
    assert told.requests >= 20
    assert told.throttled_s >= 0.09 * (told.requests - 2)
    assert told.limited_by == "quota"
    assert told.quota_per_minute == 600  # as it was told; what is kept below it is not shown


@pytest.mark.parametrize("tells", ["x-ratelimit", "ietf"])
async def test_the_window_is_learned_from_its_resets(small: Bench, tells: str) -> None:
    """Twenty in two seconds: at most half as long again as the least time, where 0.1.0 made twenty a minute of it."""
    rate = {"requests": 20, "window_s": 2.0, "counts": "all", "tells": tells}
    small.emulator.patch(rate={"nebius": rate})
    with anyio.fail_after(30):
        told = done(await small.run(small.nebius(max_chunk_bytes=10_000)), "nebius")
    assert small.stored("nebius") == small.expected("nebius")
    assert told.attempts_by_outcome.get("told_to_wait", 0) <= 1
    assert told.requests >= 40
    assert told.duration_s <= 1.5 * 0.1 * told.requests


async def test_what_the_user_says_is_kept(small: Bench) -> None:
    small.emulator.patch(rate={"nebius": {**MINUTE, "headers": "off"}})
    told = done(await small.run(small.nebius(max_chunk_bytes=50_000, requests_per_minute=600)), "nebius")
    assert told.duration_s >= 0.1 * (told.requests - 1)
    assert told.limited_by == "quota"


async def test_a_quota_is_learned_from_a_refusal(small: Bench) -> None:
    """Twenty in two seconds, and nobody says so: from the first 429 on, at that pace."""
    small.emulator.patch(rate={"nebius": {"requests": 20, "window_s": 2.0, "headers": "off", "counts": "uploads"}})
    told = done(await small.run(small.nebius(max_chunk_bytes=12_000, concurrency=4)), "nebius")
    assert small.stored("nebius") == small.expected("nebius")
    assert told.attempts_by_outcome["told_to_wait"] <= 8
    assert told.quota_per_minute == pytest.approx(600, rel=0.4)


async def test_a_capacity_that_steps(small: Bench) -> None:
    """Slots change in mid-run; everything lands, and it is the server that limits."""
    small.emulator.patch(capacity={"collinear": 1}, latency_ms=40)
    steps = iter((3, 1))

    def tell(event: Event) -> None:
        if isinstance(event, Snapshot) and event.lanes[0].chunks_landed > 5 and (places := next(steps, None)):
            small.emulator.patch(capacity={"collinear": places})

    receipt = await execute(small.upload(small.collinear(max_chunk_bytes=12_000)), tell=tell)
    assert done(receipt, "collinear").limited_by == "server"
    assert small.stored("collinear") == small.expected("collinear")


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_time_left_is_in_the_snapshot(small: Bench, workers: int) -> None:
    """And what is done of the source, whoever reads it."""
    small.emulator.patch(rate={"nebius": {**MINUTE, "headers": "on"}})
    seen: list[Snapshot] = []
    upload = small.upload(small.nebius(max_chunk_bytes=12_000), workers=workers)
    await execute(upload, tell=lambda event: seen.append(event) if isinstance(event, Snapshot) else None)
    lanes = [snapshot.lanes[0] for snapshot in seen if snapshot.lanes[0].limited_by == "quota"]
    assert lanes
    left = [lane.left_s for lane in lanes if lane.left_s is not None and not lane.ended]
    assert left
    assert 0 <= left[-1] <= left[0] <= 12
    assert seen[-1].lanes[0].done_share == 1.0


@pytest.mark.parametrize("lane", LANES)
async def test_bodies_are_filled(small: Bench, lane: str) -> None:
    """At least 0.97 of the ceiling, also where rows grow beyond what the first block has shown."""
    rows = [_sent_as_it_is(lane, "x" * length) for length in range(40, 1240)]
    source = write_rows(small.folder / "growing.jsonl", rows)
    receipt = await small.run(getattr(small, lane)(max_chunk_bytes=131_072, preset="identity"), source=source)
    told = done(receipt, lane)
    assert told.mean_fill is not None
    assert told.mean_fill >= 0.97
    assert told.requests <= 8


def _sent_as_it_is(lane: str, text: str) -> Row:
    if lane == "nebius":
        return {"prompt": text, "completion": "y"}
    return {"conv_prefix": [{"role": "user", "content": text}], "response": {"role": "assistant", "content": "y"}}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["told", "headers", "five seconds", "ietf", "learned"])
async def test_six_hundred_a_minute(small: Bench, how: str) -> None:
    """600 requests a minute, full bodies, 50 ms latency; least time = requests × 100 ms."""
    rate: dict[str, Any] = {**MINUTE, "headers": "off" if how in ("told", "learned") else "on"}
    if how == "five seconds":
        rate |= {"requests": 50, "window_s": 5.0}
    elif how == "ietf":
        rate |= {"requests": 50, "window_s": 5.0, "tells": "ietf"}
    small.emulator.patch(rate={"nebius": rate}, latency_ms=50)
    rows = [{"text": f"{place:06} " + "x" * 1000} for place in range(12_100)]
    source = write_rows(small.folder / "many.jsonl", rows)
    chosen = {"requests_per_minute": 600} if how == "told" else {}
    receipt = await small.run(small.nebius(max_chunk_bytes=10_500, **chosen), source=source)
    told = done(receipt, "nebius")
    landed = receipt.destinations["nebius"].chunks_landed
    refused = told.attempts_by_outcome.get("told_to_wait", 0)
    assert landed >= 1200
    if how == "learned":
        assert refused <= 0.02 * told.requests
        assert told.duration_s <= 1.15 * landed * 0.1
    else:
        assert refused == 0
        assert told.duration_s <= 1.05 * landed * 0.1
