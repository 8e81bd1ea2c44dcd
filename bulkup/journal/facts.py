"""The facts that a journal keeps beside its chunks: each declared once, with its type, what it means, and who it is about.

A fact stands in the journal as JSON under a key. One that is not of its type is damage, and must not be taken for an option or a
plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from math import inf, isfinite
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from bulkup.account.verdict import LaneEnd
from bulkup.errors import ExitCode
from bulkup.event import Trouble
from bulkup.light_dataclass import dataclass, replace
from bulkup.refusal import Refusal, attempt

__all__ = [
    "ADDED",
    "AGREED",
    "AUDITED",
    "BASES",
    "CLOCK",
    "DECISIONS",
    "EARLIER_UNTIL",
    "FAILED_DATASETS",
    "FAR_LEASE_S",
    "FILES",
    "FINISHED_AT",
    "LANE_END",
    "LARGEST_BODY",
    "LAST_TROUBLE",
    "LATE",
    "LIMITED_BY",
    "PLAN",
    "PLANNED_WHOLE",
    "REFUSALS_STORE_NOTHING",
    "RUN_END",
    "RUN_TOKEN",
    "SCAN",
    "STARTED_AT",
    "SURVEY",
    "UNREADABLE",
    "UPLOAD",
    "AddedRecord",
    "Anchor",
    "CountedKeys",
    "Decided",
    "Fact",
    "FileRecord",
    "Found",
    "LaneFact",
    "PlanRecord",
    "RunEnd",
    "RunFact",
    "ScanRecord",
    "ScannedFile",
    "Survey",
    "UploadRecord",
]

T = TypeVar("T")

_Count = Annotated[int, Meta(ge=0)]
_Size = Annotated[int, Meta(ge=1)]
_Seconds = Annotated[float, Meta(ge=0, le=3600)]


@dataclass(frozen=True, slots=True)
class Fact(Generic[T]):
    """What stands under *key*: a value of *kind*, or *unset* as long as nothing was recorded. Where that is None, recording None
    takes back what was. *is_needed*: a value that makes no sense is damage; else it counts as not recorded. *check* raises
    `ValueError` for a value that its kind alone does not tell from others."""

    key: str
    kind: Any
    unset: T
    is_needed: bool = True
    check: Callable[[Any], None] = lambda _: None

    def to_text(self, value: T) -> str:
        """As the journal keeps it."""
        text = attempt(msgspec.json.encode, value)
        if isinstance(text, Refusal):  # a path's bytes that are not UTF-8 are lone surrogates, which json takes
            return json.dumps(msgspec.to_builtins(value))
        return text.decode()

    def of_text(self, text: str | None) -> T:
        """Out of what the journal keeps, None where it keeps nothing. Raises `ValueError` where that is not of its kind."""
        if text is None:
            return self.unset
        if text == "null" and self.unset is None:
            return self.unset
        try:
            value: T = self._value(text)
            self.check(value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if self.is_needed:
                raise ValueError(f"the fact {self.key!r} makes no sense: {error}") from error
            return self.unset
        return value

    def _value(self, text: str) -> T:
        if r"\ud" not in text:
            found: T = msgspec.json.decode(text, type=self.kind)
            return found
        # of a path's bytes that are not UTF-8, perhaps: msgspec's decoder does not take them
        value: T = msgspec.convert(json.loads(text), self.kind)
        return value


class RunFact(Fact[T]):
    """A fact about the run."""

    __slots__ = ()


class LaneFact(Fact[T]):
    """A fact about one of the run's lanes."""

    __slots__ = ()


def _is_moment(value: str) -> None:
    """Raise `ValueError` where *value* is not an ISO 8601 time with its zone."""
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError(f"{value} is a time without a zone")


# --- what facts are made of -------------------------------------------------------------------------------------------


class FileRecord(Struct, frozen=True, gc=False):
    """A file of the source as it was when the run began. *size* in bytes, None where that was not known.
    *version* tells a remote file from another one of its name."""

    uri: str
    size: _Count | None
    mtime_ns: int | None
    inode: int | None
    format: str
    compression: str
    version: str | None = None


class UploadRecord(Struct, frozen=True):
    """What was asked for: sources, and the options of each destination and of the run, by name."""

    sources: list[str]
    destinations: dict[str, dict[str, Any]]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a run's timeline begins: the wall clock said *unix* when the clock of *boot* said *elapsed_s*. *boot* is None where
    boots cannot be told apart. See `bulkup.flow.clock`. *rest_s*: for so long after its beginning those that had the run on another
    timeline may send what they had begun."""

    boot: str | None
    elapsed_s: float
    unix: float
    rest_s: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.elapsed_s) and isfinite(self.unix) and 0 <= self.rest_s < inf):
            raise ValueError("a time that never comes")

    @property
    def since(self) -> float:
        """When what was sent before this timeline began counts as sent, Unix seconds."""
        return self.unix + self.rest_s

    def at(self, elapsed_s: float) -> float:
        """Unix seconds, when the boot's clock says *elapsed_s*."""
        return self.unix + elapsed_s - self.elapsed_s

    def as_other(self, unix: float, other: Anchor | None) -> float:
        """The moment *unix* of this timeline on the *other* one, where the two can be compared, else *unix*."""
        if other is None or self.boot is None or self.boot != other.boot:
            return unix
        return other.at(self.elapsed_s + unix - self.unix)

    def goes_on(self, here: Anchor) -> bool:
        """Whether the timeline holds for a process that begins *here*: the same boot, later."""
        return here.boot is not None and self.boot == here.boot and self.elapsed_s <= here.elapsed_s

    def not_before(self, latest: float) -> Anchor:
        """The same moment, called *latest* (Unix seconds) at least: no timeline begins before what is recorded."""
        return replace(self, unix=max(self.unix, latest))


class RunEnd(Struct, frozen=True):
    """*interrupted*: the exit code that stands for what interrupted the process, if anything did."""

    interrupted: ExitCode | None


class PlanRecord(Struct, frozen=True):
    """What is frozen for a lane when it begins: T and limits in bytes, how rows are made, and from which tile and position on tiles
    are counted anew. See `bulkup.flow.plan`."""

    tile_bytes: _Size
    rows: dict[str, Any]
    max_body_bytes: _Size
    max_rows: _Size | None
    max_row_bytes: _Size
    segments: Annotated[tuple[tuple[_Count, _Count], ...], Meta(min_length=1)]


PlaceRecord = tuple[_Count, _Count, _Size | None]
"""A row: file number, offset in it, and line, None where that is not known."""


class ReasonRecord(Struct, frozen=True, array_like=True):
    """Why rows would be rejected, how many, and the first places."""

    text: str
    count: _Count
    places: tuple[PlaceRecord, ...]


class ScannedFile(Struct, frozen=True, array_like=True, gc=False):
    """What a scan found of a file: its number, lines, where it ends (decoded, in positions), where its last line begins (-1: it has
    none), rows that would be sent, blank lines, rejected rows, the largest row (0: no more than 4 KiB)."""

    file: _Count
    lines: _Count
    end: _Count
    last_line: Annotated[int, Meta(ge=-1)]
    rows: _Count
    blank: _Count
    rejected: _Count
    largest: _Count


class CountedKeys(Struct, frozen=True, array_like=True):
    """In how many of some rows each key is there, and null."""

    rows: _Count
    present: dict[str, _Count]
    null: dict[str, _Count]


class ScanRecord(Struct, frozen=True):
    """What a scan found for a lane: how rows are made, how many would be sent and not, what was seen of each column, by kind with
    the first place of it, and how rows become bodies. See `bulkup.scan.found`."""

    plan: dict[str, Any]
    rows: _Count
    blank: _Count
    rejected: _Count
    measure: tuple[_Count, _Count, _Count, _Count]
    reasons: tuple[ReasonRecord, ...]
    keys: dict[str, dict[str, PlaceRecord]]
    broke_off: str | None
    skipped: _Count = 0
    made: _Count = 0
    bytes_looked_at: _Count | None = None
    line_bytes: _Count = 0
    files: tuple[ScannedFile, ...] = ()
    counted: CountedKeys = CountedKeys(0, {}, {})


class AddedRecord(Struct, frozen=True):
    """Of the rows that were added behind the position *base*: how many would be sent, and how many rejected, for which reasons."""

    base: _Count
    rows: _Count
    rejected: _Count
    reasons: tuple[ReasonRecord, ...]


class Found(Struct, frozen=True, array_like=True):
    """A dataset that a lane's first look found. *rows* is None where the list does not say."""

    id: str
    name: str | None
    rows: int | None


class Survey(Struct, frozen=True):
    """What a lane's first look found, at Unix time *at*. *unavailable* says why there was none to be had. *listed* counts all
    datasets that were listed, of whatever name."""

    at: float
    found: tuple[Found, ...]
    unavailable: str | None
    listed: int | None = None

    @property
    def ids(self) -> frozenset[str]:
        """The datasets' ids."""
        return frozenset(dataset.id for dataset in self.found)

    @property
    def rows(self) -> int:
        """The datasets' rows, where the list said."""
        return sum(dataset.rows or 0 for dataset in self.found)


class Decided(Struct, frozen=True):
    """What a person said of a chunk at Unix time *at*: "landed" or "absent"."""

    chunk: str
    said: str
    at: float


# --- the run's facts --------------------------------------------------------------------------------------------------

FILES: RunFact[tuple[FileRecord, ...] | None] = RunFact("files", tuple[FileRecord, ...], None)
"""The source's files, in their order."""

AGREED: RunFact[dict[str, dict[str, str]] | None] = RunFact("agreed", dict[str, dict[str, str]], None)
"""What files of a format agree on, by the format's name: what columns of separated text hold."""

UPLOAD: RunFact[UploadRecord | None] = RunFact("upload", UploadRecord, None)
"""What was asked for, the last time that something was to be sent."""

CLOCK: RunFact[Anchor | None] = RunFact("clock", Anchor, None, is_needed=False)
"""Where the run's timeline begins."""

RUN_TOKEN: RunFact[str | None] = RunFact("run token", str, None)
"""Made by chance: by it workers of other machines tell this run from every other."""

EARLIER_UNTIL: RunFact[float] = RunFact("earlier holders send until", Annotated[float, Meta(ge=0)], 0.0)
"""Of a run in a database: until when (Unix time of its clock) processes that were taken over may end what they were sending."""

STARTED_AT: RunFact[str | None] = RunFact("started_at", str, None, check=_is_moment)
"""When the run began to send for the first time."""

FINISHED_AT: RunFact[str | None] = RunFact("finished_at", str, None, check=_is_moment)
"""When a process came to the run's end for the last time, having sent something."""

RUN_END: RunFact[RunEnd | None] = RunFact("run end", RunEnd, None)
"""How the last process that worked on the run came to its end, None while one works on it."""

# --- each lane's facts ------------------------------------------------------------------------------------------------

PLAN: LaneFact[PlanRecord | None] = LaneFact("plan", PlanRecord, None)
"""What is frozen for the lane."""

SCAN: LaneFact[ScanRecord | None] = LaneFact("scan", ScanRecord, None)
"""What all of the source's rows come to there, found before anything was planned."""

ADDED: LaneFact[AddedRecord | None] = LaneFact("added", AddedRecord, None)
"""What the rows come to that were added to the source last."""

BASES: LaneFact[tuple[int, ...]] = LaneFact("bases", tuple[_Count, ...], ())
"""Where the source's files begin, as far as that was found: a later process need not read the files before."""

SURVEY: LaneFact[Survey | None] = LaneFact("survey", Survey, None)
"""What the destination held before the run."""

PLANNED_WHOLE: LaneFact[bool] = LaneFact("planned whole", bool, False)
"""The source is planned up to its end."""

UNREADABLE: LaneFact[str | None] = LaneFact("unreadable", str, None)
"""Why the source could not be read further; what came before is planned."""

LATE: LaneFact[str | None] = LaneFact("late", str, None)
"""What the last audit found to be there twice."""

AUDITED: LaneFact[int] = LaneFact("audited", _Count, 0)
"""How often chunks had been called absent when an audit last found all of them there once."""

REFUSALS_STORE_NOTHING: LaneFact[bool] = LaneFact("refusals store nothing", bool, False)
"""A refusal whose effect was open has been seen to store nothing at this service."""

FAILED_DATASETS: LaneFact[tuple[str, ...]] = LaneFact("failed datasets", tuple[str, ...], ())
"""The ids of datasets on which the service failed."""

DECISIONS: LaneFact[tuple[Decided, ...]] = LaneFact("decisions", tuple[Decided, ...], ())
"""What people have decided, in that order."""

FAR_LEASE_S: LaneFact[float] = LaneFact("lease of far workers", _Seconds, 0.0)
"""So long workers of other machines may go on to send once they have lost their run, s; 0 as long as none may have come."""

LARGEST_BODY: LaneFact[int] = LaneFact("largest body", _Count, 0)
"""Bytes of the largest body that was sent."""

LANE_END: LaneFact[LaneEnd | None] = LaneFact("lane end", LaneEnd, None)
"""How the last process that worked on the lane ended there, None while one works on it."""

LIMITED_BY: LaneFact[str | None] = LaneFact("limited by", str, None)
"""What limits the lane's pace, while it works."""

LAST_TROUBLE: LaneFact[Trouble | None] = LaneFact("last trouble", Trouble, None, is_needed=False)
"""Why the last request that came to nothing did."""
