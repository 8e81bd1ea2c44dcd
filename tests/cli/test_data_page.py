"""Every line of `docs/data.md` is run as it stands there, and all rows land."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import shlex
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pyarrow import ipc

from tests.cli.shell import SPACE, Shell

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
LINES = [
    line.replace("\\|", "|") for line in re.findall(r"^\|.*\| `(.*bulkup .*)` \|$", PAGE.read_text(), re.MULTILINE)
]
COUNT = 12

Row = dict[str, Any]


def turns(key: str = "role", value: str = "content", *roles: str) -> list[Row]:
    return [{key: role, value: f"what the {role} says"} for role in (roles or ("user", "assistant"))]


def lines(row: Row, *more: bytes) -> bytes:
    return b"".join([*(json.dumps(row).encode() + b"\n" for _ in range(COUNT - len(more))), *more])


PLAIN = {"text": "some words", "note": None}
SQUAD = {"version": 1, "data": [{"title": "t", "paragraphs": [{"context": "c"}] * 2}] * (COUNT // 2)}


def tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def wide(data: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(data) + packer.flush()


MAPPING = """
[collinear.mapping]
conv_prefix = [{role = {const = "user"}, content = "q"}]
response = {role = {const = "assistant"}, content = "a"}
"""


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def workbook() -> bytes:
    book = openpyxl.Workbook()
    report = book.create_sheet("Report")
    for row in (["A report"], [], ["name", "age"], *([["Doe, J.", 41]] * COUNT)):
        report.append(row)
    assert book.active is not None
    for row in (["name", "when"], *([["Doe, J.", datetime(2024, 1, 2)]] * COUNT)):  # noqa: DTZ001 - cells have no zone
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def arrow(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


TABLE = pa.table({"text": ["some words"] * COUNT, "when": [datetime(2024, 1, 2, tzinfo=UTC)] * COUNT})
PEOPLE = b"name,age,note\n" + b'"Doe, J.",41,\n' * COUNT
FILES: dict[str, bytes] = {
    "rows.jsonl": lines(PLAIN),
    "array.json": json.dumps([PLAIN] * COUNT, indent=1).encode(),
    "pretty.json": "\n".join([json.dumps(PLAIN, indent=2)] * COUNT).encode(),
    "squad.json": json.dumps(SQUAD).encode(),
    "one.json": json.dumps(SQUAD).encode(),
    "rows.jsonl.xz": lzma.compress(lines(PLAIN)),
    "rows.jsonl.bz2": bz2.compress(lines(PLAIN)),
    "rows.tar.gz": gzip.compress(tar({"a.jsonl": lines(PLAIN), "notes.bin": b"\0\1"})),
    "wide.jsonl.zst": wide(lines(PLAIN)),
    "people.csv": PEOPLE,
    "headers.csv": b"Question,Model answer\n" + b"q,a\n" * COUNT,
    "people.xlsx": workbook(),
    "rows.parquet": parquet(TABLE),
    "rows.parquet.gz": gzip.compress(parquet(TABLE)),
    "rows.arrow": arrow(TABLE),
    "saved/data-00000-of-00001.arrow": arrow(TABLE),
    "saved/cache-123.arrow": arrow(TABLE),
    "saved/state.json": b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}',
    "saved/dataset_info.json": b'{"features": {}}',
    "people.txt": PEOPLE.replace(b",", b":"),
    "people.csv.gz": gzip.compress(PEOPLE),
    "bare.csv": PEOPLE.partition(b"\n")[2],
    "report.csv": b"A report,\n" + PEOPLE,
    "utf16.jsonl": lines(PLAIN).decode().encode("utf-16"),
    "empty.jsonl": b"",
    "chat.jsonl": lines({"messages": turns()}),
    "dialog.jsonl": lines({"dialog": turns()}),
    "sharegpt.jsonl": lines({"conversations": turns("from", "value", "human", "gpt")}),
    "alpaca.jsonl": lines({"instruction": "i", "input": "", "output": "o"}),
    "pairs.jsonl": lines({"prompt": "p", "response": "r"}),
    "qa.jsonl": lines({"question": "q", "answer": "a"}),
    "preferences.jsonl": lines({"prompt": "p", "chosen": "c", "rejected": "r"}),
    "extra.jsonl": lines({"question": "q", "answer": "a", "id": 1}),
    "twice.jsonl": lines({"a": 1}, b'{"a":1,"a":2}\n'),
    "nan.jsonl": lines({"a": 1.5}, b'{"a":NaN}\n'),
    "surrogates.jsonl": lines({"a": "x"}, b'{"a":"\\ud800"}\n'),
    "other.jsonl": lines({"q": "q", "a": "a"}),
    "mapping.toml": MAPPING.encode(),
    "rows.py": b"def fix(row): return {'question': row['q'], 'answer': row['a']}\n",
    "shards/1.jsonl": lines(PLAIN),
    "list.txt": b"rows.jsonl\n\n",
}
ROWS = {"preferences.jsonl --both-sides": 2 * COUNT, "one.json": 1, "empty.jsonl": 0, "--rows-at data": COUNT // 2}


def test_the_page_has_its_lines() -> None:
    assert len(LINES) > 25
    assert len(set(LINES)) == len(LINES)


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_lands_all_rows(shell: Shell, line: str) -> None:
    for name, data in FILES.items():
        path = shell.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    piped, _, command = line.rpartition("| ")
    words = shlex.split(command)
    assert words[0] == "bulkup"
    more = ["--space-id", SPACE] if "collinear" in words else []
    if piped:
        with (shell.folder / shlex.split(piped)[1]).open("rb") as stream:
            done = shell.start(*words[1:], *more, *shell.urls, stdin=stream.fileno()).wait()
    else:
        done = shell.run(*words[1:], *more, *shell.urls)
    assert done.code == 0, done.err
    wanted = next((rows for what, rows in ROWS.items() if f" {what} " in f" {command} "), COUNT)
    (lane,) = shell.receipt()["destinations"].values()
    assert lane["rows_landed"] == wanted
    assert lane["rows_rejected"] == 0
