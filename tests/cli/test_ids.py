"""`bulkup ids RUN`: which row of the source is which row at the service."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bulkup.emulator import Spawned
from tests.cli.shell import SPACE, Shell
from tests.e2e.harness import as_collinear
from tests.emulators import emptied

Place = tuple[Shell, Path]
CHUNKS = ("--max-chunk-bytes", "8KiB", "--preset", "question-answer", "--max-rejects", "100%")


@pytest.fixture
def place(one_with_a_file: tuple[Spawned, Path], tmp_path: Path) -> Place:
    emulator, path = one_with_a_file
    return Shell(tmp_path, emptied(emulator)), path


def by_id(path: Path) -> dict[str, Any]:
    db = sqlite3.connect(path, timeout=10)
    try:
        return {id_: json.loads(data) for id_, data in db.execute("SELECT id, data FROM rows WHERE id IS NOT NULL")}
    finally:
        db.close()


def lines_with_dirt() -> list[str]:
    lines = [json.dumps({"question": f"question {n}" * 20, "answer": f"a{n}"}) for n in range(150)]
    lines[0:0] = ["", "{"]
    lines[40:40] = ["", '{"question": 7, "answer": "x"}', ""]
    lines[77] = lines[77].replace("question 7", "POISON 7")
    return lines


def test_every_row_is_found_again(place: Place) -> None:
    """Each id leads to the row that stands at its row number and byte offset, and every row that landed has one."""
    shell, path = place
    lines = lines_with_dirt()
    data = "\r\n".join(lines).encode()
    (shell.folder / "a.jsonl").write_bytes(data)
    (shell.folder / "b.jsonl").write_text("\n".join(lines[:9]))
    shell.emulator.patch(refuse_rows={"collinear": {"marker": "POISON", "status": 422, "names": "none"}})
    done = shell.run("upload", "a.jsonl", "b.jsonl", "--name", "x", *shell.both, *CHUNKS)
    assert done.code == 3, done.err
    exported = shell.run("ids", shell.receipt()["run_id"])
    assert exported.code == 0, exported.err
    found = [json.loads(line) for line in exported.out.splitlines()]
    files = {"a.jsonl": lines, "b.jsonl": lines[:9]}
    stored = by_id(path)
    for one in found:
        line = files[one["file"]][one["row_number"] - 1]
        raw = data if one["file"] == "a.jsonl" else "\n".join(lines[:9]).encode()
        assert raw[one["byte_offset"] :].startswith(line.encode())
        row = json.loads(line)
        if one["lane"] == "collinear":
            assert stored[one["id"]] == as_collinear(row)
            assert one["dataset_row"] is None
        else:
            assert one["id"] is None
            there = shell.emulator.rows("nebius", one["dataset_id"])[one["dataset_row"] - 1]
            assert there["answer"] == row["answer"]
    for lane, destination in shell.receipt()["destinations"].items():
        assert sum(one["lane"] == lane for one in found) == destination["rows_landed"]
    for command in ("ids", "rejects"):  # what was uploaded is not written over
        refused = shell.run(command, "x", "--output", "./a.jsonl")
        assert (refused.code, refused.err.splitlines()[-1]) == (
            2,
            "bulkup: --output a.jsonl: is a file that was uploaded, and would be lost; name another file",
        )
    assert (shell.folder / "a.jsonl").read_bytes() == data


def test_as_csv_of_one_lane(place: Place) -> None:
    shell, path = place
    rows = [{"question": f"q{n}", "answer": "a"} for n in range(30)]
    (shell.folder / "rows.json.gz").write_bytes(gzip.compress(json.dumps(rows, indent=2).encode()))
    assert shell.run("upload", "rows.json.gz", *shell.both, "--preset", "question-answer").code == 0
    run = shell.receipt()["run_id"]
    assert shell.run("ids", run, "--lane", "collinear", "-o", "ids.csv").code == 0
    assert shell.run("ids", run, "--format", "csv").out.count("\n") == 61
    found = list(csv.DictReader(io.StringIO((shell.folder / "ids.csv").read_text())))
    assert [(one["file"], one["row_number"]) for one in found] == [("rows.json.gz", str(n + 1)) for n in range(30)]
    stored = by_id(path)
    assert [stored[one["id"]] for one in found] == list(map(as_collinear, rows))


def test_a_source_that_is_cut_off(place: Place) -> None:
    """What came before the cut has landed (65): it is exported, and `verify` compares it."""
    shell, _ = place
    rows = [{"question": f"{n * 7919**9}", "answer": f"{n * 104729**8}"} for n in range(400)]
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (shell.folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (shell.folder / "cut.json").write_text(json.dumps(rows)[:-1])
    for source in ("cut.jsonl.gz", "cut.json"):
        done = shell.run("upload", source, *shell.both, *CHUNKS, "--name", source, "--json")
        assert done.code == 65, done.err
        landed = sum(lane["rows_landed"] for lane in done.json["destinations"].values())
        assert landed > 300
        assert shell.run("ids", done.json["run_id"]).out.count("\n") == landed
        found = shell.run("verify", done.json["run_id"], "--sample", "1.0", "--json")
        assert found.code == 0, found.err
        assert sum(lane["rows_compared"] for lane in found.json["destinations"].values()) == landed


def test_what_a_count_has_settled_has_no_ids(place: Place) -> None:
    shell, _ = place
    (shell.folder / "rows.jsonl").write_text("".join(f'{{"question": "q{n}", "answer": "a"}}\n' for n in range(40)))
    shell.emulator.patch(faults={"collinear": {"stored_then_reset": 1.0}})
    to = ("--to", "collinear", "--space-id", SPACE, *shell.urls)
    shell.run("upload", "rows.jsonl", *to, "--preset", "question-answer", "--settle-after", "0.1")
    destination = shell.receipt()["destinations"]["collinear"]
    assert destination["rows_landed"] == 40
    assert "answer" not in destination["evidence"]
    found = [json.loads(line) for line in shell.run("ids", shell.receipt()["run_id"]).out.splitlines()]
    assert [one["row_number"] for one in found] == list(range(1, 41))
    assert {one["id"] for one in found} == {None}


def test_a_source_that_changed_or_cannot_be_read_again(place: Place) -> None:
    shell, _ = place
    path = shell.folder / "rows.jsonl"
    path.write_text("".join(f'{{"a": "q{n}"}}\n' for n in range(40)))
    assert shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls).code == 0
    path.write_text(path.read_text().replace("q7", "q8"))
    done = shell.run("ids", shell.receipt()["run_id"])
    assert (done.code, done.out) == (6, "")
    assert "has changed" in done.err
    assert shell.run("ids", shell.receipt()["run_id"], "--format", "xml").code == 2
    assert shell.run("ids", shell.receipt()["run_id"], "--lane", "mars").code == 2
