"""`bulkup rejects RUN --retry`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import SPACE, Shell
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
    status = shell.run("status", refused, "--json").json
    assert sorted((one["lane"], one["rows_read"], one["rows_landed"]) for one in status["retries"]) == [
        ("collinear", 3, 3),
        ("nebius", 3, 3),
    ]
    for retry in status["retries"]:
        (dataset,) = retry["datasets"]
        assert f"3 landed, in {dataset['name']} (id {dataset['id']})" in shell.run("status", refused).out
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


def test_a_name_as_long_as_may_be(shell: Shell) -> None:
    """What stands beside a long name is cut, not refused."""
    rows = gsm8k_rows(20)
    rows[7] = dict(rows[7], answer=WORD)
    write_rows(shell.folder / "rows.jsonl", rows)
    shell.emulator.patch(refuse_rows={"nebius": {"marker": WORD}})
    upload = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--name", "n" * 200, "--json")
    run = shell.run(*upload).json["run_id"]
    shell.emulator.patch(refuse_rows={"nebius": None})
    done = shell.run("rejects", run, "--retry")
    assert done.code == 0, done.err
    assert _stored(shell, "nebius") == _expected("nebius", rows)


def test_rows_that_were_not_kept_are_counted(shell: Shell, rows: list[dict[str, Any]]) -> None:
    write_rows(shell.folder / "rows.jsonl", rows)
    (shell.folder / "bulkup.toml").write_text("[rejects]\ncontent = false\n")
    shell.emulator.patch(refuse_rows={"nebius": {"marker": WORD}})
    upload = ("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--config", "bulkup.toml", "--json")
    done = shell.run("rejects", shell.run(*upload).json["run_id"], "--retry")
    assert done.code == 2
    assert "bulkup kept none of the 3 rejected rows as a whole: give a FILE" in done.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lane": "nebbius"}, "line 2: the run has no lane 'nebbius'; it has nebius, collinear"),
        ({"row": None, "row_base64": "a"}, "line 2: its row_base64 is not base64"),
    ],
)
def test_an_export_that_was_mended_badly_sends_nothing(
    shell: Shell, refused: str, change: dict[str, Any], words: str
) -> None:
    """No row of it is passed over in silence."""
    assert shell.run("rejects", refused, "-o", "bad.jsonl").code == 0
    letters = [json.loads(line) for line in (shell.folder / "bad.jsonl").read_text().splitlines()]
    letters[1].update(change)
    write_rows(shell.folder / "mended.jsonl", letters)
    done = shell.run("rejects", refused, "mended.jsonl", "--retry")
    assert (done.code, words in done.err, done.err.count("\n")) == (2, True, 1), done.err
    assert not _retries(shell, refused)


class TestTheRunKnowsItsRetries:
    """On Collinear they go into the same dataset: what they put there is neither a surplus nor a chunk in doubt."""

    CHUNKS = ("--max-chunk-rows", "10", "--concurrency", "1", "--preset", "question-answer")

    def test_verify_counts_them_in(self, shell: Shell, refused: str) -> None:
        shell.emulator.patch(refuse_rows={"nebius": None, "collinear": None})
        assert shell.run("rejects", refused, "--retry").code == 0
        done = shell.run("verify", refused, "--sample", "1.0")
        assert done.code == 0, done.out
        assert "3 rows of other runs in the same dataset are counted too" in done.out
        (child,) = (path.name for path in _retries(shell, refused) if "collinear" in path.name)
        assert shell.run("verify", child, "--sample", "1.0").code == 0
        done = shell.run("verify", refused, "--json").json["destinations"]
        assert (done["collinear"]["rows_of_others"], done["nebius"]["rows_of_others"]) == (3, 0)

    def test_verify_still_finds_a_row_too_many(self, shell: Shell, refused: str) -> None:
        shell.emulator.patch(refuse_rows={"nebius": None, "collinear": None})
        assert shell.run("rejects", refused, "--retry", "--lane", "collinear").code == 0
        row = as_collinear({"question": "q", "answer": "a"})
        shell.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[row])
        done = shell.run("verify", refused, "--sample", "0")
        assert done.code == 5
        assert "297 have landed, 3 are of other runs into it: 1 too many" in done.out

    def test_settle_does_not_take_them_for_a_chunk_in_doubt(self, shell: Shell) -> None:
        """Ten rows in doubt that are not there, and just as many rejected ones that were sent again since."""
        rows = [{"question": f"question {n:04d}", "answer": f"answer {n:07d}"} for n in range(40)]
        rows[10:20] = [dict(row, answer=WORD) for row in rows[10:20]]
        write_rows(shell.folder / "rows.jsonl", rows)
        shell.emulator.patch(
            refuse_rows={"collinear": {"marker": WORD}},
            script={"collinear": ["ok", "ok", "reset_in_body"]},
            readback_script={"collinear": ["ok", *["forbidden_403"] * 40]},
        )
        first = shell.run("upload", "rows.jsonl", *shell.both[2:], *self.CHUNKS, "--settle-after", "0.2", "--json")
        assert (first.code, first.json["destinations"]["collinear"]["rows_in_doubt"]) == (4, 10), first.err
        run = first.json["run_id"]
        shell.emulator.patch(readback_script={"collinear": ()}, refuse_rows={"collinear": None})
        assert shell.run("rejects", run, "--retry").code == 0
        settled = shell.run("settle", run, "--settle-after", "0.2")
        assert settled.code in (3, 75), settled.err
        assert shell.run("resume", run, "--settle-after", "0.2").code == 3
        assert _stored(shell, "collinear") == _expected("collinear", rows)
        assert shell.run("verify", run, "--sample", "1.0").code == 0

    @pytest.mark.parametrize(("fault", "verified"), [("reset_in_body", 0), ("stored_then_reset", 4)])
    def test_a_run_between_its_parts_is_known_too(self, shell: Shell, fault: str, verified: int) -> None:
        """Two sources into one dataset, the one begun before the other and ended after it. What was found by looking may have been
        sent before the other began, so there verify does not claim to know."""
        rows, more = gsm8k_rows(60)[:30], gsm8k_rows(60)[30:]
        write_rows(shell.folder / "rows.jsonl", rows)
        write_rows(shell.folder / "more.jsonl", more)
        lane = [*shell.both[2:], "--name", "rows", *self.CHUNKS, "--settle-after", "0.2", "--append"]
        shell.emulator.patch(script={"collinear": ["ok", "payment_402"]})
        first = shell.run("upload", "rows.jsonl", *lane, "--json")
        assert first.code == 77, first.err
        second = shell.run("upload", "more.jsonl", *lane, "--json")
        assert second.code == 0, second.err
        shell.emulator.patch(script={"collinear": [fault]})
        assert shell.run("resume", first.json["run_id"]).code == 0
        assert _stored(shell, "collinear") == _expected("collinear", [*rows, *more])
        assert shell.run("verify", first.json["run_id"], "--sample", "1.0").code == 0
        done = shell.run("verify", second.json["run_id"], "--sample", "1.0")
        assert done.code == verified, done.out
        assert (f"how many run {first.json['run_id']} has put there is not known" in done.out) is bool(verified)


def test_a_raw_line_break_is_not_sent_as_something_else_under_trust(shell: Shell) -> None:
    """JSON lines have no way to write it: what stands for it within the retry must reach no service."""
    (shell.folder / "rows.json").write_bytes(b'[{"a": "x"}, {"a": "one\ntwo"}]')
    done = shell.run("upload", "rows.json", "--to", "nebius", *shell.urls, "--validation", "trust", "--json")
    assert done.code == 3, done.err
    again = shell.run("rejects", str(done.json["run_id"]), "--retry")
    assert again.code == 2
    assert "raw line break" in again.err
    assert not _retries(shell, str(done.json["run_id"]))
    assert shell.emulator.rows("nebius") == [{"a": "x"}]


def test_what_contradicted_the_columns_lands_in_a_dataset_of_its_own(shell: Shell) -> None:
    """The run was decided on its first block. What came later has other columns, and so has the retry's dataset."""
    rows: list[dict[str, Any]] = [{"id": n, "text": "x" * 300} for n in range(600)]
    late: list[dict[str, Any]] = [{"id": 0.5, "text": "a"}, {"id": 7, "text": None, "new": True}]
    write_rows(shell.folder / "rows.jsonl", [*rows, *late])
    to = ("--to", "nebius", *shell.urls, "--folder", "/tests")
    done = shell.run("upload", "rows.jsonl", *to, "--scan", "none", "--json")
    assert (done.code, done.json["destinations"]["nebius"]["rows_rejected"]) == (3, 2), done.err
    retried = shell.run("rejects", done.json["run_id"], "--retry")
    assert retried.code == 0, retried.err
    made: list[dict[str, Any]] = [{"id": "0.5", "text": "a", "new": None}, {"id": "7", "text": None, "new": True}]
    assert _stored(shell, "nebius") == canonical([*rows, *made])


RENAMES = ("--rename", "a=b", "--rename", "b=a", "--rename", "c=d")


def test_rows_whose_keys_changed_places_are_not_renamed_again(shell: Shell) -> None:
    rows = [{"a": f"first {n}", "b": f"second {n}", "c": WORD if n == 4 else "x"} for n in range(9)]
    write_rows(shell.folder / "rows.jsonl", rows)
    shell.emulator.patch(refuse_rows={"marker": WORD})
    done = shell.run(
        "upload",
        "rows.jsonl",
        "--to",
        "nebius",
        *shell.urls,
        "--folder",
        "/tests",
        *RENAMES,
        "--settle-after",
        "0.1",
        "--json",
    )
    assert done.code == 3, done.err
    shell.emulator.patch(refuse_rows={"nebius": None, "collinear": None})
    assert shell.run("rejects", done.json["run_id"], "--retry").code == 0
    assert _stored(shell, "nebius") == canonical({"b": row["a"], "a": row["b"], "d": row["c"]} for row in rows)


def test_a_line_that_was_no_row_is_renamed_when_it_has_been_mended(shell: Shell) -> None:
    """Only then: of the other one, which is no row either, the keys were seen."""
    lines = [json.dumps({"a": f"first {n}", "b": f"second {n}", "c": n}) for n in range(9)]
    lines[2], lines[5] = lines[2][:-1], lines[5].replace('"c": 5', '"c": nan')
    (shell.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    done = shell.run(
        "upload",
        "rows.jsonl",
        "--to",
        "nebius",
        *shell.urls,
        "--folder",
        "/tests",
        *RENAMES,
        "--settle-after",
        "0.1",
        "--json",
    )
    assert done.code == 3, done.err
    run = str(done.json["run_id"])
    records = [json.loads(line) for line in shell.run("rejects", run).out.splitlines()]
    assert [record["row"][:5] for record in records] == ['{"a":', '{"b":']
    records[0]["row"] += "}"
    records[1]["row"] = records[1]["row"].replace("nan", "5")
    write_rows(shell.folder / "mended.jsonl", records)
    assert shell.run("rejects", run, "mended.jsonl", "--retry").code == 0
    expected = [{"b": f"first {n}", "a": f"second {n}", "d": n} for n in range(9)]
    assert _stored(shell, "nebius") == canonical(expected)
