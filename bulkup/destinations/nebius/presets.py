"""What a preset that the user has named says of rows for Nebius: they are in the shape of a fine-tuning row, or made so.

Of fine-tuning rows the vendor's pages say: `messages` (chat turns, the last the assistant's), `prompt` with `completion`, `text`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Raw

from bulkup.encoding.faults import Fault, said
from bulkup.encoding.recast import are_strings
from bulkup.encoding.row_types import line_decoder, row_type
from bulkup.encoding.shapes import PRESETS, ShapeRefused, as_text, bad, conversation, parsed_turns
from bulkup.encoding.target import ColumnPreset
from bulkup.model import Stage
from bulkup.refusal import Refusal, attempt

__all__ = ["NEBIUS_PRESETS"]

_Row = dict[str, Any]
_Fault = Callable[[_Row], Fault | None]
_Quick = Callable[[bytes], bool]

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
_ROLES = get_args(Role)
_ABSENT: Any = object()
_CALLS = ("tool_calls", "function_call")


def _bad(field: str, what: str) -> Fault:
    return bad(field, f"{what}; --preset identity sends such rows as they are")


def _said(value: Any) -> str:
    return "nothing (the key is absent)" if value is _ABSENT else said(value)


# --- turns ----------------------------------------------------------------------------------------------------------


def _turns_fault(key: str, value: Any) -> Fault | None:
    """What keeps *value* from being turns that the assistant ends. They may stand in a string, as JSON: so they are sent anyway."""
    turns = parsed_turns(value) if isinstance(value, str) else value
    if not isinstance(turns, list):
        return _bad(key, f"expected chat turns, got {_said(value)}")
    if not turns:
        return _bad(key, "there is no turn in it")
    for i, turn in enumerate(turns):
        fault = _turn_fault(f"{key}[{i}]", turn)
        if fault is not None:
            return fault
    last = turns[-1]["role"]
    if last != "assistant":
        return _bad(f"{key}[{len(turns) - 1}].role", f"the last turn must be the assistant's, it is {last!r}")
    return None


def _turn_fault(field: str, turn: Any) -> Fault | None:
    if not isinstance(turn, dict):
        return _bad(field, f"expected a turn (role and content), got {said(turn)}")
    role, content = turn.get("role", _ABSENT), turn.get("content", _ABSENT)
    if not isinstance(role, str) or role not in _ROLES:
        return _bad(f"{field}.role", f"expected one of {', '.join(_ROLES)}, got {_said(role)}")
    if isinstance(content, str) or (isinstance(content, list) and content):
        return None
    if role == "assistant" and content in (None, _ABSENT) and any(turn.get(call) for call in _CALLS):
        return None
    return _bad(f"{field}.content", f"expected a string, got {_said(content)}")


class _Turn(msgspec.Struct, gc=False):
    role: Role
    content: Raw


_turns, _role, _content, _last = attrgetter("turns"), attrgetter("role"), attrgetter("content"), itemgetter(-1)


def _quick_turns(key: str) -> _Quick:
    kind = Annotated[list[_Turn], Meta(min_length=1)]
    decode = line_decoder(row_type("CheckedTurns", [("turns", kind)], rename={"turns": key}))

    def all_fit(data: bytes) -> bool:
        rows = attempt(decode, data)
        if isinstance(rows, Refusal):
            return False
        found = list(map(_turns, rows))
        ends = set(map(_role, map(_last, found)))
        return ends == {"assistant"} and all(are_strings(map(_content, turns)) for turns in found)

    return all_fit


# --- texts ----------------------------------------------------------------------------------------------------------


def _text_fault(row: _Row, key: str) -> Fault | None:
    value = row.get(key, _ABSENT)
    return None if isinstance(value, str) else _bad(key, f"expected a string, got {_said(value)}")


def _texts_or_turns(row: _Row, keys: tuple[str, ...]) -> Fault | None:
    for key in keys:
        value = row.get(key, _ABSENT)
        if not isinstance(value, str) and not (isinstance(value, list) and value):
            return _bad(key, f"expected a string or chat turns, got {_said(value)}")
    return None


def _prompt_fault(row: _Row) -> Fault | None:
    return _texts_or_turns(row, PRESETS["prompt-completion"].keys_in(row))


def _preference_fault(row: _Row) -> Fault | None:
    sides = PRESETS["preference"].choices[0]
    found = _texts_or_turns(row, ("prompt", *sides) if "prompt" in row else sides)
    for key in sides if found is None else ():
        if isinstance(row[key], list):
            found = found or _turns_fault(key, row[key])
    return found


def _pair_fault(row: _Row) -> Fault | None:
    return _text_fault(row, "question") or _text_fault(row, "answer")


def _quick_texts(*keys: str) -> Callable[[str], _Quick]:
    fields = [(f"t{i}", str) for i in range(len(keys))]
    decode = line_decoder(row_type("CheckedTexts", fields, rename=dict(zip(dict(fields), keys, strict=True))))
    return lambda _turns_key: lambda data: not isinstance(attempt(decode, data), Refusal)


def _plainly(fault: _Fault) -> Callable[[str], _Fault]:
    return lambda _turns_key: fault


# --- rows made anew -------------------------------------------------------------------------------------------------

_MADE = "messages"


def _made(name: str, taken: tuple[str, ...]) -> Callable[[str], Callable[[_Row, Counter[str]], _Row]]:
    """Rows of the preset *name* as chat rows: `messages` first, and what else they have but for *taken*."""

    def for_key(key: str) -> Callable[[_Row, Counter[str]], _Row]:
        gone = (*taken, key)

        def made(row: _Row, changes: Counter[str]) -> _Row:
            turns = _with_their_rest(conversation(name, row, key, changes), row.get(key))
            rest = {inner: value for inner, value in row.items() if inner not in gone}
            if _MADE in rest:
                what = f"the preset {name} makes it, and the row has one already; --drop '{_MADE}' leaves that one out"
                raise ShapeRefused(bad(_MADE, what, Stage.MAP))
            return {_MADE: turns, **rest}

        return made

    return for_key


def _with_their_rest(turns: list[Any], source: Any) -> list[Any]:
    """*turns* with whatever else the turns of *source* have that they were made of. Raises `ShapeRefused`."""
    if not isinstance(source, list):
        return turns
    made: list[Any] = []
    for i, (turn, before) in enumerate(zip(turns, source, strict=True)):
        rest = {key: value for key, value in before.items() if key not in ("from", "value")}
        if (twice := next((key for key in turn if key in rest), None)) is not None:
            raise ShapeRefused(
                bad(f"{_MADE}[{i}]", f"the turn has a {twice} of its own, beside from and value", Stage.MAP)
            )
        made.append({**turn, **rest})
    return made


def _with_text_answers(name: str) -> Callable[[str], Callable[[_Row, Counter[str]], _Row]]:
    """Rows of the preset *name*, an answer that is an integer, true or false as a text."""

    def made(row: _Row, changes: Counter[str]) -> _Row:
        answering = PRESETS[name].keys_in(row)[-1]
        return {key: as_text(value, changes) if key == answering else value for key, value in row.items()}

    return lambda _turns_key: made


def _chat_fault(key: str) -> _Fault:
    return lambda row: _turns_fault(key, row.get(key, _ABSENT))


def _made_fault(_key: str) -> _Fault:
    return _chat_fault(_MADE)


def _made_quick(_key: str) -> _Quick:
    return _quick_turns(_MADE)


NEBIUS_PRESETS = {
    "chat": ColumnPreset(_chat_fault, _quick_turns),
    "sharegpt": ColumnPreset(_made_fault, _made_quick, _made("sharegpt", ()), is_always_made=True),
    "alpaca": ColumnPreset(
        _made_fault, _made_quick, _made("alpaca", ("instruction", "input", "output")), is_always_made=True
    ),
    "prompt-completion": ColumnPreset(
        _plainly(_prompt_fault), _quick_texts("prompt", "completion"), _with_text_answers("prompt-completion")
    ),
    "question-answer": ColumnPreset(
        _plainly(_pair_fault), _quick_texts("question", "answer"), _with_text_answers("question-answer")
    ),
    "preference": ColumnPreset(_plainly(_preference_fault)),
    "text": ColumnPreset(_plainly(lambda row: _text_fault(row, "text")), _quick_texts("text")),
}
