"""What a run leaves behind of what it does, beside its journal: `events.jsonl`, `status.json` and the log file that the user wants.

`status`, `logs` and `runs` read them, also on other machines; no decision is made from them.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from bulkup.account.finished import Event, Finished
from bulkup.errors import UsageProblem
from bulkup.event import LaneSnapshot, Logged, Note, Progress, Snapshot
from bulkup.journal.line_log import LineLog
from bulkup.light_dataclass import as_dict
from bulkup.path_text import local
from bulkup.run.event_text import event_text
from bulkup.run.folder import RunFolder
from bulkup.run.pace import Pace
from bulkup.settings.config import RunSettings
from bulkup.settings.run import LogFormat
from bulkup.sources import Source
from bulkup.version import VERSION

__all__ = ["EVENTS", "STATUS", "RunRecord", "checked_log_file", "logged_of"]

EVENTS, STATUS = "events.jsonl", "status.json"
MAX_EVENTS_BYTES = 64 << 20
STATUS_EVERY_S, PROGRESS_EVERY_S = 1.0, 10.0


def checked_log_file(settings: RunSettings, source: Source) -> Path | None:
    """The file of `--log-file`, to which lines are appended: never one of the *source*. Raises `UsageProblem`."""
    if not settings.log_file:
        return None
    path = Path(settings.log_file).absolute()
    what = f"--log-file {settings.log_file}"
    if path.is_dir():
        raise UsageProblem(f"{what}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageProblem(f"{what}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageProblem(f"{what}: cannot be written")
    with suppress(OSError):
        inode = path.stat().st_ino
        for file in source.files:
            if file.inode == inode and path.samefile(local(file.uri.partition("::")[0])):
                raise UsageProblem(
                    f"{what}: is a file that is uploaded; the log would be written into it. Name another file"
                )
    return path


class RunRecord:
    """Writes down what a run says. Nothing is written before `start`, and what it says is never waited for."""

    def __init__(self, folder: RunFolder, *, log_file: Path | None, log_format: LogFormat) -> None:
        self._run_id = folder.run_id
        self._log = LineLog(folder.path, EVENTS, max_bytes=MAX_EVENTS_BYTES)
        self._own = None if log_file is None else LineLog(log_file.parent, log_file.name, is_the_user_s=True)
        self._format = log_format
        self._state = "running"
        self._next_status_s = self._next_progress_s = 0.0
        self._status: dict[str, Any] = {}
        self._paces: dict[str, Pace] = {}
        self._has_started = False

    async def start(self) -> None:
        """The run is open: what it said so far is written, and from now on all that it says."""
        self._has_started = True
        self._log.start()
        if self._own is not None:
            self._own.start()
        self._write_status({})

    async def close(self) -> None:
        """The process is done with the run."""
        if not self._has_started:
            return
        if self._state != "ended":
            self._state = "stopped"
            self._write_status(self._status)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._log.close)
            if self._own is not None:
                await anyio.to_thread.run_sync(self._own.close)

    def heard_by(self, tell: Callable[[Event], None]) -> Callable[[Event], None]:
        """What hears all events: this, and then *tell*."""

        def both(event: Event) -> None:
            self.take(event)
            tell(event)

        return both

    def take(self, event: Event) -> None:
        """Write down *event*."""
        match event:
            case Snapshot():
                self._take_snapshot(event)
            case Progress():
                if event.elapsed_s >= self._next_status_s:
                    self._next_status_s = event.elapsed_s + STATUS_EVERY_S
                    self._write_status({**self._status, "stages": [as_dict(stage) for stage in event.stages]})
            case _:
                if isinstance(event, Logged) and event.kind in ("paused", "continued"):
                    self._state = "paused" if event.kind == "paused" else "running"
                    self._write_status(self._status)
                if isinstance(event, Finished):
                    self._state = "ended"
                    ended = {"status": event.receipt.status, "exit_code": event.receipt.exit_code}
                    self._write_status({**self._status, **ended})
                self._put(logged_of(event))

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        for lane in snapshot.lanes:
            self._paces.setdefault(lane.lane, Pace()).take(snapshot.elapsed_s, lane)
        if snapshot.elapsed_s >= self._next_progress_s:
            self._next_progress_s = snapshot.elapsed_s + PROGRESS_EVERY_S
            for lane in snapshot.lanes:
                self._put(Logged("progress", lane.lane, _progress(lane)))
        if snapshot.elapsed_s >= self._next_status_s or all(lane.ended for lane in snapshot.lanes):
            self._next_status_s = snapshot.elapsed_s + STATUS_EVERY_S
            lanes = {lane.lane: {**as_dict(lane), "done_share": lane.done_share} for lane in snapshot.lanes}
            rates = {name: (round(p.bytes_per_s), round(p.rows_per_s, 1)) for name, p in self._paces.items()}
            self._write_status({"elapsed_s": round(snapshot.elapsed_s, 3), "lanes": lanes, "rates": rates})

    def _put(self, event: Logged) -> None:
        record = {"at": _now(), "event": event.kind, "run": self._run_id}
        record |= {"lane": event.lane} if event.lane else {}
        record |= event.fields
        line = _json(record)
        self._log.put(line)
        if self._own is not None:
            self._own.put(line if self._format is LogFormat.JSON else event_text(record))

    def _write_status(self, found: dict[str, Any]) -> None:
        self._status = found
        if self._has_started:
            head = {
                "run_id": self._run_id,
                "state": self._state,
                "at": _now(),
                "unix": round(time.time(), 3),
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "version": VERSION,
            }
            self._log.replace(STATUS, _json({**head, **found}) + "\n")


def logged_of(event: Event) -> Logged:
    """*event* as a line of a log has it."""
    match event:
        case Note():
            return Logged("note", event.lane, {"text": event.text})
        case Finished():
            receipt = event.receipt.to_json()
            lanes = {
                name: {key: value for key, value in lane.items() if key not in ("remote", "assumptions")}
                for name, lane in receipt["destinations"].items()
            }
            head = {key: receipt[key] for key in ("status", "exit_code", "started_at", "finished_at", "duration_s")}
            return Logged("ended", "", {**head, "destinations": lanes})
        case Snapshot():
            return Logged("progress", "", {lane.lane: _progress(lane) for lane in event.lanes})
        case Progress():
            return Logged("stage", "", {"stages": [as_dict(stage) for stage in event.stages]})
        case Logged():
            return event


def _progress(lane: LaneSnapshot) -> dict[str, Any]:
    share = lane.done_share
    return {
        "done_share": None if share is None else round(share, 4),
        "rows_read": lane.rows_read,
        "rows_landed": lane.rows_landed,
        "rows_rejected": lane.rows_rejected,
        "rows_in_doubt": lane.rows_in_doubt,
        "chunks_landed": lane.chunks_landed,
        "bytes_sent": lane.bytes_sent,
        "in_flight": lane.in_flight,
        "limited_by": lane.limited_by or None,
        "left_s": None if lane.left_s is None else round(lane.left_s, 1),
        "trouble": None if lane.trouble is None or lane.trouble.is_over else lane.trouble.reason,
    }


_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode
"""Made once: each chunk has three lines."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
