"""Where a run stands, from its journal alone, or from what a process on another machine says of itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from bulkup.account.row_numbers import first_rows
from bulkup.account.verdict import LaneRecord, Verdict, lane_verdict, run_verdict
from bulkup.chunk import ChunkState
from bulkup.errors import BulkupError
from bulkup.journal.base import LOST
from bulkup.journal.facts import (
    DECISIONS,
    FILES,
    FINISHED_AT,
    LIMITED_BY,
    STARTED_AT,
    UPLOAD,
    FileRecord,
    UploadRecord,
)
from bulkup.journal.place import holder_in
from bulkup.journal.reading import JournalView, view
from bulkup.journal.state_files import read_in
from bulkup.light_dataclass import as_dict
from bulkup.run.accounting import read_record
from bulkup.run.folder import RECEIPT, RunFolder, StateDir
from bulkup.run.overview import is_elsewhere, live_status

__all__ = ["doubts_of", "status_json"]

SHOWN_DATASETS = 3


def status_json(run: RunFolder) -> dict[str, Any]:
    """What is known of the run, as `--json` prints it. Where no process works on it, its exit code is a receipt's.

    Where one on another machine does, its journal is not opened: what it says of itself every second is all that is told.
    """
    live = live_status(run)
    if live is not None and is_elsewhere(live):
        return _elsewhere(run, live)
    with view(run.path) as journal:
        upload = journal.fact(UPLOAD) or UploadRecord([], {}, {})
        files = journal.fact(FILES) or ()
        running = _running(run.path)
        record = read_record(journal)
        return {
            "run_id": run.run_id,
            "folder": str(run.path),
            "running": running,
            "name": upload.settings.get("name"),
            "sources": upload.sources,
            "started_at": journal.fact(STARTED_AT),
            "finished_at": journal.fact(FINISHED_AT),
            "has_ended": record.has_ended and running is None,
            **_came_to(None if running else run_verdict(record)),
            "lanes": {
                name: _lane(journal, name, lane, files, is_running=running is not None)
                for name, lane in record.lanes.items()
            },
            "receipt": _receipt(run.path),
            "retries": _retries(run),
            "live": live if running is not None else None,
        }


def _elsewhere(run: RunFolder, live: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "folder": str(run.path),
        "running": {"pid": live.get("pid"), "host": live.get("host")},
        "status": live.get("state"),
        "exit_code": None,
        "has_ended": False,
        "lanes": {},
        "receipt": None,
        "live": live,
    }


def _retries(run: RunFolder) -> list[dict[str, Any]]:
    """The runs that sent rejected rows of *run* again: what each came to, and where its rows are. One that cannot be read is left
    out: it has a status of its own."""
    state, begin = StateDir(run.path.parent), f"{run.run_id}-retry-"
    names = [name for name in state.runs() if name.startswith(begin) and "-retry-" not in name[len(begin) :]]
    found: list[dict[str, Any]] = []
    for name in names:
        with suppress(BulkupError), view(state.run(name).path) as journal:
            found += [_retry(name, lane, record, journal) for lane, record in read_record(journal).lanes.items()]
    return found


def _retry(name: str, lane: str, record: LaneRecord, journal: JournalView) -> dict[str, Any]:
    totals = record.totals
    return {
        "run_id": name,
        "lane": lane,
        "rows_read": totals.rows_read,
        "rows_landed": totals.rows_landed,
        "rows_rejected": totals.rows_rejected,
        "rows_in_doubt": totals.rows_in_doubt,
        "datasets": [msgspec.to_builtins(entry) for entry in journal.remote(lane, SHOWN_DATASETS)],
    }


def _came_to(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"status": "running", "exit_code": None}
    return {"status": verdict.status, "exit_code": int(verdict.exit_code)}


def _lane(
    journal: JournalView, name: str, lane: LaneRecord, files: Sequence[FileRecord], *, is_running: bool
) -> dict[str, Any]:
    totals, planned = lane.totals, lane.planned_whole
    chunks = {count.state: {"chunks": count.chunks, "rows": count.rows} for count in journal.states(name)}
    in_flight = chunks.get(ChunkState.SENDING, {"rows": 0})["rows"] if is_running else 0
    sizes = [file.size or 0 for file in files]
    plain = all(size and file.compression == "none" for size, file in zip(sizes, files, strict=True))
    verdict = None if is_running and lane.end is None else lane_verdict(lane)
    return {
        **_came_to(verdict),
        "reason": verdict.reason if verdict else None,
        "last_trouble": None if lane.trouble is None else as_dict(lane.trouble),
        "rows_read": totals.rows_read + lane.rows_unread,
        "rows_blank": totals.rows_blank,
        "rows_landed": totals.rows_landed,
        "rows_rejected": totals.rows_rejected,
        "rows_in_doubt": totals.rows_in_doubt - in_flight,
        "rows_in_flight": in_flight,
        "rows_left": totals.rows_left + lane.rows_unread,
        "rows_planned": totals.rows_left,
        "rows_skipped": totals.rows_skipped,
        "rows_made": totals.rows_made,
        "changes": journal.changes(name),
        "bytes_landed": totals.bytes_landed,
        "limited_by": journal.fact(LIMITED_BY, name) if is_running else None,
        "source_read_whole": planned,
        "source_read_share": 1.0 if planned else journal.planned_to(name) / sum(sizes) if files and plain else None,
        "chunks": chunks,
        "evidence": journal.evidence(name),
        "decisions": [msgspec.to_builtins(said) for said in journal.fact(DECISIONS, name)],
        "doubts": _doubts(journal, name, files, is_running=is_running) if totals.chunks_in_doubt else [],
    }


def _doubts(journal: JournalView, lane: str, files: Sequence[FileRecord], *, is_running: bool) -> list[dict[str, Any]]:
    """What is in doubt; where no process works on the run, that is also what stands as being sent."""
    states = {ChunkState.IN_DOUBT} if is_running else {ChunkState.IN_DOUBT, ChunkState.SENDING}
    return [
        {
            "chunk": str(chunk.id),
            "name": chunk.name,
            "rows": chunk.rows,
            "file": files[chunk.file].uri,
            "first_row": first.get(chunk.file, 1),
            "lines": chunk.line_count,
            "attempts": chunk.attempts,
            "reason": chunk.reason or LOST,
        }
        for chunk, first in first_rows(journal.chunks(lane))
        if chunk.state in states
    ]


def doubts_of(folder: Path, lane: str) -> list[dict[str, Any]]:
    """What is in doubt in a lane of the run in *folder*, on which no process works."""
    with view(folder) as journal:
        files = journal.fact(FILES)
        return _doubts(journal, lane, files or (), is_running=False)


def _receipt(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_in(folder, RECEIPT) or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _running(folder: Path) -> dict[str, Any] | None:
    """The process that works on the run in *folder*, if one does."""
    holder = holder_in(folder)
    return None if holder is None else {"pid": holder.pid, "host": holder.host}
