"""Columns that are learned: whatever a row that is good otherwise brings, the columns take it from then on."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import msgspec

from bulkup.encoding import BlockEncoder, RowOptions, RowPlan
from bulkup.encoding.choosing import choose_preset, fitting
from bulkup.encoding.decision import readable_rows
from bulkup.encoding.doubled_keys import DoubledKeys
from bulkup.encoding.faults import one_line
from bulkup.encoding.lines import Line, lines_of
from bulkup.errors import UsageProblem
from bulkup.model import Block, EncodedBlock, LongRow, Validation
from bulkup.rows.schema import Column, Holds, Kind, given_columns, infer_column
from bulkup.scan.counting import Check, Counts, FileRows, alone, line_behind, look_by_halves
from bulkup.scan.found import Found
from bulkup.scan.key_counter import KeyCounter, rows_of
from bulkup.scan.learned import Learned
from bulkup.scan.look import known, open_to_all
from bulkup.scan.measuring import found_of
from bulkup.scan.seen import Place, Seen, with_row
from bulkup.settings.near import did_you_mean

__all__ = ["MOST_COLUMNS", "Widening"]

MOST_COLUMNS = 5000
"""Rows with more different keys than that have no columns."""

_MOST_CODECS = 2
"""In one block: what its other rows bring makes one more."""

_KEPT_CODECS = 16
"""Of earlier parts: the next one comes to the same."""

_SETTLED = 64
"""After so many blocks that brought nothing new an automaton is made for the next; it costs as much as some hundred blocks."""

_WHOLE_SHARE = 0.9
"""Of the blocks that can be sent at once at all: if fewer of them can be sent as they are, every row is written anew."""

_FIT_ROWS = 64
"""Of each block of the sample, where that has several: rows are held against every preset one by one."""

_KEYS_SAID = 12

_Kinds = tuple[tuple[str, frozenset[Kind]], ...]


class Widening:
    """Learns the columns. *plan* is as decided on the first rows, but for those."""

    stage = None

    def __init__(self, plan: RowPlan, options: RowOptions) -> None:
        self.plan = plan
        self.given = given_columns(options.columns)
        self.dropped = set(plan.drop) if plan.mapping is None else set()
        self.open = open_to_all(plan, list(self.given.values())).encoder()
        self._options = options
        self._doubled = DoubledKeys()
        self._known: OrderedDict[_Kinds, tuple[BlockEncoder, bool]] = OrderedDict()

    def judge(self, check: Check, counted_every: int) -> WideningJudge:
        """As `Way.judge`."""
        return WideningJudge(self, check, counted_every)

    def next(self, learned: Learned) -> None:
        """As `Way.next`: the first pass has seen all there is."""

    def encoder_for(self, seen: Mapping[str, Seen], *, is_settled: bool) -> tuple[BlockEncoder, bool]:
        """What takes rows in which there is only what was *seen*, and whether it is as fast as it can be: it is made so if that
        *is_settled*, and may be so from an earlier part."""
        kinds = tuple((name, frozenset(found.first)) for name, found in seen.items())
        kept = self._known.get(kinds)
        if kept is None or (is_settled and not kept[1]):
            plan = known(self.plan, seen, list(self.given.values()), is_settled=is_settled)
            kept = self._known[kinds] = BlockEncoder(plan, self._doubled), is_settled
            while len(self._known) > _KEPT_CODECS:
                self._known.popitem(last=False)
        self._known.move_to_end(kinds)
        return kept

    def columns(self, seen: Mapping[str, Seen]) -> tuple[Column, ...]:
        """The columns that take what was *seen*. Given ones keep their place among the rows' keys, as far as the first rows tell.
        Raises `UsageProblem`."""
        if len(seen) > MOST_COLUMNS:
            raise UsageProblem(
                f"{self.plan.target.name}: the rows have more than {MOST_COLUMNS:,} different keys, and each would be a column. "
                "If keys are values, put them under one key (a mapping does that: docs/mapping.md)"
            )
        inferred = {name: infer_column(name, found.first, self._options.nested) for name, found in seen.items()}
        first = [column.name for column in self.plan.columns or ()]
        order = dict.fromkeys([*first, *seen, *self.given])
        return tuple((inferred | self.given)[name] for name in order if name in inferred or name in self.given)

    def _check_given(self, learned: Learned) -> None:
        """Refuse a given column that no row has, where no row can be sent for it."""
        if learned.rows or not learned.reasons:
            return
        first = max(learned.reasons, key=lambda reason: reason.count)
        column = next((one for one in self.given.values() if one.name == first.kind[1]), None)
        if column is None or self.plan.mapping is not None:
            return
        keys = list(
            dict.fromkeys(key for block in learned.sample for row in readable_rows(block, self.plan) for key in row)
        )
        if keys and column.name not in keys:
            there = f"{', '.join(keys[:_KEYS_SAID])}{' …' * (len(keys) > _KEYS_SAID)}"
            raise UsageProblem(
                one_line(
                    f"{self.plan.target.name}: column {column.name}: no row has it{did_you_mean(column.name, keys)}, so none can "
                    f"be sent. The rows have {there}. With a ? behind its type it may be absent"
                )
            )

    def found(self, learned: Learned) -> Found:
        """As `Way.found`."""
        self._check_given(learned)
        plan = self._fitted(replace(self.plan, columns=self.columns(learned.keys)), learned.sample)
        if plan.validation is Validation.TRUST and not plan.columns and learned.reasons:
            # They would be sent, without columns.
            first = min(learned.reasons, key=lambda reason: reason.places[0]).text
            raise UsageProblem(
                f"{plan.target.name}: none of the rows can be sent, so its columns are not known. The first: {one_line(first)}"
            )
        if not plan.columns and learned.rows:
            raise UsageProblem(f"{plan.target.name}: the schema has no columns (every row is empty)")
        lacks_keys = any(Kind.ABSENT in seen.first for seen in learned.keys.values())
        rewrite = self._is_rewritten(plan, learned.sample, lacks_keys=lacks_keys)
        return found_of(replace(plan, rewrite=rewrite), learned)

    def _is_rewritten(self, plan: RowPlan, sample: tuple[Block, ...], *, lacks_keys: bool) -> bool:
        columns = plan.columns or ()
        if self.dropped or any(column.holds is Holds.TEXT for column in columns):
            return True
        has_characters = any(column.holds is Holds.CHARACTERS for column in columns)
        if not (lacks_keys or self.given or has_characters):
            return False  # every row that is sent has all columns as they are
        if plan.validation is Validation.TRUST:
            # A row is not looked at when it is sent: each that is no string is refused then.
            plan = replace(plan, validation=Validation.FULL)
            sample = tuple(one for block in sample for one in _alone(block)) if has_characters else ()
        as_they_are, anew = (replace(plan, rewrite=rewrite).encoder() for rewrite in (False, True))
        sent = sum(as_they_are.encode_whole(block) is not None for block in sample)
        return sent < _WHOLE_SHARE * sum(anew.encode_whole(block) is not None for block in sample)

    def _fitted(self, plan: RowPlan, sample: tuple[Block, ...]) -> RowPlan:
        """*plan* with the preset that the rows of *sample* are in the shape of."""
        if self._options.preset != "auto" or plan.mapping is not None:
            return plan
        most = _FIT_ROWS if len(sample) > 1 else None
        rows = [row for block in sample for row in islice(readable_rows(block, plan), most)]
        counts = Counter(fit for row in rows for fit in fitting(row, plan.target, plan.turns))
        choice = choose_preset(plan.target, counts, len(rows))
        return replace(plan, preset=choice.preset, fit=choice.fit)


def _alone(block: Block) -> Iterator[Block]:
    """Each row of *block*."""
    for line in lines_of(block):
        if line.row:
            yield Block(line.row + b"\n", line.position, line.position + len(line.row) + 1)


class WideningJudge:
    """Learns the columns of one part. What it says depends on that alone: of earlier parts it only has what is ready to be used."""

    def __init__(self, way: Widening, check: Check, counted_every: int) -> None:
        self._way = way
        self._check = check
        self._without = way.dropped | way.given.keys()
        self._seen: Mapping[str, Seen] = {}
        self._first_row: Place | None = None
        self._counts = Counts()
        self._keys = KeyCounter(counted_every)
        self._known: BlockEncoder | None = None
        self._is_fast = False
        self._codecs = 0  # made within this block
        self._quiet, self._settles_at = 0, _SETTLED

    def take(self, item: Block | LongRow, place: Place) -> int:
        """As `Judge.take`."""
        if isinstance(item, LongRow):
            self._counts.rejected(self._way.open.reject_long(item), place)
            return 1
        self._keys.next_block()
        made = self._whole(item)
        if made is not None:
            self._learn_whole(item, made, place)
            return self._counts.block(item, made, place)
        self._codecs = 0
        lines, blank = look_by_halves(item, self, place, self._check)
        self._counts.blank(blank, place)
        return lines

    def take_together(self, block: Block, files: Sequence[FileRows], place: Place) -> bool:
        """As `Judge.take_together`."""
        made = self._whole(block)
        if made is None or made.rows < made.lines:
            return False
        self._keys.next_block()
        self._learn_whole(block, made, place)
        self._counts.several(files)
        return True

    def _whole(self, block: Block) -> EncodedBlock | None:
        made = self._encoder().encode_whole(block)
        if made is not None:
            self._quiet += 1
            if self._quiet == self._settles_at and not self._is_fast:
                self._known = None
        return made

    def fits(self, part: Block, place: Place) -> bool:
        """As `Taker.fits`."""
        made = self._encoder().encode_whole(part)
        if made is not None:
            self._learn_whole(part, made, place)
            self._counts.block(part, made, place)
        return made is not None

    def _learn_whole(self, block: Block, made: EncodedBlock, place: Place) -> None:
        if made.rows:
            if self._first_row is None:
                self._first_row = next(line_behind(block, place, line) for line in lines_of(block) if line.row)
            if self._keys.counts and self._has_gaps:
                self._keys.add(rows_of(made.body.replace(b"\n", b",")))  # a shortcut leaves breaks
            elif self._keys.counts:
                self._keys.add_full(self._seen, made.rows)

    @property
    def _has_gaps(self) -> bool:
        """Whether a key is absent or null in some row so far."""
        return any(Kind.ABSENT in seen.first or Kind.NULL in seen.first for seen in self._seen.values())

    def one(self, part: Block, line: Line, place: Place) -> None:
        """As `Taker.one`."""
        plan = self._way.plan
        made = alone(self._way.open.encode_rows(part))
        if made.body is None and plan.validation is Validation.TRUST:
            made = alone(replace(plan, columns=self._way.columns(self._seen)).encoder().encode_rows(part))
            if made.body is not None:
                self._counts.row(line, place)
                return
        if made.body is None:
            assert made.reject is not None, "a row is taken or rejected"
            self._counts.rejected(made.reject, place)
            return
        self._counts.row(line, place)
        for row in rows_of(made.body):
            self._learn({key: token for key, token in row.items() if key not in self._without}, place)
            if self._keys.counts:
                self._keys.add([row])
            self._first_row = self._first_row or place

    def goes_row_by_row(self) -> bool:
        """As `Taker.goes_row_by_row`."""
        return self._codecs >= _MOST_CODECS

    def _learn(self, tokens: Mapping[str, msgspec.Raw], place: Place) -> None:
        wider = with_row(self._seen, tokens, place, self._first_row)
        if wider is None:
            return
        if len(wider) > MOST_COLUMNS:
            self._way.columns(wider)
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
            self._known, self._is_fast = self._way.encoder_for(self._seen, is_settled=is_settled)
        return self._known

    def learned(self) -> Learned:
        """As `Judge.learned`."""
        return Learned(
            files=self._counts.files,
            reasons=self._counts.rejects.reasons,
            keys=self._seen,
            first_row=self._first_row,
            counted=self._keys.found(self._seen),
        )
