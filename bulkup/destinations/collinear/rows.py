"""Collinear, as the encoder sees it."""

from __future__ import annotations

from bulkup.destinations.collinear import COLLINEAR
from bulkup.destinations.collinear.presets import COLLINEAR_PRESETS, WITH_TURNS
from bulkup.destinations.collinear.shape import CODEC, REQUIRED, row_fault
from bulkup.destinations.collinear.sides import both_sides
from bulkup.encoding import FixedRows, Target

__all__ = ["TARGET"]

TARGET = Target(
    name=COLLINEAR.name,
    title=COLLINEAR.title,
    rows=FixedRows(
        required=REQUIRED,
        codec=CODEC,
        fault=row_fault,
        presets=COLLINEAR_PRESETS,
        with_turns=WITH_TURNS,
        sides=both_sides,
    ),
)
