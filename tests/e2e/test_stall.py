"""A service that takes a body and never answers: told, given up, in doubt, settled."""

from __future__ import annotations

import time

import pytest

from tests.e2e.harness import Bench

LANES = ("nebius", "collinear")


@pytest.mark.parametrize("body", ["stored", "dropped"])
@pytest.mark.parametrize("lane", LANES)
async def test_a_request_that_hangs(small: Bench, lane: str, body: str) -> None:
    small.emulator.patch(script={lane: ["ok", "ok", "hang"]}, hang_body=body)
    began = time.monotonic()
    receipt = await small.run(getattr(small, lane)(), stall_timeout_s=0.4, settle_after_s=0.1)
    took = time.monotonic() - began
    assert receipt.exit_code == 0, receipt.destinations[lane]
    assert small.stored(lane) == small.expected(lane)
    assert receipt.destinations[lane].this_invocation.attempts_by_outcome["in_doubt"] == 1
    told = [note.text for note in small.notes if "nothing has moved" in note.text]
    assert len(told) == 1, small.notes
    assert "waiting for an answer to a body of" in told[0]
    assert [note.lane for note in small.notes if note.text == told[0]] == [lane]
    assert took > 1.2, "three times as long"
    small.emulator.patch(hang_body="stored")
