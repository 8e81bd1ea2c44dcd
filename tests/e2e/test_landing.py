"""Every row lands in both services, once, whatever happens that stores nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import Bench

LANES = ("nebius", "collinear")


def _all_landed(bench: Bench, receipt: Any) -> None:
    assert receipt.exit_code == 0, receipt
    for lane in LANES:
        assert bench.stored(lane) == bench.expected(lane)
        assert receipt.destinations[lane].rows_landed == len(bench.rows)
        assert receipt.destinations[lane].rows_left == 0


async def test_gsm8k_lands_row_for_row_in_both(bench: Bench) -> None:
    receipt = await bench.run()
    _all_landed(bench, receipt)
    assert receipt.source.rows_read == 7473


async def test_running_it_again_sends_nothing(small: Bench) -> None:
    first = await small.run()
    before = small.emulator.summary()
    second = await small.run()
    after = small.emulator.summary()
    for lane in LANES:
        assert after[lane]["requests"] == before[lane]["requests"]
        assert second.destinations[lane].this_invocation.requests == 0
        assert second.destinations[lane].remote == first.destinations[lane].remote
    assert (second.exit_code, second.finished_at) == (0, first.finished_at)
    assert any("nothing is left to send" in note.text for note in small.notes)


async def test_a_source_that_fits_into_one_request_keeps_its_name(bench: Bench) -> None:
    receipt = await bench.run(bench.nebius(max_chunk_bytes=None), bench.collinear(max_chunk_bytes=None))
    _all_landed(bench, receipt)
    assert [entry.name for entry in receipt.destinations["nebius"].remote] == ["rows"]


async def test_a_family_is_named_by_place_and_content(small: Bench) -> None:
    receipt = await small.run(small.nebius(max_chunk_bytes=25_000))
    names = [entry.name for entry in receipt.destinations["nebius"].remote]
    assert len(names) > 10
    for tile, name in enumerate(names):
        assert name.startswith(f"rows-{tile:05d}-")
        assert len(name.rsplit("-", 1)[1]) == 8


@pytest.mark.parametrize("fault", ["503_retry_after", "429"], ids=["503", "429"])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_what_stores_nothing_is_tried_again(small: Bench, fault: str, form: str) -> None:
    small.emulator.patch(faults={lane: {fault: 0.06} for lane in LANES}, retry_after=form, retry_after_s=1, seed=7)
    receipt = await small.run(small.nebius(max_chunk_bytes=25_000), small.collinear(max_chunk_bytes=28_000))
    _all_landed(small, receipt)
    for lane in LANES:
        done = receipt.destinations[lane]
        assert done.this_invocation.requests > done.chunks_landed > 20


async def test_a_closed_port_is_tried_again(small: Bench) -> None:
    small.emulator.shut(1.0)
    _all_landed(small, await small.run())


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
async def test_a_quota_of_thirty_a_window(small: Bench, form: str) -> None:
    window_s = {"seconds": 4, "date": 4, "none": 2}[form]
    small.emulator.patch(
        rate={"requests": 30, "window_s": window_s, "retry_after": form, "counts": "uploads", "headers": "off"}
    )
    receipt = await small.run(small.nebius(max_chunk_bytes=16_000), small.collinear(max_chunk_bytes=18_000))
    _all_landed(small, receipt)
    for lane in LANES:
        assert receipt.destinations[lane].this_invocation.attempts_by_outcome["told_to_wait"] > 0
        if form != "none":
            assert receipt.destinations[lane].this_invocation.throttled_s > 1


async def test_a_lane_that_waits_holds_no_other_up(small: Bench) -> None:
    """Nebius is closed for an hour; Collinear lands all the same."""
    small.emulator.patch(script={"nebius": ["503_retry_after"] * 50}, retry_after_s=3600)
    import anyio

    with anyio.move_on_after(60) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(small.run)
            while small.stored("collinear") != small.expected("collinear"):
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert small.stored("nebius").total() == 0


async def test_a_body_limit_is_learned(small: Bench) -> None:
    small.emulator.patch(body_limit_bytes=12_000)
    ceilings: dict[str, Any] = {"max_chunk_bytes": 40_000}
    receipt = await small.run(small.nebius(**ceilings), small.collinear(**ceilings))
    _all_landed(small, receipt)
    assert receipt.destinations["collinear"].max_body_bytes <= 12_000
    refused = receipt.destinations["collinear"].this_invocation.attempts_by_outcome["too_large"]
    again = await small.run(small.collinear(**ceilings), name="another")
    assert again.exit_code == 0
    assert again.destinations["collinear"].this_invocation.attempts_by_outcome.get("too_large", 0) < min(refused, 2)


async def test_pending_datasets_are_polled(small: Bench) -> None:
    small.emulator.patch(pending_polls=2)
    receipt = await small.run(small.nebius())
    assert receipt.exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")
    assert receipt.destinations["nebius"].this_invocation.attempts_by_outcome["accepted_not_ready"] > 0


async def test_only_the_first_chunk_creates(small: Bench) -> None:
    """With racing creates, two overlapping first uploads would make two datasets."""
    small.emulator.patch(racing_creates="two", store_delay_ms=50)
    receipt = await small.run(small.collinear(concurrency=16, max_chunk_bytes=25_000))
    assert receipt.exit_code == 0
    assert receipt.destinations["collinear"].chunks_landed > 20
    assert len(small.emulator.summary()["collinear"]["datasets"]) == 1


async def test_the_byte_rate_is_kept(small: Bench) -> None:
    receipt = await small.run(small.collinear(bytes_per_second=500_000, max_chunk_bytes=50_000))
    done = receipt.destinations["collinear"].this_invocation
    assert receipt.exit_code == 0
    assert done.bytes_sent / done.duration_s < 600_000


async def test_the_request_rate_is_kept(small: Bench) -> None:
    # ten a second are sent; a second in which a busy machine lets a few late ones arrive together holds some more
    small.emulator.patch(rate={"requests": 15, "window_s": 1.0, "counts": "uploads"})
    receipt = await small.run(small.collinear(requests_per_minute=600, max_chunk_bytes=20_000))
    done = receipt.destinations["collinear"].this_invocation
    assert receipt.exit_code == 0
    assert done.requests > 15
    assert "told_to_wait" not in done.attempts_by_outcome
