"""`bulkup upload` as a user gives it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.cli.conftest import DATA
from tests.cli.shell import SPACE, Shell

Row = dict[str, Any]


def canonical(rows: list[Row]) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in rows)


def as_turns(row: Row) -> Row:
    return {
        "conv_prefix": [{"role": "user", "content": row["question"]}],
        "response": {"role": "assistant", "content": row["answer"]},
    }


def test_the_command_of_the_readme(shell: Shell, gsm8k: list[Row]) -> None:
    """Every row lands in both once, `--json` prints the receipt and nothing else, and the second time nothing is sent."""
    (shell.folder / "gsm8k-train.jsonl").write_bytes(gzip.decompress(DATA.read_bytes()))
    command = (
        f"upload gsm8k-train.jsonl --to nebius --to collinear --name gsm8k --folder /migrations --space-id {SPACE} "
        f"--preset question-answer --nebius-url {shell.emulator.url} --collinear-url {shell.emulator.url} --json"
    ).split()
    first = shell.run(*command)
    assert first.code == 0, first.err
    receipt = first.json
    assert receipt == shell.receipt()
    assert receipt["status"] == "landed"
    assert {lane: d["rows_landed"] for lane, d in receipt["destinations"].items()} == {
        "nebius": 7473,
        "collinear": 7473,
    }
    assert canonical(shell.emulator.rows("nebius")) == canonical(gsm8k)
    assert canonical(shell.emulator.rows("collinear")) == canonical([as_turns(row) for row in gsm8k])
    before = shell.emulator.summary()
    second = shell.run(*command)
    assert second.code == 0
    assert "nothing is left to send" in second.err
    assert [d["this_invocation"]["requests"] for d in second.json["destinations"].values()] == [0, 0]
    assert shell.emulator.summary() == before


def test_the_table(shell: Shell, rows: list[Row]) -> None:
    """A person gets the counts of each destination, the datasets, and nothing to do."""
    done = shell.run("upload", "rows.jsonl", *shell.both, "--preset", "question-answer", "--max-chunk-bytes", "32KiB")
    assert done.code == 0, done.err
    lines = {line[:15].strip(): line[15:].split() for line in done.out.splitlines()}
    assert lines["rows read"] == ["600", "600"]
    assert lines["landed"] == ["600", "600"]
    assert lines["status"] == ["landed", "landed"]
    assert done.out.count("nebius: ") == 4, "three datasets, and how many more"
    assert "more, see .bulkup/rows-" in done.out
    assert "about " in done.err
    assert "to continue" not in done.err


def test_quiet_says_nothing(shell: Shell, rows: list[Row]) -> None:
    done = shell.run("upload", "rows.jsonl", *shell.both, "--preset", "question-answer", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_quiet_still_says_what_stopped_a_lane(shell: Shell, rows: list[Row]) -> None:
    shell.emulator.patch(faults={"nebius": {"payment_402": 1.0}})
    done = shell.run("upload", "rows.jsonl", *shell.both, "--preset", "question-answer", "-q")
    assert done.out == ""
    assert done.err.startswith("nebius: stopped: ")
    assert len(done.err.splitlines()) == 1
    assert done.code == shell.receipt()["exit_code"] == 77


def test_rejected_rows_are_pointed_at(shell: Shell) -> None:
    (shell.folder / "rows.jsonl").write_text('{"a": 1}\n{"a": "x"\n{"a": 2}\n')
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls)
    assert done.code == 3
    run = shell.receipt()["run_id"]
    assert f"1 row rejected, each with its reason: bulkup rejects {run}\n" in done.err


def test_hints_name_a_state_directory_of_ones_own(shell: Shell) -> None:
    (shell.folder / "rows.jsonl").write_text('{"a": 1}\n{"a": "x"\n')
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--state-dir", "my state")
    assert "--state-dir 'my state'" in done.err


def test_doubt_is_explained_and_held(shell: Shell, rows: list[Row]) -> None:
    """A request whose answer never came is exit code 4, and a second time nothing is sent again by itself."""
    shell.emulator.patch(script={"nebius": ["stored_then_reset"]}, readback="off")
    command = ["upload", "rows.jsonl", "--to", "nebius", *shell.urls]
    done = shell.run(*command)
    assert done.code == 4
    assert "600 rows in doubt" in done.err
    assert "--on-doubt resend" in done.err
    assert shell.run(*command).code == 4
    assert len(shell.emulator.rows("nebius")) == 600


def test_standard_input(shell: Shell, rows: list[Row]) -> None:
    with (shell.folder / "rows.jsonl").open() as stdin:
        done = shell.start(
            "upload", "-", "--name", "piped", *shell.both, "--preset", "question-answer", stdin=stdin.fileno()
        ).wait()
    assert done.code == 0, done.err
    assert "cannot be resumed" in done.err
    assert len(shell.emulator.rows("collinear")) == 600


def test_a_reader_that_leaves_is_no_error_message(shell: Shell, rows: list[Row]) -> None:
    """`bulkup upload … --json | head -1`: the run is done, nobody sees a traceback."""
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--json")
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert running.process.wait(60) == 0
    assert running.process.stderr is not None
    assert "Traceback" not in running.process.stderr.read()
    running.process.stderr.close()
    assert shell.receipt()["status"] == "landed"


def test_a_full_disk_under_standard_output(shell: Shell, rows: list[Row]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bulkup", "upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--json", "-q"],
            cwd=shell.folder,
            env=shell.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    (run,) = (shell.folder / ".bulkup").glob("*/receipt.json")
    assert (done.returncode, done.stderr) == (
        74,
        "bulkup: standard output cannot be written: No space left on device; landed: the receipt is in "
        f"{run.relative_to(shell.folder)}\n",
    )
