"""`--rename`: other keys, the same values, in every format."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkup.errors import UsageProblem
from bulkup.model import Block
from bulkup.sources import Reading, open_source, parse_renames
from tests.sources import reading

RENAMES = (("a", "x y"), ("b", "a"))


def lines(*paths: Path, cuts: tuple[int, ...] = (), renames: tuple[tuple[str, str], ...] = RENAMES) -> list[str]:
    source = open_source([str(path) for path in paths], max_row_bytes=1000, reading=Reading(renames=renames))
    assert not source.verbatim
    found = asyncio.run(reading.read_items(source, [0, *cuts, reading.FAR]))
    return [
        line
        for part in found
        for item in part
        if isinstance(item, Block)
        for line in item.data.decode().removesuffix("\n").split("\n")
    ]


def test_keys_are_renamed_and_values_keep_their_bytes(tmp_path: Path) -> None:
    rows = b'{"a":1.50,"c":[1, {"a":2}]}\n{"b":"\\u00e9", "a":9007199254740993}\r\n{"c":1}\n'
    wanted = ['{"x y":1.50,"c":[1, {"a":2}]}', '{"a":"\\u00e9","x y":9007199254740993}', '{"c":1}']
    (tmp_path / "a.jsonl").write_bytes(rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows))
    (tmp_path / "a.json").write_bytes(b"[" + rows.replace(b"\r\n", b"\n").strip().replace(b"\n", b",") + b"]")
    assert lines(tmp_path / "a.jsonl") == lines(tmp_path / "a.jsonl", cuts=(10, 30)) == wanted
    assert lines(tmp_path / "a.jsonl.gz") == wanted
    assert [line.replace(" ", "") for line in lines(tmp_path / "a.json")] == [line.replace(" ", "") for line in wanted]


def test_what_is_no_row_stays_as_it_is(tmp_path: Path) -> None:
    """It is rejected later, with its own bytes. So is a row in which a key stands twice by its new name."""
    bad = ["no row", "", '{"a":', '{"a":1} {"a":2}', '{"a":[}', '["a",NaN]', '{"c":{"a":1,"a":2}}']
    (tmp_path / "a.jsonl").write_text("\n".join(['{"a":1}', *bad, '{"c":1,"x y":2,"a":3}']) + "\n")
    assert lines(tmp_path / "a.jsonl") == ['{"x y":1}', *bad, '{"c":1,"x y":2,"x y":3}']


def test_what_a_repair_may_take_is_renamed_too(tmp_path: Path) -> None:
    """Else `--repair` would send it under the old key: as a column of its own."""
    rows = [
        ('{"a":1,"b":2,"a":3}', '{"x y":1,"a":2,"x y":3}'),
        (
            '{"c":{"a":NaN,"d":["a",{"b":1}]}, "\\u0061" : "b, \\"a\\": {"}',
            '{"c":{"a":NaN,"d":["a",{"b":1}]}, "x y" : "b, \\"a\\": {"}',
        ),
        ('{"c":-Infinity,"a":["a"]}', '{"c":-Infinity,"x y":["a"]}'),
    ]
    (tmp_path / "a.jsonl").write_text("".join(row + "\n" for row, _ in rows))
    assert lines(tmp_path / "a.jsonl") == [renamed for _, renamed in rows]


def test_columns_are_renamed_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n")
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "a.parquet")
    assert lines(tmp_path / "a.csv", tmp_path / "a.parquet") == ['{"x y":1,"a":2}'] * 2


def test_a_column_that_is_nowhere_and_one_that_is_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(UsageProblem, match="--rename z=y: no file has a column 'z'; there are a, b"):
        lines(tmp_path / "a.csv", renames=(("z", "y"),))
    with pytest.raises(UsageProblem, match="--rename a=b: there is a column 'b' already"):
        lines(tmp_path / "a.csv", renames=(("a", "b"),))


def test_the_option_says_old_and_new() -> None:
    assert parse_renames(["Model answer=answer", "a=b=c"]) == (("Model answer", "answer"), ("a=b", "c"))
    for texts in (["a"], ["=a"], ["a="], ["a=b", "a=c"], ["a=c", "b=c"]):
        with pytest.raises(UsageProblem, match="--rename"):
            parse_renames(texts)
