"""`bulkup ids`: which row of the source is which row at the service, as JSON lines or CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from bulkup.cli.exporting import keep_source, sink
from bulkup.cli.figures import plural
from bulkup.cli.resuming import the_run
from bulkup.cli.streams import say
from bulkup.errors import UsageProblem
from bulkup.journal.reading import view
from bulkup.run.row_ids import RowId, RowIds

__all__ = ["export_ids"]

COLUMNS = [field.name for field in fields(RowId)]


def export_ids(
    run: str,
    given: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    lane: str | None,
    output: str | None,
    form: str | None,
) -> int:
    """Write where each landed row of *run* is, to *output* or stdout; the exit code. Raises `BulkupError`."""
    path = None if output is None else Path(output)
    lines = _form(form, path)
    upload, folder = the_run(run, given, environment)
    lanes = [destination.service for destination in upload.destinations]
    if lane is not None and lane not in lanes:
        raise UsageProblem(f"the run has no lane {lane!r}; it has {', '.join(lanes)}")

    async def write(out: BinaryIO) -> int:
        count = 0
        with view(folder.path) as journal:
            rows = RowIds(journal, upload)
            for name in lanes if lane is None else [lane]:
                async for found in rows.of(name):
                    out.write(lines(found))
                    count += len(found)
        return count

    with view(folder.path) as journal:
        keep_source(path, journal)
    with sink(path) as out:
        if lines is _csv:
            out.write(_as_csv([COLUMNS]))
        count = asyncio.run(write(out))
    if not upload.is_resumable:
        say(
            "standard input cannot be read again: rows have no byte offset, and no number where a chunk has rejected rows"
        )
    if path is not None:
        say(f"{plural(count, 'row')} written to {path}")
    return 0


def _form(form: str | None, path: Path | None) -> Callable[[list[RowId]], bytes]:
    known = {"jsonl": _json_lines, "csv": _csv}
    name = form or ("csv" if path is not None and path.suffix.lower() == ".csv" else "jsonl")
    if name not in known:
        raise UsageProblem(f"--format {name!r}: give jsonl or csv")
    return known[name]


def _json_lines(rows: list[RowId]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def _csv(rows: list[RowId]) -> bytes:
    return _as_csv([list(asdict(row).values()) for row in rows])


def _as_csv(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
