"""A line of `events.jsonl` as a person reads it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["event_text", "level_of", "said_of"]

_LEVELS = {"began": 1, "chunk": 1, "taken_up": 1, "request": 2}


def level_of(event: str) -> int:
    """How much must be wanted for it to be shown: 0 always, 1 with `-v`, 2 with `-vv`."""
    return _LEVELS.get(event, 0)


def event_text(record: Mapping[str, Any]) -> str:
    """*record* in one line: when, which lane, what."""
    lane = f"{record['lane']}: " if record.get("lane") else ""
    return f"{record.get('at', '')}  {lane}{said_of(record)}"


def said_of(record: Mapping[str, Any]) -> str:
    """What happened, in words."""
    match record.get("event"):
        case "note":
            return str(record.get("text", ""))
        case "began":
            return f"began: bulkup {record.get('version')}, process {record.get('pid')} on {record.get('host')}"
        case "chunk":
            old = f"{record['from']} -> " if record.get("from") else ""
            return f"chunk {record.get('chunk')} {old}{record.get('to')}: {record.get('rows', 0):,} rows"
        case "request":
            reason = f": {record['reason']}" if record.get("reason") else ""
            took = record.get("took_s")
            return f"request with chunk {record.get('chunk')}: {record.get('outcome')}, {took} s{reason}"
        case "progress":
            share = record.get("done_share")
            done = "" if share is None else f"{share:.0%}, "
            return f"{done}{record.get('rows_landed', 0):,} rows landed"
        case "taken_up":
            return f"taken up: {record.get('rows_landed', 0):,} rows landed before"
        case "ended":
            return f"ended: {record.get('status')}, exit code {record.get('exit_code')}"
        case "paused":
            return "paused"
        case "continued":
            return "goes on"
        case "set":
            values = ", ".join(f"{key} {value}" for key, value in record.get("values", {}).items())
            return f"set: {values}"
        case other:
            return str(other)
