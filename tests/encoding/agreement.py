"""What every encoder promises, whatever its plan: held against a judge that knows each row's right answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bulkup.encoding import RowPlan
from bulkup.model import HEAD_BYTES, Block
from tests.encoding.lines import is_blank, read, split

Judge = Callable[[dict[str, Any]], dict[str, Any] | None]


def assert_agrees(plan: RowPlan, data: bytes, judge: Judge) -> None:
    """`encode` and `encode_rows` tell the same of *data*, and what *judge* tells of each row by itself."""
    encoder = plan.encoder()
    start = 1000
    block = Block(data, start, start + len(data))
    whole, rows = encoder.encode(block), encoder.encode_rows(block)
    lines = split(data)
    positions = [start + sum(len(line) + 1 for line in lines[:i]) for i in range(len(lines))]

    assert len(rows) == len(lines) == whole.lines
    assert [row.position for row in rows] == positions
    assert whole.body == b",".join(row.body for row in rows if row.body is not None)
    assert whole.rejects == tuple(row.reject for row in rows if row.reject is not None)
    assert whole.rows == sum(row.body is not None for row in rows)
    assert whole.blank == sum(map(is_blank, lines)) == sum(row.body is None and row.reject is None for row in rows)

    wanted = []
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        value = None if is_blank(line) else read(line)
        right = None if value is None else judge(value)
        assert (row.body is not None) == (right is not None), (line, row)
        if right is not None:
            wanted.append(right)
        if row.reject is not None:
            raw = line.removesuffix(b"\r")
            assert (row.reject.position, row.reject.line) == (row.position, number)
            assert (row.reject.row, row.reject.length) in ((raw, len(raw)), (raw[:HEAD_BYTES], len(raw)))
            assert row.reject.reason
            assert "\n" not in row.reject.reason
            assert (row.reject.stage == "read") == (value is None) or "too large for a double" in row.reject.reason
    assert same(json.loads(b"[" + whole.body + b"]"), wanted)
    if whole.verbatim:
        assert whole.body == data.removesuffix(b"\n").removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\n", b",")
        assert not whole.blank
        assert not whole.rejects
    assert RowPlan.from_json(json.loads(json.dumps(plan.to_json())), plan.target) == plan


def same(one: object, other: object) -> bool:
    """Equal, with 1, 1.0 and True told apart."""
    return repr(one) == repr(other)
