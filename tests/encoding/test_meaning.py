"""`verify` holds what was sent against what the source means: a right encoder's body stands, a wrong one's is found out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowPlan
from bulkup.encoding.lines import lines_of
from bulkup.encoding.meaning import as_meant
from bulkup.model import Validation
from bulkup.rows.exact import canonical
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Column, Holds
from bulkup.settings.repair import Repair
from tests.encoding import lines as ln
from tests.encoding.test_digits import AS_IS, MAPPING, TEXT, source, spelled, styles
from tests.examples import examples
from tests.mapping.test_stitched import GSM8K, LABELLED, PLAIN, rows

MAPPED = RowPlan(target=NEBIUS, preset="mapping", mapping=parse_mapping(MAPPING), columns=AS_IS)
PLANS = {
    "as they are": RowPlan(target=NEBIUS, preset="identity", columns=AS_IS),
    "as text": RowPlan(target=NEBIUS, preset="identity", columns=TEXT, rewrite=True),
    "nested drop": RowPlan(target=NEBIUS, preset="identity", columns=AS_IS, drop_nested=("m.x", "v[].a")),
    "drop": RowPlan(target=NEBIUS, preset="identity", columns=AS_IS[:1], drop=("m",), rewrite=True),
    "mapping": MAPPED,
    "mapping as text": replace(MAPPED, columns=TEXT, rewrite=True),
    "trust": replace(MAPPED, validation=Validation.TRUST),
}


@pytest.mark.parametrize("name", PLANS)
@examples(40)
@given(st.lists(source, min_size=1, max_size=3), styles)
def test_what_the_encoder_makes_stands(name: str, given_rows: list[dict[str, Any]], style: tuple[str, str]) -> None:
    plan = PLANS[name]
    block = ln.block(b"\n".join(spelled(row, style) for row in given_rows))
    for line, row in zip(lines_of(block), plan.encoder().encode_rows(block), strict=True):
        if row.body is not None:
            assert as_meant(plan, line.row, row.body) == row.body


COLLINEAR_PLANS = [
    RowPlan(target=COLLINEAR, preset="mapping", mapping=parse_mapping(m)) for m in (GSM8K, LABELLED, PLAIN)
]


@examples(100)
@given(st.sampled_from(COLLINEAR_PLANS), st.integers(0, 1), rows)
def test_mapped_rows_of_every_kind_stand(plan: RowPlan, variant: int, data: bytes) -> None:
    plan = replace(plan, variant=variant % len(plan.pipelines()))
    block = ln.block(data)
    for line, row in zip(lines_of(block), plan.encoder().encode_rows(block), strict=True):
        if row.body is not None:
            assert as_meant(plan, line.row, row.body) == row.body


labelled = st.fixed_dictionaries(
    {}, optional={"ground_truth": ln.integer | st.none(), "context": ln.text | st.none()}
)  # fmt: skip
PRESETS: dict[str, st.SearchStrategy[Any]] = {
    "chat": st.builds(lambda before, last, more: {"messages": [*before, last], **more}, ln.turns, ln.answer, labelled),
    "question-answer": st.builds(lambda q, a, more: {"question": q, "answer": a, **more}, ln.text, ln.text, labelled),
    "prompt-completion": st.builds(
        lambda p, c, more: {"prompt": p, "completion": c, **more},
        ln.text | ln.turns,
        ln.text | ln.answer.map(lambda a: [a]),
        labelled,
    ),
}


@pytest.mark.parametrize("preset", PRESETS)
@given(st.data())
def test_a_preset_s_rows_stand(preset: str, data: st.DataObject) -> None:
    plan = RowPlan(target=COLLINEAR, preset=preset)
    lines = data.draw(ln.soup(ln.spelled(PRESETS[preset])))
    block = ln.block(lines)
    for line, row in zip(lines_of(block), plan.encoder().encode_rows(block), strict=True):
        if row.body is not None:
            assert as_meant(plan, line.row, row.body) == row.body


LINE = b'{"v":123456789.123456789123,"m":{"y":[1e-400,-1],"x":2}}'


MISTAKES = [(b"123456789.123456789123", b"123456789.12345679"), (b"1e-400", b"0.0"), (b"-1", b"1"), (b'"v"', b'"w"')]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(("right", "wrong"), [*MISTAKES, (b"", b',"z":1}'), (b"", b"")])
def test_a_mistake_of_the_encoder_is_found_out(name: str, right: bytes, wrong: bytes) -> None:
    plan = PLANS[name]
    (row,) = plan.encoder().encode_rows(ln.block(LINE))
    assert row.body is not None
    if right not in row.body:
        pytest.skip("this way leaves it out")
    mistaken = row.body.replace(right, wrong) if right else row.body[:-1] + wrong
    told = as_meant(plan, LINE, mistaken)
    assert told != mistaken
    assert not wrong or canonical(told) != canonical(mistaken)
    if wrong and b'"v":"' not in row.body:  # of a text column's text only the meaning is known then
        assert canonical(told) == canonical(row.body)


def test_a_row_that_should_have_been_rejected_is_equal_to_none() -> None:
    column = (Column("n", Holds.INTEGER, "integer", nullable=True),)
    mapping = parse_mapping({"n": {"path": "n", "cast": "integer"}})
    plan = RowPlan(target=NEBIUS, preset="mapping", mapping=mapping, columns=column)
    assert not as_meant(plan, b'{"n":1e-400}', b'{"n":0}').startswith(b"{")
    assert as_meant(plan, json.dumps({"n": "1,000"}).encode(), b'{"n":1000}') == b'{"n":1000}'


LEGACY = replace(PLANS["mapping"], edition=1)
REPAIRED = replace(PLANS["mapping"], repairs=(Repair.DUPLICATE_KEYS,))


@pytest.mark.parametrize("plan", [LEGACY, REPAIRED], ids=["of an earlier run", "repaired"])
def test_the_last_of_two_values_counts_where_it_is_to(plan: RowPlan) -> None:
    line = b'{"v":1,"v":{"a":1,"a":2},"m":{"y":3}}'
    (row,) = plan.encoder().encode_rows(ln.block(line))
    assert row.body is not None
    assert as_meant(plan, line, row.body) == row.body
    assert as_meant(PLANS["mapping"], line, row.body).startswith(b"not a row: a key stands twice")
