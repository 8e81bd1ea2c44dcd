"""A lane that is refused too much stops, says why, and goes on when it is told to."""

from __future__ import annotations

import pytest

from bulkup.settings.config import RejectLimit
from tests.e2e.harness import Bench, write_rows

LANES = ("nebius", "collinear")


@pytest.mark.parametrize("lane", LANES)
async def test_more_than_five_percent_of_bad_lines(small: Bench, lane: str) -> None:
    """Found while reading, before the service is asked: what was planned by then is sent no more."""
    small.rows = [*small.rows, *small.rows]
    lines = small.source.read_text().splitlines(keepends=True) * 2
    bad = ["not json\n" if place % 10 == 0 else line for place, line in enumerate(lines)]
    small.source.write_text("".join(bad))
    destination = getattr(small, lane)(max_chunk_bytes=50_000)
    receipt = await small.run(destination, scan="none")
    assert receipt.exit_code == 10
    reason = receipt.destinations[lane].reason or ""
    assert "rows read were rejected (10.0 %), more than --max-rejects 5% allows" in reason
    before = small.emulator.summary()[lane]["uploads_received"]
    again = await small.run(destination, scan="none")
    assert (again.exit_code, small.emulator.summary()[lane]["uploads_received"]) == (10, before), (
        "not a little more each time"
    )
    rest = await small.run(destination, max_rejects=RejectLimit.parse("100%"), scan="none")
    assert rest.exit_code == 3
    assert rest.destinations[lane].rows_rejected == 200
    assert small.stored(lane) == small.expected(lane, [row for place, row in enumerate(small.rows) if place % 10])


@pytest.mark.parametrize("names", ["none", "all"])
@pytest.mark.parametrize("lane", LANES)
async def test_a_service_that_takes_nothing(small: Bench, lane: str, names: str) -> None:
    """The same answer to every root: the lane stops after three of them, long before a thousand rows are read."""
    small.emulator.patch(refuse_rows={lane: {"marker": "answer" if lane == "nebius" else "assistant", "names": names}})
    destination = getattr(small, lane)(max_chunk_rows=20, concurrency=1)
    receipt = await small.run(destination)
    done = receipt.destinations[lane]
    assert receipt.exit_code == 10
    assert "the service refused all rows of 3 chunks in a row" in (done.reason or "")
    assert "must not hold" in (done.reason or "")
    assert done.rows_rejected <= 60 + 20
    small.emulator.patch(refuse_rows={lane: None})
    rest = await small.run(destination, max_rejects=RejectLimit.parse("100%"))
    assert rest.exit_code == 3, "the rest goes when the service takes it"
    assert small.stored(lane).total() == len(small.rows) - done.rows_rejected


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("names", ["none", "first", "all"])
async def test_a_bad_row_in_each_of_many_roots_is_no_reason_to_stop(small: Bench, lane: str, names: str) -> None:
    rows = [dict(row, answer="FORBIDDEN-WORD") if place % 50 == 7 else row for place, row in enumerate(small.rows)]
    write_rows(small.source, rows)
    small.emulator.patch(refuse_rows={"marker": "FORBIDDEN-WORD", "names": names})
    receipt = await small.run(getattr(small, lane)(max_chunk_rows=50))
    assert receipt.exit_code == 3, receipt.destinations[lane].reason
    assert receipt.destinations[lane].rows_rejected == 20
    assert small.stored(lane) == small.expected(lane, [row for place, row in enumerate(rows) if place % 50 != 7])


@pytest.mark.parametrize("lane", LANES)
async def test_many_bad_rows_in_a_small_file_are_no_reason_to_stop(small: Bench, lane: str) -> None:
    rows = [dict(row, answer="FORBIDDEN-WORD") if place % 3 == 0 else row for place, row in enumerate(small.rows[:90])]
    write_rows(small.source, rows)
    small.emulator.patch(refuse_rows={"marker": "FORBIDDEN-WORD", "names": "all"})
    receipt = await small.run(getattr(small, lane)())
    assert receipt.exit_code == 3, receipt.destinations[lane].reason
    assert receipt.destinations[lane].rows_rejected == 30
