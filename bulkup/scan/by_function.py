"""Looking at the rows that are made of the source's, in their place: by the user's function, or of preferences."""

from __future__ import annotations

from dataclasses import replace

from bulkup.encoding import RowOptions
from bulkup.encoding.exploding import Exploder, MadeLine, block_of
from bulkup.model import Block, LongRow
from bulkup.scan.counting import line_behind
from bulkup.scan.found import Found
from bulkup.scan.judging import Judge
from bulkup.scan.reasons import Rejects
from bulkup.scan.sample import Sample
from bulkup.scan.seen import Place

__all__ = ["MadeRows"]


class MadeRows:
    """A judge: *judge* sees what *exploder* makes of the source's rows, each row where that one stands. *options* are those of the
    source's rows."""

    def __init__(self, judge: Judge, options: RowOptions, exploder: Exploder) -> None:
        self._judge = judge
        self._options = options
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
        at = line_behind(block, place, line.line)
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
            self._judge.take(made, line_behind(block, place, lines[0].line))

    def next(self) -> MadeRows | None:
        """As `Judge.next`."""
        following = self._judge.next()
        return None if following is None else MadeRows(following, self._options, self._exploder)

    def found(self, sample: Sample, broke_off: str | None) -> Found:
        """As `Judge.found`."""
        blocks = (block_of(self._exploder.lines(block), block) for block in sample.blocks)
        made = Sample()
        made.blocks = [block for block in blocks if block is not None]
        made.is_whole = sample.is_whole
        found = self._judge.found(made, broke_off)
        return replace(
            found,
            plan=self._options.with_makers(found.plan),
            blank=found.blank + self._blank,
            rejected=found.rejected + self._rejects.count,
            reasons=tuple(
                sorted((*found.reasons, *self._rejects.reasons()), key=lambda why: (-why.count, why.places[0]))
            ),
            skipped=self._skipped,
            made=self._made,
        )
