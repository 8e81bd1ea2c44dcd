"""JSON for comparing: two texts come to the same exactly where they mean the same, whatever is in them."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.rows.exact import NotJsonError, canonical
from bulkup.rows.numerals import canonical as number
from bulkup.rows.numerals import whole
from tests.encoding.test_digits import floats, integers, text_of, values
from tests.examples import examples

JUNK = (b"", b"{", b"[1,]", b"{}x", b'{"a":}', b'{"a" 1}', b"{1:2}", b"NaN", b"01", b"1.", b".5", b"+1", b'"a\nb"', b"\xff",
        b'"\xed\xa0\x80"', b"-", b"1e", b"tru", b"[1 2]", b'{"a":1,}', b"\xef\xbb\xbf{}", b'"\\x"', b'"\\ud80"', b"\0")  # fmt: skip
DEEP = 3000


def reference(text: str) -> Any:
    """The meaning by Python's decoder: exact fractions, and members as sorted pairs, so that none is lost."""
    return json.loads(
        text,
        parse_float=Fraction,
        parse_int=Fraction,
        object_pairs_hook=lambda pairs: ("object", sorted(pairs, key=lambda pair: pair[0])),
    )


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


odd_texts = st.sampled_from(
    ['"\\ud800"', '"\\udc00x\\ud800"', '"\\u003a"', '":"', '"\\ud83d\\ude00"', '"\u2028\x7f"', '"\\/\\u00e9"']
)
leaves = (
    integers
    | floats
    | odd_texts
    | values.map(text_of)
    | st.sampled_from(["1.0", "1", "10e-1", "0", "-0", "0e9", "100", "1e2"])
)
members = st.lists(st.tuples(st.sampled_from(['"a"', '"b"', '"\\u0061"', '":"', '"\\ud800"']), leaves), max_size=3)
documents = st.recursive(
    leaves | members.map(lambda pairs: "{" + ",".join(f"{key}: {value}" for key, value in pairs) + "}"),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[" + " ,".join(items) + "]"),
    max_leaves=4,
)


@examples(200)
@given(documents, documents)
@example("1.0", "1")
@example('{"a":1,"a":2}', '{"a":2}')
@example('{"a":1,"a":2}', '{"a":2,"a":1}')
@example('{"a":"\\u003a","a":1}', '{"a":1}')
def test_two_texts_come_to_the_same_exactly_where_they_mean_the_same(one: str, other: str) -> None:
    written = [canonical(text.encode("utf-8")) for text in (one, other)]
    assert (written[0] == written[1]) == same(reference(one), reference(other))
    assert same(reference(written[0].decode()), reference(one))
    assert canonical(written[0]) == written[0]


@examples(50)
@given(documents, st.booleans())
def test_depth_changes_nothing(text: str, is_object: bool) -> None:
    begin, end = ('{"k":', "}") if is_object else ("[", "]")
    deep = canonical((begin * DEEP + text + end * DEEP).encode())
    assert deep == begin.encode() * DEEP + canonical(text.encode()) + end.encode() * DEEP


@pytest.mark.parametrize("text", JUNK)
@pytest.mark.parametrize("depth", [0, DEEP])
def test_what_is_no_json_is_refused(text: bytes, depth: int) -> None:
    if text == b"" and depth:
        text = b","
    with pytest.raises(NotJsonError):
        canonical(b"[" * depth + text + b"]" * depth)


@given(integers | floats)
def test_a_number_s_value_is_kept(text: str) -> None:
    assert Fraction(number(text)) == Fraction(text)
    made = whole(text)
    assert made is None or made == Fraction(text)
    assert (made is not None) == (Fraction(text).denominator == 1 and abs(Fraction(text)) < 10**40)


@pytest.mark.parametrize("exponent", ["999999999", "9" * 50, "9" * 5000, "-" + "9" * 5000])
def test_an_exponent_takes_no_memory(exponent: str) -> None:
    assert len(number(f"1e{exponent}")) < 5100
    assert number(f"0e{exponent}") == "0"
    assert whole(f"1e{exponent}") is None
    assert canonical(f"[1e{exponent},1]".encode()) != canonical(f"[2e{exponent},1]".encode())


@pytest.mark.parametrize("digits", [39, 40, 41, 4299, 4300, 4301, 20_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_long_integers(digits: int, sign: str) -> None:
    text = sign + "7" * digits
    assert canonical(text.encode()) == canonical(f"{text}.0".encode()) != canonical(f"{text[:-1]}8".encode())
    assert canonical(f"{sign}7{'0' * digits}".encode()) == canonical(f"{sign}7e{digits}".encode())
