"""Preferences for Collinear: of each row two, one a side. `--both-sides` asks for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bulkup.destinations.collinear.shape import TURN_KEYS, row_fault, undeclared_in_turns
from bulkup.encoding.faults import Fault
from bulkup.encoding.shapes import LABELS, PRESETS, ShapeRefused, bad, conversation, without_nulls
from bulkup.model import Stage

__all__ = ["both_sides"]

_Row = dict[str, Any]
SIDES = (("chosen", 1), ("rejected", 0))
"""Each side's key, and the label that its row gets."""

_KEYS = ("prompt", "chosen", "rejected", "context")


def both_sides(row: _Row, changes: Counter[str]) -> Sequence[_Row] | Fault:
    """The two rows of the preference *row*, the chosen side first. What is changed in them is added.

    A side is an answer to `prompt` (a text, or turns), or a whole conversation; of the latter a prompt beside it must be a part.
    """
    if not PRESETS["preference"].is_in(row):
        absent = [key for key, _ in SIDES if key not in row]
        return _bad(absent[0], f"{' and '.join(absent)} absent: a preference has chosen and rejected")
    if row.get(LABELS[0]) is not None:
        return _bad(LABELS[0], "the sides are labelled 1 and 0, so a label of the row's own has no place; --drop it")
    row = {key: without_nulls(value, TURN_KEYS) for key, value in row.items() if value is not None}
    places = [key for key in row if key not in _KEYS]
    places += [place for key, _ in SIDES for place in undeclared_in_turns(f"{key}[]", row.get(key), TURN_KEYS)]
    places += undeclared_in_turns("prompt[]", row.get("prompt"), TURN_KEYS)
    if places:
        drops = " ".join(f"--drop '{place}'" for place in places)
        return _bad(places[0], f"a preference's side has no place for {', '.join(places)}; {drops} leaves it out")
    try:
        made = [_side(row, key, label, changes) for key, label in SIDES]
    except ShapeRefused as refused:
        return refused.fault
    faults = (row_fault(one) for one in made)
    return next((fault for fault in faults if fault is not None), made)


def _side(row: _Row, key: str, label: int, changes: Counter[str]) -> _Row:
    side, prompt = row.get(key), row.get("prompt")
    if isinstance(side, list) and len(side) > 1:
        turns = conversation("chat", {key: side}, key, changes)
        if not _holds(turns[:-1], prompt):
            raise ShapeRefused(
                _bad("prompt", f"{key} is a whole conversation, and the prompt is not what it begins with")
            )
    elif prompt is None:
        raise ShapeRefused(_bad(key, "an answer without a prompt: a function takes such rows apart (--map)"))
    else:
        try:
            turns = conversation("prompt-completion", {"prompt": prompt, "completion": side}, "", changes)
        except ShapeRefused as refused:
            raise ShapeRefused(_as_named(refused.fault, key)) from None
    *before, answer = turns
    context = {"context": row["context"]} if row.get("context") is not None else {}
    return {"conv_prefix": before, "response": answer, "ground_truth": label, **context}


def _as_named(fault: Fault, key: str) -> Fault:
    """*fault* of an answer, which stands at *key*."""
    if fault.field is None or not fault.field.startswith("completion"):
        return fault
    behind = len("completion")
    return Fault(fault.stage, key + fault.field[behind:], key + fault.reason[behind:])


def _holds(before: list[Any], prompt: Any) -> bool:
    """Whether the turns *before* an answer are *prompt*, or begin with it."""
    if prompt is None:
        return True
    if isinstance(prompt, list):
        return before[: len(prompt)] == prompt
    return any(
        turn.get("role") == "user" and turn.get("content") == prompt for turn in before if isinstance(turn, dict)
    )


def _bad(field: str, what: str) -> Fault:
    return bad(field, what, Stage.MAP)
