"""JSON files of a folder that describe its data are passed over, and said; rows in files of their own are not."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from bulkup.errors import UsageProblem
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


def _archive(path: Path, members: Mapping[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, data in members.items():
                zipped.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"./{name}")  # as `tar -C folder .` calls them
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


ARCHIVES = pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])


@ARCHIVES
def test_in_an_archive_the_same_is_passed_over(tmp_path: Path, name: str) -> None:
    members = {
        "README.md": b"# rows\n",
        "_SUCCESS": b"",
        ".part-0.jsonl.crc": b"crc\0\0\0",
        "dataset_infos.json": ABOUT,
        "data/part-0.jsonl": ROWS,
        "data/_temporary/part-9.jsonl": ROWS,
        "__MACOSX/data/._part-0.jsonl": b"\0\5\x16\7",
        "data/.hidden.jsonl": ROWS,
    }
    names, notes = taken(tmp_path, {}, str(_archive(tmp_path / name, members)))
    assert [one.rpartition("::")[2].removeprefix("./") for one in names] == ["part-0.jsonl"]
    assert "README.md" in notes
    assert "data/_temporary/part-9.jsonl" in notes  # rows by its name: that they are not sent is said
    assert "MACOSX" not in notes
    assert "dataset_infos.json; name such a file to send it" in notes


@ARCHIVES
def test_in_an_archive_of_a_saved_data_set_its_rows_alone_are_taken(tmp_path: Path, name: str) -> None:
    pl.DataFrame({"question": ["q"]}).write_ipc(tmp_path / "x", compat_level=pl.CompatLevel.oldest())
    arrow = (tmp_path / "x").read_bytes()
    members = {"train/data-0.arrow": arrow, "train/state.json": b'{"question": 1}', "train/cache-1.arrow": arrow}
    names, _ = taken(tmp_path, {}, str(_archive(tmp_path / name, {**members, "dataset_dict.json": b'{"splits": []}'})))
    assert [one.rpartition("::")[2] for one in names] in (["data-0.arrow"], ["train/data-0.arrow"])


@ARCHIVES
def test_an_archive_of_a_table_is_refused(tmp_path: Path, name: str) -> None:
    members = {"t/_delta_log/0.json": b"{}\n", "t/a.jsonl": ROWS}
    with pytest.raises(UsageProblem, match=rf"{name}/t: is a table of Delta Lake, .* or unpack it, and name the files"):
        taken(tmp_path, {}, str(_archive(tmp_path / name, members)))


def partitioned(folder: Path, rows: str, content: bytes | pl.DataFrame, *, of: str = "year=2024/lang=de") -> str:
    (folder / "t" / of).mkdir(parents=True)
    path = folder / "t" / of / rows
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.write_parquet(path)
    source = open_source([str(folder / "t")], max_row_bytes=1000)
    source.close()
    return "; ".join(source.notes)


def test_keys_in_the_names_of_folders_are_named(tmp_path: Path) -> None:
    said = partitioned(tmp_path, "part-0.parquet", pl.DataFrame({"a": [1]}))
    assert (
        "year, lang: in the names of folders alone (year=2024/lang=de/part-0.parquet), so the rows are sent without"
        in said
    )
    assert "hive_partitioning=True" in said
    (tmp_path / "b").mkdir()
    said = partitioned(tmp_path / "b", "a.jsonl", b'{"a": 1, "lang": "de"}\n' * 2)
    assert "year: in the names of folders alone" in said
    assert "hive" not in said


@pytest.mark.parametrize("folder", ["year=2024", "k=v/other"])
def test_keys_that_stand_in_the_rows_too_or_not_right_above_them_are_not_named(tmp_path: Path, folder: str) -> None:
    assert "names of folders" not in partitioned(tmp_path, "a.jsonl", b'{"year": 2024}\n' * 2, of=folder)
