"""What cannot be taken back is warned of before anything is sent, and only where it is so."""

from __future__ import annotations

import json
from pathlib import Path

from bulkup.event import Note
from bulkup.run.checking import check
from bulkup.run.story import execute
from tests.e2e.harness import Bench


async def _warnings(bench: Bench, source: Path, name: str) -> tuple[list[str], list[str]]:
    """What `check` says, and what an upload says before its first request."""
    lane = bench.nebius()
    checked = await check(bench.upload(lane, source=source), tell=lambda _: None)
    said: list[str] = []

    def tell(event: object) -> None:
        if isinstance(event, Note) and event.text.startswith("warning: "):
            assert bench.emulator.summary()["nebius"]["uploads_received"] == before
            said.append(event.text.removeprefix("warning: "))

    before = bench.emulator.summary()["nebius"]["uploads_received"]
    await execute(bench.upload(lane, source=source, name=name), tell=tell)
    return list(checked.lanes["nebius"].advice), said


async def test_an_upload_warns_as_check_does(bench: Bench, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.jsonl"
    sparse.write_text("".join(json.dumps({f"key {n}": n}) + "\n" for n in range(300)))
    checked, said = await _warnings(bench, sparse, "sparse")
    assert said == checked
    assert said[0].startswith("300 columns: ")
    assert "times their size" in said[1]


async def test_a_table_is_not_called_sparse_for_its_keys(bench: Bench, tmp_path: Path) -> None:
    """In CSV the keys stand once, so its rows as JSON are many times as large."""
    table = tmp_path / "table.csv"
    names = [f"a column with a long name {n}" for n in range(20)]
    table.write_text("\n".join([",".join(names), *(",".join("1" * 20) for _ in range(200))]) + "\n")
    assert await _warnings(bench, table, "table") == ([], [])
