"""What the scan has fetched is sent from the disk: once sending has begun, nothing is fetched."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.cli.shell import Shell
from tests.e2e.harness import Bench
from tests.places.servers import Web, WebFile

ROWS: list[dict[str, Any]] = [{"text": f"row {number}", "note": os.urandom(6000).hex()} for number in range(2000)]
"""More than is fetched ahead."""


def _parquet(_: bytes) -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), out, row_group_size=500)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "made"),
    [("rows.jsonl", bytes), ("rows.jsonl.gz", lambda data: gzip.compress(data, 1)), ("rows.parquet", _parquet)],
)
async def test_a_remote_file_is_fetched_once_for_scan_and_sending(
    shell: Shell, web: Web, monkeypatch: pytest.MonkeyPatch, name: str, made: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setenv("NEBIUS_API_KEY", "nb-token-4c1d7e02b9")
    bench = Bench(shell.emulator, shell.folder, ROWS)
    web.files[f"/{name}"] = WebFile(made(bench.source.read_bytes()))
    late: list[object] = []

    def on_request(request: object) -> None:
        if shell.emulator.summary()["nebius"]["uploads_received"]:
            late.append(request)

    web.on_request = on_request
    receipt = await bench.run(bench.nebius(max_chunk_bytes=3_000_000), source=f"{web.url}/{name}")  # type: ignore[arg-type]
    assert receipt.exit_code == 0
    assert bench.stored("nebius") == bench.expected("nebius")
    assert receipt.destinations["nebius"].this_invocation.requests > 5
    assert web.asked
    assert late == []
