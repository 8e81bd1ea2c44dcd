"""A log beside the journal: where things stand in it, and what of it stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bulkup.journal.append_log import HELD_BYTES, AppendLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AppendLog]:
    tmp_path.chmod(0o700)
    with closing(AppendLog(tmp_path / "ids.jsonl", good_length=0, base=1000)) as log:
        yield log


def test_places_go_on_where_the_files_before_end(log: AppendLog) -> None:
    """Whether what came before is written yet or held."""
    assert [log.append(b"12345"), log.append(b"6")] == [1000, 1005]
    log.sync()
    assert log.append(b"7" * HELD_BYTES) == 1006
    assert log.append(b"8") == 1006 + HELD_BYTES
    log.sync()
    assert log.path.read_bytes() == b"123456" + b"7" * HELD_BYTES + b"8"


def test_what_the_journal_has_not_recorded_is_cut_off(log: AppendLog) -> None:
    log.append(b"kept")
    assert log.sync() == 4
    log.keep()
    log.append(b"written")
    log.sync()
    log.append(b"held")
    log.undo()
    assert not log.is_ahead
    assert log.path.read_bytes() == b"kept"
    assert log.append(b"again") == 1004


def test_what_stands_behind_the_good_length_is_of_no_transaction(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "ids.jsonl"
    path.touch(0o600)
    path.write_bytes(b"good and half a wri")
    AppendLog(path, good_length=4).close()
    assert path.read_bytes() == b"good"
    with pytest.raises(ValueError, match="lacks 6 bytes"):
        AppendLog(path, good_length=10)
