"""What is decided on the first block: preset, schema, and whether the destination can take these rows at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from bulkup.encoding.breaks import lines_of
from bulkup.encoding.drop import is_nested, without
from bulkup.encoding.faults import one_line
from bulkup.encoding.mapped import MappedRows, RowRefused
from bulkup.encoding.plan import RowOptions, RowPlan
from bulkup.encoding.target import PRESET_KEYS, FixedRows, Target
from bulkup.errors import UsageProblem
from bulkup.mapping import Mapping
from bulkup.model import Block
from bulkup.refusal import Refusal, attempt
from bulkup.schema import Column, Holds, given_columns, infer_columns

__all__ = ["decide"]

_Row = dict[str, Any]
_PROBLEM_CHARS = 2000
_MOST_SLOW = 3
"""Rows of the sample that a regex may take too long for; each costs its whole limit."""


def decide(sample: Block | None, target: Target, options: RowOptions) -> RowPlan:
    """The plan for a source whose first block is *sample* (None: it has no rows).

    Rows of the sample that cannot be read are left to become dead letters. Raises `UsageProblem` where the options
    contradict each other or the rows: an unknown preset, keys that *target* has no place for.
    """
    lines = [line.row for line in lines_of(sample) if line.row] if sample is not None else []
    found = [row for row in map(_read, lines) if row is not None]
    top = tuple(key for key in dict.fromkeys(options.drop) if any(key in row for row in found) or not is_nested(key))
    nested = tuple(key for key in options.drop if key not in top)
    rows = [without(row, top, nested) for row in found]
    plan = RowPlan(
        target=target,
        preset=_preset(rows, target, options),
        mapping=options.mapping,
        drop=top,
        drop_nested=nested,
        max_row_bytes=options.max_row_bytes,
        validation=options.validation,
    )
    if options.mapping is not None:
        rows = _mapped(rows, options.mapping)
    if isinstance(target.rows, FixedRows):
        return _fixed(plan, target.rows, rows, lines)
    if lines and not found and options.schema is None:
        raise UsageProblem(
            f"{target.name}: no row of the first block can be read, so there is no schema; "
            f"give one as [{target.name}.schema]"
        )
    return _with_columns(plan, rows, lines, options)


def _read(line: bytes) -> _Row | None:
    value = attempt(msgspec.json.decode, line)
    return value if isinstance(value, dict) else None


def _mapped(rows: Sequence[_Row], mapping: Mapping) -> list[_Row]:
    rewriter = MappedRows(mapping)
    made: list[_Row] = []
    slow: list[str] = []
    for row in rows:
        found = attempt(lambda row: msgspec.json.decode(rewriter.lines(msgspec.json.encode(row), 1)), row)
        if not isinstance(found, Refusal):
            made.append(found)
        elif isinstance(found.why, RowRefused) and found.why.is_slow:
            slow.append(str(found.why.fault.reason))
            if len(slow) > _MOST_SLOW:
                what = f"mapping: {len(slow)} rows of the first block take too long. The first: {slow[0]}"
                raise UsageProblem(one_line(f"{what}; write a regex that has fewer ways to match", _PROBLEM_CHARS))
    return made


def _preset(rows: Sequence[_Row], target: Target, options: RowOptions) -> str:
    fixed = target.rows if isinstance(target.rows, FixedRows) else None
    offered = ("identity", *PRESET_KEYS) if fixed is None else tuple(fixed.presets)
    name = options.preset
    if options.mapping is not None:
        if name != "auto":
            raise UsageProblem(f"{target.name}: the preset {name} and a mapping exclude each other; leave one out")
        return "mapping"
    if name == "auto":
        if not rows or (fixed is not None and all(key in row for key in fixed.required for row in rows)):
            return "identity"
        every = (n for n, keys in PRESET_KEYS.items() if all(key in row for key in keys for row in rows))
        return next((n for n in every if n in offered), "identity")
    if name not in offered:
        known = name in PRESET_KEYS
        why = f"{target.title} has no place for {name} rows" if known else f"there is no preset {name!r}"
        raise UsageProblem(f"{target.name}: {why}; choose from auto, {', '.join(offered)}, or give a mapping")
    absent = [key for key in PRESET_KEYS.get(name, ()) if rows and not any(key in row for row in rows)]
    if absent:
        has = ", ".join(dict.fromkeys(key for row in rows for key in row)) or "no keys"
        needs = f"{target.name}: the preset {name} needs {', '.join(PRESET_KEYS[name])}"
        said = f"{needs}; no row of the first block has {', '.join(absent)} (they have {has})"
        raise UsageProblem(one_line(said, _PROBLEM_CHARS))
    return name


def _fixed(plan: RowPlan, shape: FixedRows, rows: Sequence[_Row], lines: Sequence[bytes]) -> RowPlan:
    preset = shape.presets["identity" if plan.mapping is not None else plan.preset]
    places = dict.fromkeys(place for row in rows for place in preset.undeclared(row))
    if places:
        what = "keys" if len(places) > 1 else "key"
        drops = " ".join(f"--drop '{place}'" for place in places)
        out = "take it out of the mapping" if plan.mapping is not None else f"leave out with {drops}, or map"
        said = f"{plan.target.name}: {plan.target.title} has no place for the {what} {', '.join(places)}; {out}"
        raise UsageProblem(one_line(said, _PROBLEM_CHARS))
    return _with_variant(plan, lines)


def _with_variant(plan: RowPlan, lines: Sequence[bytes]) -> RowPlan:
    """*plan* with the way first that takes the most of *lines*; of a mapping's ways the last, the fastest, if it takes as many."""
    variants = range(len(plan.pipelines()))
    if len(variants) == 1:
        return plan
    taken = [_taken(replace(plan, variant=i), lines) for i in variants]
    if plan.mapping is not None:
        return replace(plan, variant=variants[-1] if taken[-1] == max(taken) else 0)
    return replace(plan, variant=taken.index(max(taken)))


def _taken(plan: RowPlan, lines: Sequence[bytes]) -> int:
    pipeline = plan.pipelines()[0]
    return sum(not isinstance(attempt(pipeline.body, line, 1), Refusal) for line in lines)


def _with_columns(plan: RowPlan, rows: Sequence[_Row], lines: Sequence[bytes], options: RowOptions) -> RowPlan:
    given = given_columns(options.schema) if options.schema is not None else infer_columns(rows, options.nested)
    columns = tuple((given | given_columns(options.columns)).values())
    if not columns and (rows or options.schema is not None):
        raise UsageProblem(f"{plan.target.name}: the schema has no columns (every row of the first block is empty)")
    dropping = bool(plan.drop) and plan.mapping is None
    rewrite = dropping or any(_is_remade(column, rows) for column in columns)
    made = replace(plan, columns=columns, rewrite=rewrite)
    return made if plan.mapping is None else _with_variant(made, lines)


def _is_remade(column: Column, rows: Sequence[_Row]) -> bool:
    return column.holds is Holds.TEXT or any(column.name not in row for row in rows)
