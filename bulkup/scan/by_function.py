"""Looking at the rows that the user's function makes of the source's, in their place."""

from __future__ import annotations

from dataclasses import replace

from bulkup.encoding import RowOptions
from bulkup.encoding.by_function import ByFunction
from bulkup.encoding.exploding import Exploder, MadeLine, block_of
from bulkup.model import Block, LongRow, Validation
from bulkup.rows.function import Function
from bulkup.scan.counting import Check
from bulkup.scan.found import Found
from bulkup.scan.judging import Judge
from bulkup.scan.rejects import Rejects
from bulkup.scan.sample import Sample
from bulkup.scan.seen import Place

__all__ = ["MadeRows", "exploder_of"]


def exploder_of(function: Function, options: RowOptions, check: Check) -> Exploder:
    """What calls *function*, whose file is run now. Raises `UsageProblem`, `SourceChanged`."""
    exploder = Exploder(
        ByFunction(function, options.max_row_bytes),
        repairs=options.repairs,
        max_row_bytes=options.max_row_bytes,
        finds_doubled_keys=options.validation is Validation.FULL,
    )
    exploder.between = check
    return exploder


class MadeRows:
    """A judge: *judge* sees what *function* makes of the source's rows, each row where that one stands."""

    def __init__(self, judge: Judge, function: Function, exploder: Exploder) -> None:
        self._judge = judge
        self._function = function
        self._exploder = exploder
        self._rejects = Rejects()
        self._blank = self._skipped = self._made = 0

    def take(self, item: Block | LongRow, place: Place) -> int:
        """As `Judge.take`."""
        if isinstance(item, LongRow):
            return self._judge.take(item, place)
        lines = self._exploder.lines(item)
        run: list[MadeLine] = []
        for line in lines:
            if len(line.rows) == 1 and (not run or run[-1].line.number == line.line.number - 1):
                run.append(line)
                continue
            self._take(run, item, place)
            run = [line] if len(line.rows) == 1 else []
            self._count(line, item, place)
        self._take(run, item, place)
        return len(lines)

    def _count(self, line: MadeLine, block: Block, place: Place) -> None:
        at = Place(place.file, place.line + line.line.number)
        if line.reject is not None:
            self._rejects.add(line.reject, at)
        self._blank += not line.line.row
        self._skipped += line.is_skipped
        if len(line.rows) > 1:
            self._made += len(line.rows) - 1
            for row in line.rows:
                self._take([replace(line, rows=(row,))], block, place)

    def _take(self, lines: list[MadeLine], block: Block, place: Place) -> None:
        made = block_of(lines, block)
        if made is not None:
            self._judge.take(made, Place(place.file, place.line + lines[0].line.number))

    def next(self) -> MadeRows | None:
        """As `Judge.next`."""
        following = self._judge.next()
        return None if following is None else MadeRows(following, self._function, self._exploder)

    def found(self, sample: Sample, broke_off: str | None) -> Found:
        """As `Judge.found`."""
        blocks = (block_of(self._exploder.lines(block), block) for block in sample.blocks)
        made = Sample()
        made.blocks = [block for block in blocks if block is not None]
        made.is_whole = sample.is_whole
        found = self._judge.found(made, broke_off)
        return replace(
            found,
            plan=replace(found.plan, function=self._function),
            blank=found.blank + self._blank,
            rejected=found.rejected + self._rejects.count,
            reasons=tuple(
                sorted((*found.reasons, *self._rejects.reasons()), key=lambda why: (-why.count, why.places[0]))
            ),
            skipped=self._skipped,
            made=self._made,
        )
