"""The keys by which rows are compared: equal for rows that mean the same, for no others, and never an exception."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any, cast

import pytest

from bulkup.destinations.collinear.wire import CollinearDestination
from bulkup.destinations.nebius.wire import NebiusDestination

NEBIUS = cast("Any", NebiusDestination.row_key)
COLLINEAR = cast("Any", CollinearDestination.row_key)
DIFFERENT = [
    b'{"n":%d}' % 2**70,
    b'{"n":%d}' % (2**70 + 1),
    b'{"n":1.1805916207174113e21}',
    b'{"n":123456789.123456789123}',
    b'{"n":123456789.12345679}',
    b'{"n":1e-400}',
    b'{"n":0.0}',
    b'{"n":1e400}',
    b'{"n":1e401}',
    b'{"n":1,"n":2}',
    b'{"n":2,"n":1}',
    b'{"n":2}',
    b'{"n":null,"n":2}',
    b'{"n":"2"}',
    b'{"n":true}',
    b'{"n":1}',
    b'{"n":"\\ud800"}',
    b'{"n":"\\udfff"}',
    b'{"n":"\\ufffd"}',
    b'{"n":' + b"[" * 260 + b"]" * 260 + b"}",
    b'{"n":' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"n":' + b"[" * 2000 + b"1" + b"]" * 2000 + b"}",
    b'{"n":' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
    b'{"n":' + b"7" * 5000 + b"}",
    b'{"n":' + b"7" * 4999 + b"8}",
    b'{"n":NaN}',
    b'{"n":\xff}',
    b"{what ever}",
    b"{}",
]
SAME = [
    (b'{"n":1.0}', b'{"n":1.00}'),
    (b'{"n":1.0}', b'{"n": 1}'),
    (b'{"n":-0}', b'{"n":0.0}'),
    (b'{"n":1E5}', b'{"n":100000}'),
    (b'{"a":1,"b":"\\u00e9"}', '{"b":"é","a":1}'.encode()),
    (b'{"a":1,"b":null}', b'{"a":1}'),
    (b'{"n":' + b"[" * 2000 + b"1.0" + b"]" * 2000 + b"}", b'{"n":' + b"[" * 2000 + b"1" + b"]" * 2000 + b"}"),
]


def collinear(row: bytes) -> bytes:
    """*row* as the label of one in Collinear's shape."""
    return (
        b'{"conv_prefix":[{"role":"user","content":"q"}],"response":{"role":"assistant","content":"a"},"ground_truth":%b}'
        % row
    )


@pytest.mark.parametrize(("key", "shaped"), [(NEBIUS, bytes), (COLLINEAR, collinear)])
def test_no_two_different_rows_are_equal(key: Any, shaped: Any) -> None:
    keys = [key(None, shaped(row)) for row in DIFFERENT]
    twins = [(DIFFERENT[a], DIFFERENT[b]) for a, b in combinations(range(len(keys)), 2) if keys[a] == keys[b]]
    assert twins == []
    assert {len(key) for key in keys} == {16}


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spelling_makes_no_difference(one: bytes, other: bytes) -> None:
    assert NEBIUS(None, one) == NEBIUS(None, other)


@pytest.mark.parametrize("row", DIFFERENT)
def test_a_row_in_no_shape_has_a_key_of_its_own(row: bytes) -> None:
    assert COLLINEAR(None, row) == COLLINEAR(None, row) != COLLINEAR(None, row + b" ")


def test_a_turn_with_a_key_twice_is_another() -> None:
    once = json.dumps(
        {"conv_prefix": [{"role": "user", "content": "q"}], "response": {"role": "assistant", "content": "a"}}
    )
    twice = once.replace('"content": "q"', '"content": "p", "content": "q"')
    assert COLLINEAR(None, once.encode()) != COLLINEAR(None, twice.encode())
