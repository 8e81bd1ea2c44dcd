"""Bytes are called UTF-8 exactly where Python's decoder takes them, whoever looks at them."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, Target, decide, utf8
from bulkup.encoding.utf8 import Utf8
from bulkup.model import Block
from bulkup.rows.mapping import parse_mapping
from tests.examples import examples

MAPPING = parse_mapping(
    {
        "conv_prefix": [{"role": {"const": "user"}, "content": "question"}],
        "response": {"role": {"const": "assistant"}, "content": "answer"},
        "ground_truth": {"path": "answer", "regex": "#### ([0-9]+)", "cast": "integer"},
    }
)

WRONG = [
    b"\x80",
    b"\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xc3",
    b"\xe0\x80\x80",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80\x80",
    b"\xf0\x9f\x98",
    b"\xf4\x90\x80\x80",
    b"\xf5",
    b"\xff",
]
"""By RFC 3629 (section 3 and the table of section 4) none of these is a character."""

BLOCK = '{"a":"aé語🙂 some words"}\n{"a":"语言 — ß"}\n'.encode() * 110
"""Characters of one to four bytes, more than the decoder is asked for at once, and no multiple of 64 bytes long."""


is_utf8 = Utf8().holds


def decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def put(data: bytes, at: int, wrong: bytes) -> bytes:
    return data[:at] + wrong + data[at + len(wrong) :]


def test_the_fast_way_is_taken_here() -> None:
    """Else what follows would only compare Python with itself."""
    pytest.importorskip("simdjson", reason="no wheel for this machine: the decoder does all of it")
    assert Utf8()._parser_says_so(BLOCK)
    assert len(BLOCK) > utf8._LEAST_BYTES


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_character_is_found_wherever_it_stands(wrong: bytes) -> None:
    for at in [*range(300), *range(len(BLOCK) - 300, len(BLOCK) + 1)]:
        data = put(BLOCK, at, wrong)
        assert is_utf8(data) == decodes(data), at
    assert not is_utf8(put(BLOCK, BLOCK.rindex(b"words"), wrong))


@examples(100)
@given(
    st.lists(st.tuples(st.integers(0, len(BLOCK)), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_the_same_bytes_pass_as_with_the_decoder(changes: list[tuple[int, bytes]], first: int, last: int) -> None:
    data = BLOCK
    for at, changed in changes:
        data = put(data, at, changed)
    data = data[first : len(data) - last]
    assert is_utf8(data) == decodes(data)


@pytest.mark.parametrize("size", [0, 1, utf8._LEAST_BYTES, utf8.MOST_BYTES, utf8.MOST_BYTES + 1])
def test_data_of_any_size_and_that_is_no_json(size: int) -> None:
    data = ("ä語" * (size // 5 + 1)).encode()[:size]
    assert is_utf8(data) == decodes(data)


def test_one_row_and_what_is_no_row() -> None:
    assert is_utf8(b'{"a":"%b"}' % ("語" * 2000).encode())
    assert is_utf8(b'{"a":"%b' % ("語" * 2000).encode())
    assert not is_utf8(b'{"a":"%b' % ("語" * 2000).encode()[:-1])


def test_who_needs_an_error_gets_the_decoders() -> None:
    Utf8().check(BLOCK)
    at = BLOCK.rindex(b"words")
    with pytest.raises(UnicodeDecodeError, match=f"position {at}"):
        Utf8().check(put(BLOCK, at, b"\xff"))


class _Agreeing:
    """A parser that looks at nothing."""

    def parse(self, _: bytes) -> None:
        raise ValueError("TAPE_ERROR: so it says")


class _Other:
    """A parser with words of its own."""

    def parse(self, _: bytes) -> None:
        raise ValueError("trailing content")


@pytest.mark.parametrize("parser", [_Agreeing, _Other])
def test_a_parser_that_answers_otherwise_is_not_asked(parser: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simdjson", SimpleNamespace(Parser=parser))
    assert utf8.reliable_parser() is None


def test_without_the_parser_the_decoder_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simdjson", None)
    looking = Utf8()
    assert looking.holds(BLOCK)
    assert not looking.holds(put(BLOCK, BLOCK.rindex(b"words"), b"\xff"))
    assert not looking._parser_says_so(BLOCK)


CHAT = {"messages": [{"role": "user", "content": "日"}, {"role": "assistant", "content": "b"}], "context": "c"}
PLANS: dict[str, tuple[dict[str, Any], Target, dict[str, Any]]] = {
    "columns": ({"a": "日", "n": 1, "t": True, "x": 1.5, "m": [1, {"b": 2}]}, NEBIUS, {}),
    "columns with odd keys": ({'a"b': "日", "n\n": 1, "\0": [1], "t": True}, NEBIUS, {}),
    "columns with odd keys as they are": ({'a"b': "日", "n\n": 1, "\0": [1]}, NEBIUS, {"nested": "as-is"}),
    "columns as they are": ({"a": "日", "m": [1, {"b": 2}]}, NEBIUS, {"nested": "as-is"}),
    "a column dropped": ({"a": "日", "m": [1], "gone": 1}, NEBIUS, {"drop": ("gone",)}),
    "a place dropped": ({"a": "日", "m": {"b": 2, "c": 3}}, NEBIUS, {"drop": ("m.b",)}),
    "identity": (
        {"conv_prefix": CHAT["messages"][:1], "response": CHAT["messages"][1], "context": "c"},
        COLLINEAR,
        {},
    ),
    "chat": (CHAT, COLLINEAR, {}),
    "chat, a key dropped": ({**CHAT, "gone": 1}, COLLINEAR, {"drop": ("gone",)}),
    "question and answer": ({"question": "日", "answer": "b", "context": "c"}, COLLINEAR, {}),
    "answer by a regex": ({"question": "日", "answer": "b #### 7"}, COLLINEAR, {"mapping": MAPPING}),
}


@pytest.mark.parametrize(("row", "target", "options"), PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("wrong", [b'"\xff"', b'["\xed\xa0\x80"]', b'{"\xff":1}', b'[{"k\xe2\x82":[]}]'], ids=repr)
def test_wrong_bytes_are_found_where_a_key_that_comes_again_hides_them(
    row: dict[str, Any], target: Target, options: dict[str, Any], wrong: bytes
) -> None:
    good = json.dumps(row, ensure_ascii=False).encode()
    encoder = decide(Block(good, 0, len(good)), target, RowOptions(**options)).encoder()
    for key in row:
        hidden = b"{%b:%b,%b" % (json.dumps(key).encode(), wrong, good[1:])
        for before in (b"", (good + b"\n") * 60):
            data = before + hidden + b"\n" + good
            block = Block(data, 0, len(data))
            rows = encoder.encode_rows(block)
            (bad,) = [each for each in rows if each.body is None]
            assert bad.reject is not None
            assert bad.reject.reason.startswith("not UTF-8")
            assert encoder.encode(block).rejects == (bad.reject,)
