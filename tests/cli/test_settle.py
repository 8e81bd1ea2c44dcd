"""`bulkup settle`: doubts are settled by looking or by a person, and nothing is sent."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.cli.shell import SPACE, Done, Shell, eventually

CHUNKS = ["--max-chunk-bytes", "64KiB", "--concurrency", "1", "--preset", "question-answer"]
QUIET = ["--settle-after", "0.2"]
FIRST_LOOK_ONLY = ("ok", *["forbidden_403"] * 40)
"""The destination could be looked at before the run, and since then it cannot."""


def upload(shell: Shell, *lanes: str, extra: tuple[str, ...] = ()) -> Done:
    to = [word for lane in lanes for word in ("--to", lane)]
    space = ["--space-id", SPACE] if "collinear" in lanes else []
    return shell.run("upload", "rows.jsonl", *to, *space, *shell.urls, *CHUNKS, *QUIET, *extra)


def run_name(shell: Shell) -> str:
    return str(shell.receipt()["run_id"])


def manifest(shell: Shell) -> Any:
    return json.loads(next(shell.folder.glob(".bulkup/*/manifest.json")).read_bytes())


def doubts(shell: Shell, lane: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell.run("status", "--json").json["lanes"][lane]["doubts"]
    return found


@pytest.fixture
def doubtful(shell: Shell, rows: list[Any]) -> Shell:
    """A Collinear run whose second chunk was stored and its third was not, with no read-back so far."""
    shell.emulator.patch(
        script={"collinear": ["ok", "stored_then_reset", "reset_in_body"]},
        readback_script={"collinear": FIRST_LOOK_ONLY},
    )
    done = upload(shell, "collinear")
    assert done.code == 4
    assert len(doubts(shell, "collinear")) == 2
    return shell


def test_it_looks_and_sends_nothing(doubtful: Shell) -> None:
    before = doubtful.emulator.summary()["collinear"]["uploads_received"]
    doubtful.emulator.patch(readback_script={})
    done = doubtful.run("settle", run_name(doubtful), *QUIET)
    assert doubtful.emulator.summary()["collinear"]["uploads_received"] == before
    assert done.code == 75, done.err
    assert f"bulkup resume {run_name(doubtful)}" in done.err
    lane = doubtful.run("status", "--json").json["lanes"]["collinear"]
    assert lane["doubts"] == []
    assert lane["rows_left"] > 0
    assert lane["evidence"]["count"] == 1
    assert doubtful.run("resume", run_name(doubtful)).code == 0
    assert len(doubtful.emulator.rows("collinear")) == 600
    assert doubtful.receipt()["destinations"]["collinear"]["evidence"]["count"] == 1


def test_what_remains_in_doubt_is_4_and_the_way_out_is_named(doubtful: Shell) -> None:
    done = doubtful.run("settle", run_name(doubtful), *QUIET)
    (first, _) = doubts(doubtful, "collinear")
    assert done.code == 4
    assert "the service cannot be read back" in done.err
    assert f"bulkup settle {run_name(doubtful)} --chunk {first['chunk']} --landed" in done.err
    said = doubtful.run("status").out
    assert "the service cannot be read back" in said
    assert f"--chunk {first['chunk']} --landed, or --absent" in said


def test_what_is_held_shows_the_numbers_that_were_seen(doubtful: Shell) -> None:
    """Another writer has put seven rows there: no set of chunks adds up."""
    row = {"conv_prefix": [{"role": "user", "content": "q"}], "response": {"role": "assistant", "content": "a"}}
    doubtful.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[row] * 7)
    doubtful.emulator.patch(readback_script={})
    done = doubtful.run("settle", run_name(doubtful), "--settle-after", "0.1")
    landed = doubtful.receipt()["destinations"]["collinear"]["rows_landed"]
    shown = len(doubtful.emulator.rows("collinear"))
    assert done.code == 4
    assert f"the dataset shows {shown:,} rows" in done.err
    assert f"{landed:,} have landed" in done.err
    assert "--chunk" in done.err


def test_a_run_without_doubts_has_its_own_code(shell: Shell, rows: list[Any]) -> None:
    assert upload(shell, "nebius").code == 0
    received = shell.emulator.summary()["nebius"]["uploads_received"]
    done = shell.run("settle", run_name(shell), "--json")
    assert done.code == 0
    assert done.json["destinations"]["nebius"]["rows_landed"] == 600
    assert shell.emulator.summary()["nebius"]["uploads_received"] == received


def test_after_a_kill_it_settles_without_sending(shell: Shell, rows: list[Any]) -> None:
    shell.emulator.patch(script={"nebius": ["ok", "hang"]})
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *CHUNKS)
    eventually(lambda: shell.emulator.summary()["nebius"]["uploads_stored"] == 2)  # killed before, it would be absent
    running.process.kill()
    running.wait()
    received = shell.emulator.summary()["nebius"]["uploads_received"]
    run = shell.run("status", "--json").json["run_id"]
    done = shell.run("settle", run, *QUIET)
    assert shell.emulator.summary()["nebius"]["uploads_received"] == received
    assert done.code == 75, done.err  # the source is not read whole
    lane = shell.run("status", "--json").json["lanes"]["nebius"]
    assert (lane["doubts"], lane["evidence"]) == ([], {"answer": 1, "read-back": 1})
    assert shell.run("resume", run).code == 0
    assert len(shell.emulator.rows("nebius")) == 600


def test_a_person_decides_what_a_killed_process_left(shell: Shell, rows: list[Any]) -> None:
    """What `status` calls in doubt can be decided, whether or not a run has come by since."""
    shell.emulator.patch(script={"nebius": ["ok", "hang"]})
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *CHUNKS)
    # Both must be stored: of one that is killed before, a person could not say that it landed.
    eventually(lambda: shell.emulator.summary()["nebius"]["uploads_stored"] == 2)
    running.process.kill()
    running.wait()
    (doubt,) = doubts(shell, "nebius")
    run = shell.run("status", "--json").json["run_id"]
    assert shell.run("settle", run, "--chunk", doubt["chunk"], "--landed").code == 75
    assert shell.receipt()["destinations"]["nebius"]["rows_left"] >= 0
    assert shell.run("resume", run, *QUIET).code == 0
    assert len(shell.emulator.rows("nebius")) == 600


def test_a_second_process_is_kept_out(shell: Shell, rows: list[Any]) -> None:
    shell.emulator.patch(faults={"nebius": {"hang": 1.0}})
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *CHUNKS, "-q")
    eventually(lambda: shell.emulator.summary()["nebius"]["by_fault"].get("hang", 0))
    run = shell.run("status", "--json").json["run_id"]
    for command in (["settle", run], ["settle", run, "--chunk", "00000", "--landed"], ["verify", run]):
        done = shell.run(*command)
        assert (done.code, str(running.process.pid) in done.err) == (8, True), done.err
    running.process.kill()
    running.wait()


def test_a_person_decides(doubtful: Shell) -> None:
    """Without network and without a token; the journal keeps that a person did."""
    first, second = (doubt["chunk"] for doubt in doubts(doubtful, "collinear"))
    run = run_name(doubtful)
    tokens = {"COLLINEAR_API_KEY": "", "NEBIUS_API_KEY": ""}
    received = doubtful.emulator.summary()["collinear"]
    one = doubtful.run("settle", run, "--chunk", first, "--landed", environment=tokens)
    assert one.code == 4, one.err
    two = doubtful.run("settle", run, "--chunk", second, "--absent", environment=tokens)
    assert two.code == 75, two.err
    assert f"bulkup resume {run}" in two.err
    assert doubtful.emulator.summary()["collinear"] == received
    chunks = {chunk["chunk"]: chunk for chunk in manifest(doubtful)["lanes"]["collinear"]}
    assert (chunks[first]["state"], chunks[first]["evidence"]) == ("landed", "a person")
    assert (chunks[second]["state"], chunks[second]["evidence"]) == ("planned", None)
    assert chunks[first]["reason"] == chunks[second]["reason"] == "decided by a person"
    assert chunks[first]["dataset_id"] == doubtful.emulator.summary()["collinear"]["datasets"][0]["id"]
    assert doubtful.receipt()["destinations"]["collinear"]["evidence"]["a person"] == 1
    doubtful.emulator.patch(readback_script={})
    assert doubtful.run("resume", run, *QUIET).code == 0
    assert len(doubtful.emulator.rows("collinear")) == 600
    said = doubtful.run("status").out
    assert "1 by a person's word" in said
    assert f"chunk {second}: decided by a person to be absent" in said


def test_a_person_may_decide_without_the_source(doubtful: Shell) -> None:
    (doubtful.folder / "rows.jsonl").unlink()
    first = doubts(doubtful, "collinear")[0]["chunk"]
    assert doubtful.run("settle", run_name(doubtful), "--chunk", first.lstrip("0") or "0", "--landed").code == 4
    assert len(doubts(doubtful, "collinear")) == 1


def test_what_a_person_took_for_absent_and_came_after_all_is_found(doubtful: Shell) -> None:
    """The chunk was stored: the audit at the end of the next run says so."""
    first, second = (doubt["chunk"] for doubt in doubts(doubtful, "collinear"))
    run = run_name(doubtful)
    for chunk in (first, second):
        doubtful.run("settle", run, "--chunk", chunk, "--absent")
    doubtful.emulator.patch(readback_script={})
    done = doubtful.run("resume", run, *QUIET)
    assert done.code == 5
    assert first in done.err


def test_only_chunks_in_doubt_can_be_decided(doubtful: Shell) -> None:
    run = run_name(doubtful)
    first = doubts(doubtful, "collinear")[0]["chunk"]
    for arguments, words in (
        (["--chunk", "00000", "--landed"], "chunk 00000 is not in doubt in collinear: it is landed (evidence: answer)"),
        (["--chunk", "09999", "--absent"], "there is no chunk 09999"),
        (["--chunk", "first", "--absent"], "00042"),
        (["--chunk", first], "--landed"),
        (["--chunk", first, "--landed", "--absent"], "--landed"),
        (["--landed"], "--chunk"),
        (["--chunk", first, "--landed", "--lane", "nebius"], "has no lane 'nebius'"),
    ):
        done = doubtful.run("settle", run, *arguments)
        assert done.code == 2, (arguments, done)
        assert done.out == ""
        assert done.err.count("\n") == 1
        assert words in done.err
    assert len(doubts(doubtful, "collinear")) == 2


def test_a_chunk_in_doubt_in_both_lanes_needs_a_lane(shell: Shell, rows: list[Any]) -> None:
    shell.emulator.patch(
        script={"collinear": ["ok", "reset_after_body"], "nebius": ["ok", "stored_then_500"]},
        readback_script=dict.fromkeys(("nebius", "collinear"), FIRST_LOOK_ONLY),
    )
    assert upload(shell, "nebius", "collinear").code == 4
    run = run_name(shell)
    (of_nebius,), (of_collinear,) = doubts(shell, "nebius"), doubts(shell, "collinear")
    assert of_nebius["chunk"] == of_collinear["chunk"] == "00001"
    both = shell.run("settle", run, "--chunk", "00001", "--landed")
    assert both.code == 2
    assert "--lane" in both.err
    assert shell.run("settle", run, "--chunk", "00001", "--landed", "--lane", "nebius").code == 4
    assert (doubts(shell, "nebius"), len(doubts(shell, "collinear"))) == ([], 1)
    assert shell.run("settle", run, "--chunk", "00001", "--absent").code == 75  # only one has it in doubt now
    shell.emulator.patch(readback_script={})
    assert shell.run("resume", run, *QUIET).code == 0
    assert len(shell.emulator.rows("nebius")) == len(shell.emulator.rows("collinear")) == 600


def test_the_name_that_a_person_left_open_does_not_hold_others(shell: Shell, rows: list[Any]) -> None:
    """Nobody knows the id of a dataset that a person says is there; looks for others must not miss it."""
    shell.emulator.patch(
        script={"nebius": ["ok", "stored_then_500", "not_stored_500"]}, readback_script={"nebius": FIRST_LOOK_ONLY}
    )
    assert upload(shell, "nebius").code == 4
    run = run_name(shell)
    first = doubts(shell, "nebius")[0]["chunk"]
    assert shell.run("settle", run, "--chunk", first, "--landed").code == 4
    shell.emulator.patch(readback_script={})
    done = shell.run("settle", run, *QUIET)
    assert done.code == 75, done.err
    assert shell.run("resume", run, *QUIET).code == 0
    assert len(shell.emulator.rows("nebius")) == 600
    assert shell.run("verify", run, "--sample", "1.0").code == 0


def test_the_options_of_settle_are_not_kept(doubtful: Shell) -> None:
    """A quiet period for one look is not the run's from then on."""
    doubtful.run("settle", run_name(doubtful), "--settle-after", "0.05")
    with journal_of(doubtful) as db:
        (text,) = db.execute("SELECT value FROM facts WHERE lane = '' AND key = 'upload'").fetchone()
    assert json.loads(text)["settings"]["settle_after_s"] == 0.2


def test_a_source_that_was_not_read_whole_is_not_done(shell: Shell, rows: list[Any]) -> None:
    """All that was planned has landed, and there was more to plan: neither settle nor verify may say 0."""
    assert upload(shell, "nebius").code == 0
    with journal_of(shell) as db:
        db.execute("DELETE FROM facts WHERE lane = 'nebius' AND key = 'planned whole'")
        db.commit()
    assert shell.run("settle", run_name(shell)).code == 75
    assert shell.run("verify", run_name(shell)).code == 75


def journal_of(shell: Shell) -> closing[sqlite3.Connection]:
    (path,) = shell.folder.glob(".bulkup/*/journal.db")
    return closing(sqlite3.connect(path))


def test_progress_says_what_evidence_is_waited_for(shell: Shell, rows: list[Any]) -> None:
    """The last chunk is in doubt: four quiet periods must pass."""
    shell.emulator.patch(script={"nebius": ["not_stored_500"]})
    done = shell.run(
        "upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--settle-after", "1", "--preset", "question-answer"
    )
    assert done.code == 0, done.err
    assert "waiting for evidence: " in done.err
