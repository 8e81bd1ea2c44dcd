"""Blocks of rows of which others are made before they are encoded: by the user's function, by a preset that makes two rows of one.

What is made goes on as if it had stood in the source, at the position of the row that it was made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bulkup.encoding.by_function import Number
from bulkup.encoding.carried import CarryingDecoder
from bulkup.encoding.doubled_keys import DoubledKeys, doubled_key
from bulkup.encoding.faults import TOO_DEEP, Fault, one_line, read_row
from bulkup.encoding.lines import Line, line_count, lines_of, whole_lines
from bulkup.encoding.makers import Maker
from bulkup.encoding.repairing import Mended, Mender
from bulkup.encoding.rows import BlockEncoder, doubled_fault, rejected_for, too_long
from bulkup.light_dataclass import dataclass
from bulkup.model import HEAD_BYTES, Block, Changes, EncodedBlock, EncodedLine, EncodedRow, LongRow, Reject, Stage
from bulkup.refusal import attempt
from bulkup.settings.repair import Repair

if TYPE_CHECKING:
    from bulkup.encoding.plan import RowPlan

__all__ = ["Exploder", "ExplodingEncoder", "MadeLine", "block_of"]


@dataclass(frozen=True, slots=True)
class MadeLine:
    """What one line came to before it was encoded: *rows* to encode, each in its own braces; or *reject*."""

    line: Line
    rows: tuple[bytes, ...] = ()
    reject: Reject | None = None
    changes: Changes = ()

    @property
    def is_skipped(self) -> bool:
        """A row of which nothing was made, and nothing is wrong."""
        return bool(self.line.row) and self.reject is None and not self.rows


class Exploder:
    """Makes rows of rows by *maker*, called once for each. *between* is called between rows: it may raise."""

    def __init__(
        self, maker: Maker, *, repairs: tuple[Repair, ...], max_row_bytes: int, finds_doubled_keys: bool
    ) -> None:
        self.between: Callable[[], None] = lambda: None
        self._maker = maker
        self._max_row_bytes = max_row_bytes
        self._decode = CarryingDecoder(dict[str, Any], Number).decode_lines
        self._doubled = DoubledKeys() if finds_doubled_keys else None
        self._mender = Mender(repairs) if repairs else None

    def lines(self, block: Block) -> list[MadeLine]:
        """What is made of each line of *block*."""
        values = attempt(self._at_once, block)
        rows = iter(values) if isinstance(values, list) else None
        found = []
        for line in lines_of(block):
            if not line.row:
                found.append(MadeLine(line))
                continue
            self.between()
            found.append(self._of_line(line) if rows is None else self._of_row(line, next(rows)))
        return found

    def _at_once(self, block: Block) -> list[dict[str, Any]] | None:
        """The rows of *block*, where every line is one and nothing is to be looked at closer."""
        if b"\0" in block.data or len(block.data) > self._max_row_bytes:
            return None
        whole = whole_lines(block.data)
        if whole is None or (self._doubled is not None and self._doubled.may_be_in(whole.data)):
            return None
        rows = self._decode(whole.data)
        return rows if len(rows) == whole.count == line_count(block.data) else None

    def _of_line(self, line: Line) -> MadeLine:
        row, mended = line.row, Counter[str]()
        if len(line.raw) > self._max_row_bytes:
            head, length = line.raw[:HEAD_BYTES], len(line.raw)
            return MadeLine(line, reject=too_long(line.position, line.number, head, length, self._max_row_bytes))
        value = self._read(row)
        if value is None and self._mender is not None:
            repaired = self._mender.mended(row)
            if isinstance(repaired, Mended):
                row, mended = repaired.row, repaired.changes
                value = self._read(row)
            elif repaired is not None:
                reject = self._unread(line)
                reason = one_line(f"{reject.reason}; it needs --repair {repaired} besides")
                return MadeLine(line, reject=replace(reject, reason=reason))
        if value is None:
            return MadeLine(line, reject=self._unread(line))
        made = self._of_row(line, value)
        return replace(made, changes=tuple(sorted((mended + Counter(dict(made.changes))).items())))

    def _read(self, row: bytes) -> dict[str, Any] | None:
        if b"\0" in row or (self._doubled is not None and doubled_key(row) is not None):
            return None
        found = attempt(self._decode, row)
        return found[0] if isinstance(found, list) and len(found) == 1 else None

    def _unread(self, line: Line) -> Reject:
        """Why *line* holds no row."""
        found = read_row(line.raw)
        if not isinstance(found, Fault):
            doubled = doubled_key(line.row) if self._doubled is not None else None
            found = Fault(Stage.READ, None, TOO_DEEP) if doubled is None else doubled_fault(doubled)
        return rejected_for(line, found)

    def _of_row(self, line: Line, row: dict[str, Any]) -> MadeLine:
        found = self._maker.made(row)
        if isinstance(found, Fault):
            return MadeLine(line, reject=rejected_for(line, found))
        return MadeLine(line, found.rows, changes=found.changes)


class ExplodingEncoder:
    """As `BlockEncoder`, of the rows that *exploder* makes; *plan* is theirs."""

    def __init__(self, plan: RowPlan, exploder: Exploder, *, runs_user_code: bool) -> None:
        self.runs_user_code = runs_user_code
        self.makes_several = True
        self._exploder = exploder
        self._inner = BlockEncoder(plan)

    @property
    def between(self) -> Callable[[], None]:
        """As `LineEncoder` has it."""
        return self._exploder.between

    @between.setter
    def between(self, call: Callable[[], None]) -> None:
        self._exploder.between = call

    def encode(self, block: Block) -> EncodedBlock:
        """*block* made ready."""
        made = self._exploder.lines(block)
        inner = block_of(made, block)
        encoded = EncodedBlock(b"", 0, 0, (), verbatim=False) if inner is None else self._inner.encode(inner)
        places = [(one, part) for one in made for part in range(1, len(one.rows) + 1)]
        rejects = [one.reject for one in made if one.reject is not None]
        rejects += [_placed(reject, *places[reject.line]) for reject in encoded.rejects]
        changes = Counter(dict(encoded.changes))
        for one in made:
            changes.update(dict(one.changes) if one.rows else {})
        return replace(
            encoded,
            blank=sum(not one.line.row for one in made),
            rejects=tuple(sorted(rejects, key=lambda reject: (reject.line, reject.part or 0))),
            verbatim=False,
            changes=tuple(sorted(changes.items())),
            skipped=sum(one.is_skipped for one in made),
            made=sum(max(0, len(one.rows) - 1) for one in made),
        )

    def encode_lines(self, block: Block) -> list[EncodedLine]:
        """Every line of *block* by itself, in order, with what came of it."""
        return [EncodedLine(one.line.position, self._rows(one, block)) for one in self._exploder.lines(block)]

    def reject_long(self, row: LongRow) -> Reject:
        """As `BlockEncoder`'s."""
        return self._inner.reject_long(row)

    def _rows(self, made: MadeLine, block: Block) -> tuple[EncodedRow, ...]:
        if made.reject is not None:
            return (EncodedRow(made.line.position, None, made.reject),)
        inner = block_of([made], block)
        if inner is None:
            return ()
        found = []
        for part, row in enumerate(self._inner.encode_rows(inner), 1):
            reject = None if row.reject is None else _placed(row.reject, made, part)
            changes = Counter(dict(row.changes)) + Counter(dict(made.changes))
            number = part if len(made.rows) > 1 else None
            found.append(replace(row, reject=reject, part=number, changes=tuple(sorted(changes.items()))))
        return tuple(found)


def _placed(reject: Reject, made: MadeLine, part: int) -> Reject:
    """*reject*, of a row that was made, as one of the line that it was made of. Where one row was made of one, the source's row is
    kept: another function may make a better one of it."""
    line = made.line
    if len(made.rows) == 1:
        return replace(reject, line=line.number, row=line.raw, length=len(line.raw))
    return replace(reject, line=line.number, part=part)


def block_of(made: Sequence[MadeLine], block: Block) -> Block | None:
    """The rows that were *made* of those of *block*, each at the position of the one it was made of; None where there is none."""
    rows = [row for one in made for row in one.rows]
    if not rows:
        return None
    offsets = [one.line.position for one in made for _ in one.rows]
    return Block(b"\n".join(rows) + b"\n", block.start, block.end, offsets)
