"""The echo, however it comes: the ids of all rows in order, or a reason why it proves nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear import echo
from bulkup.destinations.collinear.echo import BadEcho, EchoReader
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


# --- bounds -----------------------------------------------------------------------------------------------------------


def fed(reader: EchoReader, first: bytes, piece: bytes, most: int = 100_000) -> int:
    """How many bytes an echo without end comes to before it is given up."""
    reader.feed(first)
    size = len(first)
    for _ in range(most):
        size += len(piece)
        try:
            reader.feed(piece)
        except BadEcho:
            return size
    pytest.fail("it was never given up")


ROW_OF_ONE = b'{"id":"%06d","x":"' + b"y" * 50 + b'"},'
ENDLESS = {
    "rows": (b"[", b"".join([ROW_OF_ONE % number for number in range(500)])),
    "a row": (b'[{"id":"a","x":"', b"x" * 65_536),
    "an id": (b'[{"id":"', b"x" * 65_536),
    "spaces": (b"[", b" " * 65_536),
    "brackets": (b'[{"id":"a","x":', b"[" * 65_536),
    "commas": (b'[{"id":"a"}', b"," * 65_536),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_an_echo_without_end_ends(what: str) -> None:
    """Ids are compared with the rows that were sent as they come, and the whole with what an echo can be."""
    assert fed(EchoReader(100, 10_000), *ENDLESS[what]) < 4_000_000


@pytest.mark.parametrize("window", [8, 1 << 18])
def test_one_row_too_many_is_seen_before_the_end(window: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(echo, "WINDOW_BYTES", window)
        assert fed(EchoReader(3, 100), b"[", b'{"id":%d},' % 7) < echo.WINDOW_BYTES + 200 + 4 * 9


@pytest.mark.parametrize(
    "row",
    [b'{"id":"%b"}' % (b"i" * 201), b'{"id":%d}' % 2**63, b'{"id":%d}' % 2**70, b'{"id":1e400}', b'{"id":"\xff"}'],
)
@pytest.mark.parametrize("window", [8, 1 << 18])
def test_an_id_that_cannot_be_kept(row: bytes, window: int) -> None:
    with pytest.raises(BadEcho, match="without an id"):
        read(b'[{"id":"a"},%b]' % row, 2, [], window)


@pytest.mark.parametrize("window", [8, 1 << 18])
@pytest.mark.parametrize("levels", [300, 1100, 100_000])
def test_whatever_a_row_holds_is_a_bad_echo_at_worst(levels: int, window: int) -> None:
    """A codec's exception is the answer's fault, not the program's."""
    answer = b'[{"id":"a","x":%b%b}]' % (b"[" * levels, b"]" * levels)
    try:
        assert read(answer, 1, [], window) == ("a",)
    except BadEcho:
        assert levels > 1000
