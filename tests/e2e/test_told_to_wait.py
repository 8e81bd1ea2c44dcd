"""A service that refuses: how little it is sent, how long it is waited for, and what the user is told."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.e2e.harness import Bench

UNTIL = r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.mark.parametrize("where", ["uploads", "looks"])
@pytest.mark.parametrize(
    ("fault", "form", "wait_s"), [("429", "seconds", 0), ("503_retry_after", "date", -100)], ids=["0", "a date gone by"]
)
async def test_a_service_that_asks_for_no_wait_is_not_sent_one_body_after_the_other(
    small: Bench, where: str, fault: str, form: str, wait_s: int
) -> None:
    """Nor one question. 0.1.0 sent some hundred a second, from sixteen senders."""
    key = {"uploads": "faults", "looks": "readback_faults"}[where]
    small.emulator.patch(**{key: {"collinear": {fault: 1.0}}}, retry_after=form, retry_after_s=wait_s)
    receipt = await small.run(small.collinear(max_chunk_bytes=12_000), retry_for_s=1.5)
    told = small.emulator.summary()["collinear"]
    assert receipt.exit_code == 75
    assert 3 <= told["uploads_received" if where == "uploads" else "readback_requests"] <= 24
    assert told["uploads_received"] <= 24


async def test_waits_that_were_told_are_no_time_spent_trying(small: Bench) -> None:
    """Three seconds of them, where two without a success are allowed."""
    small.emulator.patch(script={"nebius": ["429"] * 3}, retry_after_s=1)
    receipt = await small.run(small.nebius(max_chunk_bytes=None), retry_for_s=2.0)
    assert receipt.exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


@pytest.mark.parametrize("where", ["script", "readback_script"])
@pytest.mark.parametrize("fault", ["429", "503_retry_after"])
async def test_a_day_of_quiet_ends_the_lane_and_says_until_when(small: Bench, where: str, fault: str) -> None:
    """Wherever it is said: the look before the first upload, or an upload."""
    small.emulator.patch(**{where: {"nebius": [fault] * 50}}, retry_after_s=86_400)
    began = time.monotonic()
    receipt = await small.run(small.nebius())
    assert receipt.exit_code == 75
    assert time.monotonic() - began < 20
    reason = receipt.destinations["nebius"].reason or ""
    assert re.search(rf"{UNTIL}, which is longer than --max-wait \(3,600 s\) allows", reason), reason
    assert small.stored("nebius").total() == 0
    small.emulator.patch(**{where: {}})
    assert (await small.run(small.nebius())).exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


async def test_polls_are_told_to_wait_too(small: Bench) -> None:
    """The dataset that the service has taken stays asked for, and is not sent twice."""
    chosen: dict[str, Any] = {"max_chunk_bytes": None}
    small.emulator.patch(pending_polls=1, readback_script={"nebius": ["ok", "429"]}, retry_after_s=86_400)
    receipt = await small.run(small.nebius(**chosen), max_wait_s=5)
    assert receipt.exit_code == 75
    assert "--max-wait (5 s)" in (receipt.destinations["nebius"].reason or "")
    small.emulator.patch(retry_after_s=0, readback_script={})
    assert (await small.run(small.nebius(**chosen))).exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")
    assert small.emulator.summary()["nebius"]["uploads_received"] == 1


@pytest.mark.slow
async def test_a_long_wait_is_announced(small: Bench) -> None:
    """Once, though several are told; and more of them, without a success, than is allowed end it."""
    small.emulator.patch(faults={"nebius": {"429": 1.0}}, retry_after_s=11)
    began = time.monotonic()
    receipt = await small.run(small.nebius(), max_wait_s=12)
    assert receipt.exit_code == 75
    assert 11 <= time.monotonic() - began < 20
    notes = [note.text for note in small.notes if note.text.startswith("waiting until")]
    assert len(notes) == 1
    assert re.match(rf"waiting {UNTIL}, as the service asked for it \(HTTP 429", notes[0])
