"""`bulkup status`: where a run stands, for a person."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from bulkup.chunk import Evidence
from bulkup.cli.figures import changed, plural, printable, time_text
from bulkup.cli.picture import parts_of, plain
from bulkup.run.overview import STALE_AFTER_S, snapshot_of
from bulkup.run.pace import Pace

__all__ = ["status_lines"]

SHOWN_DOUBTS = 10
SHOWN_DATASETS = 3
EVIDENCE = {
    Evidence.ANSWER: "the service's answer",
    Evidence.KEPT_ANSWER: "the service's answer, which a worker had kept",
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
