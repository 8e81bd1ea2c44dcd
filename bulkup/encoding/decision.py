"""What is decided on the first block: preset, schema, and whether the destination can take these rows at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bulkup.encoding.by_row import RewrittenRows
from bulkup.encoding.choosing import Choice, choose_for, missing_in, offered
from bulkup.encoding.doubled_keys import doubled_key, may_hold_doubled_keys
from bulkup.encoding.drop import is_nested, without
from bulkup.encoding.exploding import Exploder, block_of
from bulkup.encoding.faults import one_line
from bulkup.encoding.lines import lines_of
from bulkup.encoding.mapped import MappedRows, RowRefused
from bulkup.encoding.plan import RowOptions, RowPlan
from bulkup.encoding.repairing import Mended, Mender
from bulkup.encoding.shapes import LABELS, PRESETS, SAID_BESIDE, TOOL_KEYS, TURNS_PRESETS, Shape
from bulkup.encoding.target import FixedRows, Target
from bulkup.errors import UsageProblem
from bulkup.light_dataclass import replace
from bulkup.model import Block, Validation
from bulkup.refusal import Refusal, attempt
from bulkup.rows.mapping import Mapping
from bulkup.rows.schema import Column, Holds, given_columns, infer_columns
from bulkup.settings.repair import Repair

__all__ = ["decide", "exploder_of", "readable_rows", "tells_columns"]

_Row = dict[str, Any]
_KEYS_SAID = 12
_PROBLEM_CHARS = 2000
_decode = msgspec.json.Decoder(float_hook=msgspec.Raw).decode
"""No double is made of a number: one that is too large for it is sent as text."""

_MOST_SLOW = 3
"""Rows of the sample that a regex may take too long for; each costs its whole limit."""


def decide(sample: Block | None, target: Target, options: RowOptions, chosen: Choice | None = None) -> RowPlan:
    """The plan for a source whose first block is *sample* (None: it has no rows). *chosen* is the preset that `auto` takes, where
    more than the sample was looked at.

    Rows of the sample that cannot be read are left to become rejected rows. Raises `UsageProblem` where the options
    contradict each other or the rows: an unknown preset, keys that *target* has no place for.
    """
    if options.makes_several:
        made = None if sample is None else _made(sample, target, options)
        return options.with_makers(decide(made, target, options.of_made_rows(), chosen))
    lines = [line.row for line in lines_of(sample) if line.row] if sample is not None else []
    mender = Mender(options.repairs)
    _check(target, options)
    found = [row for row in (_read(line, mender) for line in _without_doubled(lines, options)) if row is not None]
    top = tuple(key for key in dict.fromkeys(options.drop) if any(key in row for row in found) or not is_nested(key))
    nested = tuple(key for key in options.drop if key not in top)
    rows = [without(row, top, nested) for row in found]
    choice = chosen or _preset(rows, target, options)
    plan = RowPlan(
        target=target,
        preset=choice.preset,
        turns=options.turns,
        repairs=options.repairs,
        is_checked=options.preset not in ("auto", "identity") and options.mapping is None,
        fit=choice.fit,
        mapping=options.mapping,
        drop=top,
        drop_nested=nested,
        max_row_bytes=options.max_row_bytes,
        validation=options.validation,
    )
    if options.mapping is not None:
        rows = _mapped(rows, options.mapping)
    rewritten = plan.rewritten()
    if rewritten is not None:
        rows = _rewritten(rows, rewritten)
    if isinstance(target.rows, FixedRows):
        if chosen is not None:  # the first rows may be the few that are in another shape
            rows = [row for row in rows if missing_in(row, chosen.preset, target, options.turns) is None]
        return _fixed(plan, target.rows, rows, lines)
    if sample is not None and lines and not found and options.schema is None:
        looking = replace(plan, validation=Validation.FULL)  # under `trust` nothing is said of such a row
        first = _with_columns(looking, [], [], options).encoder().encode(sample).rejects[0]
        said = f"{target.name}: none of the first rows can be sent, so its columns are not known. The first: "
        raise UsageProblem(one_line(said + first.reason, _PROBLEM_CHARS))
    return _with_columns(plan, rows, lines, options)


def readable_rows(block: Block, options: RowOptions | RowPlan) -> Iterator[_Row]:
    """The rows of *block* that can be read, mended where that is asked for, without the keys that are left out."""
    mender = Mender(options.repairs)
    nested = options.drop_nested if isinstance(options, RowPlan) else ()
    for line in lines_of(block):
        row = _read(line.row, mender) if line.row else None
        if row is not None:
            yield without(row, options.drop, nested)


def _without_doubled(lines: list[bytes], options: RowOptions | RowPlan) -> list[bytes]:
    """*lines* without those in which a key stands twice, where that rejects them: what is rejected anyway says nothing."""
    counts = options.validation is Validation.FULL and Repair.DUPLICATE_KEYS not in options.repairs
    if not counts or not may_hold_doubled_keys(b"\n".join(lines)):
        return lines
    return [line for line in lines if doubled_key(line) is None]


def tells_columns(block: Block, options: RowOptions) -> bool:
    """Whether `decide` learns something of the rows of *block*: one with keys is not rejected anyway."""
    mender = Mender(options.repairs)
    lines = [line.row for line in lines_of(block) if line.row]
    rows = (_read(line, mender) for line in _without_doubled(lines, options))
    return any(row and without(row, options.drop, ()) for row in rows)


def exploder_of(target: Target, options: RowOptions) -> Exploder:
    """What makes the rows for *target*, where others are made of the source's. Raises `UsageProblem`, `SourceChanged`."""
    if options.both_sides and (options.preset not in ("auto", "preference") or options.mapping is not None):
        raise UsageProblem(f"{target.name}: --both-sides is for preferences: leave the preset or the mapping out")
    plan = RowPlan(
        target=target,
        preset="identity",
        repairs=options.repairs,
        max_row_bytes=options.max_row_bytes,
        validation=options.validation,
    )
    return options.with_makers(plan).exploder()


def _made(sample: Block, target: Target, options: RowOptions) -> Block | None:
    """The rows that are made of those in *sample*, None where there are none. Raises `UsageProblem`."""
    lines = exploder_of(target, options).lines(sample)
    made, faults = block_of(lines, sample), [line.reject for line in lines if line.reject is not None]
    if made is None and faults:
        said = f"{target.name}: no row of the first block can be sent. The first: {faults[0].reason}"
        raise UsageProblem(one_line(said, _PROBLEM_CHARS))
    if made is None and not isinstance(target.rows, FixedRows) and options.schema is None:
        raise UsageProblem(
            f"{target.name}: --map skips every row of the first block, so there is no schema; "
            f"give one as [{target.name}.schema]"
        )
    return made


def _check(target: Target, options: RowOptions) -> None:
    """Refuse options that contradict each other. Raises `UsageProblem`."""
    if options.turns is not None and options.preset not in ("auto", *TURNS_PRESETS):
        raise UsageProblem(
            f"{target.name}: --turns is for the presets {' and '.join(TURNS_PRESETS)}, not {options.preset}"
        )
    if options.turns in LABELS:
        raise UsageProblem(f"{target.name}: --turns {options.turns}: that key holds a label, so it holds no turns")
    if options.repairs and options.validation is Validation.TRUST:
        raise UsageProblem(f"{target.name}: --repair needs --validation full; under trust rows are not looked at")


def _read(line: bytes, mender: Mender) -> _Row | None:
    value = attempt(_decode, line)
    if isinstance(value, Refusal):
        mended = mender.mended(line)
        value = attempt(_decode, mended.row) if isinstance(mended, Mended) else value
    return value if isinstance(value, dict) else None


def _rewritten(rows: Sequence[_Row], rewriter: RewrittenRows) -> list[_Row]:
    """*rows* as the preset makes them; what it does not take is left to become a rejected row."""
    found = (attempt(rewriter.lines, line, 1) for line in map(msgspec.json.encode, rows))
    return [_decode(made) for made in found if not isinstance(made, Refusal)]


def _mapped(rows: Sequence[_Row], mapping: Mapping) -> list[_Row]:
    rewriter = MappedRows(mapping)
    made: list[_Row] = []
    slow: list[str] = []
    for row in rows:
        found = attempt(lambda row: _decode(rewriter.lines(msgspec.json.encode(row), 1)), row)
        if not isinstance(found, Refusal):
            made.append(found)
        elif isinstance(found.why, RowRefused) and found.why.is_slow:
            slow.append(str(found.why.fault.reason))
            if len(slow) > _MOST_SLOW:
                what = f"mapping: {len(slow)} rows of the first block take too long. The first: {slow[0]}"
                raise UsageProblem(one_line(f"{what}; write a regex that has fewer ways to match", _PROBLEM_CHARS))
    return made


def _preset(rows: Sequence[_Row], target: Target, options: RowOptions) -> Choice:
    name = options.preset
    if options.mapping is not None:
        if name != "auto":
            raise UsageProblem(f"{target.name}: the preset {name} and a mapping exclude each other; leave one out")
        return Choice("mapping")
    if name == "auto":
        return choose_for(rows, target, options.turns, "the rows of the first block")
    if name not in offered(target):
        known = name in PRESETS
        why = f"{target.title} has no place for {name} rows" if known else f"there is no preset {name!r}"
        raise UsageProblem(f"{target.name}: {why}; choose from auto, {', '.join(offered(target))}, or give a mapping")
    if name == "identity" or not rows:
        return Choice(name)
    shape = PRESETS[name] if options.turns is None else Shape(((options.turns,),))
    if not any(map(shape.is_in, rows)):
        has = ", ".join(dict.fromkeys(key for row in rows for key in row)) or "no keys"
        absent = [key for key in shape.choices[0] if not any(key in row for row in rows)] or shape.choices[0]
        needs = f"{target.name}: the preset {name} needs {' or '.join(map(', '.join, shape.choices))}"
        said = f"{needs}; no row of the first block has {', '.join(absent)} (they have {has})"
        raise UsageProblem(one_line(said, _PROBLEM_CHARS))
    return Choice(name)


def _fixed(plan: RowPlan, shape: FixedRows, rows: Sequence[_Row], lines: Sequence[bytes]) -> RowPlan:
    preset = shape.presets["identity"] if plan.mapping is not None else plan.fixed_preset
    # what lacks the keys that are needed is not mended by leaving others out
    places = dict.fromkeys(place for row in rows if _has_needed(row, plan, shape) for place in preset.undeclared(row))
    if places:
        what = "keys" if len(places) > 1 else "key"
        called = [place for place in places if place.rpartition(".")[2] in TOOL_KEYS]
        drops = " ".join(f"--drop '{place}'" for place in places)
        out = f"leave out with {drops}, or map"
        if len(places) > _KEYS_SAID:
            out = "a function or a mapping makes rows without them (--map FILE.py:FUNCTION)"
        beside = [place for place in places if place in SAID_BESIDE]
        if called:
            out = f"it holds no tool calls ({', '.join(called)}); a mapping takes what else is in the rows"
        elif beside:
            said_in = ", ".join(beside)
            out = f"{said_in} may be a part of what the rows say: a function finds a place for it (--map FILE.py:FUNCTION)"
        if plan.mapping is not None:
            out = "take it out of the mapping"
        named = ", ".join(list(places)[:_KEYS_SAID]) + (
            f" and {more:,} more" if (more := len(places) - _KEYS_SAID) > 0 else ""
        )
        said = f"{plan.target.name}: {plan.target.title} has no place for the {what} {named}; {out}"
        raise UsageProblem(one_line(said, _PROBLEM_CHARS))
    return _with_variant(plan, lines)


def _has_needed(row: _Row, plan: RowPlan, shape: FixedRows) -> bool:
    """Whether *row* has the keys that the preset needs."""
    if plan.preset == "identity":
        return all(key in row for key in shape.required)
    if plan.mapping is not None or (plan.turns is not None and plan.turns in row):
        return True
    return PRESETS[plan.preset].is_in(row)


def _with_variant(plan: RowPlan, lines: Sequence[bytes]) -> RowPlan:
    """*plan* with the way first that takes the most of *lines*; of a mapping's ways the last, the fastest, if it takes as many."""
    variants = range(len(plan.pipelines()))
    if len(variants) == 1:
        return plan
    usual = variants[-1] if plan.mapping is not None else 0
    if lines and _takes_all(replace(plan, variant=usual), lines):
        return replace(plan, variant=usual)
    taken = [_taken(replace(plan, variant=i), lines) for i in variants]
    if plan.mapping is not None:
        return replace(plan, variant=usual if taken[-1] == max(taken) else 0)
    return replace(plan, variant=taken.index(max(taken)))


def _takes_all(plan: RowPlan, lines: Sequence[bytes]) -> bool:
    return not isinstance(attempt(plan.pipelines()[0].body, b"\n".join(lines), len(lines)), Refusal)


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
    return made if plan.mapping is None and plan.column_preset is None else _with_variant(made, lines)


def _is_remade(column: Column, rows: Sequence[_Row]) -> bool:
    return column.holds in (Holds.TEXT, Holds.CHARACTERS) or any(column.name not in row for row in rows)
