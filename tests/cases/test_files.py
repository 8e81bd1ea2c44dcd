"""Files as people have them (`data/`, each folder with what its owner `want`s), through the real command line."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree
from typing import NamedTuple

import pytest

from tests.cases.test_rows import COLLINEAR, DATA, NEBIUS, stored, upload, verified
from tests.cli.shell import Shell

ROWS_UNDER = "is one object that holds rows under a key: data (50 objects)"
COLUMNAR = "make rows of it: pandas.read_json(FILE).to_json(NEW, orient='records', lines=True)"
EMPTY = "nothing to upload: the source holds no rows"


class Case(NamedTuple):
    """What comes of a folder's *file* for Nebius: the exit code, the rows that are stored, and words in the output."""

    folder: str
    file: str
    options: tuple[str, ...]
    code: int
    rows: int
    says: str = ""


CASES = [
    Case("01-top-object-data", "one.json", (), 2, 0, ROWS_UNDER),
    Case("01-top-object-data", "pretty.json", (), 2, 0, ROWS_UNDER),
    Case("01-top-object-data", "one.json", ("--rows-at", "data"), 0, 50),
    Case("01-top-object-data", "pretty.json", ("--rows-at", "data"), 0, 50),
    Case("01-top-object-data", "pretty.json", ("--rows-at", "data.paragraphs.qas"), 0, 50),
    Case("01-top-object-data", "one.json", ("--rows-at", "."), 0, 1),
    Case("02-pretty-concat", "p.json", (), 0, 30),
    Case("14-utf16", "bom.jsonl", (), 2, 0, "is UTF-16; give --encoding utf-16, or convert it: iconv -f UTF-16 -t UTF-8"),
    Case("14-utf16", "le.jsonl", (), 2, 0, "is UTF-16 without a byte order mark; give --encoding utf-16-le"),
    Case("14-utf16", "z.jsonl.gz", (), 2, 0, "is UTF-16; give --encoding utf-16"),
    Case("14-utf16", "u32.jsonl", (), 2, 0, "is UTF-32; give --encoding utf-32"),
    Case("14-utf16", "bom.jsonl", ("--encoding", "utf-16"), 0, 20),
    Case("14-utf16", "le.jsonl", ("--encoding", "utf-16-le"), 0, 20),
    Case("14-utf16", "z.jsonl.gz", ("--encoding", "utf-16"), 0, 20),
    Case("14-utf16", "u32.jsonl", ("--encoding", "utf-32"), 0, 20),
    Case("15-latin1", "l.jsonl", (), 3, 90, "not UTF-8: byte 0x"),
    Case("15-latin1", "all.jsonl", (), 2, 0, "is not UTF-8 (100 of the first 100 lines); say in which encoding it is"),
    Case("15-latin1", "all.jsonl", ("--encoding", "latin-1"), 0, 100),
    Case("18-zstd", "long27.jsonl.zst", (), 0, 40),
    Case("18-zstd", "multi.jsonl.zst", (), 0, 80),
    Case("18-zstd", "long31.jsonl.zst", (), 2, 0, "a zstd window of 2,048 MiB is over the limit of 128 MiB"),
    Case("18-zstd", "long31.jsonl.zst", ("--zstd-window", "2GiB"), 0, 40),
    Case("21-empty", "zero.jsonl", (), 66, 0, EMPTY),
    Case("21-empty", "blank.jsonl", (), 66, 0, EMPTY),
    Case("21-empty", "arr.json", (), 66, 0, EMPTY),
    Case("21-empty", "z.jsonl.gz", (), 66, 0, EMPTY),
    Case("21-empty", "null.json", (), 65, 0, "holds null and no rows"),
    Case("21-empty", "obj.json", (), 2, 0, "the schema has no columns"),
    Case("21-empty", "zero.jsonl", ("--empty", "ok"), 0, 0, EMPTY),
    Case("22-file-names", "-dash.jsonl", (), 0, 40),
    Case("22-file-names", "with space [v1].jsonl", (), 0, 40),
    Case("22-file-names", "データ.jsonl.gz", (), 0, 40),
    Case("34-lfs-pointer-html", "train.jsonl", (), 65, 0, "is a Git LFS pointer, not the data itself; fetch that with git lfs"),
    Case("34-lfs-pointer-html", "page.jsonl", (), 65, 0, "is an HTML page, not data"),
    Case("34-lfs-pointer-html", "err.jsonl", (), 65, 0, 'is an error document ("Repository not found"), not data'),
    Case("35-columnar", "pandas.json", (), 2, 0, COLUMNAR),
    Case("35-columnar", "lists.json", (), 2, 0, COLUMNAR),
    Case("35-columnar", "split.json", (), 2, 0, "--rows-at"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.folder} {case.file} {' '.join(case.options)}")
def test_a_folder_comes_to_what_its_owner_wants(place: tuple[Shell, Path], case: Case) -> None:
    shell, path = place
    copytree(DATA / case.folder, shell.folder, dirs_exist_ok=True)
    done = upload(shell, f"./{case.file}", NEBIUS, *case.options)
    said = done.out + done.err
    if done.code == 3:
        said += shell.run("rejects", shell.receipt()["run_id"]).out
    assert done.code == case.code, said
    assert case.says in " ".join(said.split())
    assert len(stored(path)) == case.rows
    if case.rows:
        assert verified(shell) == 0


def test_a_name_that_begins_with_a_dash_comes_behind_two(place: tuple[Shell, Path]) -> None:
    shell, path = place
    copytree(DATA / "22-file-names", shell.folder, dirs_exist_ok=True)
    done = shell.run("upload", "--name", "rows", "--to", NEBIUS, *shell.urls, "--", "-dash.jsonl")
    assert done.code == 0, done.err
    assert len(stored(path)) == 40


@pytest.mark.parametrize("file", ["one.json", "pretty.json"])
def test_rows_under_a_key_are_said_for_the_other_destination_too(place: tuple[Shell, Path], file: str) -> None:
    shell, path = place
    copytree(DATA / "01-top-object-data", shell.folder, dirs_exist_ok=True)
    done = upload(shell, file, COLLINEAR)
    assert done.code == 2
    assert ROWS_UNDER in " ".join(done.err.split())
    assert stored(path) == []
