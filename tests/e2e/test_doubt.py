"""What has no answer is in doubt: journaled, reported, held, and sent again only where the user says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from tests.e2e.harness import Bench, gsm8k_rows

LANES = ("nebius", "collinear")

STORED = ["stored_then_reset", "stored_then_500", "stored_then_502", "stored_then_504", "garbled_200", "cut_200"]
NOT_STORED = [
    "reset_in_body",
    "reset_after_body",
    "not_stored_500",
    "not_stored_502",
    "not_stored_504",
    "not_stored_408",
    "not_stored_520",
    "503_plain",
]
ECHO = ["wrong_id_count", "repeated_ids"]


async def _held(bench: Bench, lane: str, fault: str, *, stored: bool) -> None:
    """With no read-back the doubt stays, and is named."""
    bench.emulator.patch(script={lane: ["ok", "ok", fault]}, readback="off")
    receipt = await bench.run(getattr(bench, lane)())
    done = receipt.destinations[lane]
    assert receipt.exit_code == 4
    assert (done.chunks_in_doubt, done.rows_left, done.rows_rejected) == (1, 0, 0)
    assert done.rows_landed + done.rows_in_doubt == len(bench.rows)
    missing = bench.expected(lane) - bench.stored(lane)
    assert not bench.stored(lane) - bench.expected(lane), "a row is there twice"
    assert missing.total() == (0 if stored else done.rows_in_doubt)


async def _settled(bench: Bench, lane: str, fault: str) -> None:
    """With read-back the doubt is settled by evidence."""
    bench.emulator.patch(script={lane: ["ok", "ok", fault]})
    receipt = await bench.run(getattr(bench, lane)(), settle_after_s=0.1)
    assert receipt.exit_code == 0, (receipt.destinations[lane], bench.notes)
    assert receipt.destinations[lane].this_invocation.attempts_by_outcome["in_doubt"] == 1
    assert bench.stored(lane) == bench.expected(lane)


@pytest.mark.parametrize("fault", STORED)
@pytest.mark.parametrize("lane", LANES)
async def test_stored_without_an_answer(small: Bench, lane: str, fault: str) -> None:
    await _settled(small, lane, fault)


@pytest.mark.parametrize("fault", NOT_STORED)
@pytest.mark.parametrize("lane", LANES)
async def test_not_stored_without_an_answer(small: Bench, lane: str, fault: str) -> None:
    await _settled(small, lane, fault)


@pytest.mark.parametrize("fault", ECHO)
async def test_an_echo_that_proves_nothing(small: Bench, fault: str) -> None:
    await _settled(small, "collinear", fault)


@pytest.mark.parametrize("fault", ["stored_then_reset", "garbled_200", "stored_then_504"])
@pytest.mark.parametrize("lane", LANES)
async def test_stored_without_an_answer_and_without_read_back_is_held(small: Bench, lane: str, fault: str) -> None:
    await _held(small, lane, fault, stored=True)


@pytest.mark.parametrize("fault", ["reset_in_body", "not_stored_500", "503_plain"])
@pytest.mark.parametrize("lane", LANES)
async def test_not_stored_without_an_answer_and_without_read_back_is_held(small: Bench, lane: str, fault: str) -> None:
    await _held(small, lane, fault, stored=False)


async def test_running_it_again_holds_what_is_in_doubt(small: Bench) -> None:
    small.emulator.patch(script={"collinear": ["ok", "stored_then_reset"]}, readback="off")
    first = await small.run(small.collinear())
    second = await small.run(small.collinear())
    assert (first.exit_code, second.exit_code) == (4, 4)
    assert second.destinations["collinear"].this_invocation.requests == 0
    assert small.stored("collinear") == small.expected("collinear")


async def test_resend_accepts_doubles(small: Bench) -> None:
    small.emulator.patch(script={"collinear": ["ok", "stored_then_reset"]})
    receipt = await small.run(small.collinear(), on_doubt="resend")
    assert receipt.exit_code == 0
    assert not small.expected("collinear") - small.stored("collinear")
    assert small.stored("collinear").total() > len(small.rows)


async def test_resend_takes_up_the_doubts_of_an_earlier_run(small: Bench) -> None:
    small.emulator.patch(script={"nebius": ["ok", "not_stored_500"]}, readback="off")
    assert (await small.run(small.nebius())).exit_code == 4
    receipt = await small.run(small.nebius(), on_doubt="resend")
    assert receipt.exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


async def test_a_service_that_answers_nothing_does_not_put_everything_in_doubt(bench: Bench) -> None:
    bench.emulator.patch(faults={"collinear": {"not_stored_500": 1.0}})
    receipt = await bench.run(bench.collinear(max_chunk_bytes=20_000), settle_after_s=0.05, retry_for_s=1.0)
    done = receipt.destinations["collinear"]
    assert receipt.exit_code == 75
    assert done.chunks_in_doubt <= 8 + 4
    assert done.reason is not None
    assert "nothing got through" in done.reason


@pytest.mark.parametrize("fault", ["stored_then_reset", "reset_in_body", "stored_late"])
async def test_the_creating_chunk_in_doubt_makes_no_second_dataset(small: Bench, fault: str) -> None:
    """It may be stored, but nobody said so: it is looked up before anything else is sent."""
    small.emulator.patch(script={"collinear": [fault]}, racing_creates="two", store_delay_ms=100, late_s=0.3)
    receipt = await small.run(small.collinear(), settle_after_s=0.4)
    assert receipt.exit_code == 0
    assert len(small.emulator.summary()["collinear"]["datasets"]) == 1
    assert small.stored("collinear") == small.expected("collinear")


@pytest.mark.parametrize("fault", ["stored_then_reset", "reset_in_body", "stored_late"])
@pytest.mark.parametrize("lane", LANES)
async def test_the_only_chunk_in_doubt(small: Bench, lane: str, fault: str) -> None:
    small.emulator.patch(script={lane: [fault]}, late_s=0.2)
    receipt = await small.run(getattr(small, lane)(max_chunk_bytes=None), settle_after_s=0.3)
    assert receipt.exit_code == 0
    assert small.stored(lane) == small.expected(lane)


@pytest.mark.parametrize("lane", LANES)
async def test_a_third_of_everything_lost_after_it_was_stored(bench: Bench, lane: str) -> None:
    bench.emulator.patch(
        faults={lane: {"stored_then_reset": 0.2, "reset_in_body": 0.1, "stored_late": 0.05}}, late_s=0.1, seed=5
    )
    receipt = await bench.run(getattr(bench, lane)(max_chunk_bytes=50_000), settle_after_s=0.3)
    print([n.text for n in bench.notes if "settled" in n.text])
    assert receipt.exit_code == 0, receipt.destinations[lane].reason
    assert bench.stored(lane) == bench.expected(lane)


async def test_a_dataset_that_is_pending_for_ever_is_in_doubt(small: Bench) -> None:
    small.emulator.patch(pending_polls=-1)
    receipt = await small.run(small.nebius(pending_timeout_s=1.0, max_chunk_bytes=None))
    assert receipt.exit_code == 4
    assert receipt.destinations["nebius"].rows_in_doubt == len(small.rows)


async def test_a_dataset_that_failed_is_sent_once_more(small: Bench) -> None:
    small.emulator.patch(script={"nebius": ["failed_status"]})
    receipt = await small.run(small.nebius())
    assert receipt.exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


async def test_a_dataset_that_fails_again_is_set_aside(emulator: Spawned, tmp_path: Path) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(500))
    emulator.patch(faults={"nebius": {"failed_status": 1.0}})
    receipt = await few.run(few.nebius(max_chunk_bytes=None))
    done = receipt.destinations["nebius"]
    assert receipt.exit_code == 3
    assert (done.rows_rejected, done.rows_landed) == (500, 0)
