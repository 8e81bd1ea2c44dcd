"""What a row in the shape of a preset means, by plain steps on exact values (`bulkup.rows.exact`), and what a mended row does.

Written a second time on purpose: nothing of `bulkup.encoding.shapes` or of the compiled ways is in it, so that a mistake there is
found by `verify`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from msgspec import Raw

from bulkup.encoding.depth import room_to_recurse
from bulkup.refusal import Refusal, attempt
from bulkup.rows.exact import NotJsonError, Pairs, read
from bulkup.rows.numerals import PLAIN_DIGITS, canonical, whole
from bulkup.settings.repair import Repair

__all__ = ["NoShape", "as_named", "meant_labels", "meant_turns", "mended", "unsigned"]

_Row = dict[str, Any]
_HALF = re.compile("[\ud800-\udfff]")
_WHO = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_PAIRS = {
    "question-answer": (("question", "answer"),),
    "prompt-completion": (("prompt", "completion"), ("prompt", "response"), ("input", "output")),
}


class NoShape(ValueError):
    """The row is not in the shape."""


def meant_turns(name: str, row: _Row, key: str) -> list[Any]:
    """The turns of *row*, an answer last. *key* is where `chat` and `sharegpt` have them. Raises `NoShape`."""
    if name in ("chat", "sharegpt"):
        who, what = ("role", "content") if name == "chat" else ("from", "value")
        turns = row.get(key)
        turns = _list_in(turns) if isinstance(turns, str) else turns
        if not isinstance(turns, list):
            raise NoShape("no turns")
        return [_meant_turn(turn, who, what, shared=name == "sharegpt") for turn in turns]
    if name == "alpaca":
        asked, below = _string(row.get("instruction")), row.get("input")
        asked = asked if below in (None, "") else f"{asked}\n\n{_string(below)}"
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": _text(row.get("output"))}]
    asking, answering = _keys(name, row)
    prompt, answer = row.get(asking), row.get(answering)
    before = list(map(_bare, prompt)) if isinstance(prompt, list) else [{"role": "user", "content": _string(prompt)}]
    if isinstance(answer, list) and len(answer) != 1:
        raise NoShape("more than one answer")
    last = _bare(answer[0]) if isinstance(answer, list) else {"role": "assistant", "content": _text(answer)}
    return [*before, last]


def meant_labels(row: _Row) -> _Row:
    """The labels of *row* that are no null; a number that is whole is an integer."""
    made = {key: row[key] for key in ("ground_truth", "context") if row.get(key) is not None}
    number = made.get("ground_truth")
    if isinstance(number, Raw) and number is not MINUS_ZERO:
        made["ground_truth"] = whole(str(number, "ascii"))
    return made


def as_named(name: str, row: _Row, key: str) -> _Row:
    """*row* for a destination with a schema, in the shape of the preset that the user has named. Raises `NoShape`."""
    if name in ("sharegpt", "alpaca"):
        gone = {key} if name == "sharegpt" else {"instruction", "input", "output"}
        turns = meant_turns(name, row, key)
        if name == "sharegpt" and isinstance(row[key], list):
            turns = [_with_rest(turn, before) for turn, before in zip(turns, row[key], strict=True)]
        return {"messages": turns, **{k: v for k, v in row.items() if k not in gone}}
    answering = _keys(name, row)[-1]
    return {k: _text(v) if k == answering and (isinstance(v, int) or v is MINUS_ZERO) else v for k, v in row.items()}


def _with_rest(turn: _Row, before: _Row) -> _Row:
    rest = {key: value for key, value in before.items() if key not in ("from", "value")}
    if turn.keys() & rest.keys():
        raise NoShape("a turn of two kinds")
    return turn | rest


def _keys(name: str, row: _Row) -> tuple[str, ...]:
    return next((keys for keys in _PAIRS[name] if set(keys) <= row.keys()), _PAIRS[name][0])


def _list_in(text: str) -> Any:
    try:
        return mended(text.encode("utf-8", "surrogatepass"), (), signed=True)
    except NotJsonError:
        raise NoShape("a string that holds no turns") from None


def _meant_turn(turn: Any, who: str, what: str, *, shared: bool) -> Any:
    if not isinstance(turn, dict):
        raise NoShape("no turn")
    role, content = turn.get(who), turn.get(what)
    if shared:
        role = _WHO.get(role) if isinstance(role, str) else None
    if isinstance(content, list):
        content = "".join(_text_of_part(part) for part in content)
    return {"role": role, "content": _text(content) if role == "assistant" else content}


def _bare(turn: Any) -> Any:
    """*turn* without what is null in it and no part of a turn."""
    if not isinstance(turn, dict):
        return turn
    return {key: value for key, value in turn.items() if value is not None or key in ("role", "content")}


def _text_of_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise NoShape("a part that is no text")
    return text


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise NoShape("no text")


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _ if value is MINUS_ZERO:
            return "-0"
        case _:
            raise NoShape("no text")


# --- mended rows ----------------------------------------------------------------------------------------------------


def mended(line: bytes, repairs: Collection[Repair], *, signed: bool) -> Any:
    """The value of *line* as `bulkup.rows.exact.read` has it once *repairs* are made where it needs them; keys that stand twice are
    `Pairs`. *signed*: `-0` is `MINUS_ZERO`. Raises `NotJsonError`."""
    try:
        value = _read_again(line, repairs) if signed and b"-0" in line else read(line)
    except NotJsonError:
        if Repair.NAN not in repairs:
            raise
        value = _read_again(line, repairs)
    return _whole(value) if Repair.SURROGATES in repairs else value


MINUS_ZERO = Raw("-0")


def unsigned(value: Any) -> Any:
    """*value* with 0 for each `MINUS_ZERO` that no text was made of."""
    match value:
        case dict():
            return {key: unsigned(item) for key, item in value.items()}
        case list():
            return list(map(unsigned, value))
        case _:
            return 0 if value is MINUS_ZERO else value


def _read_again(line: bytes, repairs: Collection[Repair]) -> Any:
    def pairs(members: list[tuple[str, Any]]) -> Any:
        made = dict(members)
        return made if len(made) == len(members) else Pairs(members)

    def number(text: str) -> Raw:
        return Raw(canonical(text))

    def integer(text: str) -> int | Raw:
        if text == "-0":
            return MINUS_ZERO
        return int(text) if len(text) <= PLAIN_DIGITS else number(text)

    def constant(name: str) -> None:
        if Repair.NAN not in repairs:
            raise NotJsonError(f"{name} is not a JSON value")

    decoder = json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_float=number, parse_int=integer)
    with room_to_recurse():
        found = attempt(decoder.decode, line.decode("utf-8", "replace"))
    if isinstance(found, Refusal):
        raise NotJsonError(str(found))
    return found


def _whole(value: Any) -> Any:
    match value:
        case str():
            return _HALF.sub("\ufffd", value)
        case list():
            return list(map(_whole, value))
        case dict():
            return {_whole(key): _whole(item) for key, item in value.items()}
        case Pairs():
            return Pairs([(_whole(key), _whole(item)) for key, item in value.members])
        case _:
            return value
