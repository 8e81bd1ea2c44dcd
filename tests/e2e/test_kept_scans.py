"""A source that was checked is not read once more by the upload, unless it, or what is wanted of it, has changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkup.errors import DestinationNotEmpty
from bulkup.run import kept_scans, scanning
from bulkup.run.checking import check
from bulkup.scan.scanner import scan
from tests.e2e.harness import Bench


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lanes of every scan that is made. Every source is a large one."""
    monkeypatch.setattr(scanning, "LEAST_BYTES", 1)
    made: list[str] = []

    def counted(ways: Any, *more: Any, **options: Any) -> Any:
        made.extend(ways)
        return scan(ways, *more, **options)

    monkeypatch.setattr(scanning, "scan", counted)
    return made


async def _check(bench: Bench, **settings: Any) -> None:
    await check(bench.upload(bench.nebius(**settings)), tell=lambda _: None)


async def test_check_and_then_upload_read_the_source_once(small: Bench, scans: list[str], tmp_path: Path) -> None:
    await _check(small)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["scans"]
    receipt = await small.run()
    assert scans == ["nebius", "collinear"], "each once"
    assert receipt.exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


async def test_what_changes_rows_or_files_makes_it_another_scan(small: Bench, scans: list[str]) -> None:
    await _check(small)
    await _check(small)
    assert len(scans) == 1
    await _check(small, drop=("answer",))
    assert len(scans) == 2
    stat = small.source.stat()
    os.utime(small.source, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    await _check(small)
    assert len(scans) == 3
    upload = small.upload(small.nebius())
    renamed = replace(upload, settings=upload.settings.model_copy(update={"rename": ("answer=reply",)}))
    checked = await check(renamed, tell=lambda _: None)
    assert len(scans) == 4
    assert [column.name for column in checked.lanes["nebius"].plan.columns or ()] == ["question", "reply"]


async def test_what_is_kept_is_bounded_and_damage_costs_a_scan(
    small: Bench, scans: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_scans, "_MOST", 1)
    await _check(small)
    await _check(small, preset="question-answer")
    (kept,) = (tmp_path / "state" / "scans").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(b"{}")
    await _check(small, preset="question-answer")
    assert len(scans) == 3


async def test_a_destination_that_is_not_free_is_found_before_a_large_source_is_read(
    small: Bench, scans: list[str]
) -> None:
    small.emulator.write("collinear", dataset_name="rows", space_id=small.collinear().space_id, rows=[])
    with pytest.raises(DestinationNotEmpty):
        await small.run(small.collinear())
    assert scans == []
