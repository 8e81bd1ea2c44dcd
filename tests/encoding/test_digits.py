"""A number that is carried over keeps its characters, whichever way its row is made.

The reference shares no code with bulkup: Python's own decoder with every number as the text that it is, and plain steps over that.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowPlan, Target
from bulkup.encoding.carried import CarryingDecoder
from bulkup.model import Validation
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Column, Holds
from tests.encoding import lines as ln
from tests.examples import examples


class Number(str):
    """A number's own characters; never equal to a string."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def read(data: bytes | str) -> Any:
    return json.loads(data, parse_float=Number, parse_int=Number)


digits = st.text("0123456789", min_size=1, max_size=30)
integers = st.builds(
    lambda sign, text: sign + (text.lstrip("0") or "0"), st.sampled_from(["", "", "-"]), digits
) | st.sampled_from(["0", "-0", str(2**63), str(-(2**63)), str(2**64), str(2**70), str(2**70 + 1)])
floats = st.builds(
    lambda whole, fraction, exponent: whole + (f".{fraction}" if fraction else "") + exponent,
    integers,
    digits | st.just(""),
    st.sampled_from(["", "", "e5", "E+5", "e-7", "E0", "e-400", "e00"]),
).filter(lambda text: abs(float(text)) != float("inf")) | st.sampled_from(
    ["1.0", "1.00", "-0.0", "1e-400", "123456789.123456789123", "0.1", "1E5", "-0e7", "-0e77", "9007199254740993.0"]
)
numbers = (integers | floats).map(Number)
texts = ln.text | st.sampled_from(["-0,", ': -0}"', '\\"-0 ]', "1.10", '"n": -0 '])
values = st.recursive(
    numbers | texts | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def text_of(value: Any, comma: str = ",", colon: str = ":") -> str:
    """*value* as JSON, its numbers as they are."""
    match value:
        case Number():
            return str(value)
        case list():
            return "[" + comma.join(text_of(item, comma, colon) for item in value) + "]"
        case dict():
            pairs = (json.dumps(key) + colon + text_of(item, comma, colon) for key, item in value.items())
            return "{" + comma.join(pairs) + "}"
        case _:
            return json.dumps(value)


def spelled(row: Any, style: tuple[str, str]) -> bytes:
    return text_of(row, *style).encode()


styles = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")])


def rows_of(plan: RowPlan, lines: list[bytes]) -> list[Any]:
    """What the plan makes of *lines*, by block and row by row, which must be the same; None for a rejected one."""
    encoder, block = plan.encoder(), ln.block(b"\n".join(lines) + b"\n")
    rows = encoder.encode_rows(block)
    assert encoder.encode(block).body == b",".join(row.body for row in rows if row.body is not None)
    return [None if row.body is None else read(row.body) for row in rows]


def plan_for(target: Target, **more: Any) -> RowPlan:
    return RowPlan(target=target, **more)


LEVELS = st.sampled_from(list(Validation))
AS_IS = (Column("v", Holds.AS_IS, "json", nullable=True), Column("m", Holds.AS_IS, "json", nullable=True))
TEXT = (Column("v", Holds.TEXT, "string", nullable=True), Column("m", Holds.TEXT, "string", nullable=True))
source = st.fixed_dictionaries({"v": values, "m": st.dictionaries(st.sampled_from(["x", "y"]), values)})


def dropped(row: dict[str, Any]) -> dict[str, Any]:
    return {"v": row["v"], "m": {key: value for key, value in row["m"].items() if key != "x"}}


def as_text(row: dict[str, Any]) -> dict[str, Any]:
    """Each column's value, wherever the text of one stands read again: how it is spaced is not at issue."""
    return {key: None if value is None else read(value) for key, value in row.items()}


@examples(60)
@given(st.lists(source, min_size=1, max_size=4), styles, LEVELS)
@example([{"v": Number("-0"), "m": {"y": [Number("-0e7"), '"-0,', Number("1e-400")]}}], (",", ":"), Validation.FULL)
def test_a_nested_drop(rows: list[dict[str, Any]], style: tuple[str, str], level: Validation) -> None:
    plan = plan_for(NEBIUS, preset="identity", columns=AS_IS, drop_nested=("m.x",), validation=level)
    lines = [spelled(row, style) for row in rows]
    assert rows_of(plan, lines) == list(map(dropped, rows))
    made = rows_of(replace(plan, columns=TEXT, rewrite=True), lines)
    assert list(map(as_text, made)) == list(map(dropped, rows))


@examples(60)
@given(st.lists(source, min_size=1, max_size=4), styles, LEVELS)
def test_columns_written_anew(rows: list[dict[str, Any]], style: tuple[str, str], level: Validation) -> None:
    lines = [spelled({**row, "gone": row["v"]}, style) for row in rows]
    plan = plan_for(NEBIUS, preset="identity", columns=AS_IS, drop=("gone",), rewrite=True, validation=level)
    assert rows_of(plan, lines) == rows
    texts = rows_of(replace(plan, columns=TEXT), lines)
    expected = [{key: None if row[key] is None else text_of(row[key], *style) for key in row} for row in rows]
    assert texts == expected
    sparse = [spelled({key: value for key, value in row.items() if value is not None}, style) for row in rows]
    assert rows_of(replace(plan, drop=(), rewrite=False, validation=Validation.FULL), sparse) == rows


MAPPING = {
    "v": "v",
    "m": {"inner": "m.y", "all": "m", "list": ["v", {"const": 7}], "first": {"path": "v[0]", "default": "none"}},
}


def mapped(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["v"] is None:
        return None
    made: dict[str, Any] = {"all": row["m"], "list": [row["v"], Number("7")]}
    if row["m"].get("y") is not None:
        made["inner"] = row["m"]["y"]
    first = row["v"][0] if isinstance(row["v"], list) and row["v"] else None
    made["first"] = "none" if first is None else first
    return {"v": row["v"], "m": made}


@examples(60)
@given(st.lists(source, min_size=1, max_size=4), styles, LEVELS)
def test_a_mapping(rows: list[dict[str, Any]], style: tuple[str, str], level: Validation) -> None:
    lines = [spelled(row, style) for row in rows]
    plan = plan_for(
        NEBIUS, preset="mapping", mapping=parse_mapping(MAPPING), columns=AS_IS, rewrite=False, validation=level
    )
    expected = list(map(mapped, rows))
    assert rows_of(plan, lines) == expected
    assert rows_of(replace(plan, drop_nested=("m.x",)), lines) == [mapped(dropped(row)) for row in rows]
    made = rows_of(replace(plan, columns=TEXT, rewrite=True), lines)
    assert [row if row is None else as_text(row) for row in made] == expected


CAST = {"n": {"path": "n", "cast": "integer"}}
INTEGER = (Column("n", Holds.INTEGER, "integer", nullable=True),)


@pytest.mark.parametrize(
    ("written", "made"),
    [
        *(("5", "5"), ("-0", "-0"), ("5.0", "5"), ("5e0", "5"), ("1e3", "1000"), ("-1.20e1", "-12"), ("0e5", "0")),
        *(("9007199254740993.0", "9007199254740993"), ("9.223372036854775807e18", "9223372036854775807")),
        *(("1e-400", None), ("5.00000000000000000000000001", None), ("1e999999999", None), ("1.5", None)),
        *(("1e" + "9" * 30, None), ("1e-" + "9" * 5000, None), ("0e" + "9" * 30, "0"), ('"1,000"', "1000")),
    ],
)
@pytest.mark.parametrize("variant", [0, -1])
def test_a_cast_is_exact_or_refused(written: str, made: str | None, variant: int) -> None:
    plan = plan_for(NEBIUS, preset="mapping", mapping=parse_mapping(CAST), columns=INTEGER)
    plan = replace(plan, variant=variant % len(plan.pipelines()))
    rows = plan.encoder().encode_rows(ln.block(b'{"n":%b}\n' % written.encode()))
    assert [row.body for row in rows] == [None if made is None else b'{"n":%b}' % made.encode()]
    reject = rows[0].reject
    assert reject is None or (reject.stage == "map" and written[:30] in reject.reason)


TURNS = [{"role": "user", "content": "-0, q"}, {"role": "assistant", "content": '": -0}'}]
PRESETS: dict[str, dict[str, Any]] = {
    "identity": {"conv_prefix": TURNS[:1], "response": TURNS[1]},
    "chat": {"messages": TURNS},
    "question-answer": {"question": TURNS[0]["content"], "answer": TURNS[1]["content"]},
    "prompt-completion": {"prompt": TURNS[0]["content"], "completion": TURNS[1]["content"]},
}
labels = st.integers(-(2**63), 2**63 - 1).map(str) | st.sampled_from(["-0", "0", str(2**63 - 1), str(-(2**63))])


@pytest.mark.parametrize("preset", PRESETS)
@given(
    st.lists(st.one_of(labels.map(Number), st.none()), min_size=1, max_size=4),
    styles,
    LEVELS,
    st.sampled_from([(), ("x",)]),
)
def test_a_label_through_a_preset(
    preset: str, truths: list[Number | None], style: tuple[str, str], level: Validation, drop: tuple[str, ...]
) -> None:
    if preset == "identity":
        truths = [truth for truth in truths if truth is not None] or [Number("-0")]
    extra = {"x": Number("1e-400")} if drop else {}
    lines = [spelled({**PRESETS[preset], "ground_truth": truth, **extra}, style) for truth in truths]
    base = PRESETS["identity"]
    expected = [base if truth is None else {**base, "ground_truth": truth} for truth in truths]
    assert rows_of(plan_for(COLLINEAR, preset=preset, drop=drop, validation=level), lines) == expected


@given(st.lists(labels.map(Number), min_size=1, max_size=4), styles)
def test_an_integer_column_written_anew(column: list[Number], style: tuple[str, str]) -> None:
    plan = plan_for(NEBIUS, preset="identity", columns=INTEGER, drop=("x",), rewrite=True)
    rows = [{"n": number} for number in column]
    assert rows_of(plan, [spelled({**row, "x": "-0,"}, style) for row in rows]) == rows


@given(st.lists(labels.map(Number), min_size=1, max_size=4), styles)
def test_an_integer_through_a_stitched_mapping(column: list[Number], style: tuple[str, str]) -> None:
    mapping = parse_mapping({"n": "n", "again": {"path": "n", "cast": "integer"}})
    columns = (*INTEGER, Column("again", Holds.INTEGER, "integer", nullable=True))
    plan = plan_for(NEBIUS, preset="mapping", mapping=mapping, columns=columns)
    lines = [spelled({"n": number, "other": Number("1.10")}, style) for number in column]
    for variant in range(len(plan.pipelines())):
        assert rows_of(replace(plan, variant=variant), lines) == [{"n": n, "again": n} for n in column]


def test_a_number_is_named_as_it_is_written() -> None:
    plan = plan_for(NEBIUS, preset="identity", columns=INTEGER)
    (row,) = plan.encoder().encode_rows(ln.block(b'{"n":1e-400}\n'))
    assert row.reject is not None
    assert "1e-400" in row.reject.reason


@pytest.mark.parametrize("number", ["1e-0", "10E-0", "-1e-0", "0e-0", "-0", "-0e-0", "1e-00", "1e-01"])
def test_an_exponent_of_minus_nothing_is_no_minus_zero(number: str) -> None:
    """A row with such a number was refused: `-0` was taken out of its end."""
    row = b'{"v":%b,"w":[-0,%b],"t":"1e-0,-0"}' % (number.encode(), number.encode())
    (found,) = CarryingDecoder(dict[str, object]).decode_lines(row)
    assert found == {
        "v": msgspec.Raw(number.encode()),
        "w": [msgspec.Raw(b"-0"), msgspec.Raw(number.encode())],
        "t": "1e-0,-0",
    }
