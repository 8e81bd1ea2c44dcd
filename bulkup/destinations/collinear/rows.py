"""Collinear's rows: their shape, what can be wrong with them, and how each preset makes them.

The contract (`collinear-upload-dataset.txt`): `conv_prefix` (OpenAI chat turns, the last from the user), `response`
(the assistant's turn), `ground_truth` (an integer, may be absent), `context` (a string, may be absent), nothing else.
A null `ground_truth` or `context` is a dead letter in rows already in this shape: the reference doesn't have it, and
one row that the service refuses fails its whole file. Presets leave a null out.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat, starmap
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from bulkup.destinations.collinear import COLLINEAR
from bulkup.encoding import FixedRows, Preset, Target
from bulkup.encoding.faults import Fault, said
from bulkup.encoding.identity import VerbatimCodec
from bulkup.encoding.language import INTEGER, Form, ending_with, one_of, record
from bulkup.encoding.language import STRING as STRING_FORM
from bulkup.encoding.recast import Recast, are_strings
from bulkup.encoding.row_types import is_of, row_type
from bulkup.encoding.splice import ARRAY, INTEGER_LABEL, STRING, STRING_LABEL, NullIs, Splice
from bulkup.encoding.target import INT64, PRESET_KEYS, Irregular, Pipeline
from bulkup.model import Stage

__all__ = ["TARGET", "CollinearRow"]

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
ROLES = get_args(Role)


class Turn(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A chat turn, as OpenAI's API has it."""

    role: Role
    content: str


class AssistantTurn(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The assistant's turn."""

    role: Literal["assistant"]
    content: str


class CollinearRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row as Collinear takes it."""

    conv_prefix: Annotated[list[Turn], Meta(min_length=1)]
    response: AssistantTurn
    ground_truth: Annotated[int, INT64] | UnsetType = UNSET
    context: str | UnsetType = UNSET


_OPTIONAL = {"ground_truth": INTEGER_LABEL, "context": STRING_LABEL}
_KEYS = ("conv_prefix", "response", *_OPTIONAL)
_TURN_KEYS = ("role", "content")
_conv_prefix, _role, _last = attrgetter("conv_prefix"), attrgetter("role"), itemgetter(-1)
_USER = {"user"}


def _asked_by_the_user(rows: list[Any]) -> bool:
    return set(map(_role, map(_last, map(_conv_prefix, rows)))) <= _USER


# --- what is wrong with a row ---------------------------------------------------------------------------------------


def _fault(row: dict[str, Any]) -> Fault | None:
    for place in _undeclared(row):
        return _bad(place, f"not a key of Collinear's rows; --drop '{place}' leaves it out")
    return (
        _turns_fault("conv_prefix", row.get("conv_prefix", UNSET))
        or _turn_fault("response", row.get("response", UNSET), ("assistant",))
        or _label_fault(row)
    )


def _turns_fault(field: str, turns: Any) -> Fault | None:
    if not isinstance(turns, list) or not turns:
        return _bad(field, f"expected chat turns, got {_said(turns)}" if turns != [] else "there is no turn in it")
    for i, turn in enumerate(turns):
        fault = _turn_fault(f"{field}[{i}]", turn, ROLES)
        if fault is not None:
            return fault
    if turns[-1]["role"] != "user":
        return _bad(f"{field}[{len(turns) - 1}].role", f"the last turn must be the user's, it is {turns[-1]['role']!r}")
    return None


def _turn_fault(field: str, turn: Any, roles: tuple[str, ...]) -> Fault | None:
    if not isinstance(turn, dict):
        return _bad(field, f"expected a turn (role and content), got {_said(turn)}")
    role, content = turn.get("role", UNSET), turn.get("content", UNSET)
    if role not in roles:
        wanted = f"'{roles[0]}'" if len(roles) == 1 else f"one of {', '.join(roles)}"
        return _bad(f"{field}.role", f"expected {wanted}, got {_said(role)}")
    if not isinstance(content, str):
        return _bad(f"{field}.content", f"expected a string, got {_said(content)}")
    return None


def _label_fault(row: dict[str, Any]) -> Fault | None:
    truth, context = row.get("ground_truth", UNSET), row.get("context", UNSET)
    hint = " (leave the key out where there is none)"
    if truth is not UNSET and (type(truth) is not int or not -(2**63) <= truth < 2**63):
        wide = " of 64 bits" if type(truth) is int else ""
        return _bad("ground_truth", f"expected an integer{wide}, got {said(truth)}{hint if truth is None else ''}")
    if context is not UNSET and not isinstance(context, str):
        return _bad("context", f"expected a string, got {said(context)}{hint if context is None else ''}")
    return None


def _said(value: Any) -> str:
    return "nothing (the key is absent)" if value is UNSET else said(value)


def _bad(field: str, what: str, stage: Stage = Stage.VALIDATE) -> Fault:
    return Fault(stage, field, f"{field}: {what}")


def _undeclared(row: dict[str, Any]) -> list[str]:
    return [
        *(key for key in row if key not in _KEYS),
        *_undeclared_in_turns("conv_prefix[]", row.get("conv_prefix")),
        *_undeclared_in_turns("response", [row.get("response")]),
    ]


def _undeclared_in_turns(field: str, turns: Any) -> list[str]:
    found = [key for turn in _turns(turns) if isinstance(turn, dict) for key in turn if key not in _TURN_KEYS]
    return [f"{field}.{key}" for key in dict.fromkeys(found)]


def _turns(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- the presets ----------------------------------------------------------------------------------------------------


def _turn_form(*roles: str) -> Form:
    return record([("role", one_of(roles)), ("content", STRING_FORM)])


_USUAL = record(
    [("conv_prefix", ending_with(_turn_form("user"), _turn_form(*ROLES))), ("response", _turn_form("assistant"))],
    [("ground_truth", INTEGER), ("context", STRING_FORM)],
)
_CODEC = VerbatimCodec(CollinearRow, _USUAL, _asked_by_the_user)
_ROW = b'{"conv_prefix":%b,"response":%b}'
_ONE_TURN = b'[{"role":"user","content":%b}]'
_ONE_ANSWER = b'{"role":"assistant","content":%b}'


def _through(splice: Splice) -> Pipeline:
    return Pipeline((), splice) if splice.sure else Pipeline((splice,), _CODEC)


def _identity(dropped: tuple[str, ...]) -> tuple[Pipeline, ...]:
    required = {"conv_prefix": Raw, "response": Raw}
    if not dropped:
        return (Pipeline((), _CODEC),)
    return (_through(Splice(_ROW, required, _OPTIONAL, dropped, null_is=NullIs.A_VALUE)),)


def _question_answer(dropped: tuple[str, ...]) -> tuple[Pipeline, ...]:
    required = {"question": STRING, "answer": STRING}
    return (_through(Splice(_ROW % (_ONE_TURN, _ONE_ANSWER), required, _OPTIONAL, dropped)),)


class _TurnToken(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Role
    content: Raw


class _MadeOfTurns(msgspec.Struct, gc=False, omit_defaults=True):
    conv_prefix: list[_TurnToken]
    response: _TurnToken
    ground_truth: int | None = None
    context: str | None = None


_NULL = Raw(b"null")
_messages, _content = attrgetter("messages"), attrgetter("content")
_ASSISTANT = {"assistant"}


def _chat(dropped: tuple[str, ...]) -> tuple[Pipeline, ...]:
    labels = {"ground_truth": Annotated[int, INT64] | None, "context": str | None}
    kept = [key for key in labels if key not in dropped]
    fields: list[Any] = [
        ("messages", Annotated[list[_TurnToken], Meta(min_length=2)]),
        *((key, labels[key], None) for key in kept),
        *((f"d{i}", Raw, Raw()) for i in range(len(dropped))),
    ]
    names = {f"d{i}": key for i, key in enumerate(dropped)}
    row = row_type("ChatRow", fields, forbid_unknown_fields=True, rename=names)
    tokens: list[Any] = [(name, Raw, _NULL) if name == "ground_truth" else (name, *more) for name, *more in fields]
    row_of_tokens = row_type("ChatTokens", tokens, forbid_unknown_fields=True, rename=names)
    getters = [attrgetter(key) if key in kept else None for key in labels]

    def made(rows: list[Any]) -> list[Any]:
        turns = list(map(_messages, rows))
        if not are_strings(map(_content, chain.from_iterable(turns))):
            raise Irregular
        answers = list(map(list.pop, turns))
        asked = set(map(_role, map(_last, turns)))
        if not (asked <= _USER and set(map(_role, answers)) <= _ASSISTANT):
            raise Irregular
        columns: list[Iterable[Any]] = [repeat(None) if getter is None else map(getter, rows) for getter in getters]
        if is_of(rows[0], row_of_tokens):
            columns[0] = [None if truth == _NULL else truth for truth in columns[0]]
        return list(map(_MadeOfTurns, turns, answers, *columns))

    way = Recast(row, made, row_of_tokens, "ground_truth") if "ground_truth" in kept else Recast(row, made)
    return (Pipeline((), way),)


def _prompt_completion(dropped: tuple[str, ...]) -> tuple[Pipeline, ...]:
    def unwrapped(prompts: Iterable[Raw], completions: Iterable[list[Raw]]) -> Iterable[Iterable[Any]]:
        return prompts, map(itemgetter(0), completions)

    one = Annotated[list[Raw], Meta(min_length=1, max_length=1)]
    prompts = ((_ONE_TURN, STRING), (b"%b", ARRAY))
    answers = ((_ONE_ANSWER, STRING, None), (b"%b", one, unwrapped))
    return tuple(
        _through(
            Splice(_ROW % (prompt, answer), {"prompt": asked, "completion": kind}, _OPTIONAL, dropped, arrange=arrange)
        )
        for prompt, asked in prompts
        for answer, kind, arrange in answers
    )


def _labels(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in _OPTIONAL if row.get(key) is not None}


def _turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _from_identity(row: dict[str, Any]) -> dict[str, Any] | Fault:
    return row


def _from_question_answer(row: dict[str, Any]) -> dict[str, Any] | Fault:
    for key in ("question", "answer"):
        if not isinstance(row.get(key), str):
            return _bad(key, f"expected a string, got {_said(row.get(key, UNSET))}", Stage.MAP)
    return {
        "conv_prefix": [_turn("user", row["question"])],
        "response": _turn("assistant", row["answer"]),
        **_labels(row),
    }


def _from_chat(row: dict[str, Any]) -> dict[str, Any] | Fault:
    turns = row.get("messages", UNSET)
    if not isinstance(turns, list) or not turns:
        return _bad("messages", f"expected chat turns, got {_said(turns)}", Stage.MAP)
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    if "assistant" not in roles:
        return _bad("messages", "no turn is the assistant's, so there is no response", Stage.MAP)
    after = len(turns) - 1 - max(i for i, role in enumerate(roles) if role == "assistant")
    if after:
        return _bad("messages", f"turns after the assistant's last one ({after}) would be lost", Stage.MAP)
    if len(turns) == 1:
        return _bad("messages", "nothing stands before the assistant's turn", Stage.MAP)
    return {"conv_prefix": turns[:-1], "response": turns[-1], **_labels(row)}


def _from_prompt_completion(row: dict[str, Any]) -> dict[str, Any] | Fault:
    prompt, completion = row.get("prompt", UNSET), row.get("completion", UNSET)
    for key, value in (("prompt", prompt), ("completion", completion)):
        if not isinstance(value, str | list):
            return _bad(key, f"expected a string or chat turns, got {_said(value)}", Stage.MAP)
    if isinstance(completion, list) and len(completion) != 1:
        return _bad("completion", f"it has {len(completion)} turns, and a response holds one", Stage.MAP)
    return {
        "conv_prefix": [_turn("user", prompt)] if isinstance(prompt, str) else prompt,
        "response": _turn("assistant", completion) if isinstance(completion, str) else completion[0],
        **_labels(row),
    }


def _undeclared_for(name: str) -> Any:
    keys = (*PRESET_KEYS[name], *_OPTIONAL)
    places = [key for key in keys if key not in ("question", "answer", *_OPTIONAL)]

    def undeclared(row: dict[str, Any]) -> list[str]:
        inner = starmap(_undeclared_in_turns, ((f"{key}[]", row.get(key)) for key in places))
        return [*(key for key in row if key not in keys), *(place for found in inner for place in found)]

    return undeclared


_GIVES = "conv_prefix, response"
TARGET = Target(
    name=COLLINEAR.name,
    title=COLLINEAR.title,
    rows=FixedRows(
        required=("conv_prefix", "response"),
        codec=_CODEC,
        fault=_fault,
        presets={
            "identity": Preset("rows as they are", _identity, _from_identity, _undeclared),
            "chat": Preset(_GIVES, _chat, _from_chat, _undeclared_for("chat")),
            "prompt-completion": Preset(
                _GIVES, _prompt_completion, _from_prompt_completion, _undeclared_for("prompt-completion")
            ),
            "question-answer": Preset(
                _GIVES, _question_answer, _from_question_answer, _undeclared_for("question-answer")
            ),
        },
    ),
)
"""Collinear, as the encoder sees it."""
