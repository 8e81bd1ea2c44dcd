"""Looking at the rows that are made of the source's, in their place: by the user's function, or of preferences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bulkup.encoding import RowPlan
from bulkup.encoding.exploding import Exploder, MadeLine, block_of
from bulkup.model import Block, LongRow
from bulkup.scan.counting import Check, Counts, FileRows, line_behind
from bulkup.scan.found import Found
from bulkup.scan.judging import Judge, Stage, Way
from bulkup.scan.learned import FileCounts, Learned
from bulkup.scan.reasons import joined_reasons
from bulkup.scan.seen import Place

__all__ = ["MadeRows"]


class MadeRows:
    """A way: *way* judges what *exploder* makes of the source's rows, each row where that one stands. *source_plan* makes the plan
    of the source's rows of one for these."""

    def __init__(self, way: Way, source_plan: Callable[[RowPlan], RowPlan], exploder: Exploder) -> None:
        self._way = way
        self._source_plan = source_plan
        self._exploder = exploder

    @property
    def stage(self) -> Stage:
        """As `Way.stage`."""
        return self._way.stage

    def judge(self, check: Check, counted_every: int) -> Judge:
        """As `Way.judge`."""
        self._exploder.between = check
        return _MadeRowsJudge(self._way.judge(check, counted_every), self._exploder)

    def next(self, learned: Learned) -> MadeRows | None:
        """As `Way.next`."""
        following = self._way.next(learned)
        return None if following is None else MadeRows(following, self._source_plan, self._exploder)

    def found(self, learned: Learned) -> Found:
        """As `Way.found`."""
        self._exploder.between = lambda: None  # the last part's judge is done
        blocks = (block_of(self._exploder.lines(block), block) for block in learned.sample)
        made = tuple(block for block in blocks if block is not None)
        found = self._way.found(replace(learned, sample=made))
        return replace(found, plan=self._source_plan(found.plan))


class _MadeRowsJudge:
    def __init__(self, judge: Judge, exploder: Exploder) -> None:
        self._judge = judge
        self._exploder = exploder
        self._counts = Counts()
        self._skipped = self._made = 0

    def take(self, item: Block | LongRow, place: Place) -> int:
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

    def take_together(self, block: Block, files: Sequence[FileRows], place: Place) -> bool:
        return False  # each row is looked at

    def _count(self, line: MadeLine, block: Block, place: Place) -> None:
        at = line_behind(block, place, line.line)
        if line.reject is not None:
            self._counts.rejected(line.reject, at)
        self._counts.blank(not line.line.row, at)
        self._skipped += line.is_skipped
        if len(line.rows) > 1:
            self._made += len(line.rows) - 1
            for row in line.rows:
                self._take([replace(line, rows=(row,))], block, place)

    def _take(self, lines: list[MadeLine], block: Block, place: Place) -> None:
        made = block_of(lines, block)
        if made is not None:
            self._judge.take(made, line_behind(block, place, lines[0].line))

    def learned(self) -> Learned:
        of_made = self._judge.learned()
        reasons = sorted(
            joined_reasons(of_made.reasons, self._counts.rejects.reasons), key=lambda reason: reason.places[0]
        )
        return replace(
            of_made,
            files=_both(of_made.files, self._counts.files),
            reasons=tuple(reasons),
            skipped=self._skipped,
            made=self._made,
        )


def _both(of_made: Sequence[FileCounts], of_source: Sequence[FileCounts]) -> tuple[FileCounts, ...]:
    """Together, by file."""
    found = {counts.file: counts for counts in of_source}
    for counts in of_made:
        found[counts.file] = counts.also(found.get(counts.file, FileCounts(counts.file)))
    return tuple(found[number] for number in sorted(found))
