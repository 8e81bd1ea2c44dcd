"""Nothing is sent before the whole source is known: what comes late lands, and too many rejected rows are known before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkup.errors import TooManyRejects
from bulkup.run import scanning
from bulkup.settings.config import RejectLimit
from tests.e2e.harness import Bench, canonical, gsm8k_rows, write_rows


async def test_what_contradicts_the_first_block_lands(small: Bench, tmp_path: Path) -> None:
    rows = [{**row, "score": place, "note": "plain"} for place, row in enumerate(small.rows)]
    rows[800] |= {"score": 0.5, "note": 42}
    rows[900] |= {"late": True}
    del rows[950]["note"]
    source = write_rows(tmp_path / "drift.jsonl", rows)
    receipt = await small.run(small.nebius(), source=source)
    assert (receipt.exit_code, receipt.destinations["nebius"].rows_rejected) == (0, 0)
    sent = [{"late": None, "note": None, **row} | {"score": json.dumps(row["score"])} for row in rows]
    sent[800]["note"] = "42"
    assert small.stored("nebius") == canonical(sent)
    none = await small.run(small.nebius(folder="/other"), source=source, scan="none")
    assert (none.exit_code, none.destinations["nebius"].rows_rejected) == (3, 3)


async def test_more_rejects_than_are_allowed_are_known_before_anything_is_sent(small: Bench) -> None:
    lines = small.source.read_text().splitlines(keepends=True)
    small.source.write_text("".join("not json\n" if place % 10 == 5 else line for place, line in enumerate(lines)))
    with pytest.raises(TooManyRejects) as refused:
        await small.run(max_rejects=RejectLimit(rows=99))
    assert refused.value.exit_code == 10
    assert "100 of 1,000 rows would be rejected (10.0 %), more than --max-rejects 99 allows" in str(refused.value)
    assert f"100: not valid JSON: expecting value at byte 0 (first: {small.source}, row 6)" in str(refused.value)
    assert all(lane["uploads_received"] == 0 for lane in small.emulator.summary().values())
    receipt = await small.run(max_rejects=RejectLimit(rows=100))
    assert {lane.rows_rejected for lane in receipt.destinations.values()} == {100}
    good = [row for place, row in enumerate(gsm8k_rows(1000)) if place % 10 != 5]
    assert small.stored("collinear") == small.expected("collinear", good)


async def test_a_run_that_goes_on_does_not_scan_again(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    small.emulator.patch(script={"nebius": ["forbidden_403"]})
    begun = await small.run(small.nebius())
    assert begun.exit_code == 77
    lane = begun.destinations["nebius"]
    assert (lane.rows_read, lane.rows_landed + lane.rows_left) == (1000, 1000), "the scan has counted all rows"
    small.emulator.patch(script={"nebius": []})
    monkeypatch.setattr(scanning, "scan", None)
    receipt = await small.run(small.nebius())
    assert (receipt.exit_code, receipt.run_id) == (0, begun.run_id)
