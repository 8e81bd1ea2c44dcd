"""`bulkup status` and `bulkup rejects`: what a person finds out about a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.shell import SPACE, Shell, eventually

WHOLE = ("status", "exit_code", "started_at", "finished_at")


def test_status_while_it_runs(shell: Shell, rows: list[Any]) -> None:
    """The journal is read while the upload writes it; what is in flight is not called doubtful."""
    shell.emulator.patch(latency_ms=1200)
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "16KiB", "-q")
    eventually(lambda: shell.emulator.summary()["nebius"]["uploads_stored"] >= 2)
    found = shell.run("status", "--json").json
    lane = found["lanes"]["nebius"]
    assert found["running"]["pid"] == running.process.pid
    assert lane["rows_in_doubt"] == 0
    assert lane["rows_in_flight"] > 0
    parts = ("rows_landed", "rows_rejected", "rows_in_doubt", "rows_in_flight", "rows_left")
    assert lane["rows_read"] == sum(lane[part] for part in parts)
    assert f"process {running.process.pid}" in shell.run("status").out
    shell.emulator.patch(latency_ms=0)
    assert running.wait().code == 0
    after = shell.run("status", found["run_id"][:8], "--json").json
    assert after["running"] is None
    assert after["lanes"]["nebius"]["rows_landed"] == 600
    assert after["receipt"]["exit_code"] == 0
    assert after["lanes"]["nebius"]["limited_by"] is None
    assert "the last time, nebius was limited by the server" in shell.run("status").out


def test_status_says_what_limits_while_it_runs(shell: Shell, rows: list[Any]) -> None:
    """Every permit is taken, and nobody answers."""
    shell.emulator.patch(faults={"nebius": {"hang": 1.0}})
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "16KiB", "-q")
    eventually(lambda: shell.emulator.summary()["nebius"]["by_fault"].get("hang", 0))
    eventually(lambda: shell.run("status", "--json").json["lanes"]["nebius"]["limited_by"])
    assert "limited by: the server" in shell.run("status").out
    running.process.kill()
    running.wait()


def test_status_names_the_rows_in_doubt(shell: Shell, rows: list[Any]) -> None:
    shell.emulator.patch(script={"nebius": ["ok", "reset_after_body"]}, readback="off")
    command = [
        "upload",
        "rows.jsonl",
        "--to",
        "nebius",
        *shell.urls,
        "--max-chunk-bytes",
        "64KiB",
        "--concurrency",
        "1",
    ]
    assert shell.run(*command, "-q").code == 4
    (doubt,) = shell.run("status", "--json").json["lanes"]["nebius"]["doubts"]
    landed = [json.loads(line) for line in (shell.folder / "rows.jsonl").read_text().splitlines()]
    missing = landed[doubt["first_row"] - 1 : doubt["first_row"] - 1 + doubt["rows"]]
    there = shell.emulator.rows("nebius")
    assert len(there) == 600 - doubt["rows"]
    assert all(row not in there for row in missing)
    said = shell.run("status").out
    assert f"in doubt: chunk {doubt['chunk']}, rows {doubt['first_row']} to " in said
    assert "last receipt: in doubt, exit code 4" in said


def test_status_after_a_kill(shell: Shell, rows: list[Any]) -> None:
    shell.emulator.patch(faults={"nebius": {"hang": 1.0}})
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls)
    eventually(lambda: shell.emulator.summary()["nebius"]["by_fault"].get("hang", 0))
    running.process.kill()
    running.wait()
    found = shell.run("status", "--json").json
    assert found["running"] is None
    assert found["receipt"] is None
    (doubt,) = found["lanes"]["nebius"]["doubts"]
    assert "ended while" in doubt["reason"]
    assert (found["has_ended"], found["status"], found["exit_code"]) == (False, "in doubt", 4)
    assert "no receipt yet" in shell.run("status").out


def test_status_after_an_end_says_what_the_receipt_says(shell: Shell, rows: list[Any]) -> None:
    """Why a lane stopped stands in the journal, until another process begins; of one that is killed nothing is made up."""
    shell.emulator.patch(script={"nebius": ["ok", *["forbidden_403"] * 9]})
    command = ["upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-bytes", "16KiB", "-q"]
    stopped = shell.run(*command)
    assert stopped.code == 77
    receipt, found = shell.receipt(), shell.run("status", "--json").json
    assert [found[key] for key in WHOLE] == [receipt[key] for key in WHOLE]
    assert found["has_ended"]
    assert found["lanes"]["nebius"]["reason"] == receipt["destinations"]["nebius"]["reason"]
    assert "403" in found["lanes"]["nebius"]["reason"]
    said = shell.run("status").out
    assert f"  stopped: {found['lanes']['nebius']['reason']}" in said
    assert "last receipt: stopped, exit code 77" in said
    shell.emulator.patch(script={}, faults={"nebius": {"hang": 1.0}})
    again = shell.start(*command)
    eventually(lambda: shell.emulator.summary()["nebius"]["by_fault"].get("hang", 0))
    found = shell.run("status", "--json").json
    assert (found["has_ended"], found["status"], found["exit_code"]) == (False, "running", None)
    assert found["lanes"]["nebius"]["reason"] is None
    again.process.kill()
    again.wait()
    found = shell.run("status", "--json").json
    assert (found["has_ended"], found["exit_code"]) == (False, 4)
    assert found["lanes"]["nebius"]["reason"] is None
    assert "last receipt: stopped, exit code 77" in shell.run("status").out


def test_rejects_have_row_numbers(shell: Shell) -> None:
    """Those of `sed -n Np`: blank lines count, in every file, whatever the chunks were."""
    good = [json.dumps({"question": f"q{n}" * 50, "answer": f"a{n}"}) for n in range(400)]
    first = ["", "", *good[:100], '{"question": 7}', "", *good[100:200], "not json", *good[200:]]
    second = ["", '{"question": "x"', *good[:50], '["array"]', '{"question": null, "answer": 4}']
    for name, lines in (("a.jsonl", first), ("b.jsonl", second)):
        (shell.folder / name).write_text("\n".join(lines) + "\n")
    done = shell.run(
        "upload",
        "a.jsonl",
        "b.jsonl",
        "--name",
        "x",
        *shell.both,
        "--max-chunk-bytes",
        "8KiB",
        "--preset",
        "question-answer",
    )
    assert done.code == 3, done.err
    run = shell.receipt()["run_id"]
    letters = [json.loads(line) for line in shell.run("rejects", run).out.splitlines()]
    files = {name: (shell.folder / name).read_text().split("\n") for name in ("a.jsonl", "b.jsonl")}
    for letter in letters:
        assert files[letter["file"]][letter["row_number"] - 1] == letter["row"]
        assert "position" not in letter
        assert "line_in_chunk" not in letter
    of_collinear = [(r["file"], r["row_number"]) for r in letters if r["lane"] == "collinear"]
    bad = [("a.jsonl", 103), ("a.jsonl", 205), ("b.jsonl", 2), ("b.jsonl", 53), ("b.jsonl", 54)]
    assert of_collinear == bad
    positions = [int(letter["id"].split(":")[1]) for letter in letters]
    assert positions == sorted(positions)
    only = shell.run("rejects", run, "--lane", "nebius", "-o", "out.jsonl")
    assert only.code == 0
    written = [json.loads(line) for line in (shell.folder / "out.jsonl").read_text().splitlines()]
    assert written == [letter for letter in letters if letter["lane"] == "nebius"]
    assert shell.run("rejects", run, "--lane", "mars").code == 2


@pytest.mark.parametrize("kind", ["array", "values", "rows-at"])
def test_rejects_have_row_numbers_where_rows_are_no_lines(shell: Shell, kind: str) -> None:
    """A row's number is its place among the rows, from 1, however the chunks were cut."""
    rows: list[dict[str, object]] = [{"question": f"q{n}" * 50, "answer": f"a{n}"} for n in range(120)]
    bad = [4, 61, 62, 119]
    for n in bad:
        rows[n] = {"question": None, "answer": str(n)}
    text = "\n".join(json.dumps(row, indent=1) for row in rows)
    if kind != "values":
        text = json.dumps(rows, indent=1)
    if kind == "rows-at":
        text = f'{{"version": [1, 2], "data": {{"rows": {text}}}}}'
    (shell.folder / "rows.json").write_text(text)
    options = ["--rows-at", "data.rows"] if kind == "rows-at" else []
    shell.emulator.patch(refuse_rows={"collinear": {"marker": "q77", "status": 422, "names": "none"}})
    done = shell.run(
        "upload",
        "rows.json",
        *shell.both,
        *options,
        *("--max-chunk-bytes", "8KiB", "--preset", "question-answer", "--max-rejects", "100%"),
    )
    assert done.code == 3, done.err
    letters = [json.loads(line) for line in shell.run("rejects", shell.receipt()["run_id"]).out.splitlines()]
    wanted = {"nebius": [n + 1 for n in bad], "collinear": sorted([78, *(n + 1 for n in bad)])}
    for lane, numbers in wanted.items():
        assert [letter["row_number"] for letter in letters if letter["lane"] == lane] == numbers


def test_rejects_begin_with_a_tally(shell: Shell) -> None:
    """The same five lines stand at the end of the run, in the receipt and before the export."""
    rows = [{"question": f"q{n}", "answer": "a"} for n in range(60)]
    lines = [json.dumps(row) for row in rows]
    for n in (3, 9, 30):
        lines[n] = json.dumps({"question": "x", "answer": {"n": n}})
    lines[5], lines[40] = "{", '{"question":"x"'
    (shell.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    done = shell.run(
        "upload",
        "rows.jsonl",
        *(
            "--to",
            "collinear",
            "--space-id",
            SPACE,
            *shell.urls,
            "--preset",
            "question-answer",
            "--max-rejects",
            "100%",
        ),
    )
    assert done.code == 3, done.err
    receipt = shell.receipt()
    why = receipt["destinations"]["collinear"]["rejected_for"]
    assert [(one["rows"], one["row_number"]) for one in why] == [(3, 4), (2, 6)]
    run = shell.run("rejects", receipt["run_id"])
    tally = [line for line in run.err.splitlines() if " × " in line]
    assert tally == [line for line in done.err.splitlines() if " × " in line]
    assert len(tally) == 2
    assert tally[0].strip().startswith("3 × answer: expected a string, got an object")
    assert tally[0].endswith("(the first: row 4 of rows.jsonl)")
    assert len(run.out.splitlines()) == 5


def test_what_was_changed_is_counted(shell: Shell) -> None:
    """In the receipt, in its table, and by `status`: each kind with the rows that have landed."""
    turn = {"role": "user", "content": "q"}
    odd: dict[int, dict[str, object]] = {
        3: {"messages": [turn, {"role": "assistant", "content": 42}]},
        70: {"messages": json.dumps([turn, {"role": "assistant", "content": "a"}])},
        150: {"messages": [turn, {"role": "assistant", "content": "a"}], "ground_truth": 1.0},
        151: {"messages": [turn, {"role": "assistant", "content": True}], "ground_truth": 2.0},
    }
    usual = {"messages": [turn, {"role": "assistant", "content": "a" * 200}], "ground_truth": 1}
    lines = [json.dumps(odd.get(n, usual)) for n in range(160)]
    lines[155] = '{"messages": 5, ' + lines[155][1:]
    (shell.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    to = ("--to", "collinear", "--space-id", SPACE, *shell.urls, "--repair", "duplicate-keys=last")
    shell.emulator.patch(body_limit_bytes=8192)
    done = shell.run("upload", "rows.jsonl", *to)
    assert done.code == 0, done.err
    receipt = shell.receipt()
    counts = {"1.0 -> 1": 2, '42 -> "42"': 2, "duplicate-keys=last": 1, "parsed": 1}
    assert receipt["destinations"]["collinear"]["changes"] == counts
    table = " ".join(done.out.split())
    assert all(words in table for words in ("1.0 made 1 2", '42 -> "42" 2', "turns in a string, parsed 1")), done.out
    status = shell.run("status", receipt["run_id"])
    assert 'changed: 1.0 made 1: 2 rows, 42 -> "42": 2 rows, duplicate-keys=last: 1 row' in status.out


def test_rejects_of_chunks_that_were_cut(shell: Shell) -> None:
    """A row refused before sending keeps its number when its chunk is cut later, and so does one that the server refuses."""
    lines = [json.dumps({"question": "q" * 40, "answer": str(n)}) for n in range(300)]
    lines[7], lines[150], lines[290] = "broken", "", '{"question": 5}'
    for n in (20, 211):
        lines[n] = json.dumps({"question": "POISON", "answer": str(n)})
    (shell.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    shell.emulator.patch(
        body_limit_bytes=8192, refuse_rows={"collinear": {"marker": "POISON", "status": 422, "names": "none"}}
    )
    done = shell.run(
        "upload", "rows.jsonl", "--to", "collinear", "--space-id", SPACE, *shell.urls, "--preset", "question-answer"
    )
    assert done.code == 3, done.err
    letters = [json.loads(line) for line in shell.run("rejects", shell.receipt()["run_id"]).out.splitlines()]
    assert [letter["row_number"] for letter in letters] == [8, 21, 212, 291]
    assert [letter["stage"] for letter in letters if "POISON" in letter["row"]] == ["server", "server"]
    for letter in letters:
        assert lines[letter["row_number"] - 1] == letter["row"]


def test_a_reader_of_rejects_that_leaves(shell: Shell) -> None:
    lines = ['{"a": "x"}', *["bad" * 100] * 3000]
    (shell.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    assert shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "-q", "--max-rejects", "100%").code == 3
    running = shell.start("rejects", shell.receipt()["run_id"])
    assert running.process.stdout is not None
    running.process.stdout.readline()
    running.process.stdout.close()
    assert running.process.wait(30) == 141
    assert running.process.stderr is not None
    tally = running.process.stderr.read().splitlines()
    assert tally[0] == "3,000 rows rejected"
    assert len(tally) == 2, "the tally, and nothing else"
    running.process.stderr.close()
