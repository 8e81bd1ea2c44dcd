"""Blocks made ready to send: the whole block at once where that is sure, else row by row, with the same bytes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from bulkup.encoding.columns import column_fault
from bulkup.encoding.depth import MOST_NESTED, depth_of, room_to_recurse
from bulkup.encoding.drop import without
from bulkup.encoding.faults import TOO_DEEP, Fault, one_line, read_row, unfit
from bulkup.encoding.language import Automaton, automaton_of
from bulkup.encoding.lines import Line, is_blank, line_count, lines_of, whole_lines, without_blanks
from bulkup.encoding.mapped import MappedRows
from bulkup.encoding.plan import RowPlan
from bulkup.encoding.shortcuts import Shortcut
from bulkup.encoding.target import FixedRows
from bulkup.model import HEAD_BYTES, Block, EncodedBlock, EncodedRow, LongRow, Reject, Stage
from bulkup.refusal import Refusal, attempt

__all__ = ["BlockEncoder"]

_LEAST_TIMED_BYTES = 16 * 1024
"""A smaller block says nothing about speed."""


_MOST_LOSSES = 3
"""A shortcut that was slower on so many large blocks is not taken again."""

_MARK = b"\0"


class BlockEncoder:
    """Carries a `RowPlan` out. What a block comes to depends on nothing before it, so any worker may encode any block. For one
    thread at a time."""

    def __init__(self, plan: RowPlan) -> None:
        self._plan = plan
        self._pipelines = plan.pipelines()
        usual = self._pipelines[0]
        self._verbatim = not usual.rewriters and usual.codec.is_verbatim
        self._first = plan.first_rewriters()
        self._shortcuts = usual.shortcuts
        self._automata: dict[bytes, Automaton | None] = {}
        self._timed: set[bytes] = set()
        self._losses: Counter[bytes] = Counter()

    def encode(self, block: Block) -> EncodedBlock:
        """*block* made ready. Its body is `encode_rows`'s bodies joined by commas, its rejects are `encode_rows`'s."""
        if len(block.data) <= self._plan.max_row_bytes and not _holds_a_mark(block):
            made = attempt(self._whole, block)
            if isinstance(made, EncodedBlock):
                return made
        rows = self.encode_rows(block)
        bodies = [row.body for row in rows if row.body is not None]
        rejects = tuple(row.reject for row in rows if row.reject is not None)
        return EncodedBlock(
            b",".join(bodies), len(bodies), len(rows) - len(bodies) - len(rejects), rejects, verbatim=False
        )

    def _whole(self, block: Block) -> EncodedBlock | None:
        """*block* as a whole, None where that is not the way for it. Raises where a row is not taken."""
        shortcut = self._shortcut(block.data)
        if shortcut is not None:
            body = shortcut.body(block.data.removesuffix(b"\n"))
            return EncodedBlock(body, line_count(block.data), 0, (), self._verbatim and block.offsets is None)
        if is_blank(block.data):
            lines = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
            return EncodedBlock(b"", 0, lines, (), verbatim=False)
        whole = whole_lines(block.data)
        if whole is not None:
            body = self._pipelines[0].body(whole.data, whole.count)
            return EncodedBlock(body, whole.count, 0, (), self._verbatim and block.offsets is None)
        bare = without_blanks(block.data)
        if bare is None:
            return None
        body = self._pipelines[0].body(bare.data, bare.count)
        return EncodedBlock(body, bare.count, line_count(block.data) - bare.count, (), verbatim=False)

    def encode_rows(self, block: Block) -> list[EncodedRow]:
        """Every line of *block* by itself, blank ones too, in order."""
        if _holds_a_mark(block):
            return [self._rejected(line) if _MARK in line.row else self._encoded(line) for line in lines_of(block)]
        return list(map(self._encoded, lines_of(block)))

    def reject_long(self, row: LongRow) -> Reject:
        """The dead letter of a row of which only the head was kept."""
        return self._too_long(row.start, 0, row.head, row.end - row.start)

    def _shortcut(self, data: bytes) -> Shortcut | None:
        """The shortcut for *data*, where there is one that takes it."""
        for shortcut in self._shortcuts:
            if data.startswith(shortcut.begins):
                if shortcut.begins not in self._automata:
                    self._automata[shortcut.begins] = automaton_of(shortcut.form)
                automaton = self._automata[shortcut.begins]
                if automaton is not None and automaton.takes(data):
                    self._time(shortcut, automaton, data)
                    return shortcut
        return None

    def _time(self, shortcut: Shortcut, automaton: Automaton, data: bytes) -> None:
        """Drop *shortcut* if the decoder is faster on the first large blocks: not every pattern becomes a fast automaton. One that
        wins once stays, since one measurement is noise."""
        if shortcut.begins in self._timed or len(data) < _LEAST_TIMED_BYTES:
            return
        rows, usual = data.removesuffix(b"\n"), self._pipelines[0]

        def short() -> bool:
            return automaton.takes(data) and bool(shortcut.body(rows))

        tried = [(_seconds(short), _seconds(lambda: usual.body(rows, line_count(rows)))) for _ in range(3)]
        if min(its for its, _ in tried) < min(others for _, others in tried):
            self._timed.add(shortcut.begins)
            return
        self._losses[shortcut.begins] += 1
        if self._losses[shortcut.begins] == _MOST_LOSSES:
            self._automata[shortcut.begins] = None

    def _encoded(self, line: Line) -> EncodedRow:
        if not line.row:
            return EncodedRow(line.position, None, None)
        if len(line.raw) > self._plan.max_row_bytes:
            reject = self._too_long(line.position, line.number, line.raw[:HEAD_BYTES], len(line.raw))
            return EncodedRow(line.position, None, reject)
        made = self._tried(line)
        if made.reject is not None and made.reject.reason == TOO_DEEP and depth_of(line.row) <= MOST_NESTED:
            with room_to_recurse():
                return self._tried(line)
        return made

    def _tried(self, line: Line) -> EncodedRow:
        refused: Refusal | None = None
        for pipeline in self._pipelines:
            body = attempt(pipeline.body, line.row, 1)
            if not isinstance(body, Refusal):
                return EncodedRow(line.position, body, None)
            refused = body
        return self._rejected(line, refused)

    def _rejected(self, line: Line, refused: Refusal | None = None) -> EncodedRow:
        fault = attempt(self._fault, line, refused)
        if isinstance(fault, Refusal):
            fault = Fault(Stage.READ, None, f"not taken, and why could not be found out ({fault})")
        field = None if fault.field is None else one_line(fault.field)
        reject = Reject(line.position, line.number, fault.stage, field, one_line(fault.reason), line.raw, len(line.raw))
        return EncodedRow(line.position, None, reject)

    def _too_long(self, position: int, line: int, head: bytes, length: int) -> Reject:
        reason = f"the row is {length} bytes long, the limit (max_row_bytes) is {self._plan.max_row_bytes}"
        return Reject(position, line, Stage.READ, None, reason, head, length)

    def _fault(self, line: Line, refused: Refusal | None) -> Fault:
        value = read_row(line.raw)
        if isinstance(value, Fault):
            return value
        data, row = line.row, value
        for rewriter in self._first:
            fault = rewriter.fault(data) if isinstance(rewriter, MappedRows) else None
            if fault is not None:
                return fault
            made = attempt(rewriter.lines, data, 1)
            if isinstance(made, Refusal):
                return unfit(line.raw, value, made)
            data = made
        if self._first:
            found = read_row(data)
            row = {} if isinstance(found, Fault) else found
        return self._shape_fault(without(row, self._plan.drop, ())) or unfit(line.raw, value, refused)

    def _shape_fault(self, row: dict[str, object]) -> Fault | None:
        plan = self._plan
        if not isinstance(plan.target.rows, FixedRows):
            return column_fault(plan.columns or (), row)
        if plan.mapping is None and plan.preset != "identity":
            preset = plan.target.rows.presets[plan.preset]
            for place in preset.undeclared(row):
                reason = f"{place}: {plan.preset} rows have no such key; --drop '{place}' leaves it out"
                return Fault(Stage.MAP, place, reason)
            mapped = preset.mapped(row)
            if isinstance(mapped, Fault):
                return mapped
            row = mapped
        return plan.target.rows.fault(row)


def _holds_a_mark(block: Block) -> bool:
    """Whether *block*, of an array, may hold a row of which the cutter knows that it is no JSON (`bulkup.sources.json_array`)."""
    return block.offsets is not None and _MARK in block.data


def _seconds(work: Callable[[], object]) -> float:
    """Of this thread's processor time: what else runs on the machine decides nothing."""
    began = time.thread_time()
    work()
    return time.thread_time() - began
