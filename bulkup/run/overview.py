"""Every run of a state directory in one line each, and what of them can be cleaned away. Reads files, and opens no live journal."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bulkup.account.verdict import run_verdict
from bulkup.errors import BulkupError, ExitCode
from bulkup.event import LaneSnapshot, Trouble
from bulkup.journal.place import holder_in
from bulkup.journal.reading import view
from bulkup.journal.state_files import read_in
from bulkup.light_dataclass import dataclass
from bulkup.run.accounting import read_record
from bulkup.run.control import ANSWERS, COMMANDS
from bulkup.run.folder import RunFolder, StateDir
from bulkup.run.record import EVENTS, STATUS

__all__ = ["STALE_AFTER_S", "RunLine", "cleanable", "is_elsewhere", "live_status", "overview", "snapshot_of"]

STALE_AFTER_S = 15.0
"""A process that works on a run says so every second."""

_EPHEMERAL = (EVENTS, f"{EVENTS}.1", STATUS, COMMANDS, ANSWERS)
"""What of a finished run serves no later command but `logs`. Journal, receipt, manifest, ids and rejected rows stay: the journal is
what keeps the same command from sending anything again."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run. *state* is running, paused, dead, ended or unreadable; *age_s* counts from its last sign of life."""

    run_id: str
    state: str
    status: str
    exit_code: int | None
    share: float | None
    rows_landed: int
    rows_left: int | None
    age_s: float


def live_status(run: RunFolder) -> dict[str, Any] | None:
    """What the process that works on *run* (or did) last said of itself; None where nothing is known."""
    with suppress(BulkupError, OSError, ValueError):
        found = json.loads(read_in(run.path, STATUS) or b"null")
        if isinstance(found, dict) and isinstance(found.get("unix"), int | float):
            return found
    return None


def snapshot_of(values: dict[str, Any]) -> LaneSnapshot:
    """Where a lane stood, out of `status.json`."""
    known = {name: values[name] for name in LaneSnapshot.__dataclass_fields__ if name in values}
    if known.get("trouble") is not None:
        known["trouble"] = Trouble(**known["trouble"])
    return LaneSnapshot(**known)


def is_elsewhere(live: dict[str, Any] | None) -> bool:
    """Whether a process on another machine works on it, or did when it was last heard of."""
    return live is not None and live.get("state") in ("running", "paused") and live.get("host") != socket.gethostname()


def overview(state: StateDir) -> list[RunLine]:
    """The runs, the newest first. Raises `LocalDisk`."""
    return [_line(state.run(name)) for name in reversed(state.runs())]


def _line(run: RunFolder) -> RunLine:
    live = live_status(run)
    age_s = max(0.0, time.time() - _last_sign(run, live))
    holder = None
    with suppress(BulkupError, OSError):
        holder = holder_in(run.path, run.database)
    if live is not None and (holder is not None or is_elsewhere(live)):
        is_silent = holder is None and age_s > STALE_AFTER_S
        lanes = live.get("lanes", {}).values()
        shares = [lane["done_share"] for lane in lanes if lane.get("done_share") is not None]
        return RunLine(
            run_id=run.run_id,
            state="dead" if is_silent else str(live["state"]),
            status="nothing heard of it" if is_silent else str(live["state"]),
            exit_code=None,
            share=min(shares, default=None),
            rows_landed=sum(lane.get("rows_landed", 0) for lane in lanes),
            rows_left=None,
            age_s=age_s,
        )
    try:
        with view(run.path, run.database) as journal:
            record = read_record(journal)
    except (BulkupError, OSError) as error:
        return RunLine(run.run_id, "unreadable", str(error), None, None, 0, None, age_s)
    verdict = run_verdict(record)
    totals = [lane.totals for lane in record.lanes.values()]
    is_whole = all(lane.planned_whole for lane in record.lanes.values())
    is_counted = all(lane.planned_whole or lane.source_rows is not None for lane in record.lanes.values())
    settled = sum(t.rows_landed + t.rows_rejected + t.rows_skipped for t in totals)
    read = sum(t.rows_read + t.rows_made for t in totals) + sum(lane.rows_unread for lane in record.lanes.values())
    return RunLine(
        run_id=run.run_id,
        state="running" if holder is not None else "ended" if record.has_ended else "dead",
        status="running" if holder is not None else verdict.status if record.has_ended else "its process died",
        exit_code=int(verdict.exit_code) if record.has_ended else None,
        share=min(1.0, settled / read) if is_counted and read else 1.0 if is_whole else None,
        rows_landed=sum(t.rows_landed for t in totals),
        rows_left=sum(t.rows_left for t in totals),
        age_s=age_s,
    )


def _last_sign(run: RunFolder, live: dict[str, Any] | None) -> float:
    found = [float(live["unix"])] if live is not None else []
    for name in ("receipt.json", "journal.db"):
        with suppress(OSError):
            found.append((run.path / name).stat(follow_symlinks=False).st_mtime)
    return max(found, default=0.0)


def cleanable(run: RunFolder) -> list[tuple[Path, int]]:
    """The files of *run* that can go, with their sizes: none unless it has come to its end with everything done."""
    line = _line(run)
    if line.state != "ended" or line.exit_code not in (ExitCode.ALL_LANDED, ExitCode.SOME_REJECTED, ExitCode.EMPTY):
        return []
    found = []
    for name in _EPHEMERAL:
        with suppress(OSError):
            found.append((run.path / name, (run.path / name).stat(follow_symlinks=False).st_size))
    return found
