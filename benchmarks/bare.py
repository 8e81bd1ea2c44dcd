"""Codecs for one shape of rows each, as one would write them by hand: decode, map, encode, all by msgspec.

The line decoder into structs, the mapping in one list comprehension (with the regex and the cast, where the mapping has one), the
encoder. They check no line breaks, find no bad row, and take their one shape only. Rows that are sent as they are get the typed
decoder alone, and rows that are trusted a copy with commas for their breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from bulkup.destinations.collinear.shape import CollinearRow

__all__ = ["Codec", "chat", "identity", "question_answer", "text", "trust", "wide", "with_a_regex"]

_NUMBER = re.compile(r"####\s*(-?[\d,]+)")

Codec = Callable[[bytes], bytes]
_encode = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct, gc=False):
    role: str
    content: str


class _Made(msgspec.Struct, gc=False, omit_defaults=True):
    conv_prefix: list[_Turn]
    response: _Turn
    ground_truth: int | None = None


class _QuestionAnswer(msgspec.Struct, gc=False):
    question: str
    answer: str


class _Chat(msgspec.Struct, gc=False):
    messages: list[_Turn]


class _Messages(msgspec.Struct, gc=False):
    messages: msgspec.Raw


class _Text(msgspec.Struct, gc=False):
    messages: str


_identity = msgspec.json.Decoder(CollinearRow).decode_lines
_answers = msgspec.json.Decoder(_QuestionAnswer).decode_lines
_chats = msgspec.json.Decoder(_Chat).decode_lines
_messages = msgspec.json.Decoder(_Messages).decode_lines


def identity(data: bytes) -> bytes:
    _identity(data)
    return data


def trust(data: bytes) -> bytes:
    return data.replace(b"\n", b",")


def question_answer(data: bytes) -> bytes:
    return _encode([_Made([_Turn("user", r.question)], _Turn("assistant", r.answer)) for r in _answers(data)])


def with_a_regex(data: bytes) -> bytes:
    return _encode(
        [
            _Made([_Turn("user", r.question)], _Turn("assistant", r.answer), _number(_NUMBER.search(r.answer)))
            for r in _answers(data)
        ]
    )


def _number(found: re.Match[str] | None) -> int | None:
    return None if found is None else int(found[1].replace(",", ""))


def chat(data: bytes) -> bytes:
    return _encode([_Made(r.messages[:-1], r.messages[-1]) for r in _chats(data)])


def text(data: bytes) -> bytes:
    return _encode([_Text(str(r.messages, "utf-8")) for r in _messages(data)])


def wide(first: bytes) -> Codec:
    """For rows with the keys of *first*: strings, integers and truth values as they are, everything else as its own text."""
    plain = {
        key: type(value) if type(value) in (str, int, bool) else None
        for key, value in msgspec.json.decode(first).items()
    }
    row = msgspec.defstruct("Wide", [(key, kind or msgspec.Raw) for key, kind in plain.items()], gc=False)
    made = msgspec.defstruct("Written", [(key, kind or str) for key, kind in plain.items()], gc=False)
    decode = msgspec.json.Decoder(row).decode_lines
    texts = [key for key, kind in plain.items() if kind is None]

    def body(data: bytes) -> bytes:
        rows = []
        for found in decode(data):
            values = msgspec.structs.asdict(found)
            for key in texts:
                values[key] = str(values[key], "utf-8")
            rows.append(made(**values))
        return _encode(rows)

    return body
