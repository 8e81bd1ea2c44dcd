"""Columns that are learned: whatever a row that is good otherwise brings, the columns take it from then on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

import msgspec

from bulkup.encoding import BlockEncoder, RowOptions, RowPlan
from bulkup.encoding.choosing import choose_preset, fitting
from bulkup.encoding.decision import readable_rows
from bulkup.encoding.depth import room_to_recurse
from bulkup.encoding.doubled_keys import DoubledKeys
from bulkup.encoding.lines import Line
from bulkup.errors import UsageProblem
from bulkup.model import Block, EncodedBlock, LongRow, Validation
from bulkup.rows.schema import Column, Holds, given_columns, infer_column
from bulkup.scan.counting import Check, Counts, alone, look_by_halves
from bulkup.scan.found import Found
from bulkup.scan.look import known, open_to_all, tokens_in
from bulkup.scan.measuring import measure
from bulkup.scan.sample import Sample
from bulkup.scan.seen import Place, Seen, with_row

__all__ = ["MOST_COLUMNS", "Widening"]

MOST_COLUMNS = 5000
"""Rows with more different keys than that have no columns."""

_MOST_CODECS = 2
"""In one block: what its other rows bring makes one more."""

_SETTLED = 64
"""After so many blocks that brought nothing new an automaton is made for the next; it costs as much as some hundred blocks."""

_WHOLE_SHARE = 0.9
"""Of the blocks that can be sent at once at all: if fewer of them can be sent as they are, every row is written anew."""

_FIT_ROWS = 64
"""Of each block of the sample, where that has several: rows are held against every preset one by one."""


class Widening:
    """Learns the columns. *plan* is as decided on the first rows, but for those."""

    def __init__(self, plan: RowPlan, options: RowOptions, check: Check) -> None:
        self._plan = plan
        self._options = options
        self._check = check
        self._given = given_columns(options.columns)
        self._dropped = set(plan.drop) if plan.mapping is None else set()
        self._seen: Mapping[str, Seen] = {}
        self._first_row: Place | None = None
        self._counts = Counts()
        self._doubled = DoubledKeys()
        self._open = open_to_all(plan, list(self._given.values())).encoder()
        self._known: BlockEncoder | None = None
        self._codecs = 0  # made within this block
        self._quiet, self._settles_at = 0, _SETTLED

    # --- what is read -------------------------------------------------------------------------------------------------

    def take(self, item: Block | LongRow, place: Place) -> int:
        """As `Judge.take`."""
        if isinstance(item, LongRow):
            self._counts.rejected(self._open.reject_long(item), place)
            return 1
        made = self._encoder().encode_whole(item)
        if made is not None:
            self._quiet += 1
            if self._quiet == self._settles_at:
                self._known = None
            return self._take_whole(item, made, place)
        self._codecs = 0
        lines, blank = look_by_halves(item, self, place, self._check)
        self._counts.blank += blank
        return lines

    def fits(self, part: Block, place: Place) -> bool:
        """As `Taker.fits`."""
        made = self._encoder().encode_whole(part)
        if made is not None:
            self._take_whole(part, made, place)
        return made is not None

    def _take_whole(self, block: Block, made: EncodedBlock, place: Place) -> int:
        if made.rows:
            self._first_row = self._first_row or place
        return self._counts.block(block, made)

    def one(self, part: Block, line: Line, place: Place) -> None:
        """As `Taker.one`."""
        made = alone(self._open.encode_rows(part))
        if made.body is None and self._plan.validation is Validation.TRUST:
            made = alone(replace(self._plan, columns=self._columns()).encoder().encode_rows(part))
            if made.body is not None:
                self._counts.row(line)
                return
        if made.body is None:
            assert made.reject is not None, "a row is taken or rejected"
            self._counts.rejected(made.reject, place)
            return
        self._counts.row(line)
        self._learn(made.body, place)

    def goes_row_by_row(self) -> bool:
        """As `Taker.goes_row_by_row`."""
        return self._codecs >= _MOST_CODECS

    def _learn(self, body: bytes, place: Place) -> None:
        without = self._dropped | self._given.keys()
        with room_to_recurse():
            rows = tokens_in(b"[" + body + b"]")
        for row in rows:
            self._learn_of({key: token for key, token in row.items() if key not in without}, place)
            self._first_row = self._first_row or place

    def _learn_of(self, tokens: Mapping[str, msgspec.Raw], place: Place) -> None:
        wider = with_row(self._seen, tokens, place, self._first_row)
        if wider is None:
            return
        if len(wider) > MOST_COLUMNS:
            raise UsageProblem(
                f"{self._plan.target.name}: the rows have more than {MOST_COLUMNS:,} different keys, and each would be a column. "
                "If keys are values, put them under one key (a mapping does that: docs/mapping.md)"
            )
        self._seen = wider
        if self._known is not None:
            self._known = None
            self._codecs += 1
        if self._quiet >= self._settles_at:
            self._settles_at *= 2
        self._quiet = 0

    def _encoder(self) -> BlockEncoder:
        if self._known is None:
            is_settled = self._quiet >= self._settles_at
            given = list(self._given.values())
            self._known = BlockEncoder(known(self._plan, self._seen, given, is_settled=is_settled), self._doubled)
        return self._known

    # --- what is found ------------------------------------------------------------------------------------------------

    def next(self) -> None:
        """As `Judge.next`: the first pass has seen all there is."""

    def found(self, sample: Sample, broke_off: str | None) -> Found:
        """As `Judge.found`."""
        plan = self._fitted(replace(self._plan, columns=self._columns()), sample)
        if not plan.columns and self._counts.rows:
            raise UsageProblem(f"{plan.target.name}: the schema has no columns (every row is empty)")
        plan = replace(plan, rewrite=self._is_rewritten(plan, sample))
        return Found(
            plan=plan,
            rows=self._counts.rows,
            blank=self._counts.blank,
            rejected=self._counts.rejects.count,
            measure=measure(plan, sample, self._counts.largest),
            reasons=self._counts.rejects.reasons(),
            keys=self._seen,
            broke_off=broke_off,
        )

    def _columns(self) -> tuple[Column, ...]:
        inferred = {name: infer_column(name, seen.first, self._options.nested) for name, seen in self._seen.items()}
        order = {**dict.fromkeys(self._order()), **dict.fromkeys(self._given)}
        return tuple((inferred | self._given)[name] for name in order if name in inferred or name in self._given)

    def _order(self) -> list[str]:
        """Given columns keep their place among the rows' keys, as far as the first rows tell."""
        first = [column.name for column in self._plan.columns or ()]
        return [*first, *self._seen]

    def _is_rewritten(self, plan: RowPlan, sample: Sample) -> bool:
        columns = plan.columns or ()
        if self._dropped or any(column.holds is Holds.TEXT for column in columns):
            return True
        as_they_are, anew = (replace(plan, rewrite=rewrite).encoder() for rewrite in (False, True))
        sent = sum(as_they_are.encode_whole(block) is not None for block in sample.blocks)
        return sent < _WHOLE_SHARE * sum(anew.encode_whole(block) is not None for block in sample.blocks)

    def _fitted(self, plan: RowPlan, sample: Sample) -> RowPlan:
        """*plan* with the preset that the rows of *sample* are in the shape of."""
        if self._options.preset != "auto" or plan.mapping is not None:
            return plan
        most = _FIT_ROWS if len(sample.blocks) > 1 else None
        rows = [row for block in sample.blocks for row in islice(readable_rows(block, plan), most)]
        counts = Counter(fit for row in rows for fit in fitting(row, plan.target, plan.turns))
        choice = choose_preset(plan.target, counts, len(rows))
        return replace(plan, preset=choice.preset, fit=choice.fit)
