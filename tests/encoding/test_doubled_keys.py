"""A key that stands twice, at any depth, in any spelling, is found; what only looks so is not. And `--repair`, which mends rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.encoding.doubled_keys import DoubledKeys, SameKeys, doubled_key, may_hold_doubled_keys
from bulkup.encoding.meaning import as_meant
from bulkup.errors import UsageProblem
from bulkup.model import Validation
from bulkup.rows.schema import Column, Holds
from bulkup.settings.repair import Repair, parse_repairs, repairs_in
from tests.encoding.lines import block
from tests.examples import examples

KEYS = ["a", "role", "x:y", "", 'q"k', "\\", "é", "null"]
TEXTS = ["", ":", '":', '"a":1', '\\":', "{", "}", "role", 'a":', "}{", "\\", "é", "\u2028", "a\\", "[,", ": :"]
leaf = st.sampled_from(TEXTS) | st.integers(-5, 10**20) | st.booleans() | st.none() | st.just(1.5)
value = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(st.sampled_from(KEYS), value, min_size=1, max_size=4)


def spelled(found: Any, escape: bool, space: str) -> str:
    """As JSON, perhaps with each key's first character in an escape, and white space around colons."""
    if isinstance(found, dict):
        return "{" + ",".join(member(key, item, escape, space) for key, item in found.items()) + "}"
    if isinstance(found, list):
        return "[" + (", " if space else ",").join(spelled(item, escape, space) for item in found) + "]"
    return json.dumps(found, ensure_ascii=escape)


def member(key: str, item: Any, escape: bool, space: str) -> str:
    text = json.dumps(key, ensure_ascii=escape)
    if escape and key[:1].isalpha():
        text = f'"\\u{ord(key[0]):04x}{json.dumps(key[1:])[1:]}'
    return f"{text}{space}:{space}{spelled(item, escape, space)}"


def doubled_somewhere(case: st.DataObject, row: dict[str, Any], escape: bool, space: str) -> bytes:
    """*row* with one member of one of its objects once more in that object."""
    places: list[dict[str, Any]] = []
    left: list[Any] = [row]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            places += [part] if part else []
            left += part.values()
        elif isinstance(part, list):
            left += part
    at = case.draw(st.sampled_from(places), label="object")
    key = case.draw(st.sampled_from(sorted(at)), label="key")
    again = member(key, case.draw(leaf), case.draw(st.booleans()), case.draw(st.sampled_from(["", " ", "\t"])))
    mark = "\x07 here"
    text = spelled(_marked(row, at, mark), escape, space)
    return text.replace(json.dumps(mark) + space + ":" + space + "0", again).encode()


def _marked(found: Any, at: dict[str, Any], mark: str) -> Any:
    if isinstance(found, dict):
        made = {key: _marked(item, at, mark) for key, item in found.items()}
        return {**made, mark: 0} if found is at else made
    return [_marked(item, at, mark) for item in found] if isinstance(found, list) else found


@examples(300)
@given(st.lists(tables, min_size=1, max_size=6), st.booleans(), st.sampled_from(["", " ", "\t "]))
def test_rows_without_one_are_told_so_each_by_itself(given_rows: list[Any], escape: bool, space: str) -> None:
    for row in given_rows:
        assert doubled_key(spelled(row, escape, space).encode()) is None


@examples(300)
@given(st.data(), st.lists(tables, min_size=1, max_size=6), st.booleans(), st.sampled_from(["", " ", "\t "]))
def test_one_is_found_wherever_it_stands_also_by_what_was_learned_from_such_rows(
    data: st.DataObject, given_rows: list[dict[str, Any]], escape: bool, space: str
) -> None:
    lines = [spelled(row, escape, space).encode() for row in given_rows]
    chosen = data.draw(st.integers(0, len(lines) - 1))
    twice = doubled_somewhere(data, given_rows[chosen], escape, space)
    key = doubled_key(twice)
    assert key is not None
    finder = DoubledKeys()
    finder._learn(b"\n".join(lines))
    spoiled = b"\n".join([*lines[:chosen], twice, *lines[chosen + 1 :]])
    assert may_hold_doubled_keys(spoiled)
    assert finder.may_be_in(spoiled)


@examples(150)
@given(st.data(), st.lists(st.fixed_dictionaries({"a": value, "x:y": value, "é": value}), min_size=1, max_size=5))
def test_rows_of_the_same_keys_are_counted_and_their_values_looked_through(
    data: st.DataObject, given_rows: list[dict[str, Any]]
) -> None:
    pytest.importorskip("simdjson")
    escape, space = data.draw(st.booleans()), data.draw(st.sampled_from(["", " "]))
    lines = [spelled(row, escape, space).encode() for row in given_rows]
    same = SameKeys(b"\n".join(lines))
    chosen = data.draw(st.integers(0, len(lines) - 1))
    twice = doubled_somewhere(data, given_rows[chosen], escape, space)
    assert not same.once_each(b"\n".join([*lines[:chosen], twice, *lines[chosen + 1 :]]))
    plain = [spelled({"a": n, "x:y": [], "é": {"k": "{"}}, escape, space).encode() for n in range(3)]
    assert same.once_each(b"\n".join(plain))
    assert not same.once_each(b"\n".join([*plain, b'{"a":1,"x:y":2}']))


CHAT = [
    {"id": n, "messages": [{"role": "user", "content": f"q{n}: why"}, {"role": "assistant", "content": "a"}]}
    for n in range(400)
]


def test_an_automaton_is_made_of_rows_that_come_again_and_finds_what_is_new_in_them() -> None:
    pytest.importorskip("hyperscan")
    finder = DoubledKeys()
    lines = [json.dumps(row).encode() for row in CHAT]
    data = b"\n".join(lines)
    finder._learn(data)
    assert finder._quick is not None
    assert finder._quick(data)
    twice = lines[7].replace(b'"role": "user"', b'"role": "user", "role": "user"')
    for spoiled in (
        data.replace(lines[7], twice),
        data[:-1] + b',"id":1}',
        data.replace(b'{"id": 3,', b'{"id": 3,"id": 3,'),
    ):
        assert not finder._quick(spoiled)
        assert finder.may_be_in(spoiled)


ROW = b'{"conv_prefix":[{"role":"user","content":"q"}],"response":{"role":"assistant","content":"a"}}'
QA = b'{"question":"q","answer":"a"}'
INTEGER, TEXT = Column("n", Holds.INTEGER, "integer"), Column("m", Holds.TEXT, "string", nullable=True)
COLUMNS = {"n": "integer?", "m": "text?", "x": "as-is?"}

TWICE: dict[str, tuple[dict[str, Any], bytes, bytes, bytes]] = {
    "at the top": ({"target": COLLINEAR}, QA, b'{"question":"p","question":"q","answer":"a"}', b"question"),
    "in a turn": (
        {"target": COLLINEAR},
        ROW,
        ROW.replace(b'"content":"q"', b'"content":"p","content":"q"'),
        b"content",
    ),
    "in a text column": (
        {"target": NEBIUS, "columns": COLUMNS},
        b'{"n":1,"m":{"k":2},"x":3}',
        b'{"n":1,"m":{"k":1,"k":2},"x":3}',
        b"k",
    ),
    "in a value as it is": (
        {"target": NEBIUS, "columns": COLUMNS, "nested": "as-is"},
        b'{"n":1,"m":{},"x":[{"k":1.10}]}',
        b'{"n":1,"m":{},"x":[{"k":2,"k":1.10}]}',
        b"k",
    ),
}


def plan_of(line: bytes, target: Any, **options: Any) -> RowPlan:
    return decide(block(line), target, RowOptions(**options))


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("name", TWICE)
def test_such_a_row_is_rejected_with_the_option_named_or_repaired_and_counted(name: str, others: int) -> None:
    options, good, twice, key = TWICE[name]
    lines = b"\n".join([*[good] * others, twice, good])
    plan = plan_of(good, **options)
    made = plan.encoder().encode(block(lines))
    (reject,) = made.rejects
    assert (made.rows, reject.field, reject.row) == (others + 1, key.decode(), twice)
    assert "stands twice in one object; --repair duplicate-keys=last" in reject.reason
    repairing = plan_of(good, **options, repairs=(Repair.DUPLICATE_KEYS,))
    mended = repairing.encoder().encode(block(lines))
    assert mended.changes == (("duplicate-keys=last", 1),)
    assert mended.body == plan.encoder().encode(block(b"\n".join([good] * (others + 2)))).body
    for line, row in zip(lines.split(b"\n"), repairing.encoder().encode_rows(block(lines)), strict=True):
        assert row.body is not None
        assert as_meant(repairing, line, row.body) == row.body
    assert as_meant(plan, twice, mended.body.split(b"},{")[0]).startswith(b"not a row: a key stands twice")


def test_under_trust_it_is_not_looked_at() -> None:
    twice = b'{"question":"p","question":"q","answer":"a"}'
    assert plan_of(QA, NEBIUS, validation=Validation.TRUST).encoder().encode(block(twice)).body == twice
    with pytest.raises(UsageProblem, match="--repair needs --validation full"):
        plan_of(QA, NEBIUS, validation=Validation.TRUST, repairs=(Repair.NAN,))


@pytest.mark.parametrize(
    ("repair", "line", "made", "named"),
    [
        (Repair.NAN, b'{"n":NaN,"m":{"k":[Infinity,1.10]},"x":-Infinity}', {"n": None, "m": '{"k":[null,1.10]}', "x": None}, "NaN"),
        (Repair.SURROGATES, b'{"n":-0,"m":"cut \\ud83d","x":1.10}', {"n": 0, "m": '"cut \ufffd"', "x": 1.1}, "lone surrogate"),
        (Repair.SURROGATES, b'{"n":1,"m":{"\\udc00\\ud83d\\ude42":1},"x":[]}', {"n": 1, "m": '{"\ufffd🙂":1}', "x": []}, "a lone"),
    ],
)  # fmt: skip
def test_nan_and_halves_of_characters_are_repaired_and_every_digit_stays(
    repair: Repair, line: bytes, made: dict[str, Any], named: str
) -> None:
    good = b'{"n":1,"m":{},"x":1.5}'
    plan = plan_of(good, NEBIUS, columns=COLUMNS)
    (reject,) = plan.encoder().encode(block(good + b"\n" + line)).rejects
    assert named in reject.reason
    assert f"--repair {repair}" in reject.reason
    mending = plan_of(line, NEBIUS, columns=COLUMNS, repairs=(repair,))
    found = mending.encoder().encode(block(good + b"\n" + line))
    assert (found.rows, found.changes) == (2, ((str(repair), 1),))
    body = found.body.split(b"},{")[1]
    assert json.loads(b"{" + body) == made
    assert b"1.1" not in line or b"1.10" in body
    assert as_meant(mending, line, b"{" + body) == b"{" + body


def test_a_row_that_needs_two_repairs_gets_both_or_none() -> None:
    line = b'{"n":1,"n":2,"m":NaN,"x":"\\ud800"}'
    every = plan_of(b'{"n":1,"m":{},"x":1}', NEBIUS, columns=COLUMNS, repairs=tuple(Repair))
    found = every.encoder().encode(block(line))
    assert dict(found.changes) == dict.fromkeys(map(str, Repair), 1)
    assert json.loads(found.body) == {"n": 2, "m": None, "x": "\ufffd"}
    for left in Repair:
        two = plan_of(
            b'{"n":1,"m":{},"x":1}', NEBIUS, columns=COLUMNS, repairs=tuple(r for r in Repair if r is not left)
        )
        made = two.encoder().encode(block(line))
        assert (made.rows, made.changes, len(made.rejects)) == (0, (), 1)
        named = [repair for repair in Repair if f"--repair {repair}" in made.rejects[0].reason]
        assert left in named


def test_repairs_are_named_in_any_order_and_written_in_one() -> None:
    assert parse_repairs("nan=null, duplicate-keys=last") == "duplicate-keys=last,nan=null"
    assert repairs_in("") == ()
    with pytest.raises(ValueError, match="no repair 'nan=0'; there are duplicate-keys=last, nan=null"):
        parse_repairs("nan=0")


@pytest.mark.parametrize("escape", ["\\u003a", "\\u003A"])
def test_a_colon_in_an_escape_does_not_make_up_for_the_member_that_was_lost(escape: str) -> None:
    line = f'{{"a":1,"a":2,"b":"x{escape}y"}}'.encode()
    assert doubled_key(line) == "a"
    assert may_hold_doubled_keys(line + b"\n" + b'{"a":1}')
    assert doubled_key(f'{{"a":1,"b":"x{escape}y"}}'.encode()) is None


@pytest.mark.parametrize(("escape", "may"), [("3c", False), ("3E", False), ("3d", False), ("3a", True), ("3A", True)])
def test_of_escapes_only_a_colon_s_needs_a_closer_look(escape: str, may: bool) -> None:
    """Go and PHP write `<` and `>` so: rows of theirs are sent as their own bytes all the same."""
    rows = b"\n".join(b'{"id":%d,"text":"x \\u00%b y"}' % (number, escape.encode()) for number in range(9))
    assert may_hold_doubled_keys(rows) is may
    assert may_hold_doubled_keys(rows + b'\n{"id":1,"id":2,"text":"\\u003c"}')
