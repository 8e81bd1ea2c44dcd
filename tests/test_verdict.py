"""One rule for what a run came to: the receipt, `status` and the exit code say the same, however the journal is read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.account.receipt import Receipt
from bulkup.account.verdict import LaneEnd, LaneRecord, RunRecord, lane_verdict, run_verdict
from bulkup.chunk import Totals
from bulkup.cli.standing_lines import status_lines
from bulkup.errors import ExitCode
from bulkup.journal import LaneJournal, SqliteJournal
from bulkup.journal.facts import FILES, LANE_END, LATE, PLANNED_WHOLE, UNREADABLE, UPLOAD, FileRecord, UploadRecord
from bulkup.journal.memory import MemoryJournal
from bulkup.journal.reading import view
from bulkup.run.accounting import receipt_of
from bulkup.run.folder import RunFolder
from bulkup.run.lifetime import begin, conclude
from bulkup.run.standing import status_json
from tests.examples import examples
from tests.flow.rig import scratch_dir
from tests.journal.chunks import Step, steps

LANES = ("nebius", "collinear")
FIRST_OF = (1, 130, 143, 74, 77, 2, 6, 7, 8, 75, 10, 5, 4, 65, 3, 66, 0)
"""Where several codes apply, the first of these stands for all, as README.md says."""

FILE = FileRecord("rows.jsonl", 9000, 1, 1, "ndjson", "none")


def _receipt(folder: RunFolder) -> Receipt:
    """As anybody reads it who has only the folder."""
    with view(folder.path) as journal:
        return receipt_of(journal, folder.run_id, {})


@dataclass(frozen=True)
class Story:
    """What befell a lane."""

    steps: list[Step]
    planned_whole: bool
    unreadable: str | None
    late: str | None
    end: LaneEnd

    def codes(self, totals: Totals, *, was_told: bool) -> set[int]:
        """The codes that apply where the journal holds *totals*. *was_told*: the process said how it ended."""
        stop = self.end.exit_code if was_told else None
        found = {0} if stop is None else {int(stop)}
        if self.late is not None:
            found.add(5)
        if self.unreadable is not None:
            found.add(65)
        if totals.rows_rejected:
            found.add(3)
        if self.planned_whole and not totals.rows_read:
            found.add(66)
        if totals.rows_in_doubt:
            found.add(4)
        elif stop is None and (totals.rows_left or not (self.planned_whole or self.unreadable is not None)):
            found.add(75)
        return found


words = st.sampled_from(["because", "für alle Fälle"])
maybe = st.none() | words
stops = st.sampled_from([code for code in ExitCode if code not in (ExitCode.ALL_LANDED, ExitCode.SOME_REJECTED)])
ends = st.builds(LaneEnd, unseen=maybe) | st.builds(LaneEnd, reason=words, exit_code=stops, unseen=maybe)
stories = st.builds(Story, steps, st.booleans(), maybe, maybe, ends)
interrupts = st.sampled_from([None, None, ExitCode.INTERRUPTED, ExitCode.TERMINATED])


@pytest.mark.parametrize(
    ("totals", "code"),
    [
        (Totals(lines=2, rows_landed=2), ExitCode.ALL_LANDED),
        (Totals(lines=2, rows_landed=1, rows_in_doubt=1), ExitCode.IN_DOUBT),
        (Totals(lines=2, rows_landed=1, rows_rejected=1), ExitCode.SOME_REJECTED),
        (Totals(lines=3, rows_landed=1, rows_rejected=1, rows_in_doubt=1), ExitCode.IN_DOUBT),
        (Totals(lines=2, rows_landed=1, rows_left=1), ExitCode.TRY_LATER),
        (Totals(), ExitCode.EMPTY),
    ],
)
def test_a_lane_that_came_to_its_end_is_judged_by_what_became_of_its_rows(totals: Totals, code: ExitCode) -> None:
    assert lane_verdict(LaneRecord(totals=totals, planned_whole=True, end=LaneEnd())).exit_code is code


def worst_of(codes: set[int]) -> int:
    return next(code for code in FIRST_OF if code in codes)


@examples(12)
@given(st.tuples(stories, stories), interrupts)
def test_receipt_status_and_exit_code_are_one(told: tuple[Story, Story], interrupted: ExitCode | None) -> None:
    """After anything that may have befallen two lanes: at once, once closed, opened anew and recovered, and by who only looks."""

    async def main(folder: RunFolder) -> None:
        journal = await _begun(folder)
        lanes = {
            name: (await _befall(journal.lane(name), story), story) for name, story in zip(LANES, told, strict=True)
        }
        killed = _checked(status_json(folder), lanes, was_told=False, interrupted=None)
        for name, story in zip(LANES, told, strict=True):
            await journal.lane(name).set_fact(LANE_END, story.end)
        receipt = await conclude(folder, journal, interrupted=interrupted)
        ended = _checked(status_json(folder), lanes, was_told=True, interrupted=interrupted)
        _agree(receipt, ended)
        journal.close()
        assert (_receipt(folder), status_json(folder)) == (receipt, ended)
        journal = SqliteJournal.open(folder.path, create=False)
        for name in LANES:  # what was being sent is in doubt, as it was said to be
            await journal.lane(name).recover(9.0)
        assert _receipt(folder) == receipt
        _agree(receipt, status_json(folder))
        await begin(journal, LANES)
        again = status_json(folder)
        assert (again["has_ended"], again["exit_code"]) == (False, killed["exit_code"]), "another process has begun"
        journal.close()

    with scratch_dir() as scratch:
        asyncio.run(main(RunFolder(Path(scratch))))


async def _begun(folder: RunFolder) -> SqliteJournal:
    journal = SqliteJournal.open(folder.path, create=True)
    await journal.set_fact(FILES, (FILE,))
    await journal.set_fact(UPLOAD, UploadRecord([], {name: {} for name in LANES}, {}))
    await begin(journal, LANES)
    return journal


async def _befall(lane: LaneJournal, story: Story) -> Totals:
    twin = MemoryJournal().lane(lane.name)
    for step in story.steps:
        await step.apply(lane, twin)
    await lane.set_fact(PLANNED_WHOLE, story.planned_whole)
    await lane.set_fact(UNREADABLE, story.unreadable)
    await lane.set_fact(LATE, story.late)
    return await twin.totals()


def _checked(
    found: dict[str, Any],
    lanes: dict[str, tuple[Totals, Story]],
    *,
    was_told: bool,
    interrupted: ExitCode | None,
) -> dict[str, Any]:
    """What `status` has *found*, which is what was done: every row is somewhere, and the code is the gravest that applies."""
    codes = set()
    for name, (totals, story) in lanes.items():
        lane = found["lanes"][name]
        ends = ("landed", "rejected", "skipped", "in_doubt", "left")
        assert lane["rows_read"] + lane["rows_made"] == sum(lane[f"rows_{where}"] for where in ends)
        for figure in ("rows_read", "rows_made", "rows_blank", *(f"rows_{where}" for where in ends)):
            assert lane[figure] == getattr(totals, figure), figure
        assert lane["exit_code"] == worst_of(story.codes(totals, was_told=was_told))
        codes.add(lane["exit_code"])
        if interrupted is not None and totals.rows_left:
            codes.add(int(interrupted))
    assert (found["has_ended"], found["exit_code"]) == (was_told, worst_of(codes))
    return found


def _agree(receipt: Receipt, found: dict[str, Any]) -> None:
    """The receipt says what `status` says."""
    said = receipt.to_json()
    for key in ("status", "exit_code", "started_at", "finished_at"):
        assert said[key] == found[key], key
    for name, lane in said["destinations"].items():
        shared = lane.keys() & found["lanes"][name].keys()
        assert shared >= {"changes", "status", "exit_code", "reason", "rows_left", "rows_in_doubt", "evidence"}
        assert {key: lane[key] for key in shared} == {key: found["lanes"][name][key] for key in shared}
    line = f"last receipt: {receipt.status}, exit code {receipt.exit_code}, finished {receipt.finished_at}"
    assert line in status_lines(found)


@pytest.mark.parametrize(
    ("source_rows", "planned_whole", "unread"),
    [(None, False, 0), (100, False, 60), (100, True, 0), (40, False, 0), (39, False, 0)],
)
def test_what_a_scan_has_counted_and_nobody_has_planned_is_left(
    source_rows: int | None, planned_whole: bool, unread: int
) -> None:
    """Forty rows are planned. The source may have become shorter since the scan."""
    lane = LaneRecord(
        totals=Totals(lines=41, rows_blank=1, rows_left=40), planned_whole=planned_whole, source_rows=source_rows
    )
    assert lane.rows_unread == unread


@pytest.mark.parametrize("rows_left", [0, 1])
def test_an_interrupted_run_that_has_sent_all_is_not_interrupted(rows_left: int) -> None:
    lanes = {
        "nebius": LaneRecord(totals=Totals(lines=9 + rows_left, rows_landed=9, rows_left=rows_left), planned_whole=True)
    }
    found = run_verdict(RunRecord(lanes=lanes, has_ended=True, interrupted=ExitCode.INTERRUPTED))
    assert found.exit_code == (ExitCode.INTERRUPTED if rows_left else ExitCode.ALL_LANDED)
