"""The echo, however it comes: the ids of all rows in order, or a reason why it proves nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations import echo
from bulkup.destinations.echo import BadEcho, EchoReader
from tests.examples import examples

NASTY = ['},{"id":', '"},{"id":"', "[", "]", "\\", "é\u2028", ""]
text = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))
turn = st.fixed_dictionaries({"id": text, "content": text})
row = st.one_of(
    st.fixed_dictionaries({"id": text | st.integers(0, 99)}),
    st.fixed_dictionaries({"id": text, "turns": st.lists(turn, max_size=3), "context": text | st.none()}),
    st.fixed_dictionaries({"turns": st.lists(turn, max_size=3), "id": text}),
)
layout = st.sampled_from([(",", ":"), (", ", ": "), (",\n", ":")])


def read(answer: bytes, rows: int, cuts: list[int], window: int) -> tuple[str | int, ...]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(echo, "WINDOW_BYTES", window)
        reader = EchoReader()
        at = 0
        for size in cuts:
            reader.feed(answer[at : at + size])
            at += size
        reader.feed(answer[at:])
        return reader.ids(rows)


def numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "id": f"{number}-{one['id']}"} for number, one in enumerate(rows)]


@examples(80)
@given(st.lists(row, max_size=12), layout, st.lists(st.integers(0, 60), max_size=30), st.integers(1, 200))
def test_the_ids_in_order(rows: list[dict[str, Any]], how: tuple[str, str], cuts: list[int], window: int) -> None:
    """Wherever it is cut on the way, and whatever stands in the rows."""
    sent = numbered(rows)
    answer = json.dumps(sent, separators=how, ensure_ascii=False).encode()
    assert list(read(answer, len(sent), cuts, window)) == [one["id"] for one in sent]


@examples(60)
@given(st.lists(row, min_size=1, max_size=8), layout, st.integers(1, 200), st.data())
def test_what_is_cut_short_proves_nothing(
    rows: list[dict[str, Any]], how: tuple[str, str], window: int, data: st.DataObject
) -> None:
    sent = numbered(rows)
    answer = json.dumps(sent, separators=how, ensure_ascii=False).encode()
    short = answer[: data.draw(st.integers(0, len(answer) - 1))]
    with pytest.raises(BadEcho):
        read(short, len(sent), [], window)


@pytest.mark.parametrize("window", [8, 1 << 18])
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b'[{"id":"a"},{"id":"b"}]', "2 rows where 3"),
        (b'[{"id":"a"},{"id":"b"},{"id":"a"}]', "repeats"),
        (b'[{"id":"a"},{"id":"b"},{"no":"c"}]', "without an id"),
        (b'[{"id":"a"},{"id":"b"},{"id":null}]', "without an id"),
        (b'[{"id":"a"},{"id":"b"},{"id":"c"}] more', "not a whole array|not an array"),
        (b'{"id":"a"}', "not an array|not a whole array"),
        (b"", "not a whole array"),
    ],
)
def test_an_echo_that_is_wrong(answer: bytes, why: str, window: int) -> None:
    with pytest.raises(BadEcho, match=why):
        read(answer, 3, [5, 9], window)
