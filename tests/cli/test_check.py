"""`bulkup check` on the command line: what it prints, what it ends with, and that it needs and leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkup.cli.app import main

GOOD = {"question": "q", "answer": "a", "n": 1}
TO = ("--to", "nebius,collinear", "--space-id", "3c90c3cc-0d44-4b50-8888-8dd25736052a")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, and a service that nobody answers for."""
    monkeypatch.chdir(tmp_path)
    for name in ("NEBIUS_API_KEY", "COLLINEAR_API_KEY", "BULKUP_TO"):
        monkeypatch.delenv(name, raising=False)


def write(*rows: Any) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    Path("rows.jsonl").write_text("".join(line + "\n" for line in lines))


def checked(capsys: pytest.CaptureFixture[str], *arguments: str, command: tuple[str, ...] = ("check",)) -> Any:
    code = main([*command, "rows.jsonl", *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == code
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]
    return found


def test_all_that_is_known_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write(*[GOOD] * 3, GOOD | {"n": 2.5}, "not json", "", '{"question":"q","question":"q"}', GOOD | {"n": None})
    found = checked(capsys, "--to", "nebius", "--requests-per-minute", "2")
    assert (found["exit_code"], found["status"], found["looked_at_all"]) == (3, "some rows would be rejected", True)
    size = Path("rows.jsonl").stat().st_size
    assert found["files"] == [{"uri": "rows.jsonl", "format": "jsonl", "packing": "none", "size": size}]
    lane = found["destinations"]["nebius"]
    assert (lane["rows_read"], lane["rows_to_send"], lane["rows_rejected"], lane["rows_blank"]) == (7, 5, 2, 1)
    assert (lane["requests"], lane["datasets"], lane["time_s"], lane["preset"]) == (1, 1, 30.0, "identity")
    assert lane["fit"] is None, "less than 95 % of the rows are questions with answers"
    assert lane["columns"][2] == {
        "name": "n",
        "holds": "text",
        "type": "string",
        "nullable": True,
        "seen": {
            "integer": {"file": "rows.jsonl", "row": 1, "byte": 0},
            "number": {"file": "rows.jsonl", "row": 4, "byte": 123},
            "null": {"file": "rows.jsonl", "row": 8, "byte": 208},
        },
        "rows": {"present": 5, "null": 1, "is_estimate": False},
    }
    assert lane["files"] == [
        {
            "uri": "rows.jsonl",
            "lines": 8,
            "rows_to_send": 5,
            "rows_blank": 1,
            "rows_rejected": 2,
            "largest_row_bytes": None,
        }
    ]
    assert [[place["row"] for place in why["places"]] for why in lane["rejected_for"]] == [[5], [7]]
    assert json.loads(lane["first_row"]) == {"question": "q", "answer": "a", "n": "1"}


def test_a_dry_run_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    write(GOOD, "not json")
    assert checked(capsys, "--to", "nebius") == checked(capsys, "--to", "nebius", "--dry-run", command=("upload",))


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    write(*[GOOD] * 3, GOOD | {"question": 5}, "not json", GOOD | {"late": None, "n": None})
    assert main(["check", "rows.jsonl", "--to", "nebius"]) == 3
    out = capsys.readouterr().out
    assert "rows.jsonl: JSON lines, 229 B" in out
    assert "some rows would be rejected" in out
    assert (
        "question string (other values as their characters): string from rows.jsonl, row 1, integer from rows.jsonl, row 4"
        in out
    )
    assert "n integer?: integer from rows.jsonl, row 1, null from rows.jsonl, row 6 (null in 1)" in out
    assert "late string?: absent from rows.jsonl, row 1, null from rows.jsonl, row 6 (in 1 of 5 rows, null in 1)" in out
    assert '1 row changed: 42 -> "42"' in out
    assert "1 rejected: not valid JSON: expecting value at byte 0 (rows.jsonl, row 5)" in out
    assert 'first row: {"question":"q","answer":"a","n":1,"late":null}' in out


@pytest.mark.parametrize(
    ("rows", "arguments", "code", "said"),
    [
        ([GOOD], (), 0, "all rows would be sent"),
        ([], (), 66, "nothing to upload"),
        ([], ("--empty", "ok"), 0, "all rows would be sent"),
        ([GOOD, "junk", "junk"], ("--max-rejects", "1"), 10, "too many rejected rows"),
    ],
)
def test_what_it_ends_with(
    capsys: pytest.CaptureFixture[str], rows: list[Any], arguments: tuple[str, ...], code: int, said: str
) -> None:
    write(*rows)
    found = checked(capsys, "--to", "nebius", *arguments)
    assert found["exit_code"] == code
    assert said in found["status"]


def test_what_no_upload_would_take_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write({"text": "x"})
    assert main(["check", "rows.jsonl", *TO]) == 2
    assert "collinear: no preset fits 95 %" in capsys.readouterr().err
    assert main(["check", "gone.jsonl", "--to", "nebius"]) == 2
    Path("rows.jsonl").write_bytes(b'[{"a":1},{"a":2},{"a"')
    assert checked(capsys, "--to", "nebius")["destinations"]["nebius"]["rows_to_send"] == 2
    assert main(["check", "rows.jsonl", "--to", "nebius", "-q"]) == 65


@pytest.mark.parametrize(
    ("bad", "said"),
    [("{bad}", "not valid JSON"), ('{"text":"a","text":"b"}', "the key stands twice"), ('{"n":NaN}', "NaN is not")],
)
def test_rows_that_are_rejected_may_fill_the_first_block(
    capsys: pytest.CaptureFixture[str], bad: str, said: str
) -> None:
    """What the columns are is seen further on."""
    write(*[bad + " " * 60] * 3000, *[{"text": "a"}] * 4000)
    lane = checked(capsys, "--to", "nebius", "--max-rejects", "50%")["destinations"]["nebius"]
    assert (lane["rows_to_send"], lane["rows_rejected"]) == (4000, 3000)
    assert said in lane["rejected_for"][0]["reason"]


def test_what_cannot_be_taken_back_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    write(*({f"key{n}": "x"} for n in range(250)), {"v": [1]}, {"v": "plain"})
    few, times, quotes = checked(capsys, "--to", "nebius")["destinations"]["nebius"]["warnings"]
    assert few.startswith("251 columns: are some keys values?")
    assert times.startswith("rows as they are sent take ")
    assert quotes.startswith("plain strings in v are sent as JSON text")


def test_what_a_preset_adds_to_short_rows_is_not_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    write(*({"prompt": "p", "completion": "c"} for _ in range(9)))
    lane = checked(capsys, *TO)["destinations"]["collinear"]
    assert lane["bytes"] > 3 * Path("rows.jsonl").stat().st_size
    assert lane["warnings"] == []


def test_of_a_part_all_figures_are_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    write(*({"n": n, "text": "x" * 100} for n in range(4000)))
    lane = checked(capsys, "--to", "nebius", "--scan", "200KB")["destinations"]["nebius"]
    assert lane["is_estimate"]
    assert lane["bytes_looked_at"] < 300_000
    assert 3600 < lane["rows_to_send"] < 4400
    assert (lane["requests"], lane["datasets"]) == (1, 1)
    main(["check", "rows.jsonl", "--to", "nebius", "--scan", "200KB"])
    assert "all figures are estimates: " in capsys.readouterr().out


def test_tokens_are_estimated_or_counted(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    write(*[{"text": "one two three four", "more": {"deep": ["five"]}, "n": 1}] * 10)
    assert checked(capsys, "--to", "nebius")["tokens"] == {"count": 10 * 22 // 4, "is_estimate": True}
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    file.write_text(WORDS)
    assert main(["check", "rows.jsonl", "--to", "nebius", "--tokenizer", "gone.json"]) == 2
    assert "--tokenizer" in capsys.readouterr().err
    pytest.importorskip("tokenizers")
    found = checked(capsys, "--to", "nebius", "--tokenizer", str(file))
    assert found["tokens"] == {"count": 50, "is_estimate": False}


WORDS = json.dumps(
    {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"one": 0, "[UNK]": 1}, "unk_token": "[UNK]"},
    }
)
"""A tokenizer for which every word is a token."""
