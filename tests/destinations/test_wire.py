"""What both wires share: a lost request as an outcome, the rows that a refusal names, a server's words."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.wire import SEEN_CHARS, lost, readable, rows_at_fault
from bulkup.outcome import InDoubt, Outcome, TryAgain
from bulkup.secret import Token
from bulkup.transport import ERROR_BYTES, WORDS, Phase, TransportFailure

Token("tok-SECRET-0123456789")


@pytest.mark.parametrize(("phase", "kind"), [(Phase.CONNECT, TryAgain), (Phase.BODY, InDoubt), (Phase.ANSWER, InDoubt)])
def test_a_lost_request_is_free_to_try_again_only_before_the_first_byte(phase: Phase, kind: type[Outcome]) -> None:
    assert isinstance(lost(TransportFailure(phase, "gone")), kind)


@pytest.mark.parametrize(
    ("detail", "rows"),
    [
        ([{"loc": ["body", "rows", 4, "text"]}, {"loc": ["body", "rows", 2]}, {"loc": ["body", "rows", 4]}], (2, 4)),
        ([{"loc": ["body", "rows"]}], ()),
        ([{"loc": ["body", "rows", -1]}, {"loc": ["body", "rows", True]}, {"loc": "rows.3"}], ()),
        ("no list", ()),
        ([], ()),
        ([{}], ()),
        (None, ()),
        ({"loc": ["rows", 1]}, ()),
    ],
)
def test_rows_that_a_refusal_names(detail: object, rows: tuple[int, ...]) -> None:
    assert rows_at_fault(orjson.dumps({"detail": detail})) == rows


shapes = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["loc", "msg", "x"]), inner, max_size=3)
    ),
)


@given(st.binary(max_size=200) | shapes.map(lambda value: orjson.dumps({"detail": value})) | shapes.map(orjson.dumps))
def test_no_answer_breaks_the_reading(body: bytes) -> None:
    rows_at_fault(body)
    said = readable(body)
    assert len(said) <= WORDS
    assert said.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b"Bearer tok-SECRET-0123456789",
        b'{"detail":"you sent tok-SECRET-0123456789"}',
        b'{"detail":[{"loc":["tok-SECRET-0123456789",1],"msg":"tok-SECRET-0123456789"}]}',
        b'{"received":{"authorization":"Bearer tok-SECRET-0123456789"}}',
        b'{"message":{"a":"tok-SECRET-0123456789"}}',
        b"x" * (WORDS - 5) + b"tok-SECRET-0123456789",
        b"\xff\xfetok-SECRET-0123456789\xff",
        b'["tok-SECRET-0123456789"]',
        b" " * (ERROR_BYTES - 8) + b"tok-SECR",
        b" " * (ERROR_BYTES - 24) + b"%74%6f%6b%2d%53%45%43%52",
        b"x " * (SEEN_CHARS // 4) + b"y" * (SEEN_CHARS // 2 - 8) + b"tok-SECRET-0123456789",
        b"Bearer tok-SECR",
    ],
)
def test_a_servers_words_hold_no_token(body: bytes) -> None:
    """Not a part of it either, where it stands at the edge of what is kept."""
    said = readable(body)
    assert "tok-S" not in said
    assert "%74" not in said


def test_a_token_that_json_escapes_is_not_shown_either() -> None:
    Token("tok/SECRET+0123456789")
    assert "SECRET" not in readable(b'{"received":"Bearer tok\\/SECRET+0123456789"}')
