"""Elements of an array that are nested as deep as they are long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup import elements as element_ends
from bulkup.array_lines import ArrayCutter
from bulkup.elements import ElementScanner
from tests.examples import examples

_DEEP_BYTES = 8 * 1024 * 1024


@pytest.mark.parametrize("bracket", [b"[", b"{"])
def test_that_many_brackets_side_by_side_are_counted_in_a_moment(bracket: bytes) -> None:
    cutter = ArrayCutter(0, block_bytes=128 * 1024, max_row_bytes=1024 * 1024)
    piece = bracket * (256 * 1024)
    began = time.process_time()
    cutter.feed(b"[")
    for _ in range(_DEEP_BYTES // len(piece)):
        cutter.feed(piece)
    items = cutter.finish()
    assert time.process_time() - began < 3  # 0.1.0 takes longer
    assert [(item.start, item.end) for item in items] == [(1, 1 + _DEEP_BYTES)]


@examples(100)
@given(st.text('[]{}"\\, a', max_size=40).map(str.encode), st.integers(1, 7))
def test_that_runs_of_brackets_end_where_single_ones_do(text: bytes, size: int) -> None:
    assert _end(text, size) == _end(text, 1) == _end(text, len(text) + 1)


PLAINLY = {"_INSIDE": rb'(?:[^"{}\[\]]|"[^"]*"(?<!\\"))*', "_BETWEEN": rb'(?:[^"{}\[\],]|"[^"]*"(?<!\\"))*'}
"""What the patterns say, without possessive groups, which Python before 3.11.5 takes wrongly now and then."""


@pytest.mark.parametrize("name", PLAINLY)
@examples(300)
@given(text=st.text('[]{}"\\, a', max_size=24).map(str.encode), at=st.integers(0, 3))
def test_the_patterns_take_what_they_say(name: str, text: bytes, at: int) -> None:
    found, expected = getattr(element_ends, name).match(text, at), re.compile(PLAINLY[name]).match(text, at)
    assert found is not None
    assert expected is not None
    assert found.span() == expected.span()


def _end(text: bytes, size: int) -> int | None:
    """Where the first element of *text* ends, which comes in pieces of *size* bytes."""
    scanner = ElementScanner()
    for limit in range(size, len(text) + size, size):
        end = scanner.end_of_element(bytearray(text[:limit]), min(limit, len(text)))
        if end is not None:
            return end
    return None
