"""Collinear's rows: what a file holds, and whether each row is as published.

Row keys, `ground_truth` an integer, `context` a string: [ref]. A turn is `{role, content}`, both strings [openapi].
That `conv_prefix` and `response` are required is [openapi] of the neighbouring call; other keys are refused, which is
stricter than what is known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

import orjson

from .answers import RefusedError
from .columns import MAX_PROBLEMS, error
from .multipart import Part
from .slices import elements

__all__ = ["file_rows", "label_problem", "row_problems"]

_KEYS: Final = frozenset({"conv_prefix", "response", "ground_truth", "context"})
_TURN: Final = frozenset({"role", "content"})
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

Problem = tuple[list[str | int], str, str]


def file_rows(part: Part) -> tuple[list[Any], list[bytes] | None]:
    """The rows of the uploaded file: a JSON array, or CSV [ref]; and each as it was sent, where it is JSON.

    Raises `RefusedError` where it is neither.
    """
    name = (part.file_name or "").lower()
    if name.endswith(".csv") or (part.content_type == "text/csv" and not name.endswith(".json")):
        return list(_csv_rows(part)), None
    try:
        rows = orjson.loads(part.data)
    except orjson.JSONDecodeError as broken:
        raise RefusedError(422, [error(["body", "file"], f"Invalid JSON: {broken}", "json_invalid")]) from broken
    if not isinstance(rows, list):
        raise RefusedError(422, [error(["body", "file"], "The file should be a JSON array", "list_type")])
    return rows, elements(part.data)


def _csv_rows(part: Part) -> Iterator[dict[str, Any]]:
    try:
        text = bytes(part.data).decode("utf-8-sig")
        for row in csv.DictReader(io.StringIO(text, newline=""), strict=True):
            yield _from_csv(row)
    except (csv.Error, UnicodeDecodeError) as broken:
        raise RefusedError(422, [error(["body", "file"], f"Invalid CSV: {broken}", "csv_invalid")]) from broken


def _from_csv(row: dict[str, Any]) -> dict[str, Any]:
    """One user turn and one answer, both plain strings [vendor docs]. Empty optional cells are absent."""
    found: dict[str, Any] = {key: value for key, value in row.items() if key not in _KEYS and value is not None}
    if row.get("conv_prefix") is not None:
        found["conv_prefix"] = [{"role": "user", "content": row["conv_prefix"]}]
    if row.get("response") is not None:
        found["response"] = {"role": "assistant", "content": row["response"]}
    if label := row.get("ground_truth"):
        found["ground_truth"] = int(label) if label.removeprefix("-").isdecimal() else label
    if row.get("context"):
        found["context"] = row["context"]
    return found


def row_problems(rows: list[Any], *, last_user: bool) -> list[dict[str, Any]]:
    """What is wrong with the rows' structure (the label apart), the first `MAX_PROBLEMS`."""
    problems: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        for loc, message, kind in _structure(row, last_user):
            problems.append(error(["body", "file", number, *loc], message, kind))
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems


def _structure(row: Any, last_user: bool) -> Iterator[Problem]:
    if type(row) is not dict:
        yield [], "Input should be a valid dictionary", "dict_type"
        return
    if not row.keys() <= _KEYS:
        for key in sorted(row.keys() - _KEYS):
            yield [str(key)], "Extra inputs are not permitted", "extra_forbidden"
    prefix = row.get("conv_prefix")
    if type(prefix) is not list:
        yield _wrong("conv_prefix", row, "list")
    else:
        for number, turn in enumerate(prefix):
            yield from _turn(turn, ["conv_prefix", number], _ROLES)
        if last_user and not (prefix and type(prefix[-1]) is dict and prefix[-1].get("role") == "user"):
            yield ["conv_prefix"], "The last turn should be the user's", "value_error"
    if "response" not in row:
        yield _wrong("response", row, "dict")
    else:
        yield from _turn(row["response"], ["response"], frozenset({"assistant"}))
    if "context" in row and type(row["context"]) is not str:
        yield _wrong("context", row, "string")


def _turn(turn: Any, loc: list[str | int], roles: frozenset[str]) -> Iterator[Problem]:
    if type(turn) is not dict:
        yield loc, "Input should be a valid dictionary", "dict_type"
        return
    if turn.keys() != _TURN:
        for key in sorted(turn.keys() ^ _TURN):
            missing = key in _TURN
            yield (
                [*loc, key],
                *(("Field required", "missing") if missing else ("Extra inputs are not permitted", "extra_forbidden")),
            )
        return
    if type(turn["content"]) is not str:
        yield [*loc, "content"], "Input should be a valid string", "string_type"
    if type(turn["role"]) is not str or turn["role"] not in roles:
        yield [*loc, "role"], f"Input should be one of {', '.join(sorted(roles))}", "enum"


def _wrong(key: str, row: dict[str, Any], kind: str) -> Problem:
    return (
        ([key], f"Input should be a valid {kind}", f"{kind}_type")
        if key in row
        else ([key], "Field required", "missing")
    )


def label_problem(row: dict[str, Any]) -> str | None:
    """The database's words on a `ground_truth` that is no integer [ref: how they begin], or None: null is none."""
    label = row.get("ground_truth")
    if label is None or (type(label) is int and -(1 << 63) <= label < 1 << 63):
        return None
    if type(label) is int:
        return f"invalid input for query argument $5: {label!r} (value out of int64 range)"
    kind = type(label).__name__
    return f"invalid input for query argument $5: {label!r} ({kind!r} object cannot be interpreted as an integer)"
