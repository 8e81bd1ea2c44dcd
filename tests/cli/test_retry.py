"""`bulkup rejects RUN --retry`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell
from tests.e2e.harness import as_collinear, canonical, gsm8k_rows, write_rows

LANES = ("nebius", "collinear")
WORD = "FORBIDDEN-WORD"


def _stored(shell: Shell, lane: Any) -> Counter[str]:
    return canonical(shell.emulator.rows(lane))


def _expected(lane: str, rows: list[dict[str, Any]]) -> Counter[str]:
    return canonical(map(as_collinear, rows) if lane == "collinear" else rows)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    found = gsm8k_rows(300)
    for place in (7, 120, 299):
        found[place] = dict(found[place], answer=f"{WORD} {place}")
    return found


@pytest.fixture
def refused(shell: Shell, rows: list[dict[str, Any]]) -> str:
    """A run of which three rows were refused, by both services."""
    write_rows(shell.folder / "rows.jsonl", rows)
    shell.emulator.patch(refuse_rows={"marker": WORD})
    done = shell.run("upload", "rows.jsonl", *shell.both, "--folder", "/tests", "--settle-after", "0.1", "--json")
    assert done.code == 3, done.err
    return str(done.json["run_id"])


def _retries(shell: Shell, run: str) -> list[Path]:
    return sorted(shell.folder.glob(f".bulkup/{run}-retry-*"))


def test_rows_that_are_acceptable_now(shell: Shell, refused: str, rows: list[dict[str, Any]]) -> None:
    shell.emulator.patch(refuse_rows={"nebius": None, "collinear": None})
    done = shell.run("rejects", refused, "--retry")
    assert done.code == 0, done.err
    for lane in LANES:
        assert _stored(shell, lane) == _expected(lane, rows)
    names = {dataset["name"] for dataset in shell.emulator.summary()["nebius"]["datasets"]}
    assert any(name.startswith("rows-retry-") for name in names)
    assert len(shell.emulator.summary()["collinear"]["datasets"]) == 1
    assert [path.name.split("-retry-")[1].split("-")[0] for path in _retries(shell, refused)] == ["collinear", "nebius"]
    again = shell.run("rejects", refused, "--retry")
    assert again.code == 0, "the same retry, done"
    for lane in LANES:
        assert _stored(shell, lane) == _expected(lane, rows)


def test_rows_that_are_refused_again_stay_rejects_of_their_own_run(
    shell: Shell, refused: str, rows: list[dict[str, Any]]
) -> None:
    done = shell.run("rejects", refused, "--retry", "--lane", "nebius")
    assert done.code == 3
    (child,) = _retries(shell, refused)
    assert len((child / "rejects.jsonl").read_text().splitlines()) == 3
    assert len((shell.folder / ".bulkup" / refused / "rejects.jsonl").read_text().splitlines()) == 6
    shell.emulator.patch(refuse_rows={"nebius": None, "collinear": None})
    assert shell.run("rejects", child.name, "--retry").code == 0
    assert _stored(shell, "nebius") == _expected("nebius", rows)


@pytest.mark.parametrize("how", ["text", "json"])
def test_an_export_that_was_mended(shell: Shell, refused: str, rows: list[dict[str, Any]], how: str) -> None:
    assert shell.run("rejects", refused, "-o", "bad.jsonl").code == 0
    letters = [json.loads(line) for line in (shell.folder / "bad.jsonl").read_text().splitlines()]
    for letter in letters:
        mended = letter["row"].replace(WORD, "a kind word")
        letter["row"] = mended if how == "text" else json.loads(mended)
    write_rows(shell.folder / "mended.jsonl", letters)
    done = shell.run("rejects", refused, "mended.jsonl", "--retry")
    assert done.code == 0, done.err
    whole = [json.loads(json.dumps(row).replace(WORD, "a kind word")) for row in rows]
    for lane in LANES:
        assert _stored(shell, lane) == _expected(lane, whole)


def test_plain_rows(shell: Shell, refused: str, rows: list[dict[str, Any]]) -> None:
    kept = [row for row in rows if WORD not in row["answer"]]
    extra = [{"question": "one?", "answer": "yes"}, {"question": "two?", "answer": "no"}]
    write_rows(shell.folder / "mended.jsonl", extra)
    done = shell.run("rejects", refused, "mended.jsonl", "--retry")
    assert done.code == 2
    assert "--lane" in done.err
    assert shell.run("rejects", refused, "mended.jsonl", "--retry", "--lane", "collinear").code == 0
    assert _stored(shell, "collinear") == _expected("collinear", [*kept, *extra])


def test_the_row_options_are_those_of_the_run(shell: Shell) -> None:
    """One row of another shape alone would be taken for another preset."""
    good = gsm8k_rows(600)
    bad = {"conv_prefix": [{"role": "user", "content": WORD}], "response": {"role": "assistant", "content": "x"}}
    write_rows(shell.folder / "rows.jsonl", [*good, bad])
    done = shell.run("upload", "rows.jsonl", *shell.both[2:], "--json")
    assert done.code == 3, done.err
    assert (done.code, done.json["destinations"]["collinear"]["rows_rejected"]) == (3, 1)
    assert shell.run("rejects", done.json["run_id"], "--retry", "--lane", "collinear").code == 3
    assert _stored(shell, "collinear") == _expected("collinear", good)


def test_what_cannot_be_retried(shell: Shell, refused: str) -> None:
    for arguments, words in [
        (["rejects", refused, "none.jsonl", "--retry"], "none.jsonl"),
        (["rejects", refused, "rows.jsonl"], "--retry"),
        (["rejects", refused, "--retry", "-o", "x"], "--output"),
        (["rejects", refused, "--retry", "--lane", "mars"], "mars"),
    ]:
        done = shell.run(*arguments)
        assert done.code == 2, arguments
        assert words in done.err
    assert not _retries(shell, refused)


def test_a_beginning_means_the_run_and_not_its_retries(shell: Shell, refused: str) -> None:
    assert shell.run("rejects", refused, "--retry").code == 3
    shown = shell.run("status", refused[:7], "--json")
    assert shown.code == 0, shown.err
    assert shown.json["run_id"] == refused


def test_a_run_without_rejects(shell: Shell) -> None:
    write_rows(shell.folder / "rows.jsonl", gsm8k_rows(20))
    run = shell.run("upload", "rows.jsonl", *shell.both, "--json").json["run_id"]
    done = shell.run("rejects", run, "--retry")
    assert done.code == 2
    assert "no row to send again" in done.err
