"""One table: the same rows from every shape, packing and place into both lanes, killed on the way and gone on with."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard

from tests.cli.shell import Shell, eventually
from tests.e2e.harness import as_collinear, canonical
from tests.places.servers import AWS, S3, Hub, Web, WebFile

Row = dict[str, Any]
COMMIT = "3" * 40


def _csv(rows: Sequence[Row]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["question", "answer"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(list(rows)), out, row_group_size=7)
    return out.getvalue()


def _arrow(rows: Sequence[Row]) -> bytes:
    out, table = io.BytesIO(), pa.Table.from_pylist(list(rows))
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return out.getvalue()


def _workbook(rows: Sequence[Row]) -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (list(rows[0]), *(list(row.values()) for row in rows)):
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


TABLES = {".parquet": _parquet, ".arrow": _arrow, ".xlsx": _workbook}
"""They are packed inside."""

SHAPES: dict[str, Callable[[Sequence[Row]], bytes]] = {
    ".jsonl": lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    ".json": lambda rows: json.dumps(list(rows), indent=1).encode(),
    ".pretty.json": lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows).encode(),
    ".csv": _csv,
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
PLACES = ("folder", "web", "bucket", "hub")
Cell = tuple[str, str, str]
AS_THEY_ARE: list[Cell] = [
    (shape, "", place) for shape in TABLES for place in PLACES if shape != ".xlsx" or place == "folder"
]
CELLS = [(shape, packing, place) for shape in SHAPES for packing in PACKINGS for place in PLACES] + AS_THEY_ARE
PAIRS = [
    (shape, packing, PLACES[-(one + other) % len(PLACES)])
    for one, shape in enumerate(SHAPES)
    for other, packing in enumerate(PACKINGS)
] + AS_THEY_ARE
"""Every two of a shape, a packing and a place meet."""


def placed(shell: Shell, rows: Sequence[Row], cells: Sequence[Cell], web: Web, s3: S3, hub: Hub) -> list[str]:
    """*rows*, dealt out to a file for each of *cells*. The sources to give."""
    share = -(-len(rows) // len(cells))
    at_hub: dict[str, bytes] = {}
    urls: list[str] = []
    for number, (shape, packing, place) in enumerate(cells):
        data = PACKINGS[packing]({**SHAPES, **TABLES}[shape](rows[number * share : (number + 1) * share]))
        name = f"{number}{shape}{packing}"
        if place == "folder":
            path = shell.folder / "rows" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        elif place == "web":
            web.files[f"/{name}"] = WebFile(data, ranges=number % 8 != 1)
            urls.append(f"{web.url}/{name}")
        elif place == "bucket":
            s3.put(f"rows/{name}", data)
        else:
            at_hub[f"rows/{name}"] = data
    hub.put("main", COMMIT, at_hub)
    return ["rows", *urls, "s3://rows-of-ours/rows/", "hf://datasets/ours/rows"]


@pytest.mark.parametrize(
    ("cells", "count", "points"), [(PAIRS, 800, (6,)), pytest.param(CELLS, 4000, (8, 30, 60), marks=pytest.mark.slow)]
)
def test_every_shape_in_every_packing_from_every_place_lands_once(
    shell: Shell,
    gsm8k: list[Row],
    web: Web,
    s3: S3,
    hub: Hub,
    cells: Sequence[Cell],
    count: int,
    points: Sequence[int],
) -> None:
    """It is killed after so many requests in all."""
    rows = gsm8k[:count]
    sources = placed(shell, rows, cells, web, s3, hub)
    shell.environment |= {**AWS, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_0123456789abcdef"}
    (shell.folder / "list").write_text("\n".join(sources))
    command = ["upload", "--files-from", "list", "--name", "all", "--endpoint-url", s3.url, *shell.both]
    command += ["--preset", "question-answer", "--max-chunk-rows", "50", "--settle-after", "0.05", "-q"]
    shell.emulator.patch(latency_ms=15)
    for point in points:
        running = shell.start(*command)
        eventually(partial(_has_received, shell, point))
        running.interrupt(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
    done = shell.run(*command)
    assert done.code == 0, done.err
    assert _stored(shell, "nebius") == canonical(rows)
    assert _stored(shell, "collinear") == canonical(map(as_collinear, rows))
    assert len(shell.receipt()["source"]["uris"]) == len(cells)


def _has_received(shell: Shell, count: int) -> bool:
    summary = shell.emulator.summary()
    return bool(sum(summary[lane]["uploads_received"] for lane in ("nebius", "collinear")) >= count)


def _stored(shell: Shell, service: Any) -> Any:
    return canonical(json.loads(row) if isinstance(row, str | bytes) else row for row in shell.emulator.rows(service))
