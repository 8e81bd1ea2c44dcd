"""`--validation trust`: each line is one row and is sent as it is; nothing else is looked at."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.encoding.lines import whole_lines
from bulkup.flow.plan import LanePlan
from bulkup.flow.prepared import CommasForBreaks
from bulkup.journal.facts import PLAN
from bulkup.model import Validation
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Column, Holds
from tests.encoding import lines as ln
from tests.encoding.test_collinear import chat, identity, prompts, qa

COLUMNS = (Column("conv_prefix", Holds.AS_IS, "json"), Column("n", Holds.INTEGER, "integer", nullable=True))
AS_THEY_ARE = (
    RowPlan(target=COLLINEAR, preset="identity", validation=Validation.TRUST),
    RowPlan(target=NEBIUS, preset="identity", columns=COLUMNS, validation=Validation.TRUST),
)
MAPPED = {
    "conv_prefix": [{"role": {"const": "user"}, "content": "question"}],
    "response": {"role": {"const": "assistant"}, "content": "answer"},
    "context": "context",
}


def framed(line: bytes) -> bool:
    row = line.strip(b" \t\r\n")
    return row[:1] == b"{" and row[-1:] == b"}"


@given(
    st.sampled_from(AS_THEY_ARE), identity | st.binary(max_size=60).map(lambda noise: b'{"a":1}\n{' + noise + b"}\n")
)
@example(AS_THEY_ARE[0], b'{"a":1}\n{"a":1}\r')
@example(AS_THEY_ARE[0], b'{"a":1}\r\n{"a":\r1}\r\n{"a":1}')
def test_a_line_in_braces_is_a_row_and_no_other_line_is(plan: RowPlan, data: bytes) -> None:
    encoder = plan.encoder()
    block = ln.block(data)
    whole, rows, lines = encoder.encode(block), encoder.encode_rows(block), ln.split(data)
    assert [row.body for row in rows] == [line.strip(b" \t\r\n") if framed(line) else None for line in lines]
    assert [row.reject is not None for row in rows] == [not framed(line) and not ln.is_blank(line) for line in lines]
    assert whole.body == b",".join(row.body for row in rows if row.body is not None)
    assert whole.rejects == tuple(row.reject for row in rows if row.reject is not None)
    assert (whole.rows, whole.lines) == (sum(row.body is not None for row in rows), len(lines))
    if whole.verbatim:
        assert whole.rows == len(lines)
        assert (
            CommasForBreaks().next(data.removesuffix(b"\n") + b"\n") == whole.body + b","
        )  # as the second pass reads it
        assert whole.body == data.removesuffix(b"\n").removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\n", b",")


@given(data=identity | chat | st.binary(max_size=80))
def test_lines_are_whole_just_where_each_begins_and_ends_with_a_brace(data: bytes) -> None:
    lines = [line.removesuffix(b"\r") for line in ln.split(data)]
    last = data.split(b"\n")[-1]
    good = bool(lines) and not last.endswith(b"\r") and all(line[:1] == b"{" and line[-1:] == b"}" for line in lines)
    found = whole_lines(data)
    assert (found is not None) == good
    if found is not None:
        assert found.count == len(lines)
        assert found.data == b"\n".join(lines) or b"\r" in data


@pytest.mark.parametrize(
    "row",
    [
        b'{"conv_prefix":[],"response":7}',
        b'{"x":"\xff"}',
        b'{"x":"\\ud800"}',
        b'{"x":NaN,"x":1}',
        b"{]}",
        b'{"n":123456789012345678901234567890}',
        b'{"a":1},{"a":2}',
    ],
)
@pytest.mark.parametrize("plan", AS_THEY_ARE)
def test_what_stands_in_the_braces_is_let_through(plan: RowPlan, row: bytes) -> None:
    made = plan.encoder().encode(ln.block(row + b"\n" + row + b"\r\n"))
    assert (made.body, made.rows, made.verbatim) == (row + b"," + row, 2, True)


def test_a_row_over_the_limit_is_still_a_rejected_row() -> None:
    plan = RowPlan(target=COLLINEAR, preset="identity", validation=Validation.TRUST, max_row_bytes=20)
    made = plan.encoder().encode(ln.block(b'{"a":1}\n{"a":"' + b"x" * 20 + b'"}\n'))
    assert (made.body, made.rejects[0].reason) == (
        b'{"a":1}',
        "the row is 28 bytes long, the limit (max_row_bytes) is 20" + ln.LARGER,
    )


@given(
    st.tuples(st.just("chat"), chat)
    | st.tuples(st.sampled_from(["question-answer", "mapping"]), qa)
    | st.tuples(st.just("prompt-completion"), prompts)
)
def test_a_row_that_full_takes_is_made_the_same_under_trust(drawn: tuple[str, bytes]) -> None:
    preset, lines = drawn
    made = parse_mapping(MAPPED) if preset == "mapping" else None
    full = RowPlan(target=COLLINEAR, preset=preset, mapping=made)
    trust = RowPlan(target=COLLINEAR, preset=preset, mapping=made, validation=Validation.TRUST)
    block = ln.block(lines)
    by_full, by_trust = full.encoder().encode_rows(block), trust.encoder().encode_rows(block)
    for one, other in zip(by_full, by_trust, strict=True):
        assert one.body is None or one == other
        assert other.reject is None or one.reject == other.reject
    whole = trust.encoder().encode(block)
    assert whole.body == b",".join(row.body for row in by_trust if row.body is not None)


def test_what_a_preset_carries_over_is_not_looked_at() -> None:
    plan = RowPlan(target=COLLINEAR, preset="prompt-completion", validation=Validation.TRUST)
    made = plan.encoder().encode(ln.block(b'{"prompt":[{"role":"nobody"}],"completion":[7]}'))
    assert (made.body, made.rejects) == (b'{"conv_prefix":[{"role":"nobody"}],"response":7}', ())


def test_trust_is_said_and_kept_by_the_journal() -> None:
    sample = ln.block(b'{"a":"x"}\n')
    plan = decide(sample, NEBIUS, RowOptions(validation=Validation.TRUST))
    assert plan.describe() == "columns: a string; not validated (trust)"
    lane = LanePlan(1000, plan, 1000, None, 1000)
    record = PLAN.of_text(PLAN.to_text(lane.to_record()))
    assert record is not None
    kept = LanePlan.of_record(record, NEBIUS)
    assert kept == lane
    assert kept.rows.validation is Validation.TRUST
    older = {key: value for key, value in plan.to_json().items() if key != "validation"}
    assert RowPlan.from_json(older, NEBIUS).validation is Validation.FULL
