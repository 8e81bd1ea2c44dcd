"""JSON files of a folder that describe its data are passed over, and said; rows in files of their own are not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from bulkup.sources import Reading, open_source

ROWS = b"".join(json.dumps({"question": f"q{n}", "answer": {"text": "a"}}).encode() + b"\n" for n in range(20))
READING = Reading(row_keys=(frozenset({"messages"}), frozenset({"prompt", "completion"})))
ABOUT = b'{"version": 1, "features": {"question": {"dtype": "string"}}}'


def taken(
    folder: Path, files: Mapping[str, bytes], *locators: str, reading: Reading = READING
) -> tuple[list[str], str]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    source = open_source([str(folder / name) for name in locators or [""]], max_row_bytes=1000, reading=reading)
    source.close()
    return [Path(file.uri).name for file in source.files], "; ".join(source.notes)


@pytest.mark.parametrize("rows", ["a.jsonl", "a.json", "a.jsonl.gz", "array.json", "a.csv", "a.parquet"])
def test_what_describes_the_rows_is_passed_over_and_said(tmp_path: Path, rows: str) -> None:
    pl.DataFrame({"question": ["q"], "answer": ["a"]}).write_parquet(tmp_path / "a.parquet")
    data = {
        "a.jsonl.gz": gzip.compress(ROWS),
        "array.json": b"[" + ROWS.strip().replace(b"\n", b",") + b"]",
        "a.csv": b"question,answer\nq,a\n",
        "a.parquet": (tmp_path / "a.parquet").read_bytes(),
    }.get(rows, ROWS)
    (tmp_path / "a.parquet").unlink()
    pretty = json.dumps(json.loads(ABOUT), indent=2).encode()
    names, notes = taken(
        tmp_path, {rows: data, "dataset_infos.json": pretty, "metadata.json": ABOUT, "empty.jsonl": b""}
    )
    assert set(names) == {rows, "empty.jsonl"}
    assert "dataset_infos.json" in notes
    assert "metadata.json; name such a file to send it" in notes


def test_what_may_be_a_row_is_taken(tmp_path: Path) -> None:
    """One that shares a key with the rows, is in a preset's shape, is named, or is one of many; where all are so, each is one."""
    assert len(taken(tmp_path, {"a.json": ROWS, "b.json": b'{"answer": 1}'})[0]) == 2
    assert len(taken(tmp_path, {"b.json": b'{"prompt": 1, "completion": 2}'})[0]) == 2
    assert len(taken(tmp_path, {"b.json": ABOUT}, "a.json", "b.json")[0]) == 2
    assert len(taken(tmp_path, {}, reading=Reading(as_lines=True))[0]) == 2
    assert len(taken(tmp_path, {})[0]) == 1
    assert len(taken(tmp_path, {f"{n}.json": b'{"x": 1}' for n in range(9)})[0]) == 11
    (tmp_path / "c").mkdir()
    assert len(taken(tmp_path / "c", {"a.json": b'{"x": 1}', "b.json": b'{"y": 1}'})[0]) == 2
