"""The formats that are read: one line for each."""

from __future__ import annotations

import copyreg
import functools
from importlib.metadata import entry_points

from bulkup.errors import UsageProblem
from bulkup.sources.columnar.arrow import ARROW
from bulkup.sources.columnar.parquet import PARQUET
from bulkup.sources.format import Format
from bulkup.sources.json_array import JSON_ARRAY
from bulkup.sources.json_lines import JSON_LINES, RETURN_LINES
from bulkup.sources.json_values import OBJECTS, ROWS_AT
from bulkup.sources.separated.format import SEPARATED
from bulkup.sources.workbook.format import WORKBOOK

__all__ = ["ENTRY_POINTS", "format_named", "formats", "formats_of_others"]

ENTRY_POINTS = "bulkup.formats"
"""The group in which other packages name their formats: each entry point is a `Format`."""

_FORMATS = (
    JSON_ARRAY,
    JSON_LINES,
    RETURN_LINES,
    OBJECTS,
    ROWS_AT,
    SEPARATED,
    PARQUET,
    ARROW,
    WORKBOOK,
)
"""These are told by what their text looks like (`shape.py`); one with a magic or a suffix is told by that first."""


def formats() -> tuple[Format, ...]:
    """Our own."""
    return _FORMATS


@functools.cache
def formats_of_others() -> tuple[Format, ...]:
    """Those of packages that are installed beside bulkup. Looked for only where no format of our own knows a file.

    Raises `UsageProblem` where one cannot be loaded.
    """
    found: dict[str, Format] = {one.name: one for one in _FORMATS}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            one = point.load()
        except Exception as error:
            raise UsageProblem(
                f"the format {point.name} ({point.value}) cannot be loaded: {error}; reinstall or remove the package that "
                "registers it"
            ) from error
        if not isinstance(one, Format) or one.name in found:
            why = "has the name of another format" if isinstance(one, Format) else "is no bulkup.sources.Format"
            raise UsageProblem(
                f"the format {point.name} ({point.value}) cannot be used: it {why}; its package must be corrected"
            )
        found[one.name] = one
    return tuple(found.values())[len(_FORMATS) :]


def format_named(name: str) -> Format:
    """The format of that *name*. Raises `KeyError`."""
    for known in (formats, formats_of_others):
        for one in known():
            if one.name == name:
                return one
    raise KeyError(name)


copyreg.pickle(Format, lambda one: (format_named, (one.name,)))  # between processes a format is its name
