"""Rejected rows: refused rows with their reasons, a JSON line each in `rejects.jsonl`."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from bulkup.model import Reject
from bulkup.path_text import portable, readable

__all__ = ["reject_line"]


def reject_line(
    lane: str,
    reject: Reject,
    *,
    file: str,
    byte_offset: int | None,
    line_in_chunk: int,
    with_row: bool,
    isolated: bool = True,
) -> bytes:
    """One line of `rejects.jsonl`. *byte_offset* is None in a file whose positions are not bytes.
    *line_in_chunk* counts the lines of that file in the chunk, from 0: exports make the row
    number of it. A row that was made of one together with others has its number among them (*part*, from 1), and stands there as
    it was made. *isolated* is False where the service refused the row together with others and it was not tried alone."""
    record: dict[str, Any] = {
        "id": f"{lane}:{reject.position}" + ("" if reject.part is None else f":{reject.part}"),
        "lane": lane,
        "file": readable(portable(file)),
        "byte_offset": byte_offset,
        "row_number": None,
        "stage": reject.stage,
        "field": reject.field,
        "reason": reject.reason,
        "length": reject.length,
        "line_in_chunk": line_in_chunk,
        "position": reject.position,
    }
    if reject.part is not None:
        record["part"] = reject.part
    if not isolated:
        record["isolated"] = False
    if with_row:
        try:
            record["row"] = reject.row.decode("utf-8")
        except UnicodeDecodeError:
            record["row_base64"] = base64.b64encode(reject.row).decode("ascii")
    return orjson.dumps(record) + b"\n"
