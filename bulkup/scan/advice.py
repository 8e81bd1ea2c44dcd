"""What a person should know of a plan before anything is sent: what cannot be taken back afterwards."""

from __future__ import annotations

from bulkup.encoding import RowPlan
from bulkup.rows.schema import Holds, Kind
from bulkup.scan.found import Found

__all__ = ["advice"]

MANY_COLUMNS = 200
MANY_DATASETS = 1000
MANY_TIMES = 2
"""So many times larger than they stand there as JSON, rows are worth a word: a table has its keys but once."""

_NAMED = 5
_LOOK_PAGE = 100
"""Datasets that a page of a service's list holds, about."""

_REQUEST_S = 0.3


def advice(plan: RowPlan, found: Found | None, datasets: int) -> tuple[str, ...]:
    """Lines about *plan*, which makes *datasets* datasets of the source that was *found* so."""
    said: list[str] = []
    columns = plan.columns or ()
    if len(columns) > MANY_COLUMNS:
        said.append(
            f"{len(columns):,} columns: are some keys values? Put them under one key (a mapping does that: docs/mapping.md)"
        )
    if found is not None:
        said += _of_rows(plan, found)
    if datasets > MANY_DATASETS:
        look_s = datasets / _LOOK_PAGE * _REQUEST_S
        said.append(
            f"{datasets:,} datasets: one look at them takes about {look_s:,.0f} s, and bulkup verify at least "
            f"{datasets * _REQUEST_S / 60:,.0f} min; a larger --max-chunk-bytes makes fewer"
        )
    return tuple(said)


def _of_rows(plan: RowPlan, found: Found) -> list[str]:
    said: list[str] = []
    size = found.measure
    is_sparse = any(column.nullable for column in plan.columns or ())  # a preset adds to each row, and nothing is amiss
    if is_sparse and size.line_bytes and size.body_bytes > MANY_TIMES * size.line_bytes:
        said.append(
            f"rows as they are sent take {size.body_bytes / size.line_bytes:.1f} times their size: a key that few rows have is "
            "null in all others"
        )
    held = {column.name: column.holds for column in plan.columns or ()}
    quoted = [name for name, seen in found.keys.items() if held.get(name) is Holds.TEXT and Kind.STRING in seen.first]
    if quoted:
        said.append(
            f"plain strings in {_names(quoted)} are sent as JSON text, with quotes around them, since other values there are "
            "arrays or objects"
        )
    return said


def _names(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
