"""How a file of separated text is written: its delimiter and line break, its columns, and where its rows begin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count, islice

from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.not_rows import NotRows, encodings_offered
from bulkup.sources.reading import Reading
from bulkup.sources.separated.header import is_no_name, trouble_with_header, trouble_with_width
from bulkup.sources.separated.kinds import Kind
from bulkup.sources.separated.records import fields_of, rows_in

__all__ = ["SUFFIXES", "Dialect", "dialect_of", "is_named_separated", "names_of", "word_for"]

NO_ROWS = "holds no rows"

SUFFIXES = {".csv": b",", ".tsv": b"\t", ".tab": b"\t", ".psv": b"|"}
"""Names that end so are separated text, and its usual separator."""

_CANDIDATES = (b",", b"\t", b";", b"|")
_SEP = re.compile(rb'"?sep=(.)"?\r?(?:\n|\Z)', re.IGNORECASE)
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_QUOTED = re.compile(rb'(?:(?<=[,;\t|\r\n])|(?<![\s\S]))"(?:[^"]|"")*(?:"|\Z)')
_LOOKED_AT_ROWS = 200
_MOST_WRONG = 0.05
"""As many rows that are no UTF-8, of those looked at, as `--max-rejects` lets pass: the file is in another encoding."""

_LEAST_SHARE = 0.5
_DATABASES_NULL = r"\N"
_SPACE = b" \t\r\n"
_WORDS = {b",": "comma", b"\t": "tab", b";": "semicolon", b"|": "bar"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The first row of data begins *data_at* bytes behind the beginning (and a byte order mark), on line *data_line*.

    *kinds* say what the columns hold, None where that is not decided: then it is text. *note* is what a person should know of it.
    """

    delimiter: bytes
    line_break: bytes
    names: tuple[str, ...]
    data_at: int
    data_line: int
    kinds: tuple[Kind | None, ...]
    note: str


def word_for(delimiter: bytes) -> str:
    """The delimiter as a message names it."""
    return _WORDS.get(delimiter, delimiter.decode())


def is_named_separated(name: str) -> bool:
    """Whether a file's *name* says that it is separated text."""
    return name.lower().endswith(tuple(SUFFIXES))


def dialect_of(text: bytes, name: str, reading: Reading, *, is_all: bool) -> Dialect | NotRows | None:
    """How *text*, the beginning of a file of that *name*, is written; None where it does not look like separated text.

    What a person has said counts, and then what the name says; else every row must have as many fields as the header.
    """
    is_meant = reading.is_separated or is_named_separated(name)
    marked = _SEP.match(text)
    line_break = _line_break(text)
    start = 0 if marked is None else marked.end()
    look = _Look(text, start, line_break, (reading.header_row or 1) - 1, is_all)
    said = reading.delimiter or (None if marked is None else marked[1])
    delimiter = said or _found(look, name, is_meant=is_meant)
    if delimiter is None:
        return None
    if b"\0" in text:
        return (
            NotRows("holds zero bytes, so it is no CSV; if it is in another encoding, say --encoding NAME")
            if is_meant
            else None
        )
    rows = look.rows(delimiter)
    wrong = _another_encoding(text, rows)
    if wrong is not None:
        return wrong if is_meant or marked is not None or _is_plain_table(look, delimiter, must_be_text=False) else None
    if not is_meant and marked is None and not _is_plain_table(look, delimiter):
        return None
    return _with_columns(look, delimiter, reading)


def _line_break(text: bytes) -> bytes:
    """What ends the rows. Where `\\r` does, a field in quotes may still hold `\\n`: Excel writes it so on a Mac."""
    if b"\r" not in text or (b"\n" in text and _LONE_RETURN.search(text) is None):
        return b"\n"
    return b"\n" if b"\n" in _QUOTED.sub(b"", text) else b"\r"


@dataclass(frozen=True, slots=True)
class _Look:
    """The beginning of a file, whose first row begins at *start*, and whose header is row number *header*, from 0."""

    text: bytes
    start: int
    line_break: bytes
    header: int
    is_all: bool

    def rows(self, delimiter: bytes) -> list[tuple[int, int]]:
        """Where the rows stand that are there whole, blank lines left out."""
        text = self.text
        if self.is_all and not text.endswith(self.line_break):
            text += self.line_break
        found = islice(rows_in(text, delimiter, self.line_break, self.start), self.header + _LOOKED_AT_ROWS)
        return [(begin, end) for begin, end in found if text[begin:end].strip(_SPACE)]

    def fields(self, place: tuple[int, int], delimiter: bytes) -> list[bytes | None] | str:
        """What stands in the row at *place*."""
        return fields_of(self.text[slice(*place)].rstrip(b"\r\n"), delimiter)

    def share(self, delimiter: bytes) -> tuple[float, int]:
        """How many of the rows have as many fields as the header, and how many that are."""
        found = [self.fields(place, delimiter) for place in self.rows(delimiter)[self.header :]]
        counts = [len(fields) if isinstance(fields, list) else 0 for fields in found]
        return (counts.count(counts[0]) / len(counts), counts[0]) if counts else (0.0, 0)


def _found(look: _Look, name: str, *, is_meant: bool) -> bytes | None:
    """The delimiter that gives most rows as many fields as the header has; of several the one that gives most fields."""
    by_name = next((one for suffix, one in SUFFIXES.items() if name.lower().endswith(suffix)), None)
    found = {delimiter: look.share(delimiter) for delimiter in _CANDIDATES}
    if by_name not in (None, b",") and found[by_name][1] > 1:
        return by_name
    fitting = {delimiter: share for delimiter, share in found.items() if share[1] > 1 and share[0] >= _LEAST_SHARE}
    if fitting:
        return max(fitting, key=lambda delimiter: fitting[delimiter])
    return by_name or (b"," if is_meant else None)


def _is_plain_table(look: _Look, delimiter: bytes, *, must_be_text: bool = True) -> bool:
    """Whether nobody could take it for something else: several rows, all with as many fields, under different names."""
    rows = look.rows(delimiter)
    share, count = look.share(delimiter)
    if len(rows) < look.header + 2 or count < 2 or share < 1:
        return False
    header = look.fields(rows[look.header], delimiter)
    if isinstance(header, str) or None in header or len(set(header)) < len(header):
        return False
    return not must_be_text or all(_is_name(cell) for cell in header if cell is not None)


def _is_name(cell: bytes) -> bool:
    text = attempt(cell.decode)
    return isinstance(text, str) and not is_no_name(text) and text.isprintable()


def _another_encoding(text: bytes, rows: Sequence[tuple[int, int]]) -> NotRows | None:
    looked_at = [text[slice(*place)] for place in rows]
    wrong = [row for row in looked_at if isinstance(attempt(row.decode), Refusal)]
    if not wrong or (len(wrong) <= _MOST_WRONG * len(looked_at) and wrong[0] is not looked_at[0]):
        return None
    return NotRows(
        f"is not UTF-8 ({len(wrong):,} of the first {len(looked_at):,} rows); say in which encoding it is, "
        f"such as {encodings_offered(wrong)}: bulkup does not guess",
        UsageProblem,
    )


def _with_columns(look: _Look, delimiter: bytes, reading: Reading) -> Dialect | NotRows:
    rows, text = look.rows(delimiter), look.text
    if not text[look.start :].strip(_SPACE):
        return NotRows(NO_ROWS)
    if len(rows) <= look.header:
        what = f"row {look.header + 1} (--header-row)" if reading.header_row else "the end of its first row"
        return NotRows(f"{what} does not stand in its first 128 KiB; see --header-row and --no-header", UsageProblem)
    fields = look.fields(rows[look.header], delimiter)
    if isinstance(fields, str):
        return NotRows(f"its header cannot be read: {fields}", UsageProblem)
    header = [None if field is None else field.decode() for field in fields]
    if reading.has_header and reading.header_row is None:
        wrong = _no_header(look, delimiter, rows, header)
        if wrong is not None:
            return NotRows(wrong, UsageProblem)
    begin, end = rows[look.header]
    if reading.has_header:
        names, said = names_of(header, reading)
    else:
        names, said, end = *names_of([None] * len(fields), reading), begin
        said = ["no header"]
    data = rows[look.header + reading.has_header :]
    nulls = sum(_holds_null(look.fields(place, delimiter)) for place in data)
    if nulls:
        said.append(rf"\N in {nulls:,} of the first {len(data):,} rows is text here; null is an empty field")
    if look.header:
        said.insert(0, f"the header is row {look.header + 1}")
    kind = "TSV" if delimiter == b"\t" else "CSV"
    about = f"{kind}, separated by {word_for(delimiter)}, {len(names):,} column{'s' * (len(names) != 1)}"
    told = dict(reading.kinds)
    data_at = min(end, len(text))
    return Dialect(
        delimiter=delimiter,
        line_break=look.line_break,
        names=names,
        data_at=data_at,
        data_line=1 + text[:data_at].count(look.line_break),
        kinds=tuple(told.get(name) for name in names),
        note="; ".join([about, *said]),
    )


def _no_header(
    look: _Look, delimiter: bytes, rows: Sequence[tuple[int, int]], header: Sequence[str | None]
) -> str | None:
    """Why the first row is not the header, and what to do; None where it is."""
    if _DATABASES_NULL in header:
        return (
            r"its first row names no columns (\N in it is a database's null); let the database write CSV with a header, such as "
            "COPY … TO … WITH (FORMAT csv, HEADER), or give --no-header, which takes \\N for text"
        )
    found = [fields for place in rows[1:] if isinstance(fields := look.fields(place, delimiter), list)]
    decoded = [[None if one is None else one.decode(errors="replace") for one in fields] for fields in found]
    why = trouble_with_header(header, [row for row in decoded if len(row) == len(header)])
    if why is not None:
        return f"{why}; give --no-header if it is data, or --header-row 1 if these are the names"
    why = trouble_with_width(len(header), [len(row) for row in decoded])
    if why is None:
        return None
    return (
        f"{why}; give --header-row N if the names stand further down, --no-header if nowhere, --delimiter if it is not "
        f"{word_for(delimiter)} that separates, or name all columns in the file"
    )


def _holds_null(fields: list[bytes | None] | str) -> bool:
    return isinstance(fields, list) and _DATABASES_NULL.encode() in fields


def names_of(cells: Sequence[str | None], reading: Reading) -> tuple[tuple[str, ...], list[str]]:
    """The keys for a header's *cells*, and what a person should know of them: an empty cell is `column_N`, a name that stands
    again gets a number."""
    said: list[str] = []
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        wanted = cell or f"column_{number}"
        others = {*names, *(one for one in cells[number:] if one)} if not cell else set(names)
        name = next(one for one in _ways(wanted) if one not in others and (one == wanted or one not in cells))
        if not cell:
            said.append(f"column {number} has no name: its key is {name!r}")
        elif name != wanted:
            said.append(f"{wanted!r} names more than one column: the key of column {number} is {name!r}")
        names.append(name)
    renamed = dict(reading.renames)
    keys = tuple(renamed.get(name, name) for name in names)
    for old, new in renamed.items():
        if keys.count(new) > 1:
            raise UsageProblem(f"--rename {old}={new}: there is a column {new!r} already; give that another name, too")
    return keys, said


def _ways(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in count(2))
