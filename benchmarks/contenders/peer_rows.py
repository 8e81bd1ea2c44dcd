"""What the peers share: their arguments, rows read by the standard library, the mapping as anyone would write it, and the two forms
of a request. Nothing of bulkup's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["SPACE_ID", "arguments", "batches", "collinear_fields", "mapped", "nebius_body"]

SPACE_ID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"

Row = dict[str, Any]


def arguments(name: str) -> argparse.Namespace:
    """What every peer is told. *rows* are those of one request."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.contenders.{name}")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--state-dir", type=Path, required=True, help="for what the peer writes down")
    parser.add_argument("--to", choices=("collinear", "nebius"), required=True)
    parser.add_argument("--mapped", action="store_true", help="chat rows, made the destination's on the way")
    parser.add_argument("--arrow", action="store_true", help="for dlt: Arrow tables instead of dicts")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    return parser.parse_args()


def batches(wanted: argparse.Namespace) -> Iterator[list[Row]]:
    """The file's rows, ready to send, as many to a list as go into one request."""
    with wanted.source.open(encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        ready = (mapped(row, wanted.to) for row in rows) if wanted.mapped else rows
        while batch := list(islice(ready, wanted.rows)):
            yield batch


def mapped(row: Row, to: str) -> Row:
    """A chat row as *to* takes it."""
    messages = row["messages"]
    if to == "nebius":
        return {**row, "messages": json.dumps(messages)}
    return {"conv_prefix": messages[:-1], "response": messages[-1]}


def collinear_fields() -> dict[str, str]:
    """The form's fields beside the file."""
    return {"dataset_name": "bench", "space_id": SPACE_ID}


def nebius_body(rows: list[Row], number: int) -> Row:
    """One request's JSON: all rows of a batch have the keys of the first."""
    kinds = {str: "string", int: "integer", bool: "boolean"}
    schema = [{"name": key, "type": {"name": kinds[type(value)]}} for key, value in rows[0].items()]
    return {"name": f"bench-{number:05d}", "schema": schema, "folder": "/bench", "rows": rows}
