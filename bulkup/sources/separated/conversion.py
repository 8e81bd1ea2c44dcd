"""Rows of separated text as JSON lines: many at once by polars, every field read as text; what it may not take, one by one."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bulkup.encoding.lines import line_count
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, LongRow
from bulkup.sources.columnar.loading import polars, tried
from bulkup.sources.columnar.marks import BEFORE, BEHIND, unmarked
from bulkup.sources.format import Item
from bulkup.sources.head import BOM
from bulkup.sources.separated.cutter import LongRecord, Records
from bulkup.sources.separated.dialect import Dialect
from bulkup.sources.separated.kinds import PATTERNS, Kind, as_json_text
from bulkup.sources.separated.records import fields_of, opens_quotes

__all__ = ["JsonMaker", "cells_of", "is_plain", "text_frame"]

_SPACE = b" \t\r\n"
_string = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Bad:
    """A row that is none, and why."""

    reason: str


class JsonMaker:
    """Makes items of what a `RecordCutter` gives. A value of a column that is of a kind, and has its form, is written as it stands;
    every other one is a string; nothing, not even quotes, is null."""

    def __init__(self, dialect: Dialect, *, block_bytes: int) -> None:
        self._dialect = dialect
        self._block_bytes = block_bytes
        self.forms = tuple(None if kind is None else PATTERNS.get(kind) for kind in dialect.kinds)
        self._keys = [_string(name) + b":" for name in dialect.names]

    def items(self, found: Records | LongRecord) -> list[Item]:
        """The blocks, and the rows that cannot be sent."""
        if isinstance(found, LongRecord):
            why = f"line {found.line:,}: a quote is opened and not closed" if found.is_open else None
            return [LongRow(found.head, found.start, found.end, why)]
        if is_plain(found, self._dialect):
            made = tried(self._by_polars, found)
            if isinstance(made, bytes):
                blocks: list[Item] = list(self._blocks(made, found.offsets, found.end))
                if sum(len(block.offsets or ()) for block in blocks if isinstance(block, Block)) == len(found.offsets):
                    return blocks
        return list(self._one_by_one(found))

    def _by_polars(self, found: Records) -> bytes:
        """Plain rows as JSON lines. Raises where they are no UTF-8."""
        pl = polars()
        frame = text_frame(found.data, self._dialect)
        kinds = [(pl.col(str(number)), kind) for number, kind in enumerate(self._dialect.kinds) if kind in PATTERNS]
        is_marked = False
        if kinds:
            fits = [column.str.contains(PATTERNS[kind]).all() for column, kind in kinds]
            fitting = [True] * len(kinds) if found.forms == self.forms else frame.select(fits).row(0)
            made = []
            for (column, kind), fit in zip(kinds, fitting, strict=True):
                if fit and kind is Kind.INTEGER:  # the digits of such a number are those of its value
                    made.append(column.cast(pl.Int64))
                elif fit and kind is Kind.BOOLEAN:
                    made.append(column.str.to_lowercase() == "true")
                else:
                    text = column.str.to_lowercase() if kind is Kind.BOOLEAN else column
                    marked = pl.format(f"{BEFORE}{{}}{BEHIND}", text)
                    one = marked if fit else pl.when(column.str.contains(PATTERNS[kind])).then(marked).otherwise(column)
                    made.append(one)
                    is_marked = True
            frame = frame.with_columns(
                [one.alias(column.meta.output_name()) for one, (column, _) in zip(made, kinds, strict=True)]
            )
        frame.columns = self._dialect.names
        out = io.BytesIO()
        frame.write_ndjson(out)
        return unmarked(out.getvalue()) if is_marked else out.getvalue()

    def _blocks(self, lines: bytes, offsets: Sequence[int], end: int) -> Iterator[Block]:
        """*lines* in blocks; each line's row begins at its offset."""
        at = row = 0
        while at < len(lines):
            behind = lines.rfind(b"\n", at, at + self._block_bytes) + 1
            if behind <= at:
                behind = lines.index(b"\n", at) + 1
            data = lines[at:behind]
            places = offsets[row : row + line_count(data)]
            row += len(places)
            yield Block(data, places[0], offsets[row] if row < len(offsets) else end, places)
            at = behind

    def _one_by_one(self, records: Records) -> Iterator[Item]:
        """Some of these rows are bad, blank, or quoted in a way of their own."""
        offsets = [*records.offsets, records.end]
        line, begun = records.line, 0
        held: list[bytes] = []
        for number, row in enumerate(records.rows()):
            made = self._line(row)
            if isinstance(made, _Bad):
                if held:
                    yield from self._blocks(b"".join(held), offsets[begun:number], offsets[number])
                text = row.rstrip(b"\r\n")
                yield LongRow(text, offsets[number], offsets[number + 1], f"line {line:,}: {made.reason}")
                held, begun = [], number + 1
            else:
                held.append(made)
            line += row.count(self._dialect.line_break)
        if held:
            yield from self._blocks(b"".join(held), offsets[begun:-1], records.end)

    def _line(self, row: bytes) -> bytes | _Bad:
        """*row*, which has its break, as a JSON line; a blank one is blank."""
        cells = cells_of(row, self._dialect)
        if not cells:
            return b"\n"
        if isinstance(cells, str):
            return _Bad(cells)
        values = [
            key + (b"null" if cell is None else _as_json(cell, kind))
            for cell, kind, key in zip(cells, self._dialect.kinds, self._keys, strict=True)
        ]
        return b"{" + b",".join(values) + b"}\n"


def _as_json(cell: str, kind: Kind | None) -> bytes:
    plain = as_json_text(cell, kind)
    return _string(cell) if plain is None else plain.encode()


def cells_of(row: bytes, dialect: Dialect) -> list[str | None] | str:
    """The cells of *row*, which has its break: None where nothing stands, no cells where the line is blank; or what is wrong."""
    text = row[:-1]
    if dialect.line_break == b"\n" and text.endswith(b"\r"):
        text = text[:-1]
    if not text.strip(_SPACE if dialect.delimiter != b"\t" else b" \r\n"):
        return []
    fields = fields_of(text, dialect.delimiter)
    if isinstance(fields, str):
        return fields
    wanted = len(dialect.names)
    if len(fields) != wanted:
        return f"{len(fields):,} field{'s' * (len(fields) != 1)} where the header has {wanted:,}"
    try:
        return [None if field is None else field.decode() for field in fields]
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{error.object[error.start]:02x}"


def is_plain(records: Records, dialect: Dialect) -> bool:
    """Whether every row has all fields."""
    return records.are_even and (len(dialect.names) > 1 or all(row.strip(_SPACE) for row in records.rows()))


def text_frame(data: bytes, dialect: Dialect, columns: Sequence[int] | None = None) -> Any:
    """*data*, rows that all have as many fields as the dialect has columns, every field a text; the columns are called by their
    numbers, from 0. Only those in *columns*, ascending, where they are given."""
    frame = polars().read_csv(
        io.BytesIO(BOM + data if data.startswith(BOM) else data),  # polars takes one off, and it is a field's
        has_header=False,
        infer_schema=False,
        separator=dialect.delimiter.decode(),
        eol_char=dialect.line_break.decode(),
        quote_char='"' if opens_quotes(data, dialect.delimiter, dialect.line_break) else None,
        columns=None if columns is None else list(columns),
        raise_if_empty=False,
    )
    frame.columns = list(map(str, range(len(dialect.names)) if columns is None else columns))
    return frame
