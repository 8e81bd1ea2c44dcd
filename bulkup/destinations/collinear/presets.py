"""How each preset makes Collinear's rows: by compiled ways where rows are as usual, else one by one.

A compiled way takes a part of what the slower one takes, and means the same; a test holds them to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, repeat
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from bulkup.destinations.collinear.shape import (
    CODEC,
    TURN_KEYS,
    Role,
    row_fault,
    undeclared,
    undeclared_in_turns,
)
from bulkup.encoding.by_row import ByRow
from bulkup.encoding.faults import Fault
from bulkup.encoding.recast import Recast, are_strings
from bulkup.encoding.row_types import is_of, row_type
from bulkup.encoding.shapes import (
    BELOW_INSTRUCTION,
    LABELS,
    PRESETS,
    SHARED_ROLES,
    ShapeRefused,
    conversation,
    labels_of,
    without_nulls,
)
from bulkup.encoding.splice import ARRAY, INTEGER_LABEL, STRING, STRING_LABEL, NullIs, Splice
from bulkup.encoding.target import INT64, Irregular, Pipeline, Preset

__all__ = ["COLLINEAR_PRESETS", "WITH_TURNS"]

_Row = dict[str, Any]
_Ways = tuple[Pipeline, ...]
_OPTIONAL = {"ground_truth": INTEGER_LABEL, "context": STRING_LABEL}
_ROW = b'{"conv_prefix":%b,"response":%b}'
_ONE_TURN = b'[{"role":"user","content":%b}]'
_ONE_ANSWER = b'{"role":"assistant","content":%b}'
_GIVES = "conv_prefix, response"


def _through(splice: Splice) -> Pipeline:
    return Pipeline((), splice) if splice.sure else Pipeline((splice,), CODEC)


def _identity(dropped: tuple[str, ...]) -> _Ways:
    required = {"conv_prefix": Raw, "response": Raw}
    if not dropped:
        return (Pipeline((), CODEC),)
    return (_through(Splice(_ROW, required, _OPTIONAL, dropped, null_is=NullIs.A_VALUE)),)


# --- compiled: rows of turns ----------------------------------------------------------------------------------------


class _TurnToken(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Role
    content: Raw


class _SharedToken(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename={"role": "from", "content": "value"}):
    role: Literal["human", "user", "gpt", "chatgpt", "assistant", "system"]
    content: Raw


class _MadeOfTurns(msgspec.Struct, gc=False, omit_defaults=True):
    conv_prefix: list[_TurnToken]
    response: _TurnToken
    ground_truth: int | None = None
    context: str | None = None


_Conversations = list[list[_TurnToken]]
_turn: Callable[[Any, Raw], _TurnToken] = _TurnToken
_NULL = Raw(b"null")
_role, _content, _last = attrgetter("role"), attrgetter("content"), itemgetter(-1)
_USER, _ASSISTANT = {"user"}, {"assistant"}


def _recast(
    required: Sequence[tuple[str, str, Any]],
    optional: Sequence[tuple[str, str]],
    conversations: Callable[[list[Any]], _Conversations],
    dropped: tuple[str, ...],
    usual: bytes = b"",
    *,
    keeps_length: bool = False,
) -> Pipeline:
    """Rows of *required* fields (name, key and type each), *optional* ones (a token, null where absent) and labels.
    *conversations* gives the turns of them all, an answer last. *usual* and *keeps_length* as `Recast` has them."""
    labels = {"ground_truth": Annotated[int, INT64] | None, "context": str | None}
    kept = [key for key in labels if key not in dropped]
    gone = [key for key in dropped if key not in [key for _, key, *_ in (*required, *optional)]]
    fields: list[Any] = [
        *((name, kind) for name, _, kind in required),
        *((name, Raw, _NULL) for name, _ in optional),
        *((key, labels[key], None) for key in kept),
        *((f"d{i}", Raw, Raw()) for i in range(len(gone))),
    ]
    names = {name: key for name, key, *_ in (*required, *optional)} | {f"d{i}": key for i, key in enumerate(gone)}
    row = row_type("SourceRow", fields, forbid_unknown_fields=True, rename=names)
    tokens: list[Any] = [(name, Raw, _NULL) if name == "ground_truth" else (name, *more) for name, *more in fields]
    row_of_tokens = row_type("SourceTokens", tokens, forbid_unknown_fields=True, rename=names)
    getters = [attrgetter(key) if key in kept else None for key in labels]

    def made(rows: list[Any]) -> list[Any]:
        turns = conversations(rows)
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

    of_tokens, integer = (row_of_tokens, "ground_truth") if "ground_truth" in kept else (None, "")
    usual = b"" if gone else usual
    text = "context" if "context" in kept else ""
    way = Recast(row, made, of_tokens, integer, usual=usual, keeps_length=keeps_length, text=text)
    return Pipeline((), way)


_turns = attrgetter("turns")


def _chat(key: str, dropped: tuple[str, ...]) -> _Ways:
    kind = Annotated[list[_TurnToken], Meta(min_length=2)]
    turns = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    usual = msgspec.json.encode({key: turns})
    way = _recast([("turns", key, kind)], (), lambda rows: list(map(_turns, rows)), dropped, usual, keeps_length=True)
    return (way,)


def _sharegpt(key: str, dropped: tuple[str, ...]) -> _Ways:
    def conversations(rows: list[Any]) -> _Conversations:
        found = list(map(_turns, rows))
        every = list(chain.from_iterable(found))
        made: Iterator[_TurnToken] = map(_turn, map(SHARED_ROLES.__getitem__, map(_role, every)), map(_content, every))
        return [list(islice(made, size)) for size in map(len, found)]

    kind = Annotated[list[_SharedToken], Meta(min_length=2)]
    usual = msgspec.json.encode({key: [{"from": "human", "value": ""}, {"from": "gpt", "value": ""}]})
    return (_recast([("turns", key, kind)], (), conversations, dropped, usual),)


_EMPTY = {b"null", b'""'}
_BETWEEN = msgspec.json.encode(BELOW_INSTRUCTION)[1:-1]


def _alpaca(dropped: tuple[str, ...]) -> _Ways:
    asked, below, said = map(attrgetter, ("asked", "below", "said"))
    takes_input = "input" not in dropped

    def conversations(rows: list[Any]) -> _Conversations:
        inputs: Iterable[Raw] = map(below, rows) if takes_input else repeat(_NULL)
        questions = [_below(bytes(one), bytes(other)) for one, other in zip(map(asked, rows), inputs, strict=False)]
        answers = map(_turn, repeat("assistant"), map(said, rows))
        return list(map(list, zip(map(_turn, repeat("user"), questions), answers, strict=True)))

    required = [("asked", "instruction", Raw), ("said", "output", Raw)]
    return (_recast(required, [("below", "input")] if takes_input else (), conversations, dropped),)


def _below(asked: bytes, below: bytes) -> Raw:
    """The token of *asked* with *below* below it. Both are tokens; what is no string comes out as none, or as no token."""
    if below in _EMPTY:
        return Raw(asked)
    if not (asked.startswith(b'"') and below.startswith(b'"')):
        raise Irregular
    return Raw(asked[:-1] + _BETWEEN + below[1:])


# --- compiled: rows of a prompt and an answer -----------------------------------------------------------------------


def _question_answer(dropped: tuple[str, ...]) -> _Ways:
    return (_through(_pair(("question", "answer"), dropped)),)


def _pair(keys: tuple[str, str], dropped: tuple[str, ...]) -> Splice:
    return Splice(_ROW % (_ONE_TURN, _ONE_ANSWER), dict.fromkeys(keys, STRING), _OPTIONAL, dropped)


def _prompt_completion(dropped: tuple[str, ...]) -> _Ways:
    def unwrapped(prompts: Iterable[Raw], completions: Iterable[list[Raw]]) -> Iterable[Iterable[Any]]:
        return prompts, map(itemgetter(0), completions)

    one = Annotated[list[Raw], Meta(min_length=1, max_length=1)]
    prompts = ((_ONE_TURN, STRING), (b"%b", ARRAY))
    answers = ((_ONE_ANSWER, STRING, None), (b"%b", one, unwrapped))
    usual = tuple(
        _through(
            Splice(_ROW % (prompt, answer), {"prompt": asked, "completion": kind}, _OPTIONAL, dropped, arrange=arrange)
        )
        for prompt, asked in prompts
        for answer, kind, arrange in answers
    )
    others = PRESETS["prompt-completion"].choices[1:]
    return (*usual, *(_through(_pair((asking, answering), dropped)) for asking, answering in others))


# --- one by one -----------------------------------------------------------------------------------------------------


def _mapped(name: str, key: str, row: _Row, changes: Counter[str]) -> _Row | Fault:
    try:
        *before, answer = conversation(name, row, key, changes)
        return {"conv_prefix": before, "response": answer, **labels_of(row, changes)}
    except ShapeRefused as refused:
        return refused.fault


def _preset(
    name: str,
    key: str,
    turn_keys: tuple[str, ...],
    compiled: Callable[[tuple[str, ...]], _Ways],
    in_0_1: int,
    others: tuple[str, ...] = (),
) -> Preset:
    """*key* is where the turns are; *others* are keys that rows in the shape may have besides."""
    mapped = partial(_mapped, name, key)

    def undeclared_in(row: _Row) -> list[str]:
        keys = (key,) if key else (*PRESETS[name].keys_in(row), *others)
        inner = (
            undeclared_in_turns(f"{place}[]", without_nulls(row.get(place), turn_keys), turn_keys) for place in keys
        )
        others_of_row = (place for place in row if place not in (*keys, *LABELS) and row[place] is not None)
        return [*others_of_row, *chain.from_iterable(inner)]

    def made(row: _Row, changes: Counter[str]) -> _Row:
        found = mapped(row, changes)
        if isinstance(found, Fault) or undeclared_in(row) or row_fault(found) is not None:
            raise Irregular
        return found

    def ways(dropped: tuple[str, ...]) -> _Ways:
        slow = ByRow(made, dropped)
        return (*compiled(dropped), Pipeline((), slow, slow.changes))

    return Preset(_GIVES, ways, in_0_1, mapped, undeclared_in)


def _with_chat(key: str) -> Preset:
    return _preset("chat", key, TURN_KEYS, partial(_chat, key), 1)


def _with_sharegpt(key: str) -> Preset:
    return _preset("sharegpt", key, ("from", "value"), partial(_sharegpt, key), 0)


def _as_it_is(row: _Row, _changes: Counter[str]) -> _Row | Fault:
    return row


WITH_TURNS = {"chat": _with_chat, "sharegpt": _with_sharegpt}
"""The presets whose turns stand under a key that may be another."""

COLLINEAR_PRESETS = {
    "identity": Preset("rows as they are", _identity, 1, _as_it_is, undeclared),
    "chat": _with_chat("messages"),
    "sharegpt": _with_sharegpt("conversations"),
    "alpaca": _preset("alpaca", "", TURN_KEYS, _alpaca, 0, ("input",)),
    "prompt-completion": _preset("prompt-completion", "", TURN_KEYS, _prompt_completion, 4),
    "question-answer": _preset("question-answer", "", TURN_KEYS, _question_answer, 1),
}
