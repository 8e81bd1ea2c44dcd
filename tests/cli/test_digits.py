"""Numbers that no double holds, from the file to the service and back through `verify`: not a character is altered on the way."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bulkup.emulator import Spawned
from tests.cli.shell import SPACE, Done, Shell
from tests.emulators import emptied

ODD = [
    "123456789.123456789123",
    "1e-400",
    "-0",
    "1E5",
    "1.10",
    str(2**70),
    str(2**70 + 1),
    "-0.0",
    "9007199254740993.0",
]
ROWS = [f'{{"q":"é {i} -0,","v":[{n},{{"x":{n}}}],"m":{{"a":{n},"b":{n}}},"i":{-i}}}' for i, n in enumerate(ODD)]
AS_IS_TABLE = '[nebius]\nnested = "as-is"\n'
AS_IS = "as-is.toml"
MAPPED = """
[nebius.mapping]
q = "q"
v = "v"
deep = { a = "m.a", list = ["m.b", { const = 1.5 }], first = { path = "v[0]", default = 0 } }
i = { path = "i", cast = "integer" }
"""
DEEP = '{{"a":{0},"list":[{0},1.5],"first":{0}}}'
ARRAY, OBJECT = '[{0},{{"x":{0}}}]', '{{"a":{0},"b":{0}}}'


def rows(*columns: tuple[str, str], as_text: bool) -> list[str]:
    """What must be stored: *columns* by their forms, into which each number goes."""
    made = []
    for i, number in enumerate(ODD):
        values = {name: form.format(number) for name, form in columns}
        texts = {name: json.dumps(value) if as_text else value for name, value in values.items()}
        pairs = {"q": json.dumps(f"é {i} -0,", ensure_ascii=False), **texts, "i": str(-i)}
        made.append("{" + ",".join(f'"{name}":{value}' for name, value in pairs.items()) + "}")
    return made


WAYS: dict[str, tuple[list[str], str, list[str]]] = {
    "as they are": ([], AS_IS_TABLE, rows(("v", ARRAY), ("m", OBJECT), as_text=False)),
    "text columns": ([], "", rows(("v", ARRAY), ("m", OBJECT), as_text=True)),
    "nested drop": (
        ["--drop", "m.a"],
        AS_IS_TABLE,
        rows(("v", ARRAY), ("m", '{{"b":{0}}}'), as_text=False),
    ),
    "nested drop, as text": (["--drop", "m.a"], "", rows(("v", ARRAY), ("m", '{{"b":{0}}}'), as_text=True)),
    "mapping": ([], AS_IS_TABLE + MAPPED, rows(("v", ARRAY), ("deep", DEEP), as_text=False)),
    "mapping, as text": ([], MAPPED, rows(("v", ARRAY), ("deep", DEEP), as_text=True)),
}


@pytest.fixture
def place(one_with_a_file: tuple[Spawned, Path], tmp_path: Path) -> tuple[Shell, Path]:
    emulator, path = one_with_a_file
    (tmp_path / AS_IS).write_text(AS_IS_TABLE, encoding="utf-8")
    return Shell(tmp_path, emptied(emulator)), path


def upload(shell: Shell, source: str, *extra: str, lane: str = "nebius") -> Done:
    space = ["--space-id", SPACE] if lane == "collinear" else []
    return shell.run(
        "upload", source, "--name", "rows", "--to", lane, *space, *shell.urls, "--settle-after", "0.2", *extra
    )


def verify(shell: Shell) -> Any:
    done = shell.run("verify", shell.receipt()["run_id"], "--sample", "1.0", "--json")
    assert done.out, done.err
    return done.json


def stored(path: Path) -> list[str]:
    """The rows that the emulator keeps, as the text that they are."""
    db = sqlite3.connect(path, timeout=10)
    try:
        return [bytes(data).decode() for (data,) in db.execute("SELECT data FROM rows ORDER BY key")]
    finally:
        db.close()


def replace(path: Path, old: str, new: str) -> None:
    """In the service's own file, behind its back."""
    db = sqlite3.connect(path, timeout=10)
    try:
        changed = db.execute("UPDATE rows SET data=? WHERE data=?", (new.encode(), old.encode())).rowcount
        db.commit()
    finally:
        db.close()
    assert changed == 1


TRUST = ["--validation", "trust"]
WORKERS = ["--workers", "2", "--max-chunk-bytes", "1KiB"]


@pytest.mark.parametrize(
    ("way", "more"), [*((way, []) for way in WAYS), ("nested drop", TRUST), ("mapping", TRUST), ("mapping", WORKERS)]
)
def test_numbers_arrive_as_they_are_written(place: tuple[Shell, Path], way: str, more: list[str]) -> None:
    shell, path = place
    options, config, expected = WAYS[way]
    (shell.folder / "rows.jsonl").write_text("".join(row + "\n" for row in ROWS), encoding="utf-8")
    (shell.folder / "bulkup.toml").write_text(config, encoding="utf-8")
    done = upload(shell, "rows.jsonl", "--config", "bulkup.toml", *options, *more)
    assert done.code == 0, done.out + done.err
    assert sorted(stored(path)) == sorted(expected)
    found = verify(shell)
    assert (found["exit_code"], found["destinations"]["nebius"]["rows_compared"]) == (0, len(ODD)), found


def test_an_array_keeps_them_too(place: tuple[Shell, Path]) -> None:
    shell, path = place
    (shell.folder / "rows.json").write_text("[\n" + ",\n".join(ROWS) + "\n]\n", encoding="utf-8")
    assert upload(shell, "rows.json", "--config", AS_IS).code == 0
    assert stored(path) == ROWS
    assert verify(shell)["exit_code"] == 0


def test_verify_says_what_the_service_made_of_a_number(place: tuple[Shell, Path]) -> None:
    shell, path = place
    (shell.folder / "rows.jsonl").write_text("".join(row + "\n" for row in ROWS), encoding="utf-8")
    assert upload(shell, "rows.jsonl", "--config", AS_IS).code == 0
    for sent, given_back, code in (
        ("123456789.123456789123", "123456789.12345679", 5),
        ("1e-400", "0.0", 5),
        (str(2**70), str(2**70 + 1), 5),
        (str(2**70), "1.1805916207174113e+21", 5),
        ("9007199254740993.0", "9007199254740992.0", 5),
        ("1.10", "1.1", 0),
        ("1E5", "100000", 0),
        ("-0", "0", 0),
        ("9007199254740993.0", "9007199254740993", 0),
    ):
        row = next(row for row in ROWS if f"[{sent}," in row)
        head, tail = row.split('"v":')
        altered = head + '"v":' + tail.replace(sent, given_back)
        replace(path, row, altered)
        found = verify(shell)
        assert found["exit_code"] == code, (sent, given_back)
        differences = found["destinations"]["nebius"]["row_differences"]
        assert [(d["kind"], d["row_number"]) for d in differences] == [("altered", ROWS.index(row) + 1)] * (code == 5)
        replace(path, altered, row)


def test_a_key_that_stands_twice_is_not_one_of_its_values(place: tuple[Shell, Path]) -> None:
    """Under `trust`, where such a row is sent."""
    shell, path = place
    twice = '{"n":1,"n":2}'
    (shell.folder / "rows.jsonl").write_text(twice + "\n", encoding="utf-8")
    assert upload(shell, "rows.jsonl", *TRUST).code == 0
    assert verify(shell)["exit_code"] == 0
    replace(path, twice, '{"n":2}')
    assert verify(shell)["exit_code"] == 5


def test_an_edited_row_is_retried_as_it_was_edited(place: tuple[Shell, Path]) -> None:
    shell, path = place
    (shell.folder / "rows.jsonl").write_text(
        '{"q":"good","v":{"x":1.5}}\n{"q":1,"v":{"x":"a\rb"}}\n', encoding="utf-8", newline=""
    )
    assert upload(shell, "rows.jsonl", "--config", AS_IS).code == 3
    run = shell.receipt()["run_id"]
    assert shell.run("rejects", run, "--retry").code == 3, "a raw control character stays one"
    done = shell.run("rejects", run, "--output", "rejects.jsonl")
    assert done.code == 0, done.err
    letter = json.loads((shell.folder / "rejects.jsonl").read_text(encoding="utf-8"))
    edited = '{"q":"mended","v":{"x":123456789.123456789123,"y":-0}}'
    text = json.dumps({**letter, "row": "ROW"}).replace('"ROW"', edited)
    (shell.folder / "mended.jsonl").write_text(text + "\n", encoding="utf-8")
    done = shell.run("rejects", run, "mended.jsonl", "--retry")
    assert done.code == 0, done.err
    assert stored(path)[-1] == edited


@pytest.mark.parametrize("level", ["full", "trust"])
@pytest.mark.parametrize("lane", ["nebius", "collinear"])
def test_a_line_break_in_a_string_of_an_array_is_rejected(place: tuple[Shell, Path], lane: str, level: str) -> None:
    shell, path = place
    turns = '{{"conv_prefix":[{{"role":"user","content":"{0}"}}],\n "response":{{"role":"assistant","content":"y"}}}}'
    good = [turns.format(word) for word in ("one", "two")]
    broken = [turns.format(f"a{control}b") for control in ("\n", "\r\n", "\0", "\\\n", "}\n{")]
    text = "[" + ",\n".join([good[0], *broken, good[1]]) + "]"
    (shell.folder / "rows.json").write_bytes(text.encode())
    done = upload(shell, "rows.json", "--validation", level, lane=lane)
    assert done.code == 3, done.out + done.err
    assert shell.receipt()["destinations"][lane]["rows_rejected"] == len(broken)
    assert len(stored(path)) == 2
    assert all("a b" not in row for row in stored(path))
    assert verify(shell)["exit_code"] == 0
