"""What each fact in the journal is made of: one that is not is damage, and must not be taken for an option or a plan."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bulkup.errors import ExitCode

__all__ = ["LANE_END", "RUN_END", "checked"]

LANE_END = "lane end"
"""How the last process that worked on a lane ended there (see `LaneEnd`); null while one works on it."""

RUN_END = "run end"
"""How the last process that worked on the run came to its end (see `RunRecord`); null while one works on it."""

_Count = Annotated[int, Meta(ge=0)]
_Moment = Annotated[datetime, Meta(tz=True)]
_Size = Annotated[int, Meta(ge=1)]


class _File(msgspec.Struct):
    """A file of the source."""

    uri: str
    size: _Count | None
    mtime_ns: int | None
    inode: int | None
    format: str
    compression: str


class _Upload(msgspec.Struct):
    """What was asked for."""

    sources: list[str]
    destinations: dict[str, dict[str, Any]]
    settings: dict[str, Any]


class _Plan(msgspec.Struct):
    """What is frozen for a lane."""

    tile_bytes: _Size
    rows: dict[str, Any]
    max_body_bytes: _Size
    max_rows: _Size | None
    max_row_bytes: _Size
    segments: Annotated[list[tuple[_Count, _Count]], Meta(min_length=1)]


class _Survey(msgspec.Struct):
    """What a lane's first look found."""

    at: float
    found: list[tuple[str, str | None, int | None]]
    unavailable: str | None


class _Decision(msgspec.Struct):
    """What a person said of a chunk."""

    chunk: str
    said: str
    at: float


class _LaneEnd(msgspec.Struct):
    """How the last process that worked on a lane ended there."""

    reason: str | None
    exit_code: ExitCode | None
    unseen: str | None


class _RunEnd(msgspec.Struct):
    """How the last process that worked on the run ended."""

    interrupted: ExitCode | None


_SHAPES: dict[str, Any] = {
    "files": list[_File],
    "upload": _Upload,
    "started_at": _Moment,
    "finished_at": _Moment,
    "plan": _Plan,
    "survey": _Survey,
    "decisions": list[_Decision],
    "failed datasets": list[str],
    "audited": _Count,
    "largest body": _Count,
    "planned whole": bool,
    "refusals store nothing": bool,
    "limited by": str | None,
    LANE_END: _LaneEnd | None,
    RUN_END: _RunEnd | None,
    "late": str | None,
    "unreadable": str | None,
}
"""By key, as the parts that record them write them. Others are read as they are."""


def checked(key: str, text: str) -> Any:
    """The fact *key* out of *text*, as JSON. Raises `sqlite3.DatabaseError` where it is not of its kind."""
    try:
        value = json.loads(text)  # which takes a path's bytes that are not UTF-8, as lone surrogates
        if key in _SHAPES:
            msgspec.convert(value, _SHAPES[key])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise sqlite3.DatabaseError(f"the fact {key!r} makes no sense: {error}") from error
    return value
