"""`bulkup status`: where a run stands, from its journal alone."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from bulkup.account.row_numbers import first_rows
from bulkup.account.verdict import LaneRecord, Verdict, lane_verdict, run_verdict
from bulkup.chunk import ChunkState, Evidence
from bulkup.cli.figures import changed, plural, printable, time_text
from bulkup.cli.picture import parts_of, plain
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
from bulkup.journal.locks import holder_of
from bulkup.journal.reading import JournalView, view
from bulkup.journal.state_files import read_in
from bulkup.run.accounting import read_record
from bulkup.run.folder import RECEIPT, RunFolder, StateDir
from bulkup.run.overview import STALE_AFTER_S, is_elsewhere, live_status, snapshot_of
from bulkup.run.pace import Pace

__all__ = ["doubts_of", "status_json", "status_lines"]

SHOWN_DOUBTS = 10
SHOWN_DATASETS = 3
EVIDENCE = {
    Evidence.ANSWER: "the service's answer",
    Evidence.READ_BACK: "reading back",
    Evidence.COUNT: "the row count",
    Evidence.PERSON: "a person's word",
}
ROWS = (
    ("landed", "landed"),
    ("rejected", "rejected"),
    ("in_doubt", "in doubt"),
    ("in_flight", "in flight"),
    ("left", "left"),
    ("skipped", "skipped"),
)
ONLY_IF_ANY = {"in_flight", "skipped"}


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
        running = _running(run.path / "lock")
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
        "last_trouble": None if lane.trouble is None else asdict(lane.trouble),
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


def _running(lock: Path) -> dict[str, Any] | None:
    """The process that holds *lock*, if one does."""
    holder = holder_of(lock)
    return None if holder is None else {"pid": holder.pid, "host": holder.host}


def status_lines(found: dict[str, Any]) -> list[str]:
    """The same for a person."""
    lines = [f"run {found['run_id']}, kept in {printable(found['folder'])}"]
    if "sources" not in found:
        return [*lines, *_live_lines(found["live"], found["running"])]
    lines.append(f"sources: {', '.join(map(printable, found['sources']))}")
    if found["running"]:
        lines += _live_lines(found.get("live") or {}, found["running"])
    for lane, values in found["lanes"].items():
        lines += _lane_lines(lane, values)
    lines += [_retry_line(retry) for retry in found["retries"]]
    lines += _ways_out(found)
    receipt = found["receipt"]
    if receipt:
        lines += _last_limits(receipt)
    last = found if found["has_ended"] else receipt
    if last:
        lines.append(f"last receipt: {last['status']}, exit code {last['exit_code']}, finished {last['finished_at']}")
    elif not found["running"]:
        lines.append("no receipt yet: the run has not finished")
    return lines


def _retry_line(retry: dict[str, Any]) -> str:
    came_to = [f"{retry['rows_landed']:,} landed"]
    came_to += [
        f"{retry['rows_' + key]:,} {title}"
        for key, title in (("rejected", "rejected again"), ("in_doubt", "in doubt"))
        if retry["rows_" + key]
    ]
    where = ", ".join(f"{printable(d['name'])} (id {printable(d['id']) or 'not known'})" for d in retry["datasets"])
    line = f"retry of rejected rows: {plural(retry['rows_read'], 'row')} sent again to {retry['lane']}: {', '.join(came_to)}"
    return f"{line}{', in ' + where if where else ''}; run {retry['run_id']}"


def _live_lines(live: dict[str, Any], holder: dict[str, Any]) -> list[str]:
    """What the process that works on it last said of itself: state, rate, time left, quota, what it waits for."""
    where = f"process {holder['pid']} on {holder['host']}"
    silent_s = time.time() - live["unix"] if "unix" in live else 0.0
    if silent_s > STALE_AFTER_S:
        lines = [f"{where} has said nothing for {time_text(silent_s, whole=True)}: it may be stopped, or dead"]
    else:
        lines = [f"paused: {where}" if live.get("state") == "paused" else f"running now: {where}"]
    for lane in map(snapshot_of, live.get("lanes", {}).values()):
        pace = Pace()
        pace.bytes_per_s, pace.rows_per_s = live.get("rates", {}).get(lane.lane, (0.0, 0.0))
        lines.append(f"  {lane.lane}: {plain(parts_of(lane, pace, elapsed_s=live['elapsed_s']))}")
    return lines


def _last_limits(receipt: dict[str, Any]) -> list[str]:
    """What limited each lane the last time, by the receipt."""
    by = {lane: d["this_invocation"].get("limited_by") for lane, d in receipt["destinations"].items()}
    return [f"the last time, {lane} was limited by the {limit}" for lane, limit in by.items() if limit]


def _ways_out(found: dict[str, Any]) -> list[str]:
    """What can be done about doubts, where no process is at it."""
    doubtful = [(lane, values["doubts"][0]) for lane, values in found["lanes"].items() if values["doubts"]]
    if not doubtful or found["running"]:
        return []
    folder = Path(found["folder"])
    where = "" if folder.parent == Path(".bulkup") else f" --state-dir {shlex.quote(str(folder.parent))}"
    command = f"bulkup settle {shlex.quote(found['run_id'])}{where}"
    which = f" --lane {doubtful[0][0]}" if len(found["lanes"]) > 1 else ""
    return [
        f"to look again: {command} (sends nothing)",
        f"to decide yourself: {command} --chunk {doubtful[0][1]['chunk']}{which} --landed, or --absent",
    ]


def trouble_text(trouble: dict[str, Any], *, is_running: bool) -> str:
    """The last trouble as `status` says it: what went wrong, how long ago, and what bulkup does about it."""
    ago = time_text(max(0.0, time.time() - trouble["at"]))
    if trouble["is_over"] or not trouble["doing"] or not is_running:
        return f"last trouble, {ago} ago: {printable(trouble['reason'])}"
    left = "" if trouble["until"] is None else f" {time_text(max(0.0, trouble['until'] - time.time()))}"
    return f"trouble, {ago} ago: {printable(trouble['reason'])}; {trouble['doing']}{left}"


def _lane_lines(lane: str, values: dict[str, Any]) -> list[str]:
    share = values["source_read_share"]
    if values["source_read_whole"]:
        read = "the whole source has been read"
    else:
        read = (
            "the source has not been read to its end" if share is None else f"{share:.0%} of the source has been read"
        )
    rows = ", ".join(
        f"{values['rows_' + key]:,} {title}" for key, title in ROWS if key not in ONLY_IF_ANY or values["rows_" + key]
    )
    chunks = ", ".join(f"{count['chunks']:,} {state}" for state, count in sorted(values["chunks"].items())) or "none"
    made = f" + {values['rows_made']:,} made" if values["rows_made"] else ""
    lines = [f"{lane}: {read}", f"  rows: {values['rows_read']:,} read{made} = {rows}", f"  chunks: {chunks}"]
    if values["changes"]:
        kinds = ", ".join(f"{changed(kind)}: {plural(rows, 'row')}" for kind, rows in values["changes"].items())
        lines.append(f"  changed: {kinds}")
    if values["reason"]:
        lines.append(f"  {values['status']}: {printable(values['reason'])}")
    if (trouble := values["last_trouble"]) is not None:
        lines.append("  " + trouble_text(trouble, is_running=values["status"] == "running"))
    if values["limited_by"]:
        lines.append(f"  limited by: the {values['limited_by']}")
    if values["evidence"].keys() - {Evidence.ANSWER}:
        by = ", ".join(f"{count:,} by {EVIDENCE[Evidence(key)]}" for key, count in values["evidence"].items())
        lines.append(f"  landed: {by}")
    lines += [
        f"  chunk {d['chunk']}: decided by a person to be {d['said']}" for d in values["decisions"][-SHOWN_DOUBTS:]
    ]
    for doubt in values["doubts"][:SHOWN_DOUBTS]:
        last = doubt["first_row"] + doubt["lines"] - 1
        where = f"rows {doubt['first_row']:,} to {last:,} of {printable(doubt['file'])}"
        lines.append(f"  in doubt: chunk {doubt['chunk']}, {where}: {printable(doubt['reason'])}")
    if len(values["doubts"]) > SHOWN_DOUBTS:
        lines.append(f"  and {plural(len(values['doubts']) - SHOWN_DOUBTS, 'more chunk')} in doubt; --json names all")
    return lines
