"""Nebius's rows: any columns, described by a schema on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bulkup.destinations.nebius import NEBIUS
from bulkup.destinations.nebius.presets import NEBIUS_PRESETS
from bulkup.encoding import ColumnRows, Target
from bulkup.rows.schema import Column

__all__ = ["TARGET", "wire_schema"]

TARGET = Target(name=NEBIUS.name, title=NEBIUS.title, rows=ColumnRows(NEBIUS_PRESETS))
"""Nebius Token Factory, as the encoder sees it."""


def wire_schema(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """*columns* as `POST /v1/datasets` has them: `[{"name": …, "type": {"name": …}}]`, nullable ones as `option`."""
    return [{"name": column.name, "type": _wire_type(column)} for column in columns]


def _wire_type(column: Column) -> dict[str, Any]:
    kind = {"name": column.type} if isinstance(column.type, str) else dict(column.type)
    return {"name": "option", "item": kind} if column.nullable else kind
