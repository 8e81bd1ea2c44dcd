"""A mapping carried out on tokens says of every row what the same mapping says evaluated."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import BlockEncoder, RowOptions, RowPlan, Target, decide
from bulkup.encoding.stitched import Stitched
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Column, Holds
from tests.encoding import lines as ln
from tests.encoding.agreement import same

GSM8K = {
    "conv_prefix": [{"role": {"const": "user"}, "content": "q"}],
    "response": {"role": {"const": "assistant"}, "content": "a"},
    "ground_truth": {"path": "a", "regex": r"####\s*(-?[\d,]+)?", "cast": "integer"},
}
LABELLED = {
    "context": "c",
    "ground_truth": {"path": "n", "cast": "integer"},
    "response": {"content": "a", "role": {"const": "assistant"}},
    "conv_prefix": [
        {"role": {"const": "system"}, "content": {"const": "é\n"}},
        {"content": "q", "role": {"const": "user"}},
    ],
}
PLAIN = {
    "conv_prefix": [{"role": {"const": "user"}, "content": {"path": "q", "default": "none"}}],
    "ground_truth": "n",
    "response": {"role": {"const": "assistant"}, "content": {"path": "a", "regex": "(?s)(.*)####"}},
    "context": {"path": "c", "regex": "(.)"},
}
COLUMNS = (
    Column("first", Holds.INTEGER, "integer", nullable=True),
    Column("q", Holds.STRING, "string", nullable=True),
    Column("deep", Holds.AS_IS, "json"),
)
TABLE = {"first": {"path": "n", "cast": "integer"}, "q": "q", "deep": {"a": ["a"], "c": "c"}}


@cache
def ways(name: str) -> tuple[RowPlan, RowPlan]:
    """The same plan, evaluated and stitched."""
    given: dict[str, tuple[Target, dict[str, Any], tuple[Column, ...] | None, bool]] = {
        "gsm8k": (COLLINEAR, GSM8K, None, False),
        "labelled": (COLLINEAR, LABELLED, None, False),
        "plain": (COLLINEAR, PLAIN, None, False),
        "columns": (NEBIUS, TABLE, COLUMNS, False),
        "rewritten": (NEBIUS, TABLE, COLUMNS, True),
    }
    target, table, columns, rewrite = given[name]
    plan = RowPlan(target=target, preset="mapping", mapping=parse_mapping(table), columns=columns, rewrite=rewrite)
    last = len(plan.pipelines()) - 1
    stitched = RowPlan.from_json(plan.to_json() | {"variant": last}, target)
    assert isinstance(stitched.pipelines()[0].codec, Stitched)
    assert not isinstance(plan.pipelines()[0].codec, Stitched)
    return plan, stitched


@cache
def encoders(name: str) -> tuple[BlockEncoder, BlockEncoder]:
    evaluated, stitched = ways(name)
    return evaluated.encoder(), stitched.encoder()


number = st.integers(-(10**20), 10**20)
spellings = (
    number.map("{:,}".format)
    | number.map(str)
    | st.sampled_from(["007", "+5", "-0", " 1 ", "1\n2", "1_0", "٣", "", "-", "1-2", "1 2", "5.0"])
)
answers = st.builds("{}#### {}".format, ln.text, spellings) | ln.text
keys: dict[str, st.SearchStrategy[Any]] = {
    "q": ln.text, "a": answers, "n": ln.integer | spellings | st.integers(-3, 3).map(float), "c": ln.text
}  # fmt: skip
some: dict[str, st.SearchStrategy[Any]] = {key: kind | st.none() for key, kind in keys.items()}
off: dict[str, st.SearchStrategy[Any]] = {key: kind | ln.odd for key, kind in keys.items()}
rows = ln.soup(
    ln.spelled(st.fixed_dictionaries(keys)),
    ln.spelled(
        st.fixed_dictionaries({"q": ln.text, "a": answers}, optional={"n": number.map("{:,}".format), "c": ln.text})
    ),
    ln.spelled(st.fixed_dictionaries({}, optional=some | {"other": ln.value})),
    ln.spelled(st.fixed_dictionaries({}, optional=off)),
)
QS = ("", "q", "é", '}\n{"', "東京")
NAMES = ("gsm8k", "labelled", "plain", "columns", "rewritten")


@given(st.sampled_from(NAMES), rows)
@example("columns", b'{"q":"x","a":"","n":""}\n')
def test_stitched_rows_are_the_evaluated_ones(name: str, data: bytes) -> None:
    block = ln.block(data, 1000)
    evaluated, stitched = encoders(name)
    slow, fast = evaluated.encode_rows(block), stitched.encode_rows(block)
    whole = stitched.encode(block)
    assert whole.body == b",".join(row.body for row in fast if row.body is not None)
    assert (
        whole.rejects == tuple(row.reject for row in fast if row.reject is not None) == evaluated.encode(block).rejects
    )
    assert not whole.verbatim
    for one, other in zip(slow, fast, strict=True):
        assert (one.position, one.reject) == (other.position, other.reject)
        assert same(*(None if row.body is None else json.loads(row.body) for row in (one, other)))
        assert one.body is None or list(json.loads(one.body)) == list(json.loads(other.body or b""))


@pytest.mark.parametrize("name", NAMES)
def test_usual_rows_are_taken_by_batch(name: str) -> None:
    rows: list[dict[str, Any]] = [
        {"q": q, "a": f"{q}#### 1,{i}", "n": i if name == "plain" else f"{i + 1},000", "c": "c"}
        for i, q in enumerate(QS)
    ]
    rows += [{"q": "q", "a": "#### 1", "c": None if name == "labelled" else "c"}] * (name != "rewritten")
    rows = rows[:-1] if name == "columns" else rows
    data = b"\n".join(json.dumps(row).encode() for row in rows)
    made = ways(name)[1].pipelines()[0].body(data, len(rows))
    assert len(json.loads(b"[" + made + b"]")) == len(rows)


@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\x01", b"\\x"])
@pytest.mark.parametrize("key", ["q", "a", "c", "other"])
@pytest.mark.parametrize("length", [1, 1000])
def test_what_no_server_could_read_is_found_in_every_token(key: str, bad: bytes, length: int) -> None:
    row = json.dumps({"q": "?" * length, "a": "x#### 5", "c": "c", "other": "o"}).encode()
    place = f'"{key}": "'.encode()
    made = ways("labelled")[1].encoder().encode(ln.block(row + b"\n" + row.replace(place, place + bad) + b"\n" + row))
    assert (made.rows, len(made.rejects)) == (2, 1)
    json.loads(b"[" + made.body + b"]")


def plan_of(target: Target, table: dict[str, Any], *rows: dict[str, Any], **options: Any) -> RowPlan:
    data = b"\n".join(json.dumps(row).encode() for row in rows)
    return decide(ln.block(data), target, RowOptions(mapping=parse_mapping(table), **options))


QA = {"q": "q", "a": "a"}
TURNS = {
    "conv_prefix": [{"role": {"const": "user"}, "content": "q"}],
    "response": {"role": {"const": "assistant"}, "content": "a"},
}


@pytest.mark.parametrize(
    ("table", "row", "is_stitched"),
    [
        (TURNS, QA, True),
        (TURNS | {"context": "c"}, QA, True),
        (TURNS | {"ground_truth": "n"}, QA | {"n": 5}, True),
        (
            TURNS | {"response": {"role": "r", "content": "a"}},
            QA | {"r": "assistant"},
            False,
        ),  # not every string will do
        (TURNS | {"conv_prefix": "turns"}, QA | {"turns": [{"role": "user", "content": "q"}]}, False),
        (TURNS | {"context": "c.d"}, QA | {"c": {"d": "x"}}, False),
        (TURNS | {"context": {"path": "c", "default": "-"}}, QA, False),  # the default is what most rows need
        (TURNS | {"context": "c"}, QA | {"c": None}, True),
    ],
)
def test_a_mapping_is_stitched_where_the_destination_takes_whatever_it_writes(
    table: dict[str, Any], row: dict[str, Any], is_stitched: bool
) -> None:
    plan = plan_of(COLLINEAR, table, row, row)
    assert isinstance(plan.pipelines()[0].codec, Stitched) is is_stitched
    data = json.dumps(row).encode()
    assert plan.encoder().encode(ln.block(data + b"\n" + data)).rows == 2


def test_a_dropped_key_is_not_stitched_in() -> None:
    plan = plan_of(COLLINEAR, TURNS | {"context": "c"}, QA | {"c": "x"}, drop=("c",))
    made = json.loads(plan.encoder().encode(ln.block(json.dumps(QA | {"c": "x"}).encode())).body)
    assert made == {
        "conv_prefix": [{"role": "user", "content": "q"}],
        "response": {"role": "assistant", "content": "a"},
    }


def test_a_text_column_is_not_stitched() -> None:
    plan = plan_of(NEBIUS, {"q": "q", "m": "m"}, QA | {"m": [1]})
    assert not isinstance(plan.pipelines()[0].codec, Stitched)
    assert plan.encoder().encode(ln.block(b'{"q":"x","m":{"y":1}}')).body == b'{"q":"x","m":"{\\"y\\":1}"}'


@pytest.mark.parametrize("spelled", [" 5", "5\\t", "5\\n", "\\r5", "+5", "05"])
def test_an_integer_is_written_bare_however_it_was_spelled(spelled: str) -> None:
    row = f'{{"q":"q","a":"a","n":"{spelled}"}}'.encode()
    made = ways("labelled")[1].encoder().encode(ln.block(row + b"\n" + row))
    assert made.body.count(b'"ground_truth":5,') == 2
