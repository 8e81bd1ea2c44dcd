"""Rows as people have them (`data/`, each folder with what its owner `want`s), through the real command line."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import pytest

from tests.cli.shell import SPACE, Done, Shell

DATA = Path(__file__).parent / "data"
NEBIUS, COLLINEAR = "nebius", "collinear"


def upload(shell: Shell, source: str, lane: str, *extra: str) -> Done:
    space = ["--space-id", SPACE] if lane == COLLINEAR else []
    return shell.run(
        "upload", source, "--name", "rows", "--to", lane, *space, *shell.urls, "--settle-after", "0.2", *extra
    )


def verified(shell: Shell) -> int:
    return shell.run("verify", shell.receipt()["run_id"], "--sample", "1.0").code


def stored(path: Path) -> list[str]:
    """The rows that the emulator keeps, as the text that they are."""
    db = sqlite3.connect(path, timeout=10)
    try:
        return [bytes(data).decode() for (data,) in db.execute("SELECT data FROM rows ORDER BY key")]
    finally:
        db.close()


class Case(NamedTuple):
    """What comes of a folder's *file* for one lane: the exit code, the rows that are stored, words in the output, and none of
    *never*."""

    folder: str
    file: str
    lane: str
    options: tuple[str, ...]
    code: int
    rows: int
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


DROP_ID, NO_DROP = ("--drop", "id"), ("--drop",)
REPAIR_KEYS, REPAIR_NAN = ("--repair", "duplicate-keys=last"), ("--repair", "nan=null")
TWICE = "the key stands twice in one object; --repair duplicate-keys=last"
CASES = [
    Case("03-sharegpt", "sg.json", COLLINEAR, (), 2, 0, ("no place for the key id; leave out with --drop 'id'",)),
    Case("03-sharegpt", "sg.json", COLLINEAR, DROP_ID, 0, 40, ("40 of 40 rows looked at fit sharegpt",)),
    Case("03-sharegpt", "sg.json", COLLINEAR, (*DROP_ID, "--preset", "chat"), 2, 0, ("the preset chat needs messages",)),
    Case("03-sharegpt", "sg.json", NEBIUS, (), 0, 40),
    Case("03-sharegpt", "sg.json", NEBIUS, ("--preset", "sharegpt"), 0, 40),
    Case("04-tool-calls", "t.jsonl", NEBIUS, (), 0, 40),
    Case("04-tool-calls", "t.jsonl", NEBIUS, ("--preset", "chat"), 0, 40),
    Case("04-tool-calls", "t.jsonl", COLLINEAR, (), 2, 0, ("the turn is a tool call (tool_calls)",), NO_DROP),
    Case("10-dup-keys", "d.jsonl", NEBIUS, (), 3, 1, (TWICE,)),
    Case("10-dup-keys", "d.jsonl", COLLINEAR, (), 3, 1, (TWICE,)),
    Case("10-dup-keys", "d.jsonl", COLLINEAR, ("--drop", "meta"), 3, 1, (TWICE,)),
    Case("10-dup-keys", "d.jsonl", NEBIUS, REPAIR_KEYS, 0, 3),
    Case("10-dup-keys", "e.jsonl", COLLINEAR, (), 3, 1, (TWICE,)),
    Case("10-dup-keys", "e.jsonl", NEBIUS, (), 3, 1, (TWICE,)),
    Case("10-dup-keys", "e.jsonl", NEBIUS, REPAIR_KEYS, 0, 2),
    Case("10-dup-keys", "e.jsonl", COLLINEAR, REPAIR_KEYS, 0, 2),
    Case("10-dup-keys", "g.jsonl", COLLINEAR, (), 3, 0, (TWICE,)),
    Case("10-dup-keys", "g.jsonl", COLLINEAR, REPAIR_KEYS, 0, 1),
    Case("11-nan", "n.jsonl", NEBIUS, (), 3, 95, ("NaN is not a JSON value; --repair nan=null",)),
    Case("11-nan", "n.jsonl", NEBIUS, REPAIR_NAN, 0, 100),
    Case("11-nan", "n.json", NEBIUS, REPAIR_NAN, 0, 10),
    Case("12-lone-surrogate", "s.jsonl", NEBIUS, (), 3, -1, ("--repair surrogates=replace",)),
    Case("12-lone-surrogate", "s.jsonl", COLLINEAR, (), 3, -1, ("--repair surrogates=replace",)),
    Case("12-lone-surrogate", "s.jsonl", NEBIUS, ("--repair", "surrogates=replace"), 0, -1),
    Case("12-lone-surrogate", "s.jsonl", COLLINEAR, ("--repair", "surrogates=replace"), 0, -1),
    Case("25-alpaca", "a.json", COLLINEAR, (), 0, -1, ("rows looked at fit alpaca",), NO_DROP),
    Case("25-alpaca", "a.json", NEBIUS, ("--preset", "alpaca"), 0, -1),
    Case("27-stringified-json", "s.jsonl", COLLINEAR, (), 2, 0, ("leave out with --drop 'id'",)),
    Case("27-stringified-json", "s.jsonl", COLLINEAR, DROP_ID, 0, 40, ("fit chat",)),
    Case("28-numbers", "n.jsonl", NEBIUS, (), 0, 15),
    Case("28-numbers", "n.jsonl", NEBIUS, ("--drop", "m.drop"), 0, 15),
    Case("28-numbers", "n.jsonl", NEBIUS, ("--config", "asis.toml"), 0, 15),
    Case("28-numbers", "n.jsonl", NEBIUS, ("--config", "asis.toml", "--drop", "m.drop"), 0, 15),
    Case("28-numbers", "n.jsonl", NEBIUS, ("--config", "c.toml"), 0, 15),
    Case("28-numbers", "n2.jsonl", NEBIUS, ("--config", "c2.toml"), 0, 9),
    Case("28-numbers", "n2.jsonl", NEBIUS, ("--column", "v=double"), 0, 9),
    Case("37-dpo-hh", "hh.jsonl", NEBIUS, (), 0, -1),
    Case("37-dpo-hh", "dpo.jsonl", NEBIUS, ("--preset", "preference"), 0, -1),
    Case("37-dpo-hh", "hh.jsonl", COLLINEAR, (), 2, 0, ("they are preferences", "a mapping takes one side"), NO_DROP),
    Case("37-dpo-hh", "dpo.jsonl", COLLINEAR, (), 2, 0, ("they are preferences",), NO_DROP),
    Case("38-content-parts", "p.jsonl", NEBIUS, (), 0, 30),
    Case("38-content-parts", "p.jsonl", COLLINEAR, (), 2, 0, ("this is a part of type 'image_url'",), NO_DROP),
    Case("44-float-labels", "g.jsonl", COLLINEAR, (), 0, 40),
    Case("05-late-column", "l.jsonl", NEBIUS, (), 0, 3000),
    Case("07-null-then-values", "n.jsonl", NEBIUS, (), 0, -1),
    Case("11-nan", "n.jsonl", NEBIUS, ("--scan", "none"), 3, 95, ("NaN is not a JSON value; --repair nan=null",)),
    Case("23-wide", "w.jsonl", NEBIUS, (), 0, -1),
    Case("32-base64-first-block-one-row", "i.jsonl", NEBIUS, (), 0, 41),
    Case("43-drift-flow", "d.jsonl", NEBIUS, ("--max-chunk-bytes", "1MB"), 0, -1),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.folder} {case.file} {case.lane} {' '.join(case.options)}"
)
def test_a_folder_comes_to_what_its_owner_wants(place: tuple[Shell, Path], case: Case) -> None:
    shell, path = place
    copytree(DATA / case.folder, shell.folder, dirs_exist_ok=True)
    done = upload(shell, case.file, case.lane, *case.options)
    said = done.out + done.err
    if done.code == 3:
        said += shell.run("rejects", shell.receipt()["run_id"]).out
    assert done.code == case.code, said
    flat = " ".join(said.split())
    assert all(words in flat for words in case.says), said
    assert not any(words in flat for words in case.never), said
    source = (shell.folder / case.file).read_text(encoding="utf-8")
    count = case.rows
    if count < 0:
        total = len(json.loads(source)) if case.file.endswith(".json") else len(source.splitlines())
        count = total - (case.code == 3)
    assert len(stored(path)) == count
    if count:
        assert verified(shell) == 0


def test_a_folder_whose_keys_explode_is_warned_of_before_anything_is_sent(place: tuple[Shell, Path]) -> None:
    """What 179 kB would become: 757 times as much was sent without a word."""
    shell, path = place
    copytree(DATA / "23-wide", shell.folder, dirs_exist_ok=True)
    done = shell.run("check", "sparse.jsonl", "--to", NEBIUS, *shell.urls, "--json")
    assert done.code == 0, done.err
    warnings = " ".join(done.json["destinations"][NEBIUS]["warnings"])
    assert "3,906 columns" in warnings
    assert "times their size" in warnings
    assert not stored(path)


def test_every_folder_is_here_and_held_to_its_want() -> None:
    from tests.cases import test_files

    held = {case.folder for case in CASES} | {case.folder for case in test_files.CASES}
    assert held == {folder.name for folder in DATA.iterdir()}


def rows_of(folder: str, file: str) -> list[dict[str, Any]]:
    text = (DATA / folder / file).read_text(encoding="utf-8")
    found: list[dict[str, Any]] = (
        json.loads(text) if file.endswith(".json") else list(map(json.loads, text.splitlines()))
    )
    return found


def asked(question: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}]
    return {"conv_prefix": turns, "response": {"role": "assistant", "content": answer}}


ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def from_sharegpt(row: dict[str, Any]) -> dict[str, Any]:
    turns = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
    return {"conv_prefix": turns[:-1], "response": turns[-1]}


def from_alpaca(row: dict[str, Any]) -> dict[str, Any]:
    return asked(row["instruction"] + ("\n\n" + row["input"] if row["input"] else ""), row["output"])


def from_string(row: dict[str, Any]) -> dict[str, Any]:
    turns = json.loads(row["messages"])
    return {"conv_prefix": turns[:-1], "response": turns[-1]}


def from_floats(row: dict[str, Any]) -> dict[str, Any]:
    truth = {} if row["ground_truth"] is None else {"ground_truth": int(row["ground_truth"])}
    return asked(row["question"], row["answer"]) | truth


@pytest.mark.parametrize(
    ("folder", "file", "options", "made"),
    [
        ("03-sharegpt", "sg.json", DROP_ID, from_sharegpt),
        ("25-alpaca", "a.json", (), from_alpaca),
        ("27-stringified-json", "s.jsonl", DROP_ID, from_string),
        ("44-float-labels", "g.jsonl", (), from_floats),
    ],
)
@pytest.mark.parametrize("workers", [(), ("--workers", "2", "--max-chunk-bytes", "2KiB")])
def test_what_lands_is_what_the_rows_mean(
    place: tuple[Shell, Path], folder: str, file: str, options: tuple[str, ...], made: Any, workers: tuple[str, ...]
) -> None:
    shell, path = place
    copytree(DATA / folder, shell.folder, dirs_exist_ok=True)
    assert upload(shell, file, COLLINEAR, *options, *workers).code == 0
    landed = [json.loads(row) for row in stored(path)]
    key = json.JSONEncoder(sort_keys=True).encode
    wanted = sorted(key(made(row)) for row in rows_of(folder, file))
    assert sorted(key({name: value for name, value in row.items() if name != "id"}) for row in landed) == wanted


@pytest.mark.parametrize("options", [(), ("--drop", "m.drop"), ("--config", "asis.toml"), ("--config", "c.toml")])
def test_every_number_is_stored_with_its_own_characters(place: tuple[Shell, Path], options: tuple[str, ...]) -> None:
    shell, path = place
    copytree(DATA / "28-numbers", shell.folder, dirs_exist_ok=True)
    assert upload(shell, "n.jsonl", NEBIUS, *options).code == 0
    for line, row in zip((DATA / "28-numbers" / "n.jsonl").read_text().splitlines(), stored(path), strict=True):
        number = line.split('"v":')[1].split(",")[0]
        assert row.count(number) >= 3, (line, row)


# --- other inputs of these kinds ------------------------------------------------------------------------------------

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
TEXT_PARTS = [{"type": "text", "text": "q"}]


@pytest.mark.parametrize(
    ("row", "options", "landed"),
    [
        ({"messages": [USER | {"content": TEXT_PARTS}, ANSWER]}, (), asked("q", "a")),
        ({"dialog": [USER, ANSWER]}, ("--turns", "dialog"), asked("q", "a")),
        ({"dialog": json.dumps([USER, ANSWER]), "n": 1}, ("--turns", "dialog", "--drop", "n"), asked("q", "a")),
        (
            {"talk": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            ("--turns", "talk"),
            asked("q", "a"),
        ),
        ({"prompt": "q", "response": "a", "context": "c"}, (), asked("q", "a") | {"context": "c"}),
        ({"input": "q", "output": True}, (), asked("q", "true")),
        ({"question": "q", "answer": 42, "ground_truth": 42.0}, (), asked("q", "42") | {"ground_truth": 42}),
        ({"instruction": "q", "output": 7}, (), asked("q", "7")),
    ],
)
def test_a_shape_is_taken_without_a_word_of_config(
    place: tuple[Shell, Path], row: dict[str, Any], options: tuple[str, ...], landed: dict[str, Any]
) -> None:
    shell, path = place
    (shell.folder / "rows.jsonl").write_text((json.dumps(row) + "\n") * 3, encoding="utf-8")
    done = upload(shell, "rows.jsonl", COLLINEAR, *options)
    assert done.code == 0, done.err
    found = [json.loads(text) for text in stored(path)]
    assert [{key: value for key, value in one.items() if key != "id"} for one in found] == [landed] * 3
    assert verified(shell) == 0


def test_a_column_is_given_on_the_command_line_and_overrules_the_file(place: tuple[Shell, Path]) -> None:
    shell, path = place
    (shell.folder / "rows.jsonl").write_text('{"a=b":1,"n":5,"k":"x"}\n', encoding="utf-8")
    (shell.folder / "c.toml").write_text('[nebius.columns]\nn = "integer"\nk = "text"\n', encoding="utf-8")
    options = ("--config", "c.toml", "--column", "n=text", "--column", "a=b=integer?")
    assert upload(shell, "rows.jsonl", NEBIUS, *options).code == 0
    assert stored(path) == ['{"a=b":1,"n":"5","k":"\\"x\\""}']
    wrong = upload(shell, "rows.jsonl", NEBIUS, "--column", "n")
    assert wrong.code == 2
    assert "'n' is not NAME=TYPE" in wrong.err


def test_a_run_with_other_options_is_another_run(place: tuple[Shell, Path]) -> None:
    shell, _ = place
    (shell.folder / "rows.jsonl").write_text('{"a":1}\n', encoding="utf-8")
    ids = set()
    for options in ((), ("--repair", "nan=null"), ("--column", "a=text"), ("--turns", "t")):
        assert upload(shell, "rows.jsonl", NEBIUS, "--append", *options).code == 0
        ids.add(shell.receipt()["run_id"])
    assert len(ids) == 4
