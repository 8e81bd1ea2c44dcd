"""What the columns of separated text hold, decided on all rows of all files of a source, before the first of them is sent.

`KindFinder` is the one place where that is decided. Standard input cannot be looked through: its columns are text, but for those
that a person gives a type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bulkup.encoding.faults import one_line
from bulkup.errors import BulkupError
from bulkup.model import BLOCK_BYTES
from bulkup.refusal import Refusal
from bulkup.sources.archive_stream import FileInputs
from bulkup.sources.columnar.loading import polars, tried
from bulkup.sources.decoder import DamagedError
from bulkup.sources.format import SourceFile
from bulkup.sources.head import BOM
from bulkup.sources.selection import some_of
from bulkup.sources.separated.conversion import cells_of, is_plain, text_frame
from bulkup.sources.separated.cutter import RecordCutter, Records
from bulkup.sources.separated.dialect import Dialect
from bulkup.sources.separated.kinds import NOTHING, PATTERNS, TRUTHS, Kind
from bulkup.sources.separated.structure import Forms

__all__ = ["CHUNK_BYTES", "KindFinder", "agreed", "record_cutter"]

CHUNK_BYTES = 8 * BLOCK_BYTES
"""So much text is read at once: polars takes a fifth of a millisecond to begin, whatever the size."""

_RAW_BYTES = 256 * 1024
_WAYS = (PATTERNS[Kind.INTEGER], PATTERNS[Kind.NUMBER], *TRUTHS)
_KINDS = (Kind.INTEGER, Kind.NUMBER, *[Kind.BOOLEAN] * len(TRUTHS))


class KindFinder:
    """What columns, known by their names, may still hold after the rows that it has seen."""

    def __init__(self) -> None:
        self._possible: dict[str, set[int]] = {}

    def undecided(self, dialect: Dialect) -> list[int]:
        """The columns, by their numbers, of which more rows could say anything."""
        return [
            number
            for number, (name, kind) in enumerate(zip(dialect.names, dialect.kinds, strict=True))
            if kind is None and self._possible.get(name, {0})
        ]

    def forms(self, dialect: Dialect) -> Forms:
        """Forms for the columns: rows whose values have them change nothing of what this knows. An integer is a number, too."""
        forms: list[str | None] = [None] * len(dialect.names)
        for number in self.undecided(dialect):
            ways = self._possible.get(dialect.names[number])
            forms[number] = _WAYS[min(ways)] if ways else NOTHING
        return tuple(forms)

    def see(self, records: Records, dialect: Dialect) -> None:
        """Take rows into account."""
        numbers = self.undecided(dialect)
        if not numbers or records.forms == self.forms(dialect):
            return
        fitting = tried(_fitting, records.data, dialect, numbers) if is_plain(records, dialect) else None
        if fitting is None or isinstance(fitting, Refusal):
            fitting = _fitting_row_by_row(records, dialect, numbers)
        for number, (count, ways) in zip(numbers, fitting, strict=True):
            if count:
                name = dialect.names[number]
                self._possible.setdefault(name, set(range(len(_WAYS)))).intersection_update(ways)

    def kind(self, name: str) -> Kind:
        """What the column holds."""
        ways = self._possible.get(name)
        return _KINDS[min(ways)] if ways else Kind.STRING


def _fitting(data: bytes, dialect: Dialect, numbers: Sequence[int]) -> list[tuple[int, set[int]]]:
    """How many values each of the columns of plain rows has, and which of the ways all of them are written in."""
    pl = polars()
    frame = text_frame(data, dialect, numbers)
    asked = [
        expression
        for name in map(str, numbers)
        for expression in (
            pl.col(name).count().alias(f"{name} count"),
            *(pl.col(name).str.contains(way).all().alias(f"{name} {number}") for number, way in enumerate(_WAYS)),
        )
    ]
    answers = iter(frame.select(asked).row(0))
    return [_answer(answers) for _ in numbers]


def _answer(answers: Iterator[Any]) -> tuple[int, set[int]]:
    count = next(answers)
    return count, {number for number in range(len(_WAYS)) if next(answers)}


def _fitting_row_by_row(records: Records, dialect: Dialect, numbers: Sequence[int]) -> list[tuple[int, set[int]]]:
    rows = [cells for row in records.rows() if (cells := cells_of(row, dialect)) and not isinstance(cells, str)]
    found = []
    for number in numbers:
        column = polars().Series([cells[number] for cells in rows], dtype=polars().String).drop_nulls()
        found.append((len(column), {way for way, text in enumerate(_WAYS) if column.str.contains(text).all()}))
    return found


def agreed(files: Sequence[SourceFile], known: Mapping[str, str] | None) -> tuple[list[SourceFile], dict[str, str]]:
    """*files*, of separated text, with what their columns hold, and that by the columns' names: a column of one name holds the same
    in all of them. Blocks. Where that is *known* nothing is looked for, and another column holds text."""
    if known is not None:
        kinds = {name: Kind(kind) for name, kind in known.items()}
        decided = [_decided(file.detail, lambda name: kinds.get(name, Kind.STRING)) for file in files]
        return [file.having(detail=detail) for file, detail in zip(files, decided, strict=True)], dict(known)
    finder = KindFinder()
    inputs = FileInputs()
    try:
        for file in files:
            if file.size is not None:
                _look_through(file, finder, inputs)
    finally:
        inputs.close()
    found = {name: str(finder.kind(name)) for file in files for name in file.detail.names}
    return [file.having(detail=_decided(file.detail, finder.kind)) for file in files], found


def _decided(dialect: Dialect, kind_of: Callable[[str], Kind]) -> Dialect:
    kinds = tuple(
        kind_of(name) if kind is None else kind for name, kind in zip(dialect.names, dialect.kinds, strict=True)
    )
    said = [
        one_line(f"{title}: {some_of(names)}")
        for kind, title in ((Kind.INTEGER, "integers"), (Kind.NUMBER, "numbers"), (Kind.BOOLEAN, "true or false"))
        if (names := [name for name, its in zip(dialect.names, kinds, strict=True) if its is kind])
    ]
    return replace(dialect, kinds=kinds, note="; ".join([dialect.note, *said]))


def _look_through(file: SourceFile, finder: KindFinder, inputs: FileInputs) -> None:
    """As far as more rows could say anything. What is wrong with the file is said when its rows are read."""
    dialect: Dialect = file.detail
    if not finder.undecided(dialect):
        return
    cutter = record_cutter(0, dialect, CHUNK_BYTES, max_row_bytes=CHUNK_BYTES)
    try:
        for piece in _text(file, inputs, skip=dialect.data_at):
            cutter.ask(finder.forms(dialect))
            for found in cutter.feed(piece):
                if isinstance(found, Records):
                    finder.see(found, dialect)
            if not finder.undecided(dialect):
                return
    except (BulkupError, DamagedError):
        pass
    for found in cutter.finish():
        if isinstance(found, Records):
            finder.see(found, dialect)


def _text(file: SourceFile, inputs: FileInputs, skip: int) -> Iterable[bytes]:
    """The decoded bytes behind the first *skip*, and behind a byte order mark."""
    source, decoder = inputs.open(file), file.decoder()
    skip += len(BOM) if file.bom else 0
    try:
        while True:
            piece = decoder.pull(_RAW_BYTES)
            if piece:
                if skip < len(piece):
                    yield piece[skip:] if skip else piece
                skip -= min(skip, len(piece))
            elif raw := source.read(_RAW_BYTES):
                decoder.push(raw)
            elif raw is not None:
                return
    finally:
        source.close()


def record_cutter(start: int, dialect: Dialect, size: int, *, max_row_bytes: int) -> RecordCutter:
    """A cutter whose first byte, the first of the first row, has the position *start*."""
    return RecordCutter(
        start,
        delimiter=dialect.delimiter,
        line_break=dialect.line_break,
        line=dialect.data_line,
        size=size,
        max_row_bytes=max_row_bytes,
        fields=len(dialect.names),
    )
