"""What each preset makes of a row for Collinear, written for the tests: slow, plain, and sharing nothing with bulkup.

Numbers are Python's, or `Number`: their own characters.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

__all__ = ["Number", "by_preset", "for_nebius", "two_sides"]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant"}
ALIASES = (("prompt", "completion"), ("prompt", "response"), ("input", "output"))
Row = dict[str, Any]


class Number(str):
    """A number's own characters."""

    __slots__ = ()


class _Out(Exception):
    """The row is not in the shape."""


def by_preset(name: str, row: Row, key: str | None = None) -> Row | None:
    """The Collinear row of *row*, or None where it is to be rejected. *key* is where the turns are."""
    try:
        match name:
            case "chat":
                turns = _turns(row, key or "messages", "role", "content")
                keys = {key or "messages"}
            case "sharegpt":
                turns = _turns(row, key or "conversations", "from", "value")
                keys = {key or "conversations"}
            case "alpaca":
                asked = _string(row.get("instruction"))
                if row.get("input") not in (None, "") or isinstance(row.get("input"), Number):
                    asked += "\n\n" + _string(row["input"])
                turns, keys = (
                    [_turn("user", asked), _turn("assistant", _text(row.get("output")))],
                    {*("instruction", "input", "output")},
                )
            case "question-answer":
                turns = [_turn("user", _string(row.get("question"))), _turn("assistant", _text(row.get("answer")))]
                keys = {"question", "answer"}
            case _:
                one, other = next((p for p in ALIASES if p[0] in row and p[1] in row), ALIASES[0])
                turns, keys = _prompted(row.get(one), row.get(other)), {one, other}
        if not {key for key, value in row.items() if value is not None} <= keys | {"ground_truth", "context"}:
            return None
        made = {"conv_prefix": turns[:-1], "response": turns[-1], **_labels(row)}
    except _Out:
        return None
    return made if _fits(made) else None


def chars(value: Any) -> str | None:
    """The characters of *value*, a number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Number | int):
        return str(value)
    return repr(value) if isinstance(value, float) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _string(value: Any) -> str:
    if not _is_text(value):
        raise _Out
    return str(value)


def _text(value: Any) -> str:
    if _is_text(value):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    digits = chars(value)
    if digits is None or set(digits) & set(".eE"):
        raise _Out
    return digits


def _turn(role: Any, content: Any) -> Row:
    return {"role": role, "content": content}


def _once(pairs: list[tuple[str, Any]]) -> Row:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _turns(row: Row, key: str, who: str, what: str) -> list[Any]:
    turns = row.get(key)
    if _is_text(turns):
        try:
            turns = json.loads(
                str(turns), object_pairs_hook=_once, parse_int=Number, parse_float=Number, parse_constant=_no_constant
            )
        except (ValueError, RecursionError):
            raise _Out from None
    if not isinstance(turns, list) or len(turns) < 2:
        raise _Out
    made = []
    for turn in turns:
        if not isinstance(turn, dict) or _bare(turn, who, what).keys() != {who, what} or not _is_text(turn[who]):
            raise _Out
        role, content = str(turn[who]), turn[what]
        if who == "from":
            role = {**SPEAKERS, "system": "system"}.get(role, "")
        if isinstance(content, list) and content:
            if any(not _is_part(part) for part in content):
                raise _Out
            content = "".join(part["text"] for part in content)
        made.append(_turn(role, _text(content) if role == "assistant" else content))
    if made[-1]["role"] != "assistant":
        raise _Out
    return made


def _bare(value: Any, *kept: str) -> Any:
    """*value* without the keys that are null, but for those that are *kept*."""
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in value.items() if inner is not None or key in kept}


def _is_part(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and _bare(part).keys() == {"type", "text"}
        and _is_text(part["type"])
        and part["type"] == "text"
        and _is_text(part["text"])
    )


def _prompted(prompt: Any, answer: Any) -> list[Any]:
    asked = prompt if isinstance(prompt, list) else [_turn("user", _string(prompt))]
    before = [_bare(turn, "role", "content") for turn in asked]
    if not isinstance(answer, list):
        return [*before, _turn("assistant", _text(answer))]
    if len(answer) != 1:
        raise _Out
    return [*before, _bare(answer[0], "role", "content")]


def _labels(row: Row) -> Row:
    found = {key: row[key] for key in ("ground_truth", "context") if row.get(key) is not None}
    digits = chars(found.get("ground_truth"))
    if digits is not None and set(digits) & set(".eE") and len(digits) < 60:
        exact = Decimal(digits)
        if abs(exact) < 2**63 and exact == exact.to_integral_value():
            whole = str(int(exact))
            found["ground_truth"] = Number(whole) if isinstance(row["ground_truth"], Number) else int(whole)
    return found


def _fits(row: Row) -> bool:
    turns, answer = row["conv_prefix"], row["response"]
    return (
        bool(turns)
        and all(_is_turn(turn, ROLES) for turn in turns)
        and turns[-1]["role"] == "user"
        and _is_turn(answer, ("assistant",))
        and ("ground_truth" not in row or _is_integer(row["ground_truth"]))
        and ("context" not in row or _is_text(row["context"]))
    )


def _is_turn(turn: Any, roles: tuple[str, ...]) -> bool:
    return (
        isinstance(turn, dict)
        and turn.keys() == {"role", "content"}
        and _is_text(turn["role"])
        and turn["role"] in roles
        and _is_text(turn["content"])
    )


def _is_integer(value: Any) -> bool:
    digits = chars(value)
    return digits is not None and digits.removeprefix("-").isdigit() and -(2**63) <= int(digits) < 2**63


# --- Nebius: a preset that the user has named -----------------------------------------------------------------------


def for_nebius(name: str, row: Row) -> Row | None:
    """*row* as it is held against the columns, or None where it is not in the shape of the preset *name*."""
    try:
        match name:
            case "chat":
                return row if _ends_with_an_answer(row.get("messages")) else None
            case "sharegpt":
                rest = [
                    {k: v for k, v in turn.items() if k not in ("from", "value")}
                    for turn in _turns_in(row.get("conversations"))
                ]
                if any({"role", "content"} & more.keys() for more in rest) or "messages" in row:
                    return None
                bare = [
                    {k: turn[k] for k in ("from", "value") if k in turn} for turn in _turns_in(row["conversations"])
                ]
                if _is_text(row["conversations"]) and any(rest):
                    return None
                turns = _turns({"conversations": bare}, "conversations", "from", "value")
                made = [{**turn, **more} for turn, more in zip(turns, rest, strict=True)]
                return (
                    {"messages": made, **{k: v for k, v in row.items() if k != "conversations"}}
                    if _ends_with_an_answer(made)
                    else None
                )
            case "alpaca":
                if "messages" in row:
                    return None
                asked = _string(row.get("instruction"))
                if row.get("input") not in (None, "") or isinstance(row.get("input"), Number):
                    asked += "\n\n" + _string(row["input"])
                turns = [_turn("user", asked), _turn("assistant", _text(row.get("output")))]
                gone = ("instruction", "input", "output")
                return {"messages": turns, **{k: v for k, v in row.items() if k not in gone}}
            case "question-answer":
                return {**row, "question": _string(row.get("question")), "answer": _text(row.get("answer"))}
            case "prompt-completion":
                one, other = next((p for p in ALIASES if p[0] in row and p[1] in row), ALIASES[0])
                answer = row.get(other)
                return {**row, one: _text_or_turns(row.get(one)), other: answer if _are_some(answer) else _text(answer)}
            case "preference":
                sides = [row.get("chosen"), row.get("rejected")]
                fit = all(_ends_with_an_answer(side) if isinstance(side, list) else _is_text(side) for side in sides)
                return row if fit and ("prompt" not in row or _text_or_turns(row["prompt"]) is not None) else None
            case _:
                return row if _is_text(row.get("text")) else None
    except _Out:
        return None


def two_sides(row: Row) -> list[Row] | None:
    """The rows of a preference of texts, for Collinear."""
    try:
        asked, sides = _string(row.get("prompt")), [_text(row.get("chosen")), _text(row.get("rejected"))]
    except _Out:
        return None
    if not _bare(row).keys() <= {"prompt", "chosen", "rejected", "context"} or not (
        row.get("context") is None or _is_text(row["context"])
    ):
        return None
    more = {} if row.get("context") is None else {"context": row["context"]}
    return [
        {"conv_prefix": [_turn("user", asked)], "response": _turn("assistant", side), "ground_truth": label, **more}
        for side, label in zip(sides, (Number(1), Number(0)), strict=True)
    ]


def _are_some(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _text_or_turns(value: Any) -> Any:
    return value if _are_some(value) else _string(value)


def _turns_in(value: Any) -> list[Row]:
    """The turns of *value*, which may stand in a string."""
    if _is_text(value):
        try:
            value = json.loads(
                str(value), object_pairs_hook=_once, parse_int=Number, parse_float=Number, parse_constant=_no_constant
            )
        except (ValueError, RecursionError):
            raise _Out from None
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise _Out
    return value


def _ends_with_an_answer(value: Any) -> bool:
    turns = _turns_in(value)
    return bool(turns) and all(map(_is_checked, turns)) and turns[-1]["role"] == "assistant"


def _is_checked(turn: Row) -> bool:
    role, content = turn.get("role"), turn.get("content")
    if not _is_text(role) or role not in ROLES:
        return False
    calls = role == "assistant" and content is None and any(turn.get(call) for call in ("tool_calls", "function_call"))
    return _is_text(content) or _are_some(content) or calls
