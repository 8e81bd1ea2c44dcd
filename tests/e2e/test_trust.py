"""A trusted run: its rows go out as their own bytes, the service's refusal names the bad ones, and a resume keeps to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkup.account.receipt import Receipt
from bulkup.emulator import Spawned
from tests.e2e.harness import Bench, Row, as_collinear, canonical, gsm8k_rows

BAD = 1500
LANES = ("nebius", "collinear")


def _bench(emulator: Spawned, folder: Path, lane: str) -> Bench:
    """Rows in the lane's own shape, one of which only a reader of rows sees to be bad."""
    rows = [as_collinear(row) if lane == "collinear" else row for row in gsm8k_rows(2000)]
    rows[BAD] = dict(rows[BAD], **({"ground_truth": "5"} if lane == "collinear" else {"question": 5}))
    return Bench(emulator, folder, rows)


def _letters(bench: Bench, receipt: Receipt) -> list[dict[str, Any]]:
    path = bench.folder / "state" / receipt.run_id / "rejects.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def _good(bench: Bench) -> list[Row]:
    return [row for place, row in enumerate(bench.rows) if place != BAD]


@pytest.mark.parametrize("lane", LANES)
async def test_the_service_names_what_was_not_looked_at(emulator: Spawned, tmp_path: Path, lane: str) -> None:
    bench = _bench(emulator, tmp_path, lane)
    receipt = await bench.run(getattr(bench, lane)(), validation="trust")
    assert receipt.exit_code == 3
    assert bench.stored(lane) == canonical(_good(bench))
    (letter,) = _letters(bench, receipt)
    assert (letter["stage"], json.loads(letter["row"])) == ("server", bench.rows[BAD])


async def test_strings_beside_numbers_are_made_strings(emulator: Spawned, tmp_path: Path) -> None:
    """Rows as they are would have numbers in a column of strings: the service would refuse every request."""
    bench = Bench(emulator, tmp_path, [{"n": number} for number in range(20)] + [{"n": "x"}])
    receipt = await bench.run(bench.nebius(), validation="trust")
    assert receipt.exit_code == 0
    assert bench.stored("nebius") == canonical([*({"n": str(number)} for number in range(20)), {"n": "x"}])


@pytest.mark.parametrize(("first", "then", "stage"), [("trust", "full", "server"), ("full", "trust", "validate")])
async def test_a_run_keeps_the_level_that_it_began_with(
    emulator: Spawned, tmp_path: Path, first: str, then: str, stage: str
) -> None:
    bench = _bench(emulator, tmp_path, "nebius")
    emulator.patch(script={"nebius": ["ok", "forbidden_403"]})
    begun = await bench.run(bench.nebius(concurrency=1), validation=first, scan="none")
    assert begun.destinations["nebius"].rows_landed < BAD
    emulator.patch(script={"nebius": []})
    receipt = await bench.run(bench.nebius(), validation=then, scan="none")
    assert receipt.run_id == begun.run_id
    assert bench.stored("nebius") == canonical(_good(bench))
    assert [letter["stage"] for letter in _letters(bench, receipt)] == [stage]
