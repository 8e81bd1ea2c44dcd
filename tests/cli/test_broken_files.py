"""One of several files is cut off or damaged: what bulkup says to do neither loses nor doubles a row."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from tests.cli.shell import Shell

COUNT = 300
UPLOAD = ["upload", "--to", "nebius", "--settle-after", "0.05", "-q"]


def rows(number: int) -> list[dict[str, str]]:
    return [{"text": f"{number} {row}", "more": f"{(number * COUNT + row) * 7919 % 10**9}"} for row in range(COUNT)]


def packed(number: int, name: str = "{}.jsonl.gz") -> tuple[str, bytes]:
    return name.format(number), gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows(number)))


def parquet(number: int, folder: Path) -> tuple[str, bytes]:
    path = folder / "x.parquet"
    pl.DataFrame(rows(number)).write_parquet(path, compression="zstd", row_group_size=100)
    data = path.read_bytes()
    path.unlink()
    return f"{number}.parquet", data


def placed(shell: Shell, files: dict[str, bytes]) -> None:
    (shell.folder / "rows").mkdir(exist_ok=True)
    for name, data in files.items():
        (shell.folder / "rows" / name).write_bytes(data)


def stored(shell: Shell) -> Counter[str]:
    return Counter(row["text"] for row in shell.emulator.rows("nebius"))


def wanted(*numbers: int) -> Counter[str]:
    return Counter(row["text"] for number in numbers for row in rows(number))


def damaged(data: bytes) -> bytes:
    """Within the second row group of a Parquet file, or behind half of a packed file."""
    if data.startswith(b"PAR1"):
        at = len(data) // 2
        return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 64]) + data[at + 64 :]
    return data[: len(data) // 2]


@pytest.mark.parametrize("kind", ["packed", "parquet"])
def test_check_finds_it_before_anything_is_sent_and_without_it_all_others_land(shell: Shell, kind: str) -> None:
    files = dict(packed(number) if kind == "packed" else parquet(number, shell.folder) for number in range(4))
    broken = sorted(files)[1]
    placed(shell, {**files, broken: damaged(files[broken])})
    told = shell.run("check", "rows", "--to", "nebius", "--name", "rows")
    assert told.code == 65, told.err
    assert broken in told.out + told.err
    done = shell.run(*UPLOAD, "rows", "--name", "rows", "--exclude", broken, *shell.urls)
    assert done.code == 0, done.err
    assert stored(shell) == wanted(0, 2, 3)
    placed(shell, {"later-" + broken: files[broken]})
    done = shell.run(*UPLOAD, f"rows/later-{broken}", "--name", "rows", "--append", *shell.urls)
    assert done.code == 0, done.err
    assert stored(shell) == wanted(0, 1, 2, 3)


@pytest.mark.parametrize("scan", ["all", "none"])
def test_the_files_behind_it_can_be_sent_by_themselves(shell: Shell, scan: str) -> None:
    files = dict(packed(number) for number in range(4))
    placed(shell, {**files, "1.jsonl.gz": damaged(files["1.jsonl.gz"])})
    told = shell.run(*UPLOAD, "rows", "--name", "rows", "--scan", scan, *shell.urls)
    assert told.code == 65, told.err
    assert (
        "what came before has been read, the 2 files behind it not: upload what was not read as a run of its own"
        in told.err
    )
    before = stored(shell)
    assert set(wanted(0)) < set(before) < set(wanted(0, 1))
    done = shell.run(*UPLOAD, "rows/2.jsonl.gz", "rows/3.jsonl.gz", "--name", "rows", "--append", *shell.urls)
    assert done.code == 0, done.err
    assert stored(shell) == before + wanted(2, 3)


def test_of_the_last_file_what_comes_before_is_sent(shell: Shell) -> None:
    files = dict(packed(number) for number in range(2))
    placed(shell, {**files, "1.jsonl.gz": damaged(files["1.jsonl.gz"])})
    told = shell.run(*UPLOAD, "rows", "--name", "rows", *shell.urls)
    assert told.code == 65, told.err
    assert set(wanted(0)) < set(stored(shell)) < set(wanted(0, 1))
