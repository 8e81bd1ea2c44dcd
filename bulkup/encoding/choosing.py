"""Which preset `auto` takes: decided from how many rows are in the shape of each, however they were counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Any

from bulkup.encoding.faults import Fault, one_line
from bulkup.encoding.shapes import LABELS, PRESETS, TURNS_PRESETS
from bulkup.encoding.target import ColumnRows, FixedRows, Target
from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass

__all__ = [
    "LEAST_PERCENT",
    "Choice",
    "NoPresetFits",
    "choose_for",
    "choose_preset",
    "fitting",
    "missing_in",
    "offered",
    "what_is_missing",
]

LEAST_PERCENT = 95
"""Of the rows looked at; a preset that fewer are in the shape of is for a person to choose."""

_PROBLEM_CHARS = 2000
_KEYS_SAID = 12
_Row = dict[str, Any]


class NoPresetFits(UsageProblem):
    """Too few of the rows looked at are in the shape of any preset."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A preset, and how many of how many rows are in its shape. `identity`: rows go as they are, and nothing is said of them."""

    preset: str
    fit: tuple[int, int] | None = None


def offered(target: Target) -> tuple[str, ...]:
    """The presets that there are for *target*, in the order in which `auto` looks for them."""
    return ("identity", *(name for name in PRESETS if name in target.rows.presets))


def fitting(row: _Row, target: Target, turns: str | None = None) -> tuple[str, ...]:
    """The presets in whose shape *row* is, whatever other keys it has. `identity` counts rows with the keys that *target* needs."""
    return tuple(name for name in offered(target) if missing_in(row, name, target, turns) is None)


def missing_in(row: _Row, name: str, target: Target, turns: str | None) -> str | None:
    """What keeps *row* out of the shape of the preset *name*, in words; None where it is in it."""
    if isinstance(target.rows, FixedRows):
        if name == "identity":
            absent = [key for key in target.rows.required if key not in row]
            return f"{', '.join(absent)} absent" if absent else None
        mapped = target.rows.preset(name, turns).mapped(row, Counter())
        fault = mapped if isinstance(mapped, Fault) else target.rows.fault(mapped)
        return None if fault is None else fault.reason
    if name == "identity":
        return None
    preset, key = target.rows.presets[name], turns or PRESETS[name].choices[0][0]
    if preset.is_always_made:
        return None if PRESETS[name].is_in(row) else "its keys are absent"
    found = preset.fault(key)(row)
    return None if found is None else found.reason


def choose_preset(
    target: Target, counts: Mapping[str, int], rows: int, *, of_what: str = "the rows looked at", missing: str = ""
) -> Choice:
    """The preset for *rows* rows, of which *counts* are in each shape (`fitting`): the first in whose shape 95 % of them are.

    Where there is none, a destination with a schema gets the rows as they are. For one without, `NoPresetFits` says the counts,
    and what is *missing*. *of_what* says which rows these are.
    """
    enough = [name for name in offered(target) if counts.get(name, 0) * 100 >= LEAST_PERCENT * rows]
    if isinstance(target.rows, ColumnRows):
        named = [name for name in enough if name != "identity"]
        as_they_are = not named or target.rows.presets[named[0]].is_always_made
        return Choice("identity") if rows == 0 or as_they_are else Choice(named[0], (counts[named[0]], rows))
    if rows == 0 or "identity" in enough:
        return Choice("identity")
    if enough:
        return Choice(enough[0], (counts[enough[0]], rows))
    said = [f"{name} {counts[name]:,}" for name in offered(target) if counts.get(name)]
    most = max((name for name in offered(target) if name != "identity"), key=lambda name: counts.get(name, 0))
    ways = ["make other rows of them: --map FILE.py:FUNCTION, or a mapping (docs/mapping.md)"]
    if counts.get(most):
        ways.insert(0, f"give --preset {most}, which rejects the others")
    what = f"{target.name}: no preset fits {LEAST_PERCENT} % of {of_what} ({rows:,})"
    fit = f"in the shape of {', '.join(said)}" if said else "none is in the shape of any"
    raise NoPresetFits(one_line(f"{what}: {fit}{missing}; {', or '.join(ways)}", _PROBLEM_CHARS))


def choose_for(rows: Sequence[_Row], target: Target, turns: str | None, of_what: str) -> Choice:
    """The preset for *rows*, as `choose_preset` says. No more of them are tried in a shape than show that it is the one, or not."""
    is_fixed = isinstance(target.rows, FixedRows)
    for name in offered(target) if rows else ():
        if (is_fixed or name != "identity") and _most_fit(rows, name, target, turns):
            fit = sum(missing_in(row, name, target, turns) is None for row in rows)
            return choose_preset(target, {name: fit}, len(rows))
    if not (is_fixed and rows):
        return Choice("identity")
    counts = Counter(fit for row in rows for fit in fitting(row, target, turns))
    return choose_preset(target, counts, len(rows), of_what=of_what, missing=what_is_missing(rows, target, turns))


def _most_fit(rows: Sequence[_Row], name: str, target: Target, turns: str | None) -> bool:
    """Whether `LEAST_PERCENT` of *rows* are in the shape of the preset *name*."""
    if name == "identity" and isinstance(target.rows, FixedRows):
        needed = frozenset(target.rows.required)
        return sum(not needed <= row.keys() for row in rows) * 100 <= (100 - LEAST_PERCENT) * len(rows)
    misses = 0
    for row in rows:
        misses += missing_in(row, name, target, turns) is not None
        if misses * 100 > (100 - LEAST_PERCENT) * len(rows):
            return False
    return True


def what_is_missing(rows: Iterable[_Row], target: Target, turns: str | None = None) -> str:
    """What keeps the first of *rows* that is in no shape out of the one that it is nearest to, for `choose_preset`."""
    row = next((row for row in rows if not fitting(row, target, turns)), None)
    if row is None:
        return ""
    near = [name for name in offered(target) if name != "identity" and _has_keys(row, name, turns)]
    if near:
        return f". The first that is not {near[0]}: {missing_in(row, near[0], target, turns)}"
    if PRESETS["preference"].is_in(row):
        both = " --both-sides makes two rows of each, labelled 1 and 0;" if _has_sides(target) else ""
        return f"; they are preferences, and a row of {target.title}'s holds one answer:{both} a mapping takes one side"
    if way := _called_otherwise(row, target):
        return f". The first {way}"
    keys = list(row)[:_KEYS_SAID]
    more = ", …" if len(row) > len(keys) else ""
    return f". The first has the keys {', '.join(keys)}{more}" if keys else ". The first has no keys"


def _called_otherwise(row: _Row, target: Target) -> str:
    """How *row* would be in a preset's shape if its keys were called otherwise, and what takes it; empty where it would not."""
    for name in TURNS_PRESETS:
        for key, value in row.items():
            if name in offered(target) and key not in LABELS and missing_in({key: value}, name, target, key) is None:
                return f"has its turns under the key {key}: --preset {name} --turns {quote(key)} takes them"
    called = {_plain(key): key for key in row}
    for name in offered(target):
        for wanted in PRESETS[name].choices if name != "identity" else ():
            if name not in TURNS_PRESETS and all(_plain(key) in called for key in wanted):
                names = [(called[_plain(key)], key) for key in wanted if called[_plain(key)] != key]
                renames = " ".join(f"--rename {quote(f'{old}={new}')}" for old, new in names)
                return f"has the keys of {name}, called otherwise: {renames} takes them"
    return ""


def _plain(key: str) -> str:
    return "".join(character for character in key.casefold() if character.isalnum())


def _has_sides(target: Target) -> bool:
    return isinstance(target.rows, FixedRows) and target.rows.sides is not None


def _has_keys(row: _Row, name: str, turns: str | None) -> bool:
    return turns in row if turns is not None and name in TURNS_PRESETS else PRESETS[name].is_in(row)
