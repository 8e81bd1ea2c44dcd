"""Rows for a destination with a schema."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.destinations.nebius.rows import wire_schema
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.errors import UsageProblem
from bulkup.model import Block
from bulkup.rows.schema import Column, Holds, Nested, given_columns
from tests.encoding import lines as ln
from tests.encoding.agreement import assert_agrees

kinds = {
    Holds.STRING: ln.text,
    Holds.INTEGER: ln.integer,
    Holds.BOOLEAN: st.booleans(),
    Holds.TEXT: ln.value,
    Holds.AS_IS: ln.value,
}
column = st.builds(
    lambda name, holds, nullable: Column(name, holds, "string" if holds is Holds.TEXT else str(holds), nullable),
    st.sampled_from(["a", "n", "t", "odd key", "日"]),
    st.sampled_from(list(kinds)),
    st.booleans(),
)
tables = st.lists(column, min_size=1, max_size=4, unique_by=lambda c: c.name).map(tuple)


def rows_of(columns: tuple[Column, ...]) -> st.SearchStrategy[bytes]:
    def cell(c: Column) -> st.SearchStrategy[Any]:
        return kinds[c.holds] | st.none() if c.nullable else kinds[c.holds]

    full = st.fixed_dictionaries({c.name: cell(c) for c in columns})
    some = st.fixed_dictionaries({}, optional={c.name: cell(c) for c in columns})
    off = st.fixed_dictionaries({}, optional={c.name: ln.value for c in columns} | {"more": ln.scalar})
    return ln.soup(ln.spelled(full), ln.spelled(full), ln.spelled(some), ln.spelled(off))


def judge_of(columns: tuple[Column, ...], *, rewrite: bool, dropped: tuple[str, ...] = ()) -> Any:
    def judge(row: dict[str, Any]) -> dict[str, Any] | None:
        row = {key: value for key, value in row.items() if key not in dropped}
        names = [c.name for c in columns]
        if not set(row) <= set(names):
            return None
        made = {}
        for c in columns:
            value = row.get(c.name)
            if c.name not in row and not c.nullable:
                return None
            if value is None:
                if not c.nullable:
                    return None
            elif not is_held(c.holds, value):
                return None
            made[c.name] = value
        return made if rewrite or set(row) != set(names) else row

    return judge


@given(st.data(), tables, st.booleans(), st.booleans())
def test_columns_agree(data: st.DataObject, columns: tuple[Column, ...], rewrite: bool, dropping: bool) -> None:
    if any(c.holds is Holds.TEXT for c in columns):
        rewrite = True
    drop = ("more",) if dropping else ()
    rewrite = rewrite or dropping
    plan = RowPlan(target=NEBIUS, preset="identity", columns=columns, rewrite=rewrite, drop=drop)
    judge = judge_of(columns, rewrite=rewrite, dropped=drop)
    body = data.draw(rows_of(columns))
    text_names = {c.name for c in columns if c.holds is Holds.TEXT}
    if not text_names:
        assert_agrees(plan, body, judge)
        return
    encoder = plan.encoder()
    whole, rows = encoder.encode(ln.block(body)), encoder.encode_rows(ln.block(body))
    assert whole.body == b",".join(row.body for row in rows if row.body is not None)
    assert whole.rejects == tuple(row.reject for row in rows if row.reject is not None)
    for row, line in zip(rows, ln.split(body), strict=True):
        value = None if ln.is_blank(line) else ln.read(line)
        right = None if value is None else judge(value)
        assert (row.body is not None) == (right is not None), (line, row)
        if row.body is None or right is None:
            continue
        sent = json.loads(row.body)
        assert all(isinstance(sent[name], str | None) for name in text_names)
        back = {k: json.loads(v) if k in text_names and v is not None else v for k, v in sent.items()}
        assert repr(back) == repr(right)


def is_held(holds: Holds, value: Any) -> bool:
    match holds:
        case Holds.STRING:
            return isinstance(value, str)
        case Holds.INTEGER:
            return type(value) is int and -(2**63) <= value < 2**63
        case Holds.BOOLEAN:
            return isinstance(value, bool)
        case Holds.AS_IS:
            return not has_infinity(value)
        case Holds.CHARACTERS:
            return not isinstance(value, dict | list)
        case Holds.TEXT:
            return True


def has_infinity(value: Any) -> bool:
    match value:
        case float():
            return math.isinf(value)
        case list():
            return any(map(has_infinity, value))
        case dict():
            return any(map(has_infinity, value.values()))
    return False


def decided(*rows: object, **options: Any) -> RowPlan:
    data = b"\n".join(json.dumps(row).encode() for row in rows)
    return decide(ln.block(data), NEBIUS, RowOptions(**options))


def test_types_are_inferred_from_the_first_block() -> None:
    plan = decided(
        {"s": "x", "i": 1, "b": True, "f": 1.5, "o": {"k": 1}, "m": 1, "z": None, "n": None, "big": 2**63, "late": 1},
        {"s": "y", "i": 2, "b": False, "f": 2.0, "o": [], "m": "1", "z": None, "n": "v", "big": 1},
    )
    assert plan.describe() == (
        "columns: s string, i integer, b boolean, f string (JSON text), o string (JSON text), "
        "m string (other values as their characters), z string?, n string?, big string (JSON text), late integer?"
    )
    assert plan.rewrite
    assert wire_schema(plan.schema or ())[-1] == {
        "name": "late",
        "type": {"name": "option", "item": {"name": "integer"}},
    }
    assert wire_schema(plan.schema or ())[0] == {"name": "s", "type": {"name": "string"}}


def test_in_a_text_column_a_string_is_json_text_too() -> None:
    plan = decided({"m": 1.50}, {"m": []}, {"m": None})
    made = plan.encoder().encode(ln.block(b'{"m": 1.50}\n{"m":"x"}\n{"m":null}\n{"m":{"k": [1, 2]}}\n{}\n{"m":"null"}'))
    assert [row["m"] for row in json.loads(b"[" + made.body + b"]")] == [
        "1.50", '"x"', None, '{"k": [1, 2]}', None, '"null"',
    ]  # fmt: skip


def test_strings_beside_numbers_stay_what_they_are_and_the_others_are_their_characters() -> None:
    plan = decided({"m": 1.50}, {"m": "x"}, {"m": None})
    good = (
        b'{"m": 1.50}\n{"m":"\\u00e9 null"}\n{"m":null}\n{"m":true}\n{}\n{"m":-0}\n{"m":123456789012345678901234567890}'
    )
    made = plan.encoder().encode(ln.block(good))
    sent = [row["m"] for row in json.loads(b"[" + made.body + b"]")]
    assert sent == ["1.50", "é null", None, "true", None, "-0", "123456789012345678901234567890"]
    assert made.changes == (('42 -> "42"', 4),)
    (nested, half) = plan.encoder().encode(ln.block(b'{"m":{"k":1}}\n{"m":"\\ud800"}')).rejects
    takes = (
        "m: expected a string, a number, true or false or null, got an object; in a new run --column 'm=text?' takes it"
    )
    assert (nested.reason, half.stage) == (takes, "read")


def test_a_row_that_lacks_a_nullable_column_is_sent_with_an_explicit_null() -> None:
    plan = decided({"a": 1, "b": None})
    made = plan.encoder().encode(ln.block(b'{"b":"x","a":2}\n{"a":3}\n'))
    assert (made.body, made.verbatim) == (b'{"b":"x","a":2},{"a":3,"b":null}', False)


@pytest.mark.parametrize(
    ("line", "field", "reason", "takes"),
    [
        ({"a": "x", "b": "y"}, "a", "a: expected an integer, got the string 'x'", "text"),
        ({"a": None, "b": "y"}, "a", "a: expected an integer, got null", "integer?"),
        ({"b": "y"}, "a", "a: the column (integer, not nullable) is absent", "integer?"),
        ({"a": 1, "b": 5}, "b", "b: expected a string or null, got the integer 5", "text?"),
        (
            {"a": 1, "b": None, "c": [1]},
            "c",
            "c: not a column of the schema, which is fixed; its value here is an array of 1",
            "text?",
        ),
        ({"a": 2**63, "b": None}, "a", f"a: expected an integer, got the integer {2**63}", "text"),
    ],
)
def test_a_contradiction_names_column_type_value_and_a_type_that_takes_it(
    line: dict[str, Any], field: str, reason: str, takes: str
) -> None:
    first = {"a": 1, "b": "x"}, {"a": 2, "b": None}
    row = json.dumps(line).encode()
    (reject,) = decided(*first).encoder().encode(ln.block(row)).rejects
    said = f"{reason}; in a new run --column '{field}={takes}' takes it"
    assert (reject.stage, reject.field, reject.reason) == ("validate", field, said)
    assert decided(*first, columns={field: takes}).encoder().encode(ln.block(row)).rows == 1


def test_given_types_override_what_is_inferred() -> None:
    row = {"a": 1, "f": 1.5, "o": {}}
    assert decided(row, columns={"a": "string", "f": "double?", "o": {"name": "struct", "fields": []}}).schema == (
        Column("a", Holds.STRING, "string"),
        Column("f", Holds.AS_IS, "double", nullable=True),
        Column("o", Holds.AS_IS, {"name": "struct", "fields": []}),
    )
    assert [c.type for c in decided(row, nested=Nested.AS_IS).schema or ()] == ["integer", "double", "json"]
    assert decided(row, schema={"a": "integer"}).schema == (Column("a", Holds.INTEGER, "integer"),)
    option = {"name": "option", "item": {"name": "integer"}}
    assert given_columns({"a": option, "b": "text?"}) == {
        "a": Column("a", Holds.INTEGER, "integer", nullable=True),
        "b": Column("b", Holds.TEXT, "string", nullable=True),
    }
    with pytest.raises(UsageProblem, match="column a"):
        given_columns({"a": ""})


@pytest.mark.parametrize(("value", "nested"), [(1.5, Nested.AS_IS), ([], Nested.TEXT)])
def test_a_null_where_any_value_but_null_may_stand_is_a_rejected_row(value: object, nested: Nested) -> None:
    plan = decided({"o": value}, nested=nested)
    made = plan.encoder().encode(ln.block(b'{"o":null}\n{"o":[1]}'))
    assert made.rows == 1
    assert made.rejects[0].reason.startswith("o: expected a value, got null; in a new run --column 'o=")


def test_plain_columns_are_sent_as_their_own_bytes() -> None:
    plan = decided({"q": "x", "n": 1})
    made = plan.encoder().encode(ln.block(b'{"q": "\\u00e9","n":2}\r\n{"q":"y", "n":3}'))
    assert (made.body, made.verbatim, made.rows) == (b'{"q": "\\u00e9","n":2},{"q":"y", "n":3}', True, 2)


def test_rows_without_any_column_and_unreadable_first_blocks_are_refused() -> None:
    with pytest.raises(UsageProblem, match="no columns"):
        decided({}, {})
    for row, fault in (
        (b'{"a": 1]', "not valid JSON"),
        (b'{"a": 1, "a": 2}', "a: the key stands twice"),
        (b'{"a": NaN}', "NaN"),
    ):
        with pytest.raises(UsageProblem, match=r"none of the first rows can be sent.* The first: ") as caught:
            decide(ln.block(row + b"\njunk\n"), NEBIUS, RowOptions())
        assert fault in str(caught.value)
    assert decide(None, NEBIUS, RowOptions()).schema == ()
    assert decide(ln.block(b"\n \n"), NEBIUS, RowOptions()).encoder().encode(ln.block(b"\n \n")).blank == 2


# --- what the length of a body shows --------------------------------------------------------------------------------

COMPACT = b'{"n":%b,"t":%b,"s":%b,"u":%b}'
NUMBERS = (b"0", b"-0", b"17", b"-9223372036854775808")
NESTED = (
    *(b'{"a":"x\\"y","b":[1,2]}', b"1.10", b'"\\\\\\t"', b"[ 1,\t2]", b"[1,\r2]", b"null", b'{"a":1,"a":2}'),
    *(b'{"a":{"b":1,"\\u0062":2}}', '["日本\\u00e9"]'.encode(), b'"null"', b"[]", b'{"u":null}'),
)
STRINGS = (b'"q"', b'"\\u00e9"', '"é"'.encode(), b'"a\\/b"', b'"\\"n\\":0"')
ODD_ROWS = (
    *(b'{"n":1,"t":[],"s":"q","u":1,"n":2}', b'{"n":1,"n":2,"t":[],"s":"q","u":1}', b'{"n":1,"t":[],"s":"q"}'),
    *(b'{"n":1,"t":[1,\t2],"n":2,"s":"q","u":"xx"}', b'{"u":1,"s":"q","t":[],"n":-0}', b'{"n": 1, "t": [], "s": "q", "u": 1}'),
    *(b'{"n":1,"t":[\t\t\t\t\t\t],"s":"q","u":1,"n":2}', b'{"n":1,"t":[],"s":"q","u":1,"x":2}'),
    b'{"n":1,"t":[],"t":[],"s":"q","u":1}',
)  # fmt: skip


@example([b'{"n":1,"t":[\t\t\t\t\t\t],"s":"q","u":1,"n":2}'])
@example([b'{"n":1,"t":[\r\r\r\r\r\r],"s":"q","u":1,"n":2}'])
@example([COMPACT % (b"-0", b"[]", b'"q"', b"1")])
@example([COMPACT % (b"1", b"null", b'"q"', b"1")])
@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda *values: COMPACT % values,
                *map(st.sampled_from, (NUMBERS, NESTED, STRINGS, NESTED)),
            ),
            st.sampled_from(ODD_ROWS),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_compact_rows_come_to_the_same_by_their_length_and_by_their_members(rows: list[bytes]) -> None:
    first = b'{"n":1,"t":{"a":[1.5]},"s":"q","u":{"a":1}}\n{"n":1,"t":null,"s":"q","u":{"a":1}}\n'
    plan = decide(Block(first, 0, len(first)), NEBIUS, RowOptions())
    by_length, by_members = plan.encoder(), plan.encoder()
    by_members._pipelines[0].codec._compact_losses = 99  # type: ignore[attr-defined]
    data = b"\n".join(rows) + b"\n"
    block = Block(data, 0, len(data))
    assert by_length.encode(block) == by_members.encode(block)
    bodies = [row.body for row in by_members.encode_rows(block) if row.body is not None]
    assert by_length.encode(block).body == b",".join(bodies)
