"""`bulkup check`: what an upload would do, found out by the parts that do it, in a state directory that is gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path

from bulkup.account.finished import Event
from bulkup.account.reasons import RejectedFor
from bulkup.account.verdict import LaneRecord, lane_verdict
from bulkup.chunk import Totals
from bulkup.encoding import RowPlan
from bulkup.errors import ExitCode, as_one_error, worst
from bulkup.event import Note
from bulkup.flow.chunker import Chunker
from bulkup.flow.context import LaneContext, PlannedLane
from bulkup.flow.lane import Lane
from bulkup.flow.planning import plan_lane
from bulkup.flow.rehearsal import Rehearsed, estimate, first_row, rehearse
from bulkup.flow.scanned import scanned
from bulkup.journal.facts import UNREADABLE
from bulkup.journal.reading import view
from bulkup.light_dataclass import as_dict, dataclass
from bulkup.path_text import readable
from bulkup.rows.schema import Kind
from bulkup.run.folder import LIMITS, StateDir
from bulkup.run.interrupt import Interrupt
from bulkup.run.kept_scans import KeptScans
from bulkup.run.open_run import open_run
from bulkup.run.opened import OpenRun, Purpose, Wish
from bulkup.run.rejected import commonest_reasons
from bulkup.run.scanning import RowAt, look_at_all, row_at, too_many_rejects
from bulkup.run.text_tokens import Counter, TextTokens, counter_of, text_tokens
from bulkup.run.wish import Upload
from bulkup.scan.advice import advice
from bulkup.scan.found import Found, KeyCount
from bulkup.scan.learned import FileCounts
from bulkup.scan.seen import Place
from bulkup.settings.run import Empty
from bulkup.sources import Item, SourceFile

__all__ = ["Checked", "CheckedFile", "CheckedLane", "CheckedReason", "check"]


@dataclass(frozen=True, slots=True)
class CheckedReason:
    """Why *rows* rows would be rejected, and where the first of them stand."""

    rows: int
    reason: str
    places: tuple[RowAt, ...]


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file: its *lines*, blank ones and all others, and what they come to."""

    uri: str
    lines: int
    counts: FileCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLane:
    """What an upload would do for one destination. *made_by*: for each column the first place of each kind of value in it; *keys*:
    in how many of the rows that would be sent it is there and null. *by_file*: as far as files were looked at.
    *reason* says why not all would land."""

    plan: RowPlan
    totals: Totals
    sent: Rehearsed
    first_row: bytes | None
    reasons: tuple[CheckedReason, ...]
    made_by: Mapping[str, Mapping[str, RowAt]]
    keys: Mapping[str, KeyCount]
    by_file: tuple[CheckedFile, ...]
    advice: tuple[str, ...]
    exit_code: ExitCode
    reason: str | None
    bytes_looked_at: int | None
    """Of the files; None where that is all."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What an upload would do. *looked_at_all*: the plan is made of all rows; else of the first block. *tokens*: in the texts of
    the source's rows."""

    files: tuple[SourceFile, ...]
    lanes: Mapping[str, CheckedLane]
    looked_at_all: bool
    tokens: TextTokens | None

    @property
    def exit_code(self) -> ExitCode:
        """Of all lanes."""
        return worst([lane.exit_code for lane in self.lanes.values()])

    def _repr_html_(self) -> str:
        """As a notebook shows it: a column for each destination, and why rows would be rejected."""
        figures: tuple[tuple[str, Callable[[CheckedLane], str]], ...] = (
            ("exit code", lambda lane: str(int(lane.exit_code))),
            ("preset", lambda lane: lane.plan.preset or ""),
            ("rows that would be sent", lambda lane: f"{lane.sent.rows:,}"),
            ("rows that would be rejected", lambda lane: f"{lane.totals.rows_rejected:,}"),
            ("requests", lambda lane: f"{lane.sent.requests:,}"),
            ("datasets", lambda lane: f"{lane.sent.datasets:,}"),
            ("bytes", lambda lane: f"{lane.sent.body_bytes:,}"),
            ("rejected", lambda lane: "; ".join(f"{why.rows:,} × {why.reason}" for why in lane.reasons)),
            ("reason", lambda lane: lane.reason or ""),
        )
        head = "".join(f"<th>{escape(name)}</th>" for name in self.lanes)
        body = "".join(
            f"<tr><td>{title}</td>{''.join(f'<td>{escape(figure(lane))}</td>' for lane in self.lanes.values())}</tr>"
            for title, figure in figures
        )
        return f"<table><caption>what an upload would do</caption><tr><th></th>{head}</tr>{body}</table>"


async def check(
    upload: Upload,
    *,
    tell: Callable[[Event], None],
    interrupt: Interrupt | None = None,
    tokenizer: Path | None = None,
) -> Checked:
    """What *upload* would do if it began now. Nothing is asked of a service. Only what was found in a large source is kept.
    *tokenizer* is a `tokenizer.json` to count tokens by.

    Raises `BulkupError` as an upload does before it sends anything.
    """
    count = counter_of(tokenizer)
    with tempfile.TemporaryDirectory(prefix="bulkup-check-", ignore_cleanup_errors=True) as folder:
        state = Path(folder) / "state"
        _know_limits(upload.settings.state_dir, state)
        settings = upload.settings.model_copy(update={"state_dir": state, "rejects_content": False, "journal": None})
        wish = Wish(
            replace(upload, settings=settings), Purpose.CHECK, None, _of_the_run(tell), interrupt or Interrupt()
        )
        async with open_run(wish) as run:
            with as_one_error():
                kept = KeptScans(upload.settings.state_dir)
                return await wish.interrupt.unless_requested(partial(_checked, run, kept, count, tokenizer is not None))


def _of_the_run(tell: Callable[[Event], None]) -> Callable[[Event], None]:
    """What is said of a lane stands in the result."""
    return lambda event: None if isinstance(event, Note) and event.lane else tell(event)


def _know_limits(known: Path, state: Path) -> None:
    """What services have taught about the size of requests holds here, too."""
    StateDir(state).create()
    try:
        (state / LIMITS).write_bytes((known / LIMITS).read_bytes())
    except OSError:
        return


async def _checked(run: OpenRun, kept: KeptScans, count: Counter, is_exact: bool) -> Checked:
    await look_at_all(run, kept)
    founds = {lane.name: await _found(lane.context) for lane in run.lanes}
    lanes = {lane.name: await _checked_lane(run, lane, founds[lane.name]) for lane in run.lanes}
    tokens = await text_tokens(run.source, run.lanes[0].context.chosen.rows, count, is_exact=is_exact)
    return Checked(run.source.files, lanes, all(found is not None for found in founds.values()), tokens)


async def _checked_lane(run: OpenRun, lane: Lane, found: Found | None) -> CheckedLane:
    context = lane.context
    refused = await too_many_rejects(context, run.source)
    await lane.take_up()
    planned = PlannedLane.of(context, await plan_lane(context, lane.cursor))
    row = await _first_row(run, lane, planned.chunker)
    if found is None or found.is_whole or not run.source.rereadable:
        sent = await rehearse(planned, lane.cursor)
        totals = context.tally.totals
    else:
        sent, totals = estimate(planned, found)
    verdict = lane_verdict(
        LaneRecord(
            totals=Totals(**as_dict(totals) | {"rows_landed": totals.rows_left, "rows_left": 0}),
            planned_whole=True,
            unreadable=await context.journal.fact(UNREADABLE),
            empty_is_ok=context.chosen.run.empty is Empty.OK,
        )
    )
    return CheckedLane(
        plan=planned.plan.rows,
        totals=totals,
        sent=sent,
        first_row=row,
        reasons=_reasons(run, lane.name, found, totals, is_estimate=sent.is_estimate),
        made_by=_made_by(run, found),
        keys={} if found is None else {name: found.key(name) for name in found.keys or found.counted.present},
        by_file=_by_file(run, found),
        advice=advice(planned.plan.rows, found, sent.datasets),
        exit_code=verdict.exit_code if refused is None else worst([verdict.exit_code, refused.exit_code]),
        reason=verdict.reason if refused is None else str(refused),
        bytes_looked_at=None if found is None or not sent.is_estimate else found.bytes_looked_at,
    )


async def _found(lane: LaneContext) -> Found | None:
    return await scanned(lane.journal, lane.destination.target, lane.chosen.rows.function)


async def _first_row(run: OpenRun, lane: Lane, chunker: Chunker) -> bytes | None:
    """The first row as it would be sent, as far as it can be known before the source is read."""
    if run.source.rereadable:
        cursor = run.source.cursor()
        try:
            return await first_row(cursor.read(0, _END), chunker)
        finally:
            await cursor.aclose()
    first = await lane.cursor.peek()
    return None if first is None else await first_row(_only(first), chunker)


_END = 2**62
"""A position behind every source."""


async def _only(item: Item) -> AsyncGenerator[Item, None]:
    yield item


def _reasons(
    run: OpenRun, lane: str, found: Found | None, totals: Totals, *, is_estimate: bool
) -> tuple[CheckedReason, ...]:
    """As the scan has them, with three places each; where it does not know all, as the rejected rows themselves say."""
    if found is not None and (is_estimate or found.rejected == totals.rows_rejected):
        return tuple(
            CheckedReason(why.count, why.text, tuple(row_at(place, run.source) for place in why.places))
            for why in found.reasons
        )
    with view(run.folder.path) as journal:
        why = commonest_reasons(journal, [lane.name for lane in run.lanes])[lane]
    return tuple(CheckedReason(one.rows, one.reason, _one_place(one)) for one in why)


def _one_place(why: RejectedFor) -> tuple[RowAt, ...]:
    return () if why.file is None or why.row_number is None else (RowAt(why.file, why.row_number, None),)


def _made_by(run: OpenRun, found: Found | None) -> Mapping[str, Mapping[str, RowAt]]:
    if found is None:
        return {}
    return {
        name: {str(kind): row_at(place, run.source) for kind, place in sorted(seen.first.items(), key=_by_place)}
        for name, seen in found.keys.items()
    }


def _by_file(run: OpenRun, found: Found | None) -> tuple[CheckedFile, ...]:
    if found is None:
        return ()
    counted = {counts.file: counts for counts in found.files}
    return tuple(
        CheckedFile(
            readable(run.source.files[read.file].uri),
            read.lines,
            counted.get(read.file, FileCounts(read.file)),
        )
        for read in found.read
    )


def _by_place(first: tuple[Kind, Place]) -> Place:
    return first[1]
