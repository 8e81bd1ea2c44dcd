"""Blocks made ready to send: the whole block at once where that is sure, else row by row, with the same bytes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import cast

from bulkup.encoding.by_row import RewrittenRows
from bulkup.encoding.depth import MOST_NESTED, depth_of, room_to_recurse
from bulkup.encoding.doubled_keys import DoubledKeys, Witness, doubled_key, may_hold_doubled_keys
from bulkup.encoding.drop import without
from bulkup.encoding.faults import TOO_DEEP, Fault, one_line, read_row, unfit
from bulkup.encoding.language import Automaton, automaton_of
from bulkup.encoding.lines import SPACE, Line, is_blank, line_count, lines_of, whole_lines, without_blanks
from bulkup.encoding.mapped import MappedRows
from bulkup.encoding.plan import RowPlan
from bulkup.encoding.race import Race
from bulkup.encoding.repairing import Mender
from bulkup.encoding.shapes import hint
from bulkup.encoding.shortcuts import Shortcut
from bulkup.encoding.target import FixedRows
from bulkup.light_dataclass import replace
from bulkup.model import HEAD_BYTES, Block, Changes, EncodedBlock, EncodedLine, EncodedRow, LongRow, Reject, Stage
from bulkup.refusal import Refusal, attempt
from bulkup.settings.repair import Repair

__all__ = ["BlockEncoder", "doubled_fault", "rejected_for", "too_long"]

_LEAST_TIMED_BYTES = 16 * 1024
"""A smaller block says nothing about speed."""


_LEAST_COMPILED_BYTES = 192 * 1024
"""An automaton is compiled once so many bytes were seen that it may take: that costs as much as the decoder needs for a MB."""

_MARK = b"\0"

_NOT_FOUND_OUT = "not taken, and why could not be found out"
"""As where what looks for the reason has no room for a row that is nested deeply."""


class BlockEncoder:
    """Carries a `RowPlan` out. What a block comes to depends on nothing before it, so any worker may encode any block. For one
    thread at a time."""

    def __init__(self, plan: RowPlan, doubled: DoubledKeys | None = None) -> None:
        """*doubled* has seen rows like these before."""
        self.runs_user_code = self.makes_several = False
        self.between: Callable[[], None] = lambda: None
        self._plan = plan
        self._pipelines = plan.pipelines()
        usual = self._pipelines[0]
        self._doubled = (doubled or DoubledKeys()) if plan.finds_doubled_keys else None
        # A question to the protocol itself takes as long as an upload's plan.
        is_witness = not usual.rewriters and hasattr(usual.codec, "saw_each_key_once")
        self._witness = cast("Witness", usual.codec) if is_witness else None
        self._mender = Mender(plan.repairs) if plan.repairs else None
        self._verbatim = not usual.rewriters and usual.codec.is_verbatim
        self._first = plan.first_rewriters()
        self._shortcuts = usual.shortcuts
        self._automata: dict[bytes, Automaton | None] = {}
        self._seen_bytes = 0
        self._races: defaultdict[bytes, Race] = defaultdict(Race)

    def encode(self, block: Block) -> EncodedBlock:
        """*block* made ready. Its body is `encode_rows`'s bodies joined by commas, its rejects are `encode_rows`'s."""
        made = self.encode_whole(block)
        if made is not None:
            return made
        rows = self.encode_rows(block)
        bodies = [row.body for row in rows if row.body is not None]
        rejects = tuple(row.reject for row in rows if row.reject is not None)
        changes: Counter[str] = Counter()
        for row in rows:
            if row.changes:
                changes.update(dict(row.changes))
        blank = len(rows) - len(bodies) - len(rejects)
        return EncodedBlock(b",".join(bodies), len(bodies), blank, rejects, verbatim=False, changes=_counted(changes))

    def encode_whole(self, block: Block) -> EncodedBlock | None:
        """*block* made ready at once; None where a row in it needs a closer look."""
        if len(block.data) > self._plan.max_row_bytes or _holds_a_mark(block):
            return None
        made = attempt(self._whole, block)
        return made if isinstance(made, EncodedBlock) else None

    def _whole(self, block: Block) -> EncodedBlock | None:
        """*block* as a whole, None where that is not the way for it. Raises where a row is not taken."""
        shortcut = self._shortcut(block.data)
        if shortcut is None:
            return self._decoded(block)
        race = self._races[shortcut.begins]
        if race.is_over or len(block.data) < _LEAST_TIMED_BYTES:
            return self._moved(block, shortcut)
        return self._racing(block, shortcut, race)

    def _racing(self, block: Block, shortcut: Shortcut, race: Race) -> EncodedBlock | None:
        """*block*, made by whose turn it is. Not every pattern becomes a fast automaton, and moving short values takes long."""
        began = time.thread_time()  # what else runs on the machine decides nothing
        if race.is_decoders_turn:
            made = self._decoded(block)
        else:
            self._shortcut(block.data)  # once more, since the first time may have made ready what it needs
            made = self._moved(block, shortcut)
        race.took(time.thread_time() - began, len(block.data))
        if race.shortcut_lost:
            self._automata[shortcut.begins] = None
        return made or self._moved(block, shortcut)

    def _moved(self, block: Block, shortcut: Shortcut) -> EncodedBlock:
        """*block*, which *shortcut* takes."""
        body = shortcut.body(block.data.removesuffix(b"\n"))
        return EncodedBlock(body, line_count(block.data), 0, (), self._verbatim and block.offsets is None)

    def _decoded(self, block: Block) -> EncodedBlock | None:
        """As `_whole`, without a shortcut."""
        if is_blank(block.data):
            return EncodedBlock(b"", 0, line_count(block.data), (), verbatim=False)
        whole = whole_lines(block.data)
        is_bare = whole is None
        whole = without_blanks(block.data) if is_bare else whole
        found = None if whole is None else self._body(whole.data, whole.count)
        if whole is None or found is None:
            return None
        blank = line_count(block.data) - whole.count if is_bare else 0
        verbatim = self._verbatim and not is_bare and block.offsets is None
        return EncodedBlock(found, whole.count, blank, (), verbatim, _counted(self._pipelines[0].changes))

    def _body(self, lines: bytes, rows: int) -> bytes | None:
        """The body of *rows* whole *lines*, None where a key may stand twice. Raises where a row is not taken."""
        usual = self._pipelines[0]
        if self._doubled is None:
            return usual.body(lines, rows)
        if self._witness is None:
            return None if self._doubled.may_be_in(lines) else usual.body(lines, rows)
        body = usual.body(lines, rows)
        is_sure = self._witness.saw_each_key_once(lines, rows, body)
        return body if is_sure or not self._doubled.may_be_in(lines) else None

    def encode_lines(self, block: Block) -> list[EncodedLine]:
        """Every line of *block* by itself, blank ones too, in order, with what came of it."""
        rows = self.encode_rows(block)
        return [
            EncodedLine(row.position, (row,) if row.body is not None or row.reject is not None else ()) for row in rows
        ]

    def encode_rows(self, block: Block) -> list[EncodedRow]:
        """Every line of *block* by itself, blank ones too, in order."""
        if _holds_a_mark(block):
            return [
                self._rejected(line, line.row) if _MARK in line.row else self._encoded(line) for line in lines_of(block)
            ]
        lines = list(lines_of(block))
        rows = [line.row for line in lines if line.row]
        once = len(rows) > 1 and self._doubled is not None and not may_hold_doubled_keys(b"\n".join(rows))
        return [self._encoded(line, once) for line in lines]

    def reject_long(self, row: LongRow) -> Reject:
        """What is said of a row of which only the head was kept, or of one that its format could not read."""
        if row.reason is not None:
            reason = one_line(row.reason)
            return Reject(row.start, 0, Stage.READ, None, reason, row.head, row.end - row.start)
        return self._too_long(row.start, 0, row.head, row.end - row.start)

    def _shortcut(self, data: bytes) -> Shortcut | None:
        """The shortcut for *data*, where there is one that takes it."""
        for shortcut in self._shortcuts:
            if data.startswith(shortcut.begins):
                if shortcut.begins not in self._automata:
                    self._seen_bytes += len(data)
                    if self._seen_bytes < _LEAST_COMPILED_BYTES:
                        return None
                    self._automata[shortcut.begins] = automaton_of(shortcut.form)
                automaton = self._automata[shortcut.begins]
                if automaton is not None and automaton.takes(data):
                    return shortcut
        return None

    def _encoded(self, line: Line, once: bool = False) -> EncodedRow:
        """*once*: no key stands twice in it."""
        if not line.row:
            return EncodedRow(line.position, None, None)
        if len(line.raw) > self._plan.max_row_bytes:
            reject = self._too_long(line.position, line.number, line.raw[:HEAD_BYTES], len(line.raw))
            return EncodedRow(line.position, None, reject)
        made = self._tried(line, line.row, once)
        wants_room = made.reject is not None and made.reject.reason.startswith((TOO_DEEP, _NOT_FOUND_OUT))
        if wants_room and depth_of(line.row) <= MOST_NESTED:
            with room_to_recurse():
                made = self._tried(line, line.row)
        if made.reject is None or self._mender is None:
            return made
        mended = self._mender.mended(line.row)
        if mended is None:
            return made
        if isinstance(mended, Repair):
            reject = replace(made.reject, reason=one_line(f"{made.reject.reason}; it needs --repair {mended} besides"))
            return replace(made, reject=reject)
        again = self._tried(line, mended.row)
        return (
            replace(again, changes=_counted(Counter(dict(again.changes)) + mended.changes))
            if again.reject is None
            else again
        )

    def _tried(self, line: Line, row: bytes, once: bool = False) -> EncodedRow:
        """*row*, which stands on *line* or was made of what does. *once*: no key stands twice in it."""
        refused: Refusal | None = None
        doubled = doubled_key(row) if self._plan.finds_doubled_keys and not once else None
        for pipeline in self._pipelines if doubled is None else ():
            body = attempt(pipeline.body, row, 1)
            if not isinstance(body, Refusal):
                changes = _counted(pipeline.changes)
                return EncodedRow(line.position, body, None, changes, line.row)
            refused = body
        return self._rejected(line, row, refused)

    def _rejected(self, line: Line, row: bytes, refused: Refusal | None = None) -> EncodedRow:
        fault = attempt(self._fault, line.raw if row is line.row else row, refused)
        if isinstance(fault, Refusal):
            fault = Fault(Stage.READ, None, f"{_NOT_FOUND_OUT} ({fault})")
        return EncodedRow(line.position, None, rejected_for(line, fault))

    def _too_long(self, position: int, line: int, head: bytes, length: int) -> Reject:
        return too_long(position, line, head, length, self._plan.max_row_bytes)

    def _fault(self, raw: bytes, refused: Refusal | None) -> Fault:
        value = read_row(raw)
        if isinstance(value, Fault):
            return value
        data, row = raw.strip(SPACE), value
        doubled = doubled_key(data) if self._plan.finds_doubled_keys else None
        if doubled is not None:
            return doubled_fault(doubled)
        rewritten = self._plan.rewritten()
        for rewriter in self._first if rewritten is None else (*self._first, rewritten):
            fault = rewriter.fault(data) if isinstance(rewriter, MappedRows | RewrittenRows) else None
            if fault is not None:
                return fault
            made = attempt(rewriter.lines, data, 1)
            if isinstance(made, Refusal):
                return unfit(raw, value, made)
            data = made
        if self._first or rewritten is not None:
            found = read_row(data)
            row = {} if isinstance(found, Fault) else found
        return self._shape_fault(without(row, self._plan.drop, ())) or unfit(raw, value, refused)

    def _shape_fault(self, row: dict[str, object]) -> Fault | None:
        plan = self._plan
        if not isinstance(plan.target.rows, FixedRows):
            named = plan.column_preset
            in_shape = None if named is None else named.fault(plan.turns_key)(row)
            return in_shape or plan.column_fault(row)
        if plan.mapping is None and plan.preset != "identity":
            preset = plan.fixed_preset
            mapped = preset.mapped(row, Counter())
            if isinstance(mapped, Fault):
                return mapped
            for place in preset.undeclared(row):
                return Fault(Stage.MAP, place, f"{place}: {plan.preset} rows have no such key{hint(place)}")
            row = mapped
        return plan.target.rows.fault(row)


def doubled_fault(key: str) -> Fault:
    """The fault of a row in which *key* stands twice in an object."""
    what = f"the key stands twice in one object; --repair {Repair.DUPLICATE_KEYS} takes its last value"
    return Fault(Stage.VALIDATE, key, f"{key}: {what}")


def too_long(position: int, line: int, head: bytes, length: int, limit: int) -> Reject:
    """What is said of a row of *length* bytes, of which only the *head* is kept."""
    what = f"the row is {length} bytes long, the limit (max_row_bytes) is {limit}"
    reason = f"{what}; a larger max_row_bytes in the config file takes it, in a new run"
    return Reject(position, line, Stage.READ, None, reason, head, length)


def rejected_for(line: Line, fault: Fault) -> Reject:
    """What is said of the row on *line*."""
    field = None if fault.field is None else one_line(fault.field)
    return Reject(line.position, line.number, fault.stage, field, one_line(fault.reason), line.raw, len(line.raw))


def _counted(changes: Counter[str] | None) -> Changes:
    return tuple(sorted(changes.items())) if changes else ()


def _holds_a_mark(block: Block) -> bool:
    """Whether *block*, of an array, may hold a row of which the cutter knows that it is no JSON (`bulkup.sources.json_array`)."""
    return block.offsets is not None and _MARK in block.data
