"""The shapes in which people have their rows, and the turns of a conversation that a row in one of them holds.

What stands here goes row by row and takes all that a preset takes. The destinations have compiled ways for the usual rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Raw

from bulkup.encoding.faults import Fault, number_text, said
from bulkup.light_dataclass import dataclass
from bulkup.model import Stage
from bulkup.refusal import Irregular, Refusal, attempt
from bulkup.rows.numerals import whole

__all__ = [
    "BELOW_INSTRUCTION",
    "LABELS",
    "PRESETS",
    "SAID_BESIDE",
    "SHARED_ROLES",
    "TOOL_KEYS",
    "TURNS_PRESETS",
    "Change",
    "Shape",
    "ShapeRefused",
    "as_text",
    "bad",
    "conversation",
    "hint",
    "labels_of",
    "parsed_turns",
    "without_nulls",
]


class Change(StrEnum):
    """What a preset changes in a value, beside where it stands. Counted in rows."""

    PARSED = "parsed"
    """Turns that stood in a string, as JSON."""
    JOINED = "joined"
    """Content parts, all of them text, put together as one text."""
    WHOLE = "1.0 -> 1"
    AS_TEXT = '42 -> "42"'


@dataclass(frozen=True, slots=True)
class Shape:
    """A preset's source keys: *choices* are alternatives, and a row in this shape has every key of one of them."""

    choices: tuple[tuple[str, ...], ...]

    def keys_in(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """The first choice whose every key *row* has; the first one where there is none."""
        return next((keys for keys in self.choices if all(key in row for key in keys)), self.choices[0])

    def is_in(self, row: Mapping[str, Any]) -> bool:
        """Whether *row* has the keys."""
        return any(all(key in row for key in keys) for keys in self.choices)


PRESETS: Mapping[str, Shape] = {
    "chat": Shape((("messages",),)),
    "sharegpt": Shape((("conversations",),)),
    "alpaca": Shape((("instruction", "output"),)),
    "prompt-completion": Shape((("prompt", "completion"), ("prompt", "response"), ("input", "output"))),
    "question-answer": Shape((("question", "answer"),)),
    "preference": Shape((("chosen", "rejected"),)),
    "text": Shape((("text",),)),
}
"""By name, in the order in which `auto` looks for them."""

TURNS_PRESETS = ("chat", "sharegpt")
"""The presets whose key `--turns` names."""

LABELS = ("ground_truth", "context")
"""What a row may have beside."""

SHARED_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
"""Who speaks in a ShareGPT turn, and that turn's role."""

TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id", "tools", "functions")
"""Without these a row says something else, so nobody is told to drop them."""

SAID_BESIDE = (
    *("system", "system_prompt", "system_message", "systemInstruction", "history", "label", "labels"),
    *("image", "images", "image_url", "audio", "audios", "video", "videos"),
)
"""Keys that hold a part of what is said, or say whether the answer is a good one: nobody is told to drop these either."""

BELOW_INSTRUCTION = "\n\n"
"""What stands between an instruction and its input."""

_ABSENT: Any = object()


class ShapeRefused(Irregular):
    """The row is not in the preset's shape."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


def bad(field: str, what: str, stage: Stage = Stage.VALIDATE) -> Fault:
    """The fault of *field*."""
    return Fault(stage, field, f"{field}: {what}")


def hint(place: str, absent: Sequence[str] = ()) -> str:
    """How the key at *place* is left out of a row, where nothing that is needed is lost or *absent*."""
    if absent:
        return (
            f"; {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} absent: a preset or a mapping makes such rows"
        )
    if place.rpartition(".")[2] in TOOL_KEYS:
        return ": they hold no tool calls"
    if place in SAID_BESIDE:
        return ": it is a part of what the row says, and a function may find a place for it (--map)"
    return f"; --drop '{place}' leaves it out"


def _refused(field: str, what: str) -> ShapeRefused:
    return ShapeRefused(bad(field, what, Stage.MAP))


def _said(value: Any) -> str:
    return "nothing (the key is absent)" if value is _ABSENT else said(value)


def conversation(name: str, row: Mapping[str, Any], turns_key: str, changes: Counter[str]) -> list[Any]:
    """The turns of *row* in the shape of the preset *name*, its numbers as a decoder carries them. The last is the assistant's.

    A turn has a role and a content, or what keeps it from being one. *turns_key* is where the turns of `chat` and `sharegpt` are.
    What is changed is added to *changes*. Raises `ShapeRefused`.
    """
    return _READERS[name](row, turns_key, changes)


def labels_of(row: Mapping[str, Any], changes: Counter[str]) -> dict[str, Any]:
    """The labels that *row* has: null ones left out, a whole number as the integer that it is."""
    found = {key: row[key] for key in LABELS if row.get(key) is not None}
    number = number_text(found.get("ground_truth"))
    if number is not None and number != "-0":
        made = attempt(whole, number)
        if isinstance(made, int) and -(2**63) <= made < 2**63:
            found["ground_truth"] = made
            changes[Change.WHOLE] += 1
    return found


def _text_at(row: Mapping[str, Any], key: str, wanted: str = "a string") -> str:
    """The text at *key*. Raises `ShapeRefused`."""
    value = row.get(key, _ABSENT)
    if isinstance(value, str):
        return value
    raise _refused(key, f"expected {wanted}, got {_said(value)}")


def _answer_at(row: Mapping[str, Any], key: str, changes: Counter[str], wanted: str = "a string") -> str:
    """As `_text_at`; an integer, true or false becomes one."""
    return _text_at({key: as_text(row[key], changes)} if key in row else row, key, wanted)


def as_text(value: Any, changes: Counter[str]) -> Any:
    """*value*, or its characters where it is an integer, true or false."""
    made = value
    if isinstance(value, bool):
        made = "true" if value else "false"
    elif isinstance(value, int):
        made = str(value)
    elif (text := number_text(value)) is not None and text.removeprefix("-").isdigit():  # it is -0
        made = text
    changes[Change.AS_TEXT] = max(changes[Change.AS_TEXT], int(made is not value))
    return made


# --- turns ----------------------------------------------------------------------------------------------------------


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def _raw(text: str) -> Raw:
    return Raw(text)


_IN_STRINGS = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_raw, parse_float=_raw)


def parsed_turns(text: str) -> list[Any] | None:
    """The list that *text* is as JSON, None where it is none."""
    found = attempt(_IN_STRINGS.decode, text)
    if not isinstance(found, list) or isinstance(attempt(msgspec.json.encode, found), Refusal):
        return None
    return found


def without_nulls(turns: Any, declared: Sequence[str]) -> Any:
    """*turns*, if they are a list, each without the keys that are null and not *declared*: tables have every key in every turn."""
    if not isinstance(turns, list):
        return turns
    return [
        {key: value for key, value in turn.items() if value is not None or key in declared}
        if isinstance(turn, dict) and None in turn.values()
        else turn
        for turn in turns
    ]


def _turns_at(row: Mapping[str, Any], key: str, declared: tuple[str, ...], changes: Counter[str]) -> list[Any]:
    turns = row.get(key, _ABSENT)
    if isinstance(turns, str):
        parsed = parsed_turns(turns)
        if parsed is None:
            raise _refused(key, f"expected chat turns, got {said(turns)}, which is no JSON list of turns either")
        parsed = without_nulls(parsed, declared)
        for i, turn in enumerate(parsed):
            for odd in (turn.keys() - set(declared)) if isinstance(turn, dict) else ():
                raise _refused(f"{key}[{i}]", f"no place for the key {odd} of a turn; --drop reaches into no string")
        turns = parsed
        changes[Change.PARSED] += 1
    if not isinstance(turns, list) or not turns:
        raise _refused(key, f"expected chat turns, got {_said(turns)}")
    return turns


def _ending_with_an_answer(key: str, turns: list[Any]) -> list[Any]:
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    if "assistant" not in roles:
        raise _refused(key, "no turn is the assistant's, so there is no response")
    after = len(turns) - 1 - max(i for i, role in enumerate(roles) if role == "assistant")
    if after:
        raise _refused(key, f"turns after the assistant's last one ({after}) would be lost")
    if len(turns) == 1:
        raise _refused(key, "nothing stands before the assistant's turn")
    return turns


def _content(field: str, turn: Mapping[str, Any], key: str, changes: Counter[str]) -> Any:
    content = turn[key]
    if isinstance(content, list) and content:
        texts = []
        for i, part in enumerate(content):
            is_text = isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            if not is_text or {name for name, value in part.items() if value is not None} != {"type", "text"}:
                kind = part.get("type") if isinstance(part, dict) else None
                what = f"a part of type {kind!r}" if isinstance(kind, str) and kind != "text" else said(part)
                raise _refused(f"{field}.{key}[{i}]", f"parts are joined where all are text, and this is {what}")
            texts.append(part["text"])
        changes[Change.JOINED] = 1
        return "".join(texts)
    return content


def _chat(row: Mapping[str, Any], key: str, changes: Counter[str]) -> list[Any]:
    made: list[Any] = []
    for i, turn in enumerate(_turns_at(row, key, ("role", "content"), changes)):
        if not isinstance(turn, dict):
            made.append(turn)
            continue
        field = f"{key}[{i}]"
        called = next((name for name in TOOL_KEYS if turn.get(name)), None)
        if called is not None and not turn.get("content"):
            raise _refused(field, f"the turn is a tool call ({called}), and has no text")
        here = {name: turn[name] for name in ("role", "content") if name in turn}
        if "content" in here:
            here["content"] = _content(field, turn, "content", changes)
            if here.get("role") == "assistant":
                here["content"] = as_text(here["content"], changes)
        made.append(here)
    return _ending_with_an_answer(key, made)


def _sharegpt(row: Mapping[str, Any], key: str, changes: Counter[str]) -> list[Any]:
    made: list[Any] = []
    for i, turn in enumerate(_turns_at(row, key, ("from", "value"), changes)):
        field = f"{key}[{i}]"
        if not isinstance(turn, dict):
            raise _refused(field, f"expected a turn (from and value), got {said(turn)}")
        who = turn.get("from", _ABSENT)
        role = SHARED_ROLES.get(who) if isinstance(who, str) else None
        if role is None:
            raise _refused(f"{field}.from", f"expected human, gpt or system, got {_said(who)}")
        value = _content(field, {"value": turn.get("value", _ABSENT)}, "value", changes)
        value = as_text(value, changes) if role == "assistant" else value
        if not isinstance(value, str):
            raise _refused(f"{field}.value", f"expected a string, got {_said(value)}")
        made.append({"role": role, "content": value})
    return _ending_with_an_answer(key, made)


def _turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _alpaca(row: Mapping[str, Any], _key: str, changes: Counter[str]) -> list[Any]:
    asked, below = _text_at(row, "instruction"), row.get("input")
    if below is not None and below != "":
        asked += BELOW_INSTRUCTION + _text_at(row, "input")
    return [_turn("user", asked), _turn("assistant", _answer_at(row, "output", changes))]


def _prompt_completion(row: Mapping[str, Any], _key: str, changes: Counter[str]) -> list[Any]:
    asking, answering = PRESETS["prompt-completion"].keys_in(row)
    prompt, completion = row.get(asking, _ABSENT), row.get(answering, _ABSENT)
    prompt, completion = (without_nulls(turns, ("role", "content")) for turns in (prompt, completion))
    wanted = "a string or chat turns"
    if not isinstance(prompt, list):
        prompt = [_turn("user", _text_at(row, asking, wanted))]
    if not isinstance(completion, list):
        return [*prompt, _turn("assistant", _answer_at(row, answering, changes, wanted))]
    if len(completion) != 1:
        raise _refused(answering, f"it has {len(completion)} turns, and a response holds one")
    return [*prompt, completion[0]]


def _question_answer(row: Mapping[str, Any], _key: str, changes: Counter[str]) -> list[Any]:
    return [_turn("user", _text_at(row, "question")), _turn("assistant", _answer_at(row, "answer", changes))]


_READERS: Mapping[str, Callable[[Mapping[str, Any], str, Counter[str]], list[Any]]] = {
    "chat": _chat,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt-completion": _prompt_completion,
    "question-answer": _question_answer,
}
