"""What becomes of rows at one destination: which would be rejected, which preset fits, and what the columns must hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Protocol

from bulkup.encoding import ColumnRows, RowOptions, RowPlan, Target, decide
from bulkup.encoding.choosing import (
    LEAST_PERCENT,
    NoPresetFits,
    choose_preset,
    fitting,
    missing_in,
    what_is_missing,
)
from bulkup.encoding.decision import readable_rows
from bulkup.encoding.lines import Line, line_count
from bulkup.model import Block, LongRow
from bulkup.scan.counting import Check, Counts, alone, look_by_halves
from bulkup.scan.found import Found
from bulkup.scan.measuring import measure
from bulkup.scan.sample import Sample
from bulkup.scan.seen import Place
from bulkup.scan.widening import Widening

__all__ = ["Judge", "judge_of"]


class Judge(Protocol):
    """One destination's part of a scan: takes all that is read, in order. It works in one thread, and blocks."""

    def take(self, item: Block | LongRow, place: Place) -> int:
        """Look at *item*, which begins at *place*; how many lines it has."""

    def next(self) -> Judge | None:
        """Who must see all rows from the beginning, now that they are known; None where that is not needed. Raises `UsageProblem`
        where the destination cannot take these rows."""

    def found(self, sample: Sample, broke_off: str | None) -> Found:
        """What was found. *sample* is of what was read, which ended early if *broke_off* says why. Raises `UsageProblem`."""


def judge_of(target: Target, options: RowOptions, first: Block | None, check: Check) -> Judge:
    """The judge of rows for *target*. *first* is the first block that holds a row that can be read. Raises `UsageProblem`."""
    try:
        plan = decide(first, target, options)
    except NoPresetFits:
        return _Shapes(target, options, first, check)
    if isinstance(target.rows, ColumnRows) and options.schema is None and first is not None:
        return Widening(plan, options, check)
    return _Fixed(plan, options, first, check)


class _Fixed:
    """Rows of one shape, or of columns that are given: nothing is learned but which rows fit."""

    def __init__(self, plan: RowPlan, options: RowOptions, first: Block | None, check: Check) -> None:
        self._plan = plan
        self._options = options
        self._first = first
        self._check = check
        self._encoder = plan.encoder()
        self._counts = Counts()
        self._readable = self._others = (
            0  # of the rows that are rejected; and those of them that are in the preset's shape
        )

    def take(self, item: Block | LongRow, place: Place) -> int:
        if isinstance(item, LongRow):
            self._counts.rejected(self._encoder.reject_long(item), place)
            return 1
        made = self._encoder.encode_whole(item)
        if made is not None:
            return self._counts.block(item, made)
        lines, blank = look_by_halves(item, self, place, self._check)
        self._counts.blank += blank
        return lines

    def fits(self, part: Block, _place: Place) -> bool:
        made = self._encoder.encode_whole(part)
        if made is not None:
            self._counts.block(part, made)
        return made is not None

    def one(self, part: Block, line: Line, place: Place) -> None:
        made = alone(self._encoder.encode_rows(part))
        if made.reject is None:
            self._counts.row(line)
            return
        self._counts.rejected(made.reject, place)
        for row in readable_rows(part, self._plan) if self._is_chosen else ():
            self._readable += 1
            self._others += missing_in(row, self._plan.preset, self._plan.target, self._plan.turns) is None

    def goes_row_by_row(self) -> bool:
        return False

    @property
    def _is_chosen(self) -> bool:
        """Whether the preset was chosen by the rows."""
        return self._options.preset == "auto" and self._plan.mapping is None

    def _fit(self) -> tuple[int, int]:
        return self._counts.rows + self._others, self._counts.rows + self._readable

    def next(self) -> Judge | None:
        fit, rows = self._fit()
        if not self._is_chosen or fit * 100 >= LEAST_PERCENT * rows:
            return None
        return _Shapes(self._plan.target, self._options, self._first, self._check)

    def found(self, sample: Sample, broke_off: str | None) -> Found:
        plan = self._plan
        if plan.fit is not None and self._is_chosen:
            plan = replace(plan, fit=self._fit())
        return Found(
            plan=plan,
            rows=self._counts.rows,
            blank=self._counts.blank,
            rejected=self._counts.rejects.count,
            measure=measure(plan, sample, self._counts.largest),
            reasons=self._counts.rejects.reasons(),
            broke_off=broke_off,
        )


class _Shapes:
    """Counts in which shapes all rows are, one by one: the first block, or what came after it, has left that open."""

    def __init__(self, target: Target, options: RowOptions, first: Block | None, check: Check) -> None:
        self._target = target
        self._options = options
        self._first = first
        self._check = check
        self._counts: Counter[str] = Counter()
        self._rows = 0
        self._missing = ""

    def take(self, item: Block | LongRow, place: Place) -> int:
        if isinstance(item, LongRow):
            return 1
        for row in readable_rows(item, self._options):
            self._check()
            self._rows += 1
            found = fitting(row, self._target, self._options.turns)
            self._counts.update(found)
            self._missing = self._missing or (
                "" if found else what_is_missing([row], self._target, self._options.turns)
            )
        return line_count(item.data)

    def next(self) -> Judge:
        choice = choose_preset(
            self._target, self._counts, self._rows, of_what="the rows of the source", missing=self._missing
        )
        plan = decide(self._first, self._target, self._options, choice)
        return _Fixed(plan, self._options, self._first, self._check)

    def found(self, sample: Sample, broke_off: str | None) -> Found:
        raise AssertionError("the next one finds")
