"""`--rename` and `--drop` of keys that no row has: refused before anything is sent, or told where not all rows were looked at."""

from __future__ import annotations

import io
import json

import polars as pl
import pytest

from tests.cli.shell import Shell

WRONG = {
    "--drop": (("--drop", "spilt"), "--drop spilt: no row has this key (did you mean split?); the rows have id, text, split"),
    "--rename": (
        ("--rename", "Text=body"),
        "--rename Text=body: no row has this key (did you mean text?); the rows have id, text, split",
    ),
}  # fmt: skip


def rows(count: int = 300) -> str:
    return "".join(json.dumps({"id": n, "text": f"text {n}", "split": "train"}) + "\n" for n in range(count))


def uploads(shell: Shell) -> int:
    return int(shell.emulator.summary()["nebius"]["uploads_received"])


@pytest.mark.parametrize("option", WRONG)
@pytest.mark.parametrize("command", ["upload", "check"])
def test_a_key_that_no_row_has_is_refused(shell: Shell, option: str, command: str) -> None:
    (shell.folder / "rows.jsonl").write_text(rows())
    given, said = WRONG[option]
    to = ("--to", "nebius", *shell.urls) if command == "upload" else ("--to", "nebius")
    done = shell.run(command, "rows.jsonl", *to, *given)
    assert (done.code, done.err.splitlines()[-1]) == (2, f"bulkup: {said}")
    assert uploads(shell) == 0


def test_workers_that_scan_find_the_key_in_any_of_many_files(shell: Shell) -> None:
    for number in range(4):
        last = '{"id":1,"text":"x","other":2}\n' if number == 3 else ""
        (shell.folder / f"{number}.jsonl").write_text(rows(50) + last)
    to = ("--to", "nebius", *shell.urls, "--name", "all", "--workers", "2")
    files = [f"{number}.jsonl" for number in range(4)]
    refused = shell.run("upload", *files, *to, "--drop", "oter")
    assert (refused.code, uploads(shell)) == (2, 0)
    assert "--drop oter: no row has this key" in refused.err.splitlines()[-1]
    done = shell.run("upload", *files, *to, "--drop", "other", "--rename", "split=part")
    assert done.code == 0, done.err
    assert "no row" not in done.err
    assert {key for row in shell.emulator.rows("nebius") for key in row} == {"id", "text", "part"}


@pytest.mark.parametrize("scan", ["none", "2000"])
def test_where_not_all_rows_were_looked_at_it_is_told_once(shell: Shell, scan: str) -> None:
    """A later row may have it."""
    (shell.folder / "rows.jsonl").write_text(rows(20_000))
    given, _ = WRONG["--drop"]
    to = ("--to", "nebius")
    done = shell.run("upload", "rows.jsonl", *to, *shell.urls, *given, "--scan", scan)
    assert done.code == 0, done.err
    said = "warning: --drop spilt: no row that was looked at has this key (did you mean split?); the rows have id, text, split"
    assert done.err.count("--drop spilt") == 1
    assert said in done.err


def test_a_parquet_file_without_the_column(shell: Shell) -> None:
    out = io.BytesIO()
    pl.DataFrame({"id": [1], "split": ["train"]}).write_parquet(out)
    (shell.folder / "rows.parquet").write_bytes(out.getvalue())
    done = shell.run("upload", "rows.parquet", "--to", "nebius", *shell.urls, "--drop", "spilt")
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith("no row has this key (did you mean split?); the rows have id, split")


def test_keys_of_rows_that_a_function_makes(shell: Shell) -> None:
    """`--drop` is of these, `--rename` of the source's."""
    (shell.folder / "rows.jsonl").write_text(rows())
    (shell.folder / "make.py").write_text("def make(row):\n    return {'made': row['body'], 'more': 1}\n")
    to = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--map", "make.py:make", "--rename", "text=body")
    refused = shell.run(*to, "--drop", "id")
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == "bulkup: --drop id: no row has this key; the rows have made, more"
    done = shell.run(*to, "--drop", "more")
    assert done.code == 0, done.err
    assert shell.emulator.rows("nebius")[0] == {"made": "text 0"}


def test_a_run_that_has_begun_is_gone_on_with(shell: Shell) -> None:
    """Rows that are added need not have the key: the plan is frozen."""
    (shell.folder / "rows.jsonl").write_text(rows())
    command = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--drop", "split", "--on-source-change", "append")
    assert shell.run(*command).code == 0
    (shell.folder / "rows.jsonl").write_text(rows() + '{"id":1000,"text":"t"}\n')
    done = shell.run(*command)
    assert done.code == 0, done.err
    assert len(shell.emulator.rows("nebius")) == 301


def test_rejected_rows_that_are_sent_again_need_not_have_the_key(shell: Shell) -> None:
    bad = '{"id":1000,"text":"FORBIDDEN"}\n'
    (shell.folder / "rows.jsonl").write_text(rows() + bad)
    shell.emulator.patch(refuse_rows={"marker": "FORBIDDEN"})
    done = shell.run(
        "upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--drop", "split", "--rename", "name=n", "--json"
    )
    assert done.code == 2
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--drop", "split", "--json")
    assert done.code == 3, done.err
    shell.emulator.patch(refuse_rows={"nebius": None, "collinear": None})
    again = shell.run("rejects", done.json["run_id"], "--retry")
    assert again.code == 0, again.err
    assert len(shell.emulator.rows("nebius")) == 301
