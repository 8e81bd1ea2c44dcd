"""What becomes of rows at one destination: which would be rejected, which preset fits, and what the columns must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from bulkup.encoding import ColumnRows, RowOptions, RowPlan, Target, decide
from bulkup.encoding.choosing import (
    LEAST_PERCENT,
    Choice,
    NoPresetFits,
    choose_preset,
    fitting,
    missing_in,
    what_is_missing,
)
from bulkup.encoding.decision import readable_rows
from bulkup.encoding.lines import Line, line_count
from bulkup.model import Block, LongRow
from bulkup.refusal import Refusal, attempt
from bulkup.scan.counting import Check, Counts, FileRows, alone, look_by_halves
from bulkup.scan.found import Found
from bulkup.scan.key_counter import KeyCounter, rows_of
from bulkup.scan.learned import Learned, ShapeCounts
from bulkup.scan.measuring import found_of
from bulkup.scan.seen import Place
from bulkup.scan.widening import Widening

__all__ = ["ALL_SHAPES", "Judge", "Stage", "Way", "frozen_way", "way_of"]


class Judge(Protocol):
    """Looks at one part of a source for one destination: takes all that is read of it, in order. In one thread, which it blocks."""

    def take(self, item: Block | LongRow, place: Place) -> int:
        """Look at *item*, which begins at *place*; how many lines it has."""

    def take_together(self, block: Block, files: Sequence[FileRows], place: Place) -> bool:
        """As `take` of *block*, which begins at *place* and is of these *files*, if it is sure without a look at each of them that
        all of its lines are rows. False: it has taken nothing."""

    def learned(self) -> Learned:
        """What that has taught."""


class Way(Protocol):
    """How the rows of a source are judged for one destination, in one pass over it, part by part. For one thread at a time."""

    @property
    def stage(self) -> Stage:
        """What makes the same way of the same rows and options elsewhere."""

    def judge(self, check: Check, counted_every: int) -> Judge:
        """Who looks at a part. Keys are counted in one block of *counted_every*."""

    def next(self, learned: Learned) -> Way | None:
        """The way of another pass, now that all that was *learned* is known; None where none is needed. Raises `UsageProblem` where
        the destination cannot take these rows."""

    def found(self, learned: Learned) -> Found:
        """What was found. Raises `UsageProblem`."""


Stage = Choice | str | None
"""What an earlier pass has found: nothing, that shapes are to be counted (`ALL_SHAPES`), or the preset."""

ALL_SHAPES = "all shapes"


def way_of(target: Target, options: RowOptions, first: Block | None, stage: Stage = None) -> Way:
    """The way for *target*. *first* is the first block that holds a row that can be read. Raises `UsageProblem`."""
    if stage == ALL_SHAPES:
        return _Shapes(target, options, first)
    assert stage is None or isinstance(stage, Choice), "there are no other stages"
    try:
        plan = decide(first, target, options, stage)
    except NoPresetFits:
        return _Shapes(target, options, first)
    if isinstance(target.rows, ColumnRows) and options.schema is None and first is not None:
        return Widening(plan, options)
    return _Fixed(plan, options, first, stage)


def frozen_way(plan: RowPlan) -> Way:
    """The way for rows that are made by *plan*, whatever they are."""
    return _Fixed(plan, None, None, None)


class _Fixed:
    """Rows of one shape, or of columns that are given: nothing is learned but which fit. Without *options* the plan is frozen."""

    def __init__(self, plan: RowPlan, options: RowOptions | None, first: Block | None, stage: Stage) -> None:
        self.stage = stage
        self.plan = plan
        self.encoder = plan.encoder()
        self.is_chosen = options is not None and options.preset == "auto" and plan.mapping is None
        """Whether the preset was chosen by the rows."""
        self._options = options
        self._first = first

    def judge(self, check: Check, counted_every: int) -> Judge:
        return _FixedJudge(self, check, counted_every)

    def next(self, learned: Learned) -> Way | None:
        fit, rows = _fit(learned)
        if self._options is None or not self.is_chosen or fit * 100 >= LEAST_PERCENT * rows:
            return None
        return _Shapes(self.plan.target, self._options, self._first)

    def found(self, learned: Learned) -> Found:
        plan = self.plan
        if plan.fit is not None and self.is_chosen:
            plan = replace(plan, fit=_fit(learned))
        return found_of(plan, learned)


def _fit(learned: Learned) -> tuple[int, int]:
    return learned.rows + learned.misfits, learned.rows + learned.readable


class _FixedJudge:
    def __init__(self, way: _Fixed, check: Check, counted_every: int) -> None:
        self._plan = way.plan
        self._keys = KeyCounter(counted_every)
        self._encoder = way.encoder
        self._is_chosen = way.is_chosen
        self._check = check
        self._counts = Counts()
        self._readable = self._misfits = 0

    def take(self, item: Block | LongRow, place: Place) -> int:
        if isinstance(item, LongRow):
            self._counts.rejected(self._encoder.reject_long(item), place)
            return 1
        self._keys.next_block()
        made = self._encoder.encode_whole(item)
        if made is not None:
            self._count_keys(made.body)
            return self._counts.block(item, made, place)
        lines, blank = look_by_halves(item, self, place, self._check)
        self._counts.blank(blank, place)
        return lines

    def take_together(self, block: Block, files: Sequence[FileRows], place: Place) -> bool:
        made = self._encoder.encode_whole(block)
        if made is None or made.rows < made.lines:
            return False
        self._keys.next_block()
        self._count_keys(made.body)
        self._counts.several(files)
        return True

    def fits(self, part: Block, place: Place) -> bool:
        made = self._encoder.encode_whole(part)
        if made is not None:
            self._count_keys(made.body)
            self._counts.block(part, made, place)
        return made is not None

    def _count_keys(self, body: bytes) -> None:
        if not (body and self._keys.counts):
            return
        rows = attempt(rows_of, body.replace(b"\n", b","))  # a shortcut leaves breaks
        if not isinstance(rows, Refusal):  # under `trust` it may be one
            self._keys.add(rows)

    def one(self, part: Block, line: Line, place: Place) -> None:
        made = alone(self._encoder.encode_rows(part))
        if made.reject is None:
            self._counts.row(line, place)
            self._count_keys(made.body or b"")
            return
        self._counts.rejected(made.reject, place)
        for row in readable_rows(part, self._plan) if self._is_chosen else ():
            self._readable += 1
            self._misfits += missing_in(row, self._plan.preset, self._plan.target, self._plan.turns) is None

    def goes_row_by_row(self) -> bool:
        return False

    def learned(self) -> Learned:
        return Learned(
            files=self._counts.files,
            reasons=self._counts.rejects.reasons,
            counted=self._keys.of_all,
            readable=self._readable,
            misfits=self._misfits,
        )


class _Shapes:
    """Counts in which shapes all rows are, one by one: the first block, or what came after it, has left that open."""

    stage: Stage = ALL_SHAPES

    def __init__(self, target: Target, options: RowOptions, first: Block | None) -> None:
        self.target = target
        self.options = options
        self._first = first

    def judge(self, check: Check, counted_every: int) -> Judge:
        return _ShapesJudge(self, check)

    def next(self, learned: Learned) -> Way:
        shapes = learned.shapes
        choice = choose_preset(
            self.target, shapes.fit, shapes.rows, of_what="the rows of the source", missing=shapes.missing
        )
        plan = decide(self._first, self.target, self.options, choice)
        return _Fixed(plan, self.options, self._first, choice)

    def found(self, learned: Learned) -> Found:
        raise AssertionError("the next one finds")


class _ShapesJudge:
    def __init__(self, way: _Shapes, check: Check) -> None:
        self._target = way.target
        self._options = way.options
        self._check = check
        self._shapes = ShapeCounts()

    def take(self, item: Block | LongRow, place: Place) -> int:
        if isinstance(item, LongRow):
            return 1
        for row in readable_rows(item, self._options):
            self._check()
            fit = fitting(row, self._target, self._options.turns)
            missing = "" if fit else what_is_missing([row], self._target, self._options.turns)
            self._shapes = self._shapes.also(ShapeCounts(1, dict.fromkeys(fit, 1), missing))
        return line_count(item.data)

    def take_together(self, block: Block, files: Sequence[FileRows], place: Place) -> bool:
        return False  # each row is looked at

    def learned(self) -> Learned:
        return Learned(shapes=self._shapes)
