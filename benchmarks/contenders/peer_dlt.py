"""dlt with a custom destination (`@dlt.destination`): pages of dicts, or Arrow tables through Parquet files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import dlt
import requests

from benchmarks.contenders.peer_rows import arguments, batches, collinear_fields, mapped
from benchmarks.contenders.told import Stopwatch, tell

_ARROW_BLOCK_BYTES = 8 * 1024 * 1024


def main() -> None:
    """The command. dlt keeps its working files in the state directory, and sends no telemetry."""
    wanted = arguments("peer_dlt")
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["DLT_DATA_DIR"] = str(wanted.state_dir)
    session = requests.Session()

    def send(rows: list[dict[str, Any]]) -> None:
        files = {"file": ("chunk.json", json.dumps(rows, default=str), "application/json")}
        headers = {"Authorization": "Bearer benchmark"}
        answer = session.post(
            f"{wanted.url}/api/v1/dataset/upload", data=collinear_fields(), files=files, headers=headers
        )
        answer.raise_for_status()
        answer.json()

    def tables() -> Iterator[Any]:
        from pyarrow import json as arrow_json

        options = arrow_json.ReadOptions(block_size=_ARROW_BLOCK_BYTES)
        yield from arrow_json.open_json(wanted.source, read_options=options)

    def sink(items: Any, table: Any) -> None:
        if not wanted.arrow:
            send(items)
            return
        rows = items.to_pylist()
        send([mapped(row, wanted.to) for row in rows] if wanted.mapped else rows)

    def work() -> dict[str, object]:
        clock = Stopwatch()
        rows = dlt.resource(tables() if wanted.arrow else batches(wanted), name="rows")
        file_format = "parquet" if wanted.arrow else "typed-jsonl"
        destination = dlt.destination(batch_size=wanted.rows, loader_file_format=file_format)(sink)
        pipeline = dlt.pipeline("bench", destination=destination, pipelines_dir=str(wanted.state_dir))
        pipeline.run(rows).raise_on_failed_jobs()
        return {**clock.read()}

    tell(work)


if __name__ == "__main__":
    main()
