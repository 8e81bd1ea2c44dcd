"""`bulkup runs`, `logs`, `clean` and `status --watch`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from bulkup.cli.block import Block
from bulkup.cli.figures import plural, printable, size_text, time_text
from bulkup.cli.picture import Line, Part, lane_lines
from bulkup.cli.standing_lines import status_lines
from bulkup.cli.streams import put, put_json, say, to_stdout
from bulkup.errors import UsageProblem
from bulkup.journal.place import holder_in
from bulkup.journal.state_files import read_in
from bulkup.run.event_text import event_text
from bulkup.run.folder import RunFolder, StateDir
from bulkup.run.overview import RunLine, cleanable, live_status, overview, snapshot_of
from bulkup.run.pace import Pace
from bulkup.run.record import EVENTS
from bulkup.run.standing import status_json

__all__ = ["clean_runs", "list_runs", "show_log", "watch_run"]

HEADS = ("run", "state", "done", "rows landed", "code", "age")
LOOK_EVERY_S = 1.0
FOLLOW_EVERY_S = 0.3


def list_runs(state: StateDir, *, as_json: bool) -> int:
    """Every run, the newest first."""
    lines = overview(state)
    if as_json:
        put_json([asdict(line) for line in lines])
        return 0
    if not lines:
        raise UsageProblem(f"{state.path}: there are no runs here; --state-dir says where else to look")
    table = [HEADS, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADS))]
    for row in table:
        put("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _cells(line: RunLine) -> tuple[str, ...]:
    return (
        printable(line.run_id),
        line.state if line.state in ("running", "paused") else f"{line.state}: {printable(line.status)}",
        "-" if line.share is None else f"{line.share:.0%}",
        f"{line.rows_landed:,}",
        "-" if line.exit_code is None else str(line.exit_code),
        time_text(line.age_s, whole=True),
    )


def show_log(run: RunFolder, *, as_json: bool, follow: bool) -> int:
    """What *run* has done, line by line; with *follow* until its process ends."""
    lines = _followed(run) if follow else iter(_log_of(run))
    with to_stdout() as out, suppress(KeyboardInterrupt):
        for line in lines:
            out.write((line if as_json else printable(_text_of(line))) + "\n")
            if follow:
                out.flush()
    return 0


def _log_of(run: RunFolder) -> list[str]:
    found = [read_in(run.path, name) for name in (f"{EVENTS}.1", EVENTS)]
    if found == [None, None]:
        raise UsageProblem(f"run {run.run_id} has no log: it was begun by an earlier bulkup, or cleaned away")
    return [line for data in found if data for line in data.decode("utf-8", "replace").splitlines()]


def _followed(run: RunFolder) -> Iterator[str]:
    count = 0
    while True:
        is_over = holder_in(run.path) is None  # asked first: what it wrote last is read then
        lines = _log_of(run)
        yield from lines[min(count, len(lines)) :]
        count = len(lines)
        if is_over:
            return
        time.sleep(FOLLOW_EVERY_S)


def _text_of(line: str) -> str:
    try:
        return event_text(json.loads(line))
    except (ValueError, AttributeError, KeyError, TypeError):
        return line


def clean_runs(state: StateDir, names: Sequence[str], *, yes: bool) -> int:
    """Take away what finished runs no longer need. Says what goes, and asks unless *yes*."""
    runs = [state.find(name) for name in names] if names else [state.run(name) for name in state.runs()]
    found = [(run, files) for run in runs if (files := cleanable(run))]
    if not found:
        say("nothing to clean: only what finished runs no longer need is taken away")
        return 0
    for run, files in found:
        size = size_text(sum(count for _, count in files))
        say(f"run {run.run_id}: {', '.join(path.name for path, _ in files)} ({size})")
    say("receipts, manifests, ids, rejected rows and journals stay, so the same command still sends nothing again")
    if not yes and not _agrees():
        raise UsageProblem("you did not agree; nothing was taken away")
    for _, files in found:
        for path, _ in files:
            path.unlink(missing_ok=True)
    say(f"{plural(len(found), 'run')} cleaned")
    return 0


def _agrees() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageProblem("nothing was taken away: give --yes to agree")
    sys.stderr.write("Take them away? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def watch_run(run: RunFolder) -> int:
    """Where *run* stands, every second, until the process that works on it ends; then as `status` says it."""
    block = Block(sys.stdout) if sys.stdout.isatty() else None
    paces: dict[str, Pace] = {}
    seen: dict[str, Any] | None = None
    next_line_s = 0.0
    with suppress(KeyboardInterrupt):
        while holder_in(run.path) is not None:
            live = live_status(run)
            if live is not None and live != seen and live.get("lanes"):
                seen = live
                if block is not None:
                    block.draw(_picture(live, paces, block.width))
                elif live["elapsed_s"] >= next_line_s:
                    next_line_s = live["elapsed_s"] + 10
                    for line in _picture(live, paces, 10_000):
                        put("".join(part.text for part in line))
            time.sleep(LOOK_EVERY_S)
    if block is not None:
        with suppress(OSError, ValueError):
            block.close()
    put("\n".join(status_lines(status_json(run))))
    return 0


def _picture(live: dict[str, Any], paces: dict[str, Pace], width: int) -> list[Line]:
    lanes = [snapshot_of(values) for values in live["lanes"].values()]
    indent = max((len(lane.lane) for lane in lanes), default=0) + 2
    lines: list[Line] = [[Part(f"run {live['run_id']}: {live['state']}, process {live['pid']} on {live['host']}")]]
    for lane in lanes:
        pace = paces.setdefault(lane.lane, Pace())
        pace.take(live["elapsed_s"], lane)
        lines += lane_lines(lane, pace, elapsed_s=live["elapsed_s"], width=width, indent=indent)
    return lines
