"""Whether the first row of a table names its columns. Where it does not, a row would be lost as names, or a title land as a row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from bulkup.sources.separated.kinds import Kind, as_json_text

__all__ = ["is_no_name", "trouble_with_header", "trouble_with_width"]

_DATE = r"(?:[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,4}[/.][0-9]{1,2}[/.][0-9]{1,4})"
_FORMS = tuple(
    re.compile(form + r"\Z", re.IGNORECASE)
    for form in (
        _DATE + r"(?:[T ][0-9]{1,2}:[0-9]{2}.*)?",
        r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?",
        r"(?:https?|s3|gs|file)://\S+",
        r"[^@\s]+@[^@\s]+\.[a-z]+",
        r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"true|false",
    )
)
"""Values that nobody gives to a column as its name, unless it holds something else."""

_LEAST_ROWS = 2
_SHOWN = 3


def is_no_name(cell: str) -> bool:
    """Whether *cell* is a number."""
    return as_json_text(cell, Kind.NUMBER) is not None


def trouble_with_header(header: Sequence[str | None], rows: Sequence[Sequence[str | None]]) -> str | None:
    """Why the *header* is probably a row like the *rows* below it, all as wide; None where it names columns.

    Numbers may be names (`2019`, `2020`), and so may dates: then other numbers, and other things than dates, stand below them.
    """
    cells = [cell for cell in header if cell]
    if all(is_no_name(cell) for cell in cells):
        return f"its first row names no columns ({', '.join(cells[:_SHOWN]) or 'nothing'})"
    run = _numbers_in_a_row(header)
    for place, cell in enumerate(header):
        below = [row[place] for row in rows]
        values = [value for value in below if value]
        if cell and values and _is_one_of(cell, values, is_in_run=place in run):
            return f"its first row looks like data: {cell!r} in it is like what stands below it ({values[0]!r})"
    return None


def _numbers_in_a_row(header: Sequence[str | None]) -> set[int]:
    """The places of whole numbers that go up by one from column to column, as years do, or the columns of a matrix."""
    whole = {place: int(cell) for place, cell in enumerate(header) if cell and as_json_text(cell, Kind.INTEGER)}
    pairs = [(place, place + 1) for place, number in whole.items() if whole.get(place + 1) == number + 1]
    return {place for pair in pairs for place in pair}


def _is_one_of(cell: str, values: Sequence[str], *, is_in_run: bool) -> bool:
    if as_json_text(cell, Kind.INTEGER):
        if not all(as_json_text(value, Kind.INTEGER) for value in values):
            return False
        follow = [str(int(cell) + step) for step in range(1, len(values) + 1)]
        is_counted = len(values) >= _LEAST_ROWS and list(values) == follow
        return is_counted or cell.startswith("-") or (not is_in_run and cell in values)
    if is_no_name(cell):
        return all(is_no_name(value) for value in values)
    return any(form.match(cell) and all(map(form.match, values)) for form in _FORMS)


def trouble_with_width(header: int, rows: Sequence[int]) -> str | None:
    """Why a *header* of so many fields is not that of *rows* that have so many; None where it may be.

    A title or a comment above the header, a separator at the end of each row, row names without a header of their own.
    """
    width, count = Counter(rows).most_common(1)[0] if rows else (header, 0)
    if width == header or count < _LEAST_ROWS or count * 2 <= len(rows):
        return None
    return (
        f"its first row has {header:,} field{'s' * (header != 1)}, and {count:,} of the next {len(rows):,} have {width:,}: "
        "it is not their header"
    )
