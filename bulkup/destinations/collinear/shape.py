"""Collinear's rows: their shape, and what can be wrong with them.

The contract (`collinear-upload-dataset.txt`): `conv_prefix` (OpenAI chat turns, the last from the user), `response`
(the assistant's turn), `ground_truth` (an integer, may be absent), `context` (a string, may be absent), nothing else.
A null `ground_truth` or `context` is a rejected row in rows already in this shape: the reference doesn't have it, and
one row that the service refuses fails its whole file. Presets leave a null out.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bulkup.encoding.faults import Fault, number_text, said
from bulkup.encoding.identity import VerbatimCodec
from bulkup.encoding.language import INTEGER, STRING, Form, ending_with, one_of, record
from bulkup.encoding.shapes import LABELS, TOOL_KEYS, bad, hint
from bulkup.encoding.target import INT64

__all__ = [
    "CODEC",
    "REQUIRED",
    "ROLES",
    "TURN_KEYS",
    "CollinearRow",
    "Role",
    "row_fault",
    "undeclared",
    "undeclared_in_turns",
]

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


REQUIRED = ("conv_prefix", "response")
_KEYS = (*REQUIRED, *LABELS)
TURN_KEYS = ("role", "content")
_conv_prefix, _role, _last = attrgetter("conv_prefix"), attrgetter("role"), itemgetter(-1)
_USER = {"user"}


def _asked_by_the_user(rows: list[Any]) -> bool:
    return set(map(_role, map(_last, map(_conv_prefix, rows)))) <= _USER


# --- what is wrong with a row ---------------------------------------------------------------------------------------


def row_fault(row: dict[str, Any]) -> Fault | None:
    """What keeps the decoded *row* from being one of Collinear's."""
    for place in undeclared(row):
        absent = [key for key in REQUIRED if key not in row]
        return bad(place, f"not a key of Collinear's rows{hint(place, absent)}")
    return (
        _turns_fault("conv_prefix", row.get("conv_prefix", UNSET))
        or _turn_fault("response", row.get("response", UNSET), ("assistant",))
        or _label_fault(row)
    )


def _turns_fault(field: str, turns: Any) -> Fault | None:
    if not isinstance(turns, list) or not turns:
        return bad(field, f"expected chat turns, got {_said(turns)}" if turns != [] else "there is no turn in it")
    for i, turn in enumerate(turns):
        fault = _turn_fault(f"{field}[{i}]", turn, ROLES)
        if fault is not None:
            return fault
    if turns[-1]["role"] != "user":
        return bad(f"{field}[{len(turns) - 1}].role", f"the last turn must be the user's, it is {turns[-1]['role']!r}")
    return None


def _turn_fault(field: str, turn: Any, roles: tuple[str, ...]) -> Fault | None:
    if not isinstance(turn, dict):
        return bad(field, f"expected a turn (role and content), got {_said(turn)}")
    role, content = turn.get("role", UNSET), turn.get("content", UNSET)
    if role not in roles:
        wanted = f"'{roles[0]}'" if len(roles) == 1 else f"one of {', '.join(roles)}"
        return bad(f"{field}.role", f"expected {wanted}, got {_said(role)}")
    if not isinstance(content, str):
        return bad(f"{field}.content", f"expected a string, got {_said(content)}")
    return None


def _label_fault(row: dict[str, Any]) -> Fault | None:
    truth, context = row.get("ground_truth", UNSET), row.get("context", UNSET)
    way_out = " (leave the key out where there is none)"
    if truth is not UNSET and not _is_integer(truth):
        wide = " of 64 bits" if type(truth) is int else ""
        cast = isinstance(truth, str | float) and not isinstance(truth, bool)
        more = way_out if truth is None else '; in a mapping, cast = "integer" takes what is a whole number' * cast
        return bad("ground_truth", f"expected an integer{wide}, got {said(truth)}{more}")
    if context is not UNSET and not isinstance(context, str):
        return bad("context", f"expected a string, got {said(context)}{way_out if context is None else ''}")
    return None


def _is_integer(value: Any) -> bool:
    return (type(value) is int and -(2**63) <= value < 2**63) or number_text(value) == "-0"


def _said(value: Any) -> str:
    return "nothing (the key is absent)" if value is UNSET else said(value)


def undeclared(row: dict[str, Any]) -> list[str]:
    """The places in *row* that a row has no room for."""
    return [
        *(key for key in row if key not in _KEYS),
        *undeclared_in_turns("conv_prefix[]", row.get("conv_prefix")),
        *undeclared_in_turns("response", [row.get("response")]),
    ]


def undeclared_in_turns(field: str, turns: Any, keys: tuple[str, ...] = TURN_KEYS) -> list[str]:
    """The places in *turns*, which stand at *field*, that a turn of just *keys* has no room for. Of what lacks one of these, and so
    is no turn without the others, only calls of tools are named."""
    found = [
        key
        for turn in _turns(turns)
        if isinstance(turn, dict)
        for key in turn
        if key not in keys and (key in TOOL_KEYS or turn.keys() >= set(keys))
    ]
    return [f"{field}.{key}" for key in dict.fromkeys(found)]


def _turns(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- the codec -------------------------------------------------------------------------------------------------------


def _turn_form(*roles: str) -> Form:
    return record([("role", one_of(roles)), ("content", STRING)])


_USUAL = record(
    [("conv_prefix", ending_with(_turn_form("user"), _turn_form(*ROLES))), ("response", _turn_form("assistant"))],
    [("ground_truth", INTEGER), ("context", STRING)],
)
CODEC = VerbatimCodec(CollinearRow, _USUAL, _asked_by_the_user)
"""Takes exactly these rows, as they are."""
