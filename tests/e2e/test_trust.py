"""A trusted run: its rows go out as their own bytes, the service's refusal names the bad ones, and a resume keeps to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkup.account.receipt import Receipt
from bulkup.emulator import Spawned
from bulkup.errors import UsageProblem
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


@pytest.mark.parametrize("spoilt", [b'{"n":"\xff"}', b'{"n":NaN}', b'{"n":"\x01"}'])
async def test_what_is_no_json_to_the_service_is_found(emulator: Spawned, tmp_path: Path, spoilt: bytes) -> None:
    """Its answer says at which character of the body, which is the number of a good row too."""
    rows = [{"n": f"{number}"} for number in range(600)]
    path = tmp_path / "spoilt.jsonl"
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows[:400]) + spoilt + b"\n")
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows[400:]))
    bench = Bench(emulator, tmp_path, rows)
    receipt = await bench.run(bench.nebius(), source=path, validation="trust")
    assert (receipt.exit_code, receipt.destinations["nebius"].rows_rejected) == (3, 1)
    assert bench.stored("nebius") == canonical(rows)


async def test_rows_of_which_none_tells_the_columns_are_not_sent(emulator: Spawned, tmp_path: Path) -> None:
    bench = Bench(emulator, tmp_path, [{"messages": [{"role": "user", "content": 5}]}] * 3)
    with pytest.raises(
        UsageProblem, match=r"none of the rows can be sent, .* messages\[0\].content: expected a string"
    ):
        await bench.run(bench.nebius(preset="chat"), validation="trust")
    assert emulator.summary()["nebius"]["uploads_received"] == 0


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
