"""The automaton takes nothing that the decoder refuses, and the usual rows it takes."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import BlockEncoder, RowOptions, RowPlan, Target, decide
from bulkup.encoding.language import BOOLEAN, INTEGER, STRING, Automaton, automaton_of, ending_with, nullable, record
from bulkup.encoding.lines import whole_lines
from bulkup.model import Block, Validation
from bulkup.refusal import attempt

pytest.importorskip(
    "hyperscan", reason="no wheel for this machine: there are no automata, and the decoders do all of it"
)

CHAT = {
    "conv_prefix": [{"role": "system", "content": "héllo"}, {"role": "user", "content": 'a "b" \\ \n 模型 🙂'}],
    "response": {"role": "assistant", "content": ""},
    "ground_truth": -7,
    "context": "c",
}
FLAT = {"prompt": "p", "label": 3, "is_good": True, "note": "n"}


def plan_for(target: Target, row: dict[str, Any]) -> RowPlan:
    line = orjson.dumps(row) + b"\n"
    return decide(Block(line, 0, len(line)), target, RowOptions())


COLLINEAR_PLAN, NEBIUS_PLAN = plan_for(COLLINEAR, CHAT), plan_for(NEBIUS, FLAT)
PLANS = (COLLINEAR_PLAN, NEBIUS_PLAN)


def automaton(plan: RowPlan) -> Automaton:
    (shortcut,) = plan.pipelines()[0].shortcuts
    found = automaton_of(shortcut.form)
    assert found is not None, "hyperscan is there, and compiles these"
    return found


AUTOMATA = {id(plan): automaton(plan) for plan in PLANS}


def takes(plan: RowPlan, data: bytes) -> bool:
    return AUTOMATA[id(plan)].takes(data)


def decoder_takes(plan: RowPlan, data: bytes) -> bool:
    """What counts: as many rows as lines, each `{…}`, each of the row's type, in UTF-8."""
    whole = whole_lines(data)
    if whole is None:
        return False
    return attempt(plan.pipelines()[0].body, whole.data, whole.count) == data.removesuffix(b"\n").replace(b"\n", b",")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
TURNS = st.builds(
    lambda role, content: {"role": role, "content": content}, st.sampled_from(["system", "user", "tool"]), TEXTS
)
CHATS = st.builds(
    lambda before, asked, answer, labels: {
        "conv_prefix": [*before, {"role": "user", "content": asked}],
        "response": {"role": "assistant", "content": answer},
        **labels,
    },
    st.lists(TURNS, max_size=3), TEXTS, TEXTS,
    st.fixed_dictionaries({}, optional={"ground_truth": st.integers(-(10**18) + 1, 10**18 - 1), "context": TEXTS}),
)  # fmt: skip
FLATS = st.fixed_dictionaries(
    {"prompt": TEXTS, "label": st.integers(-(10**18) + 1, 10**18 - 1), "is_good": st.booleans(), "note": TEXTS}
)


ORDER = list(CHAT) + list(FLAT)


def written(rows: list[dict[str, Any]], spaced: bool, ascii_only: bool) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    ordered = [dict(sorted(row.items(), key=lambda item: ORDER.index(item[0]))) for row in rows]
    return "\n".join(json.dumps(r, separators=separators, ensure_ascii=ascii_only) for r in ordered).encode() + b"\n"


@given(st.lists(CHATS, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_usual_chat_rows_are_taken_however_json_writes_them(rows: list[Any], spaced: bool, ascii_only: bool) -> None:
    data = written(rows, spaced, ascii_only)
    assert takes(COLLINEAR_PLAN, data)
    assert takes(COLLINEAR_PLAN, data[:-1])


@given(st.lists(FLATS, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_usual_rows_of_columns_are_taken(rows: list[Any], spaced: bool, ascii_only: bool) -> None:
    assert takes(NEBIUS_PLAN, written(rows, spaced, ascii_only))


PIECES = st.sampled_from(
    [b"", b'"', b"\\", b"{", b"}", b"}\n{", b"\n", b"\r\n", b"\r", b",", b":", b"[", b"]", b" ", b"\0", b"\x1f", b"0", b"-",
     b".5", b"e9", b"null", b"true", b"\xff", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\\ud800",
     b"\\udc00", b"\\ud83d\\ude42", b"\\u00e9", b"\\x", b"99999999999999999999", b'"role":"user",', b',"context":"x"']
)  # fmt: skip


@pytest.mark.parametrize(("plan", "rows"), [(COLLINEAR_PLAN, CHATS), (NEBIUS_PLAN, FLATS)], ids=["collinear", "nebius"])
@given(data=st.data())
def test_what_is_taken_the_decoder_takes_too(
    plan: RowPlan, rows: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    lines = bytearray(written(data.draw(st.lists(rows, min_size=1, max_size=3)), data.draw(st.booleans()), False))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(lines)))
        lines[start : start + data.draw(st.integers(0, 3))] = data.draw(PIECES)
    if takes(plan, bytes(lines)):
        assert decoder_takes(plan, bytes(lines))


LONG = "the quick brown fox, naïve – “quoted” and 模型 हिन्दी 🙂; " * 12


def long_rows(plan: RowPlan, count: int) -> bytes:
    """Rows whose strings are long enough for the automaton to step over many bytes at a time."""
    if plan is COLLINEAR_PLAN:
        rows = [
            {**CHAT, "response": {"role": "assistant", "content": LONG[i:]}, "context": "x" * (i * 37)}
            for i in range(count)
        ]
    else:
        rows = [{**FLAT, "prompt": LONG[i:], "note": "x" * (i * 37)} for i in range(count)]
    return b"\n".join(map(orjson.dumps, rows)) + b"\n"


@pytest.mark.parametrize("plan", PLANS, ids=["collinear", "nebius"])
def test_one_wrong_byte_in_long_rows_is_never_stepped_over(plan: RowPlan) -> None:
    """Every byte value, at places drawn at random: what is taken then is what the decoder takes."""
    chance = random.Random(20_261_127)
    rows = long_rows(plan, 8)
    assert takes(plan, rows)
    taken = 0
    for turn in range(4096):
        changed = bytearray(rows)
        place = chance.randrange(len(rows))
        changed[place : place + chance.randrange(2)] = bytes([turn % 256])
        if takes(plan, bytes(changed)):
            taken += 1
            assert decoder_takes(plan, bytes(changed)), (place, turn % 256)
    assert 512 < taken < 3584, "both happen often"


@given(st.binary(max_size=12))
@example(b"\xf0\x9f\x99\x82\x80")
@example(b"\xe0\x9f\xbf")
def test_only_utf8_is_taken(content: bytes) -> None:
    """Whatever bytes a string holds, the automaton says what Python's own decoder says."""
    for special in b'"\\', *range(0x20):
        content = content.replace(bytes([special]) if isinstance(special, int) else special, b"x")
    content = content.replace(b'"', b"x").replace(b"\\", b"x")
    row = b'{"prompt":"%b","label":1,"is_good":true,"note":""}' % content
    try:
        content.decode()
    except UnicodeDecodeError:
        assert not takes(NEBIUS_PLAN, row)
    else:
        assert takes(NEBIUS_PLAN, row)


@pytest.mark.parametrize("first", range(0x80, 0x100))
def test_every_pair_of_bytes_is_judged_as_python_does(first: int) -> None:
    """All sequences that begin with one byte above ASCII, up to the second byte, and with continuations behind."""
    for second in (0x20, 0x7F, *range(0x80, 0x100)):
        for tail in (b"", b"\x80", b"\x80\x80", b"\xbf\xbf\xbf", b"x"):
            content = bytes([first, second]) + tail
            row = b'{"prompt":"%b","label":1,"is_good":true,"note":""}' % content
            try:
                content.decode()
                is_utf8 = True
            except UnicodeDecodeError:
                is_utf8 = False
            assert takes(NEBIUS_PLAN, row) is is_utf8, content


@pytest.mark.parametrize(
    "row",
    [
        b'{"label":3,"prompt":"p","is_good":true,"note":"n"}',  # another order
        b'{"prompt":"p","prompt":"q","label":3,"is_good":true,"note":"n"}',  # a key twice: the decoder lets it pass
        b'{"prompt":"p","label":3.0,"is_good":true,"note":"n"}',
        b'{"prompt":"p","label":03,"is_good":true,"note":"n"}',
        b'{"prompt":"p","label":9223372036854775808,"is_good":true,"note":"n"}',
        b'{"prompt":null,"label":3,"is_good":true,"note":"n"}',
        b'{"prompt":"p","label":3,"is_good":true,"note":"n","more":1}',
        b'{"prompt":"p","label":3,"is_good":true}',
        b'{"prompt":"\\ud800","label":3,"is_good":true,"note":"n"}',
        b'{"prompt":"\\q","label":3,"is_good":true,"note":"n"}',
        b'{"prompt":"a\tb","label":3,"is_good":true,"note":"n"}',
        b'{"prompt":"p","label":3,"is_good":true,"note":"n"}\n\n',
        b'{"prompt":"p","label":3,"is_good":true,"note":"n"}\r\n',
        b'{"prompt":"p","label":3,"is_good":true,"note":"n"}{"prompt":"p","label":3,"is_good":true,"note":"n"}',
        b'{"prompt":"p",\n"label":3,"is_good":true,"note":"n"}',
        b'{"prompt":"p","label":3,"is_good":true,"note":"n"}\0',
        b"",
        b"\n",
    ],
)
def test_the_unusual_is_left_to_the_decoder(row: bytes) -> None:
    assert not takes(NEBIUS_PLAN, row)


def test_there_is_no_automaton_where_rows_are_rewritten_trusted_or_may_hold_anything() -> None:
    line = orjson.dumps(CHAT) + b"\n"
    block = Block(line, 0, len(line))
    trusting = decide(block, COLLINEAR, RowOptions(validation=Validation.TRUST))
    dropping = decide(block, COLLINEAR, RowOptions(drop=("context",)))
    assert [list(plan.pipelines()[0].shortcuts) for plan in (trusting, dropping)] == [[], []]
    nested = plan_for(NEBIUS, {"a": {"b": 1}})
    assert nested.encoder()._shortcut(b'{"a":{"b":1}}') is None


@pytest.mark.parametrize("plan", PLANS, ids=["collinear", "nebius"])
def test_a_block_comes_to_the_same_with_and_without(plan: RowPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    row = CHAT if plan is COLLINEAR_PLAN else FLAT
    other = {"x": 1}
    with_it, without = plan.encoder(), plan.encoder()
    assert with_it._shortcut(orjson.dumps(row)) is not None
    monkeypatch.setattr("bulkup.encoding.rows.automaton_of", lambda _: None)
    assert without._shortcut(orjson.dumps(row)) is None
    for rows in ([row], [row, row, row], [row, other, row]):
        for end in (b"", b"\n"):
            data = b"\n".join(map(orjson.dumps, rows)) + end
            block = Block(data, 5, 5 + len(data))
            assert with_it.encode(block) == without.encode(block)


class Clock:
    """Each large block takes as long as the next of *took* says."""

    def __init__(self, took: list[float]) -> None:
        self.left = took[::-1]
        self._now = 0.0
        self._is_running = False

    def thread_time(self) -> float:
        if self._is_running:
            self._now += self.left.pop()
        self._is_running = not self._is_running
        return self._now


def raced(took: list[float], monkeypatch: pytest.MonkeyPatch) -> tuple[Clock, BlockEncoder]:
    """What encoded more large blocks than *took* has times for: the shortcut's and the decoder's by turns."""
    clock = Clock(took)
    monkeypatch.setattr("bulkup.encoding.rows.time", clock)
    encoder, plain = plan_for(NEBIUS, FLAT).encoder(), plan_for(NEBIUS, FLAT).encoder()
    plain._shortcuts = ()
    for data in [orjson.dumps(FLAT), *[b"\n".join([orjson.dumps(FLAT)] * 500)] * (len(took) + 2)]:
        block = Block(data, 0, len(data))
        assert encoder.encode(block) == plain.encode(block)
    return clock, encoder


@pytest.mark.parametrize(
    ("took", "is_used"),
    [
        pytest.param([1.0, 1.5] * 12, True, id="faster"),
        pytest.param([2.0, 1.0] * 12, False, id="slower"),
        pytest.param([9.0, 1.5] * 11 + [1.0, 1.5], True, id="disturbed eleven times"),
        pytest.param([1.5, 3.7] * 11 + [1.5, 1.2], False, id="the decoder disturbed eleven times"),
        pytest.param([1.0, 2.6], True, id="clearly faster"),
        pytest.param([1.0, 1.0] * 12, True, id="the same"),
    ],
)
def test_the_faster_of_shortcut_and_decoder_is_used(
    took: list[float], is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take turns with the first large blocks, twelve times each at most; the best time of each counts."""
    clock, encoder = raced(took, monkeypatch)
    assert clock.left == []
    assert (encoder._shortcut(orjson.dumps(FLAT)) is not None) is is_used


def test_few_rows_are_not_worth_an_automaton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling one takes as long as decoding a megabyte."""
    monkeypatch.setattr("bulkup.encoding.rows._LEAST_COMPILED_BYTES", 192 * 1024)
    encoder = plan_for(NEBIUS, FLAT).encoder()
    large = b"\n".join([orjson.dumps(FLAT)] * 500)
    for _ in range(192 * 1024 // len(large)):
        assert encoder._shortcut(large) is None
        assert encoder._automata == {}
    assert encoder._shortcut(large) is not None


def test_a_form_is_too_large_for_an_automaton_rather_than_slow() -> None:
    row = record([(f"column number {i}", nullable(STRING)) for i in range(200)])
    assert automaton_of(row) is None
    assert automaton_of(ending_with(BOOLEAN, INTEGER)) is not None
