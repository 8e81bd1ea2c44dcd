"""The declarative mapping: its grammar, and what it makes of rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.encoding import RowPlan
from bulkup.encoding.mapped import MappedRows
from bulkup.errors import UsageProblem
from bulkup.rows.mapping import parse_mapping
from tests.encoding import lines as ln
from tests.encoding.agreement import assert_agrees

ROW = {"q": "Why?", "n": "1,234", "meta": {"tags": ["a", "b"], "odd key": 5}, "none": None, "i": 7, "f": 2.0, "b": True}


def mapped(table: dict[str, Any], row: dict[str, Any] = ROW) -> Any:
    return json.loads(MappedRows(parse_mapping(table)).lines(json.dumps(row).encode(), 1))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("q", "Why?"),
        ("$.q", "Why?"),
        ("meta.tags[0]", "a"),
        ("meta.tags[-1]", "b"),
        ('meta["odd key"]', 5),
        ('$["q"]', "Why?"),
        ("meta", ROW["meta"]),
        ({"const": "q"}, "q"),
        ({"const": {"deep": [1, None]}}, {"deep": [1, None]}),
        ([{"const": 1}, "q"], [1, "Why?"]),
        ([], []),
        ({"a": "q", "b": {"c": "i"}}, {"a": "Why?", "b": {"c": 7}}),
        ({"a": "q", "b": "missing"}, {"a": "Why?"}),
        ({"path": "q", "regex": "(W.)"}, "Wh"),
        ({"path": "n", "cast": "integer"}, 1234),
        ({"path": "i", "cast": "integer"}, 7),
        ({"path": "f", "cast": "integer"}, 2),
        ({"path": "q", "regex": "([0-9]+)", "cast": "integer", "default": -1}, -1),
        ({"path": "q", "cast": "integer", "default": None}, None),
        ({"path": "b", "cast": "integer", "default": "no"}, "no"),
        ({"path": "missing", "default": 0}, 0),
        ({"path": "q", "regex": "([0-9])", "cast": "integer", "default": "1,000"}, "1,000"),
        ({"path": "q", "regex": "W(x)?", "default": "d"}, "d"),
        ({"path": "none", "default": "d"}, "d"),
        ({"path": "meta.tags[9].x", "default": "d"}, "d"),
        ({"path": "q.x", "default": "d"}, "d"),
    ],
)
def test_an_expression_gives(expression: object, value: object) -> None:
    assert mapped({"out": expression}) == {"out": value}


@pytest.mark.parametrize("expression", ["missing", "none", "meta.tags[2]", {"path": "none", "cast": "integer"}])
def test_what_is_missing_is_left_out(expression: object) -> None:
    assert mapped({"out": expression, "q": "q"}) == {"q": "Why?"}


@pytest.mark.parametrize(
    ("expression", "field", "reason"),
    [
        (
            {"path": "q", "regex": "([0-9]+)"},
            "out",
            "out: the regex does not match at q, which holds the string 'Why?'",
        ),
        ({"path": "i", "regex": "([0-9]+)"}, "out", "out: the regex needs a string at i, got the integer 7"),
        ({"path": "q", "cast": "integer"}, "out", "out: expected an integer at q, got the string 'Why?'"),
        ({"path": "b", "cast": "integer"}, "out", "out: expected an integer at b, got true"),
        (
            [{"x": ["missing"]}],
            "out[0].x[0]",
            "out[0].x[0]: its path leads to nothing in this row, and it has no default",
        ),
    ],
)
def test_a_row_that_cannot_be_mapped_names_field_path_and_value(expression: object, field: str, reason: str) -> None:
    plan = RowPlan(target=COLLINEAR, preset="mapping", mapping=parse_mapping({"out": expression}))
    (reject,) = plan.encoder().encode(ln.block(json.dumps(ROW).encode())).rejects
    assert (reject.stage, reject.field, reject.reason) == ("map", field, reason)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "no fields"),
        ({"a": 1}, "field a: a constant is written { const = 1 }"),
        ({"a": {"b": True}}, "field a.b: a constant is written { const = true }"),
        ({"a": {}}, "field a: a constant"),
        ({"a": "two words.x y z ["}, "is not a path"),
        ({"a": "Hello, world!]"}, 'a constant is written { const = "Hello, world!]" }'),
        ({"a": ""}, "is not a path"),
        ({"a": "[0]"}, "is not a path"),
        ({"a": "$"}, "is not a path"),
        ({"a": {"const": 1, "path": "x"}}, "with nothing beside it"),
        ({"a": {"path": "x", "regexp": "(y)"}}, "beside path stand regex, cast and default, not regexp"),
        ({"a": {"path": "x", "regex": "("}}, "the regex is not valid"),
        ({"a": {"path": "x", "regex": "y"}}, "the regex must have one group, it has 0"),
        ({"a": {"path": "x", "cast": "float"}}, "the only cast is 'integer'"),
        ({"a": {"path": 5}}, "a path is a string"),
        ({"a": {"const": float("nan")}}, "JSON has no form"),
        ({"a": ["x", 2]}, "field a[1]"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_mapping(table)
    assert said in str(caught.value)


def test_integers_of_any_size_go_through_untouched() -> None:
    assert mapped({"out": "n"}, {"n": 2**70}) == {"out": 2**70}


TABLE = {
    "conv_prefix": [{"role": {"const": "user"}, "content": "q"}],
    "response": {"role": {"const": "assistant"}, "content": {"path": "a.text", "default": "none"}},
    "ground_truth": {"path": "n", "cast": "integer"},
    "context": {"path": "tags[0]", "regex": "(x+)", "default": "-"},
}
cells = {"q": ln.text | ln.value, "a": ln.value, "n": ln.value | st.integers(0, 9).map(str), "tags": ln.value}
others = {key: kind for key, kind in cells.items() if key != "q"} | {"other": ln.value}
rows = ln.soup(
    ln.spelled(st.fixed_dictionaries({"q": ln.text}, optional=others)),
    ln.spelled(st.fixed_dictionaries({"q": ln.text, "n": st.integers(0, 10**7).map("{:,}".format)})),
    ln.spelled(st.fixed_dictionaries({}, optional=cells)),
)


def judge(row: dict[str, Any]) -> dict[str, Any] | None:
    if row.get("q") is None:
        return None
    inner = row["a"].get("text") if isinstance(row.get("a"), dict) else None
    made: dict[str, Any] = {
        "conv_prefix": [{"role": "user", "content": row["q"]}],
        "response": {"role": "assistant", "content": "none" if inner is None else inner},
    }
    n = row.get("n")
    if isinstance(n, str):
        digits = n.strip().replace(",", "")
        if not (digits.isascii() and digits.lstrip("+-").isdigit() and len(digits) - len(digits.lstrip("+-")) < 2):
            return None
        made["ground_truth"] = int(digits)
    elif isinstance(n, float) and n.is_integer():
        made["ground_truth"] = int(n)
    elif n is not None:
        made["ground_truth"] = n
    tags = row.get("tags")
    first = tags[0] if isinstance(tags, list) and tags else None
    found = first[first.index("x") :] if isinstance(first, str) and "x" in first else ""
    made["context"] = found[: len(found) - len(found.lstrip("x"))] or "-"
    return made if ln.is_collinear(made) else None


@given(rows)
def test_mapped_rows_agree(data: bytes) -> None:
    assert_agrees(RowPlan(target=COLLINEAR, preset="mapping", mapping=parse_mapping(TABLE)), data, judge)


@given(rows)
def test_a_mapping_survives_the_journal(data: bytes) -> None:
    plan = RowPlan(target=COLLINEAR, preset="mapping", mapping=parse_mapping(TABLE))
    back = RowPlan.from_json(json.loads(json.dumps(plan.to_json())), COLLINEAR)
    assert back.encoder().encode(ln.block(data)) == plan.encoder().encode(ln.block(data))
