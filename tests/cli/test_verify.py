"""`bulkup verify`: what differs is found and named, and what cannot be looked at is not called equal."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bulkup.emulator import Spawned
from tests.cli.shell import SPACE, Done, Shell
from tests.emulators import emptied

CHUNKS = ["--max-chunk-bytes", "64KiB", "--concurrency", "1", "--preset", "question-answer", "--settle-after", "0.2"]
SPAN = 1 << 36
LANES = ("nebius", "collinear")


class Damage:
    """The emulator's own file, written behind its back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, statement: str, *values: object) -> None:
        db = sqlite3.connect(self.path, timeout=10)
        try:
            db.execute(statement, values)
            db.commit()
        finally:
            db.close()

    def key(self, service: str, row: int) -> int:
        """The key of the service's row number *row* (from 0), over all of its datasets."""
        db = sqlite3.connect(self.path, timeout=10)
        try:
            numbers = [
                n for (n,) in db.execute("SELECT number FROM datasets WHERE service=? ORDER BY number", (service,))
            ]
            keys = [
                key
                for number in numbers
                for (key,) in db.execute(
                    "SELECT key FROM rows WHERE key>=? AND key<? ORDER BY key", (number * SPAN, (number + 1) * SPAN)
                )
            ]
        finally:
            db.close()
        return int(keys[row])


@pytest.fixture
def place(one_with_a_file: tuple[Spawned, Path], tmp_path: Path, gsm8k: list[dict[str, Any]]) -> tuple[Shell, Damage]:
    """Six hundred rows, one of them blank-lined away from its neighbours, and an emulator whose file can be written."""
    emulator, path = one_with_a_file
    lines = [json.dumps(row) for row in gsm8k[:600]]
    lines.insert(100, "")
    (tmp_path / "rows.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return Shell(tmp_path, emptied(emulator)), Damage(path)


def upload(shell: Shell, *lanes: str, extra: tuple[str, ...] = (), source: str = "rows.jsonl") -> Done:
    to = [word for lane in lanes for word in ("--to", lane)]
    space = ["--space-id", SPACE] if "collinear" in lanes else []
    return shell.run("upload", source, "--name", "rows", *to, *space, *shell.urls, *CHUNKS, *extra)


def verify(shell: Shell, *arguments: str) -> Done:
    return shell.run("verify", shell.receipt()["run_id"], *arguments)


def source_row(shell: Shell, difference: dict[str, Any]) -> dict[str, Any]:
    """The row that a difference names, by its number; its byte must lead to the same."""
    data = (shell.folder / difference["file"]).read_bytes()
    line = data.split(b"\n")[difference["row_number"] - 1]
    assert data[difference["byte_offset"] :].split(b"\n")[0] == line
    row: dict[str, Any] = json.loads(line)
    return row


def test_what_landed_is_equal(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    assert upload(shell, *LANES).code == 0
    received = {lane: shell.emulator.summary()[lane]["uploads_received"] for lane in LANES}
    done = verify(shell, "--sample", "1.0")
    assert done.code == 0, done.out + done.err
    assert done.out.count("every chunk was compared") == 2
    found = verify(shell, "--sample", "1.0", "--json").json
    for lane in LANES:
        one = found["destinations"][lane]
        assert (one["rows_compared"], one["equal"], one["excluded_share_of_chunks"]) == (600, True, 0.0)
        assert shell.emulator.summary()[lane]["uploads_received"] == received[lane]


def test_a_sample_says_what_it_excludes(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    assert upload(shell, *LANES).code == 0
    one, two = (verify(shell, "--sample", "50%", "--seed", "4", "--json").json for _ in range(2))
    assert one == two
    for lane in one["destinations"].values():
        n = lane["chunks_compared"]
        assert n == -(-lane["chunks_landed"] // 2)
        assert lane["excluded_share_of_chunks"] == pytest.approx(1 - 0.05 ** (1 / n))
    said = verify(shell, "--sample", "0.5", "--seed", "4").out
    assert re.search(r"Sampled \d+ of \d+ chunks: no difference; --sample 1.0 checks all \(--seed \d+ ", said)
    default = verify(shell, "--json").json
    assert default["sample"] == 0.05
    assert all(lane["chunks_compared"] == 1 for lane in default["destinations"].values())


@pytest.mark.parametrize("lane", LANES)
def test_an_altered_row_is_named(place: tuple[Shell, Damage], lane: str) -> None:
    shell, damage = place
    assert upload(shell, lane).code == 0
    victim = shell.emulator.rows(lane)[333]  # type: ignore[arg-type]
    other = json.dumps(victim).replace("a", "b", 1) if lane == "nebius" else json.dumps({**victim, "context": "x"})
    damage.run("UPDATE rows SET data=? WHERE key=?", other.encode(), damage.key(lane, 333))
    done = verify(shell, "--sample", "1.0", "--json")
    assert done.code == 5, done.err
    (difference,) = done.json["destinations"][lane]["row_differences"]
    row = source_row(shell, difference)
    text = row["question"] if lane == "nebius" else row["answer"]
    assert text in json.dumps(victim, ensure_ascii=False) or json.dumps(text)[1:-1] in json.dumps(victim)
    assert (difference["kind"], difference["row_number"]) == ("altered", 335)  # one blank line, and from 1
    assert difference["dataset_id"] in {d["id"] for d in shell.emulator.summary()[lane]["datasets"]}
    said = verify(shell, "--sample", "1.0")
    assert said.code == 5
    assert "row 335 of rows.jsonl (byte " in said.out


@pytest.mark.parametrize("lane", LANES)
def test_a_missing_row_that_the_count_does_not_show_is_named(place: tuple[Shell, Damage], lane: str) -> None:
    shell, damage = place
    assert upload(shell, lane).code == 0
    damage.run("DELETE FROM rows WHERE key=?", damage.key(lane, 104))  # behind the blank line, in its chunk
    done = verify(shell, "--sample", "1.0", "--json")
    assert done.code == 5
    (difference,) = done.json["destinations"][lane]["row_differences"]
    assert (difference["kind"], difference["row_number"]) == ("missing", 106)
    source_row(shell, difference)


@pytest.mark.parametrize("lane", LANES)
def test_a_count_that_differs_is_seen_whatever_the_sample(place: tuple[Shell, Damage], lane: str) -> None:
    shell, damage = place
    assert upload(shell, lane).code == 0
    last = damage.key(lane, 599)
    damage.run("DELETE FROM rows WHERE key=?", last)
    damage.run("UPDATE batches SET rows=rows-1 WHERE rowid=(SELECT max(rowid) FROM batches)")
    damage.run("UPDATE datasets SET rows=rows-1 WHERE number=?", last // SPAN)
    done = verify(shell, "--sample", "0", "--json")
    assert done.code == 5, done.out
    (difference,) = done.json["destinations"][lane]["dataset_differences"]
    assert "rows" in difference["what"]


def test_a_dataset_that_is_gone(place: tuple[Shell, Damage]) -> None:
    shell, damage = place
    assert upload(shell, *LANES).code == 0
    gone = shell.emulator.summary()["nebius"]["datasets"][1]["id"]
    damage.run("DELETE FROM datasets WHERE id=?", gone)
    done = verify(shell)
    assert done.code == 5
    assert f"dataset {gone}: is not there" in done.out
    assert "collinear: equal" in done.out
    damage.run("DELETE FROM datasets WHERE service='collinear'")
    assert "there is no dataset named rows: 600 rows are gone" in verify(shell).out


def test_a_dataset_that_is_not_ready(place: tuple[Shell, Damage]) -> None:
    shell, damage = place
    assert upload(shell, "nebius").code == 0
    id_ = shell.emulator.summary()["nebius"]["datasets"][0]["id"]
    damage.run("UPDATE datasets SET status='FAILED' WHERE id=?", id_)
    done = verify(shell)
    assert done.code == 5
    assert f"dataset {id_}: is FAILED, not READY" in done.out


def test_a_dataset_with_another_schema(place: tuple[Shell, Damage]) -> None:
    shell, damage = place
    assert upload(shell, "nebius").code == 0
    id_ = shell.emulator.summary()["nebius"]["datasets"][0]["id"]
    schema = b'[{"name":"question","type":{"name":"string"}},{"name":"answer","type":{"name":"option","item":{"name":"string"}}}]'
    damage.run("UPDATE datasets SET schema=? WHERE id=?", schema, id_)
    done = verify(shell)
    assert done.code == 5
    assert "another schema" in done.out


@pytest.mark.parametrize("lane", LANES)
def test_rows_that_are_there_twice(place: tuple[Shell, Damage], lane: str) -> None:
    """Resent by the user's own choice: the rows that are there once too often are found."""
    shell, _ = place
    shell.emulator.patch(script={lane: ["ok", "stored_then_500"]})
    assert upload(shell, lane, extra=("--on-doubt", "resend")).code == 0
    assert len(shell.emulator.rows(lane)) > 600  # type: ignore[arg-type]
    done = verify(shell, "--sample", "1.0", "--json")
    assert done.code == 5
    found = done.json["destinations"][lane]
    extra = len(shell.emulator.rows(lane)) - 600  # type: ignore[arg-type]
    if lane == "nebius":
        assert "is a second one named" in found["dataset_differences"][0]["what"]
    else:
        assert f"{extra:,} too many" in found["dataset_differences"][0]["what"]
        assert found["rows_differing"] == extra
        assert {d["kind"] for d in found["row_differences"]} == {"extra"}
        assert len({source_row(shell, d)["question"] for d in found["row_differences"]}) == min(100, extra)


def test_chunks_without_ids_are_found_by_their_rows(place: tuple[Shell, Damage]) -> None:
    """What a count settled has no ids: its rows are among those that no id explains."""
    shell, damage = place
    shell.emulator.patch(script={"collinear": ["ok", "stored_then_reset"]})
    assert upload(shell, "collinear").code == 0
    assert shell.receipt()["destinations"]["collinear"]["evidence"]["count"] == 1
    assert verify(shell, "--sample", "1.0").code == 0
    manifest = json.loads(next(shell.folder.glob(".bulkup/*/manifest.json")).read_bytes())
    (chunk,) = [c for c in manifest["lanes"]["collinear"] if c["evidence"] == "count"]
    before = sum(c["rows"] for c in manifest["lanes"]["collinear"] if c["position"] < chunk["position"])
    victim = json.dumps({**shell.emulator.rows("collinear")[before + 3], "context": "x"})
    damage.run("UPDATE rows SET data=? WHERE key=?", victim.encode(), damage.key("collinear", before + 3))
    done = verify(shell, "--sample", "1.0", "--json")
    assert done.code == 5
    (difference,) = done.json["destinations"]["collinear"]["row_differences"]
    assert (difference["kind"], difference["chunk"]) == ("missing", chunk["chunk"])
    first = chunk["first_row"]
    assert difference["row_number"] == first + 3 + (1 if first <= 101 <= first + 3 else 0)


def test_rows_that_were_there_before_are_not_differences(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    row = {"conv_prefix": [{"role": "user", "content": "q"}], "response": {"role": "assistant", "content": "a"}}
    shell.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[row] * 9)
    assert upload(shell, "collinear", extra=("--append",)).code == 0
    assert verify(shell, "--sample", "1.0").code == 0


@pytest.mark.parametrize("readback", ["off", "forbidden"])
def test_what_cannot_be_read_back_is_not_equal(place: tuple[Shell, Damage], readback: str) -> None:
    shell, _ = place
    assert upload(shell, *LANES).code == 0
    shell.emulator.patch(readback=readback)
    done = verify(shell)
    assert done.code == 4
    assert done.out.count("cannot be verified: the service cannot be read back: HTTP 40") == 2


def test_an_outage_is_75(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    assert upload(shell, *LANES).code == 0
    shell.emulator.patch(readback_faults={lane: {"not_stored_503": 1.0} for lane in LANES})
    done = verify(shell, "--retry-for", "0.5")
    assert done.code == 75
    assert done.out.count("stopped: no request succeeded for too long; the last answer: HTTP 503") == 2


def test_a_wrong_token_is_77(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    assert upload(shell, "nebius").code == 0
    shell.emulator.patch(tokens=["other"])
    assert verify(shell).code == 77


def test_a_changed_source_is_6(place: tuple[Shell, Damage]) -> None:
    """Also where size and time are as they were: what is compared is hashed first."""
    import os

    shell, _ = place
    assert upload(shell, "nebius").code == 0
    path = shell.folder / "rows.jsonl"
    at = path.stat()
    data = bytearray(path.read_bytes())
    data[20_000:20_001] = b"~"
    with path.open("r+b") as stream:  # the same inode
        stream.write(data)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    done = verify(shell, "--sample", "1.0")
    assert (done.code, "the source has changed" in done.err) == (6, True), done
    path.write_bytes(data + b"\n")
    assert verify(shell).code == 6


def test_a_compressed_source(place: tuple[Shell, Damage]) -> None:
    """It is read once, forwards, and once more for what differs."""
    shell, damage = place
    with gzip.open(shell.folder / "rows.jsonl.gz", "wb") as out:
        out.write((shell.folder / "rows.jsonl").read_bytes())
    assert upload(shell, *LANES, source="rows.jsonl.gz").code == 0
    assert verify(shell, "--sample", "1.0").code == 0
    assert verify(shell, "--sample", "0.4").code == 0
    damage.run("DELETE FROM rows WHERE key=?", damage.key("collinear", 500))
    done = verify(shell, "--sample", "1.0", "--json")
    assert done.code == 5
    assert done.json["destinations"]["collinear"]["row_differences"][0]["row_number"] == 502


def test_doubts_and_what_is_left_are_not_equal(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    forbidden = ("ok", *["forbidden_403"] * 40)
    shell.emulator.patch(script={"collinear": ["ok", "stored_then_reset"]}, readback_script={"collinear": forbidden})
    assert upload(shell, "collinear").code == 4
    shell.emulator.patch(readback_script={})
    done = verify(shell, "--sample", "1.0")
    assert done.code == 4
    assert "in doubt: bulkup settle" in done.out
    run = shell.receipt()["run_id"]
    (doubt,) = shell.run("status", "--json").json["lanes"]["collinear"]["doubts"]
    shell.run("settle", run, "--chunk", doubt["chunk"], "--landed")
    assert verify(shell, "--sample", "1.0").code == 0


def test_a_run_that_is_not_at_its_end_is_75(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    shell.emulator.patch(script={"nebius": ["ok", "ok", "payment_402"]})
    assert upload(shell, "nebius").code == 77
    done = verify(shell, "--sample", "1.0")
    assert done.code == 75
    assert "only rows that have landed were compared" in done.out


def test_small_pages_of_a_service_that_gives_no_more(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    assert upload(shell, "collinear").code == 0
    shell.emulator.patch(graphql_page_cap=37)
    assert verify(shell, "--sample", "1.0").code == 0


def test_options_that_will_not_do(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    assert upload(shell, "nebius").code == 0
    for arguments in (["--sample", "2"], ["--sample", "x"], ["--seed", "x"], ["--sample", "-1"]):
        assert verify(shell, *arguments).code == 2
    assert shell.run("verify", "nothing-like-it").code == 2


def test_the_receipt_and_the_manifest_say_how_it_is_known(place: tuple[Shell, Damage]) -> None:
    shell, _ = place
    shell.emulator.patch(script={"nebius": ["ok", "stored_then_reset"], "collinear": ["ok", "stored_then_reset"]})
    assert upload(shell, *LANES).code == 0
    receipt = shell.receipt()
    assert receipt["manifest"] == "manifest.json"
    manifest = json.loads(next(shell.folder.glob(".bulkup/*/manifest.json")).read_bytes())
    for lane, by in (("nebius", "read-back"), ("collinear", "count")):
        one = receipt["destinations"][lane]
        assert one["evidence"][by] == 1
        assert sum(one["evidence"].values()) == one["chunks_landed"]
        assert any("quiet period" in sentence for sentence in one["assumptions"])
        chunks = manifest["lanes"][lane]
        assert sorted({c["evidence"] for c in chunks}) == sorted(["answer", by])
        assert all(c["attempts"] == 1 and c["dataset_id"] for c in chunks)
        assert [c["position"] for c in chunks] == sorted(c["byte_offset"] for c in chunks)
    assert any("422" in s for s in receipt["destinations"]["collinear"]["assumptions"])
