"""`--map FILE.py:FUNCTION`, through the command line: every row is accounted for, whatever becomes of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import SPACE, Shell, eventually
from tests.e2e.harness import as_collinear, canonical

LANES = ("nebius", "collinear")
FIX = """
import sys

def fix(row):
    n = row["n"]
    if n == 5:
        print("seen", n)
        sys.stdout.write("written\\n")
    if n % 10 == 3:
        return None
    if n % 10 == 4:
        return [{"question": f"{row['q']} {k}" if (n, k) != (104, 2) else None, "answer": row["a"]} for k in range(3)]
    if n == 100:
        raise KeyError("hundred")
    return {"question": row["q"], "answer": row["a"]}
"""


def source_rows() -> list[dict[str, Any]]:
    return [{"q": f"question {n}", "a": f"answer {n}", "n": n} for n in range(300)]


def made(n: int) -> list[dict[str, Any]]:
    row = source_rows()[n]
    if n % 10 == 3 or n == 100:
        return []
    if n % 10 == 4:
        every = [{"question": f"{row['q']} {k}", "answer": row["a"]} for k in range(3)]
        return every[:2] if n == 104 else every
    return [{"question": row["q"], "answer": row["a"]}]


@pytest.fixture
def mapped(shell: Shell) -> Shell:
    lines = [json.dumps(row) for row in source_rows()]
    lines[50:50] = ["", "{"]
    (shell.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (shell.folder / "fix.py").write_text(FIX)
    return shell


MAP = ("--map", "fix.py:fix")
HOW = ("--preset", "question-answer", "--max-chunk-bytes", "4KiB", "--settle-after", "0.1")


def stored(shell: Shell, lane: Any) -> Any:
    return canonical(shell.emulator.rows(lane))


def expected(lane: str, rows: list[dict[str, Any]]) -> Any:
    return canonical(map(as_collinear, rows) if lane == "collinear" else rows)


def test_check_says_what_an_upload_does(mapped: Shell) -> None:
    shell = mapped
    checked = shell.run("check", "rows.jsonl", *shell.both, *MAP, *HOW, "--json")
    assert checked.code == 3, checked.err
    done = shell.run("upload", "rows.jsonl", *shell.both, *MAP, *HOW, "--json")
    for lane in LANES:
        said, came = checked.json["destinations"][lane], done.json["destinations"][lane]
        for figure in ("rows_read", "rows_made", "rows_skipped", "rows_rejected", "rows_blank", "datasets"):
            assert said[figure] == came[figure], figure
        assert (said["rows_to_send"], said["requests"]) == (came["rows_landed"], came["chunks_landed"])
        places = {place["row"] for why in said["rejected_for"] for place in why["places"]}
        assert places == {one["row_number"] for one in came["rejected_for"]}
        assert json.loads(said["first_row"])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_row_is_accounted_for(mapped: Shell, workers: str) -> None:
    shell = mapped
    done = shell.run("upload", "rows.jsonl", *shell.both, *MAP, *HOW, "--workers", workers, "--json")
    assert done.code == 3, done.err
    assert "seen 5" in done.err
    assert "written" in done.err
    good = [row for n in range(300) for row in made(n)]
    for lane in LANES:
        assert stored(shell, lane) == expected(lane, good)
        counts = done.json["destinations"][lane]
        assert (counts["rows_read"], counts["rows_made"], counts["rows_skipped"]) == (301, 60, 30)
        assert (counts["rows_landed"], counts["rows_rejected"]) == (len(good), 3)
        assert [one["row_number"] for one in counts["rejected_for"]] == [52, 103, 107]
    run = done.json["run_id"]
    letters = [json.loads(line) for line in shell.run("rejects", run, "--lane", "nebius").out.splitlines()]
    assert [(one["row_number"], one.get("part")) for one in letters] == [(52, None), (103, None), (107, 3)]
    assert "fix.py, line 14, in fix: KeyError: 'hundred'" in letters[1]["reason"]
    assert json.loads(letters[2]["row"]) == {"question": None, "answer": "answer 104"}
    verified = shell.run("verify", run, *MAP, "--sample", "1.0")
    assert (verified.code, "DIFFERS" in verified.out) == (0, False), verified.out
    ids = [json.loads(line) for line in shell.run("ids", run, *MAP).out.splitlines()]
    rows = [n + (1 if n < 50 else 3) for n in range(300) for _ in made(n)]
    for lane in LANES:
        assert [one["row_number"] for one in ids if one["lane"] == lane] == rows


def test_a_retry_with_a_better_function_lands_what_failed_and_doubles_nothing(mapped: Shell) -> None:
    shell = mapped
    done = shell.run("upload", "rows.jsonl", *shell.both, *MAP, *HOW, "--json")
    run = done.json["run_id"]
    asked = shell.run("rejects", run, "--retry")
    assert asked.code == 2
    assert "--map fix.py:fix once more" in asked.err
    (shell.folder / "better.py").write_text(FIX.replace('raise KeyError("hundred")', "pass"))
    assert shell.run("rejects", run, "-o", "bad.jsonl").code == 0
    letters = [json.loads(line) for line in (shell.folder / "bad.jsonl").read_text().splitlines()]
    for letter in letters:
        letter["row"] = letter["row"].replace("null", '"mended"') if "part" in letter else letter["row"]
    (shell.folder / "mended.jsonl").write_text("".join(json.dumps(letter) + "\n" for letter in letters))
    done = shell.run("rejects", run, "mended.jsonl", "--retry", "--map", "better.py:fix")
    assert done.code == 3, done.err  # the line that holds no row
    good = [row for n in range(300) for row in made(n)]
    good += [{"question": "mended", "answer": "answer 104"}, {"question": "question 100", "answer": "answer 100"}]
    for lane in LANES:
        assert stored(shell, lane) == expected(lane, good)


def test_a_run_goes_on_with_the_same_function_only(mapped: Shell) -> None:
    shell = mapped
    shell.emulator.patch(faults={"nebius": {"payment_402": 1.0}})
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *MAP, *HOW)
    assert done.code == 77, done.err
    shell.emulator.patch(faults={"nebius": {}})
    run = shell.receipt()["run_id"]
    for arguments, code, words in (
        ((), 2, "by --map fix.py:fix: give that again"),
        (("--map", "fix.py:other"), 6, "not the function that the run began with"),
        (("--map", "none.py:fix"), 2, "No such file"),
    ):
        done = shell.run("resume", run, *arguments)
        assert done.code == code, done.err
        assert words in done.err
    text = (shell.folder / "fix.py").read_text()
    (shell.folder / "fix.py").write_text(text + "\n")
    done = shell.run("resume", run, *MAP)
    assert done.code == 6
    assert shell.run("settle", run).code == 2
    (shell.folder / "elsewhere.py").write_text(text)
    done = shell.run("resume", run, "--map", "elsewhere.py:fix", "--settle-after", "0.1")
    assert done.code == 3, done.err
    assert stored(shell, "nebius") == expected("nebius", [row for n in range(300) for row in made(n)])


def test_another_function_makes_another_run(mapped: Shell) -> None:
    shell = mapped
    names = set()
    for text in (FIX, FIX + "\n"):
        (shell.folder / "fix.py").write_text(text)
        environment = {"BULKUP_MAP": "fix.py:fix"}
        done = shell.run(
            "upload",
            "rows.jsonl",
            "--to",
            "collinear",
            "--space-id",
            SPACE,
            *shell.urls,
            "--append",
            environment=environment,
        )
        assert done.code == 3, done.err
        names.add(shell.receipt()["run_id"])
    assert len(names) == 2


def test_a_config_file_names_a_function_for_each_destination(mapped: Shell) -> None:
    shell = mapped
    (shell.folder / "sub").mkdir()
    (shell.folder / "sub" / "own.py").write_text(
        "def nebius(row): return {'text': row['q']}\n"
        "def collinear(row): return {'question': row['q'], 'answer': row['a']}\n"
    )
    (shell.folder / "sub" / "c.toml").write_text(
        f"[nebius]\nmap = 'own.py:nebius'\n[collinear]\nmap = 'own.py:collinear'\nspace_id = '{SPACE}'\n"
    )
    done = shell.run("upload", "rows.jsonl", *shell.both[:4], *shell.urls, "--config", "sub/c.toml")
    assert done.code == 3, done.err
    assert stored(shell, "nebius") == canonical({"text": row["q"]} for row in source_rows())
    run = shell.receipt()["run_id"]
    both = "sub/own.py:collinear,sub/own.py:nebius"
    assert shell.run("verify", run, "--map", both).code in (0, 3)
    assert shell.run("verify", run, "--map", "sub/own.py:nebius").code == 6
    assert shell.run("rejects", run, "--retry").code == 2
    several = shell.run("rejects", run, "--retry", "--map", "fix.py:fix,fix.py:made")
    assert (several.code, "names several functions" in several.err) == (2, True), several.err
    assert shell.run("rejects", run, "--retry", "--map", both).code == 3, "the one bad line is as bad again"


def test_a_function_that_is_not_deterministic(mapped: Shell) -> None:
    """The rows that are made anew for a resumed chunk are others: nothing of it is sent."""
    shell = mapped
    (shell.folder / "fix.py").write_text(
        "import os\ndef fix(row): return {'question': row['q'], 'answer': str(os.getpid())}\n"
    )
    shell.emulator.patch(faults={"nebius": {"payment_402": 1.0}})
    assert shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *MAP, *HOW).code == 77
    shell.emulator.patch(faults={"nebius": {}})
    done = shell.run("resume", shell.receipt()["run_id"], *MAP)
    assert done.code == 6, done.err
    assert "it is not deterministic" in done.err
    assert not shell.emulator.rows("nebius")


def test_what_is_not_deterministic_is_not_compared(mapped: Shell) -> None:
    """Else a row that landed would be called absent, or another."""
    shell = mapped
    (shell.folder / "fix.py").write_text(
        "import os\ndef fix(row): return {'question': row['q'], 'answer': str(os.getpid())}\n"
    )
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *MAP, *HOW)
    assert done.code == 3, done.err
    done = shell.run("verify", shell.receipt()["run_id"], *MAP, "--sample", "1.0")
    assert done.code == 6, done.out
    assert "it is not deterministic" in done.err


def test_what_the_service_refuses_is_set_aside_by_the_row_of_the_source(mapped: Shell) -> None:
    """A part that is refused takes the parts of the same row with it, and no other; a retry sends them as they were made."""
    shell = mapped
    shell.emulator.patch(refuse_rows={"collinear": {"marker": "question 54 1", "status": 422, "names": "none"}})
    to = ("--to", "collinear", "--space-id", SPACE, *shell.urls)
    done = shell.run("upload", "rows.jsonl", *to, *MAP, *HOW, "--json")
    assert done.code == 3, done.err
    good = [row for n in range(300) if n != 54 for row in made(n)]
    assert stored(shell, "collinear") == expected("collinear", good)
    run = done.json["run_id"]
    letters = [json.loads(line) for line in shell.run("rejects", run).out.splitlines()]
    assert [(one["row_number"], one["part"]) for one in letters if one["stage"] == "server"] == [
        (57, 1),
        (57, 2),
        (57, 3),
    ]
    shell.emulator.patch(refuse_rows={"collinear": None})
    assert shell.run("rejects", run, "--retry", *MAP).code == 3
    assert stored(shell, "collinear") == expected("collinear", good + made(54))


def test_a_row_of_many_is_never_cut(shell: Shell) -> None:
    """More rows than a request takes travel alone, and what does not fit is set aside whole."""
    (shell.folder / "fix.py").write_text("def fix(row): return [{'a': 'x' * 50, 'n': n} for n in range(row['n'])]\n")
    counts = [1, 40, 2, 300, 3]
    (shell.folder / "rows.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in counts))
    shell.emulator.patch(body_limit_bytes=8192)
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *MAP, "--json", "--max-rejects", "100%")
    assert done.code == 3, done.err
    counts_ = done.json["destinations"]["nebius"]
    assert (counts_["rows_read"], counts_["rows_made"]) == (5, sum(counts) - 5)
    assert (counts_["rows_landed"], counts_["rows_rejected"]) == (46, 300)


@pytest.mark.parametrize("kind", ["gzip", "array", "standard input"])
def test_other_sources_than_plain_lines(mapped: Shell, kind: str) -> None:
    """Read forwards only, with worker processes that are given the lines."""
    shell = mapped
    rows = source_rows()
    plain = "".join(json.dumps(row) + "\n" for row in rows).encode()
    name = {"gzip": "rows.jsonl.gz", "array": "rows.json", "standard input": "rows.txt"}[kind]
    data = {"gzip": gzip.compress(plain), "array": json.dumps(rows, indent=1).encode(), "standard input": plain}[kind]
    (shell.folder / name).write_bytes(data)
    how = (*shell.both, *MAP, *HOW, "--workers", "2", "--name", "rows", "--json")
    if kind == "standard input":
        with (shell.folder / name).open("rb") as stream:
            done = shell.start("upload", "-", *how, stdin=stream.fileno()).wait()
    else:
        done = shell.run("upload", name, *how)
    assert done.code == 3, done.err
    for lane in LANES:
        assert stored(shell, lane) == expected(lane, [row for n in range(300) for row in made(n)])
        counts = done.json["destinations"][lane]
        assert (counts["rows_read"], counts["rows_made"], counts["rows_skipped"]) == (300, 60, 30)


def test_what_was_added_goes_through_the_function_too(mapped: Shell) -> None:
    shell = mapped
    to = ("--to", "collinear", "--space-id", SPACE, *shell.urls)
    assert shell.run("upload", "rows.jsonl", *to, *MAP, *HOW).code == 3
    more = [{"q": f"more {n}", "a": "a", "n": 7} for n in range(20)]
    with (shell.folder / "rows.jsonl").open("a") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in more))
    done = shell.run("upload", "rows.jsonl", *to, *MAP, *HOW, "--on-source-change", "append")
    assert done.code == 3, done.err
    good = [row for n in range(300) for row in made(n)] + [{"question": row["q"], "answer": "a"} for row in more]
    assert stored(shell, "collinear") == expected("collinear", good)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_and_begun_again_nothing_is_lost_or_doubled(mapped: Shell, workers: str) -> None:
    """What was under way is found by what the function makes anew."""
    shell = mapped
    shell.emulator.patch(latency_ms=60)
    command = (
        "upload",
        "rows.jsonl",
        *shell.both,
        *MAP,
        *HOW,
        "--workers",
        workers,
        "--concurrency",
        "2",
        "--scan",
        "none",
    )

    def received() -> int:
        return int(shell.emulator.summary()["collinear"]["uploads_received"])

    for _ in range(2):
        before = received()
        running = shell.start(*command)
        eventually(lambda before=before: received() >= before + 3)  # type: ignore[misc]
        running.process.kill()
        running.wait()
    shell.emulator.patch(latency_ms=0)
    done = shell.run(*command)
    assert done.code == 3, done.err
    for lane in LANES:
        assert stored(shell, lane) == expected(lane, [row for n in range(300) for row in made(n)])
        counts = shell.receipt()["destinations"][lane]
        assert (counts["rows_read"], counts["rows_made"], counts["rows_skipped"]) == (301, 60, 30)


def test_all_rows_may_be_skipped(mapped: Shell) -> None:
    shell = mapped
    (shell.folder / "fix.py").write_text("def fix(row): return None\n")
    lines = (shell.folder / "rows.jsonl").read_text().splitlines()
    (shell.folder / "rows.jsonl").write_text("\n".join(line for line in lines if line != "{") + "\n")
    done = shell.run("upload", "rows.jsonl", "--to", "collinear", "--space-id", SPACE, *shell.urls, *MAP, "--json")
    assert (done.code, done.json["status"]) == (0, "all rows skipped"), done.err
    assert not shell.emulator.rows("collinear")


def test_a_slow_function_can_be_interrupted(mapped: Shell, tmp_path: Path) -> None:
    """Ctrl-C is heard between rows."""
    shell = mapped
    (shell.folder / "fix.py").write_text(
        "import sys, time\n"
        "def fix(row):\n"
        "    if row['n'] > 150:\n"
        "        print('slow', flush=True)\n"
        "        time.sleep(0.2)\n"
        "    return {'text': row['q']}\n"
    )
    lines = [json.dumps({"n": 0, "q": "x" * 2000}) for _ in range(100)] + [json.dumps(row) for row in source_rows()]
    (shell.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    running = shell.start("upload", "rows.jsonl", "--to", "nebius", *shell.urls, *MAP)
    running.line_on_stderr("slow")
    running.interrupt()
    assert running.wait(15).code == 130


def test_both_sides_of_preferences(shell: Shell) -> None:
    """Through the whole way: scanned, sent, compared, refused by the service and sent again, and found by its ids."""
    rows = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}", "score": n / 4} for n in range(120)]
    rows[7] = {"prompt": "q7", "chosen": "good", "rejected": None, "score": 0}
    (shell.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shell.emulator.patch(refuse_rows={"collinear": {"marker": "bad 50", "status": 422, "names": "none"}})
    to = ("--to", "collinear", "--space-id", SPACE, *shell.urls, "--max-chunk-bytes", "4KiB", "--both-sides")
    done = shell.run("upload", "rows.jsonl", *to, "--drop", "score", "--json")
    assert done.code == 3, done.err
    good = [
        {**as_collinear({"question": row["prompt"], "answer": row[side]}), "ground_truth": label}
        for row in rows
        if row["prompt"] != "q7"
        for side, label in (("chosen", 1), ("rejected", 0))
    ]
    without = [row for row in good if row["response"]["content"] not in ("good 50", "bad 50")]
    assert stored(shell, "collinear") == canonical(without)
    counts = done.json["destinations"]["collinear"]
    assert (counts["rows_read"], counts["rows_made"], counts["rows_rejected"]) == (120, 119, 3)
    run = done.json["run_id"]
    assert "DIFFERS" not in shell.run("verify", run, "--sample", "1.0").out
    found = [json.loads(line)["row_number"] for line in shell.run("ids", run).out.splitlines()]
    assert found == [n + 1 for n in range(120) if n not in (7, 50) for _ in range(2)]
    shell.emulator.patch(refuse_rows={"collinear": None})
    assert shell.run("rejects", run, "--retry").code == 3
    assert stored(shell, "collinear") == canonical(good)
