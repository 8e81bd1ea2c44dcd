"""Lines that a thread writes: all of them, in order, for the owner alone; a file that is full makes room."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkup.journal import line_log
from bulkup.journal.line_log import LineLog
from bulkup.tokens.secret import STARS, remember_secret


def test_lines_come_in_order_and_a_full_file_makes_room(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for begin in (0, 40):
        log = LineLog(tmp_path, "events.jsonl", max_bytes=500)
        for number in range(begin, begin + 40):
            log.put(f"line {number:04}")
        log.replace("status.json", f"{begin}\n")
        log.start()
        log.close()
        assert log.trouble is None
    assert (tmp_path / "events.jsonl.1").read_text().splitlines() == [f"line {number:04}" for number in range(40)]
    assert (tmp_path / "events.jsonl").read_text().splitlines() == [f"line {number:04}" for number in range(40, 80)]
    assert (tmp_path / "status.json").read_text() == "40\n"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_what_is_too_much_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_log, "MOST_HELD", 3)
    tmp_path.chmod(0o700)
    log = LineLog(tmp_path, "events.jsonl")
    for number in range(5):
        log.put(str(number))
    log.start()
    log.close()
    assert (tmp_path / "events.jsonl").read_text().splitlines() == ["0", "1", "2", '{"event":"lost","lines":2}']


def test_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "gone", "events.jsonl")
    log.put("x")
    log.start()
    log.close()
    assert log.trouble


def test_no_secret_is_written(tmp_path: Path) -> None:
    """Whoever logs what comes from outside need not think of it."""
    tmp_path.chmod(0o700)
    secret = "line-log-SECRET-0123456789"
    remember_secret(secret)
    log = LineLog(tmp_path, "events.jsonl")
    log.put(f"refused: {secret}")
    log.replace("status.json", secret)
    log.start()
    log.close()
    assert (tmp_path / "events.jsonl").read_text() == f"refused: {STARS}\n"
    assert (tmp_path / "status.json").read_text() == STARS
