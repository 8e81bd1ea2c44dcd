"""What a lane and a run come to, by one rule, out of what the journal says: for the receipt, `status` and the exit code alike."""

from __future__ import annotations

from collections.abc import Mapping

from bulkup.chunk import Totals
from bulkup.errors import ExitCode, worst
from bulkup.event import Trouble
from bulkup.light_dataclass import dataclass

__all__ = ["LaneEnd", "LaneRecord", "RunRecord", "Verdict", "lane_verdict", "run_verdict", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneEnd:
    """How the last process that worked on a lane ended there. Nothing set: it had nothing more to do."""

    reason: str | None = None
    """Why it stopped before the source's end."""
    exit_code: ExitCode | None = None
    """What a stop for that reason means."""
    unseen: str | None = None
    """Why the audit at the end could not look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRecord:
    """What the journal says of a lane. *end* is None while a process works on it, and after one that was killed."""

    totals: Totals
    planned_whole: bool = False
    unreadable: str | None = None
    late: str | None = None
    end: LaneEnd | None = None
    trouble: Trouble | None = None
    source_rows: int | None = None
    """How many rows the source has, where a scan has counted them."""
    empty_is_ok: bool = False

    @property
    def rows_unread(self) -> int:
        """Rows of the source that no chunk was planned of yet, as far as that is known."""
        if self.source_rows is None or self.planned_whole:
            return 0
        return max(0, self.source_rows - self.totals.rows_read)

    @property
    def is_empty(self) -> bool:
        """Whether the source has come to its end without a row."""
        return self.planned_whole and not self.totals.rows_read


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the journal says of a run. *has_ended*: the last process that worked on it came to its end. *interrupted*: the exit code
    that stands for what interrupted that process, if anything did."""

    lanes: Mapping[str, LaneRecord]
    has_ended: bool = False
    interrupted: ExitCode | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a lane or a run comes to. *reason*: why not all has landed, in one line, where that is known."""

    exit_code: ExitCode
    reason: str | None = None
    has_landed: bool = True
    """Whether any row has."""
    has_skipped: bool = False
    """Whether the user's function has left rows out."""

    @property
    def status(self) -> str:
        """The exit code as a word; nothing has `landed` where no row has."""
        if self.has_landed:
            return status_of(self.exit_code)
        match self.exit_code:
            case ExitCode.ALL_LANDED:
                return "all rows skipped" if self.has_skipped else status_of(ExitCode.EMPTY)
            case ExitCode.SOME_REJECTED:
                return "all rows rejected"
            case _:
                return status_of(self.exit_code)


def lane_verdict(lane: LaneRecord) -> Verdict:
    """What *lane* comes to, if nobody works on it any more."""
    totals, end = lane.totals, lane.end or LaneEnd()
    has_more = totals.rows_left > 0 or not (lane.planned_whole or lane.unreadable is not None)
    codes = [] if end.exit_code is None else [end.exit_code]
    codes += [
        code
        for code, applies in (
            (ExitCode.DIFFERS, lane.late is not None),
            (ExitCode.IN_DOUBT, totals.rows_in_doubt > 0),
            (ExitCode.SOURCE_UNREADABLE, lane.unreadable is not None),
            (ExitCode.SOME_REJECTED, totals.rows_rejected > 0),
            (ExitCode.EMPTY, lane.is_empty and not lane.empty_is_ok),
            (ExitCode.TRY_LATER, has_more and end.exit_code is None and not totals.rows_in_doubt),
        )
        if applies
    ]
    empty = "the source holds no rows" if lane.is_empty else None
    reason = end.reason or lane.late or lane.unreadable or end.unseen or empty
    return Verdict(worst(codes), reason, has_landed=totals.rows_landed > 0, has_skipped=totals.rows_skipped > 0)


def run_verdict(run: RunRecord) -> Verdict:
    """What *run* comes to, if nobody works on it any more."""
    codes = [lane_verdict(lane).exit_code for lane in run.lanes.values()]
    if run.interrupted is not None and any(lane.totals.rows_left for lane in run.lanes.values()):
        codes.append(run.interrupted)
    totals = [lane.totals for lane in run.lanes.values()]
    return Verdict(
        worst(codes),
        has_landed=any(one.rows_landed for one in totals),
        has_skipped=any(one.rows_skipped for one in totals),
    )


def status_of(code: ExitCode) -> str:
    """A lane's or a run's exit code as a word."""
    match code:
        case ExitCode.ALL_LANDED:
            return "landed"
        case ExitCode.SOME_REJECTED:
            return "landed, some rows rejected"
        case ExitCode.IN_DOUBT:
            return "in doubt"
        case ExitCode.INTERRUPTED | ExitCode.TERMINATED:
            return "interrupted"
        case ExitCode.EMPTY:
            return "nothing to upload"
        case ExitCode.SOURCE_UNREADABLE:
            return "source unreadable"
        case _:
            return "stopped"
