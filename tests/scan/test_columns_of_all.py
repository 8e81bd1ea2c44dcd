"""A scan knows all rows: its columns take each of them, its counts and places are exact, whatever comes in which order."""

from __future__ import annotations

import gzip
import json
import random
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, Target
from bulkup.errors import UsageProblem
from bulkup.model import Validation
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Kind, words
from bulkup.scan import widening
from bulkup.scan.counting import largest_line
from bulkup.scan.found import Found
from bulkup.scan.spread import spread_over
from bulkup.sources import Reading, open_source
from tests.encoding import lines as ln
from tests.examples import examples
from tests.scan.whole import found_in

MIB = 1024 * 1024


def scanned(
    path: Path,
    data: bytes,
    target: Target = NEBIUS,
    *,
    block_bytes: int = 128 * 1024,
    most_bytes: int = 2**60,
    **options: Any,
) -> Found:
    path.write_bytes(data)
    reading = Reading(as_lines=True, max_row_bytes=options.get("max_row_bytes", MIB))
    source = open_source([str(path)], max_row_bytes=reading.max_row_bytes, block_bytes=block_bytes, reading=reading)
    parts = spread_over(source.files, most_bytes)
    return found_in(source, target, RowOptions(**options), parts, is_whole=parts is None, block_bytes=block_bytes)


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def first_lines(found: Found, key: str) -> dict[Kind, int | None]:
    return {kind: place.line for kind, place in found.keys[key].first.items()}


def said(found: Found) -> list[str]:
    return [words(column) for column in found.plan.columns or ()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_what_comes_late_makes_the_column(path: Path) -> None:
    rows: list[Any] = [{"i": n, "s": "x", "f": n, "n": n, "o": "x", "a": n, "same": n} for n in range(3000)]
    rows[2900] |= {"s": 42, "f": 1.5, "n": None, "o": {"k": 1}, "late": True}
    del rows[2950]["a"]
    found = scanned(path, lines(*rows))
    assert said(found) == [
        "i integer", "s string (other values as their characters)", "f string (JSON text)", "n integer?",
        "o string (JSON text)", "a integer?", "same integer", "late boolean?",
    ]  # fmt: skip
    assert (found.rows, found.rejected) == (3000, 0)
    assert first_lines(found, "s") == {Kind.STRING: 1, Kind.INTEGER: 2901}
    assert first_lines(found, "n") == {Kind.INTEGER: 1, Kind.NULL: 2901}
    assert first_lines(found, "a") == {Kind.INTEGER: 1, Kind.ABSENT: 2951}
    assert first_lines(found, "late") == {Kind.ABSENT: 1, Kind.BOOLEAN: 2901}
    place = found.keys["a"].first[Kind.ABSENT]
    assert path.read_bytes()[place.at :].splitlines()[0] == json.dumps(rows[2950]).encode()


def test_plain_strings_among_nested_values_are_seen_however_late(path: Path) -> None:
    rows = [{"v": [n]} for n in range(500)] + [{"v": "plain"}]
    found = scanned(path, lines(*rows), block_bytes=256)
    assert first_lines(found, "v") == {Kind.ARRAY: 1, Kind.STRING: 501}


def test_rejected_rows_change_no_column_and_are_counted_with_their_places(path: Path) -> None:
    good = {"a": 1, "b": "x"}
    bad = [b"not json", b'{"a":1.5,"a":2,"b":"x"}', b'{"a":"x","b":"\xff"}', b"[1]"]
    found = scanned(path, lines(good, *bad, b"", good, *bad, *bad, *bad), block_bytes=64)
    assert said(found) == ["a integer", "b string"]
    assert (found.rows, found.blank, found.rejected) == (2, 1, 16)
    assert [(reason.count, [place.line for place in reason.places]) for reason in found.reasons] == [
        (4, [2, 8, 12]),
        (4, [3, 9, 13]),
        (4, [4, 10, 14]),
        (4, [5, 11, 15]),
    ]
    assert "--repair duplicate-keys=last" in found.reasons[1].text


def test_a_first_row_that_cannot_be_read_or_is_too_long_hides_nothing(path: Path) -> None:
    data = lines({"text": "x" * 3000}, b"junk", {"text": "y", "n": 1}, {"text": "z"})
    found = scanned(path, data, max_row_bytes=1000)
    assert (said(found), found.rows, found.rejected) == (["text string", "n integer?"], 2, 2)


def test_given_columns_and_a_given_schema_hold(path: Path) -> None:
    data = lines({"a": 1, "b": 1}, {"a": "x", "b": 2.5}, {"a": 2, "b": [1]})
    found = scanned(path, data, columns={"a": "integer"})
    assert (said(found), found.rows, found.rejected) == (["a integer", "b string (JSON text)"], 2, 1)
    assert found.reasons[0].text.startswith("a: expected an integer, got the string 'x'; in a new run --column")
    found = scanned(path, data, schema={"a": "text", "b": "integer"})
    assert (found.rows, found.rejected, found.plan.columns and found.plan.columns[1].type) == (1, 2, "integer")


def test_a_given_column_that_no_row_has_is_refused_with_the_nearest(path: Path) -> None:
    data = lines({"age": 1, "name": "x"}, {"age": 2, "name": None})
    with pytest.raises(
        UsageProblem, match=r"column agee: no row has it \(did you mean age\?\), .* The rows have age, name\."
    ):
        scanned(path, data, columns={"agee": "integer"})
    assert said(scanned(path, data, columns={"agee": "integer?"})) == ["age integer", "name string?", "agee integer?"]
    assert scanned(path, data, columns={"age": "string"}).rejected == 2  # they are there, and are no strings


@pytest.mark.parametrize(
    ("kind", "meant"), [("strnig", "string"), ("interger?", "integer"), ("Boolean", "boolean"), ("txt", "text")]
)
def test_a_type_that_is_misspelt_is_refused(path: Path, kind: str, meant: str) -> None:
    for one in (kind, {"name": "option", "item": {"name": kind}}):
        with pytest.raises(UsageProblem, match=rf"column a: there is no type .* \(did you mean {meant}\?\)"):
            scanned(path, lines({"a": 1}), columns={"a": one})
    scanned(path, lines({"a": 1}), columns={"a": "float"})  # a service may have it


def test_dropped_keys_make_no_column_and_mapped_rows_are_looked_at_as_they_are_made(path: Path) -> None:
    data = lines({"a": 1, "id": 1}, {"a": 2.5, "id": "x"}, {"id": None})
    assert said(scanned(path, data, drop=("id",))) == ["a string? (JSON text)"]
    mapping = parse_mapping({"label": {"path": "id", "default": 7}, "a": "a"})
    assert said(scanned(path, data, mapping=mapping)) == [
        "label string (other values as their characters)",
        "a string? (JSON text)",
    ]


def test_under_trust_columns_are_learned_and_nothing_is_rejected_for_its_inside(path: Path) -> None:
    data = lines({"a": 1}, b'{"a":1,"a":2}', b'{"a":oops}', {"a": None}, b"junk")
    found = scanned(path, data, validation=Validation.TRUST)
    assert (said(found), found.rows, found.rejected) == (["a integer?"], 4, 1)


def test_keys_without_end_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widening, "MOST_COLUMNS", 50)
    with pytest.raises(UsageProblem, match="more than 50 different keys"):
        scanned(path, lines(*({f"k{n}": 1} for n in range(60))))


USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CHAT, PAIR = {"messages": [USER, ANSWER]}, {"question": "q", "answer": "a"}


def test_auto_takes_the_preset_of_the_whole_source(path: Path) -> None:
    found = scanned(path, lines(*[CHAT] * 400, *[PAIR] * 10), COLLINEAR, block_bytes=512)
    assert (found.plan.preset, found.plan.fit, found.rows, found.rejected) == ("chat", (400, 410), 400, 10)
    with pytest.raises(UsageProblem, match=r"no preset fits 95 % of the rows of the source \(800\).* chat 400"):
        scanned(path, lines(*[CHAT] * 400, *[PAIR] * 400), COLLINEAR, block_bytes=512)
    found = scanned(path, lines(*[CHAT] * 10, *[PAIR] * 400), COLLINEAR, block_bytes=512)
    assert (found.plan.preset, found.plan.fit, found.rejected) == ("question-answer", (400, 410), 10)


def test_a_preset_for_a_schema_is_checked_on_every_row(path: Path) -> None:
    bad = {"messages": [USER]}
    found = scanned(path, lines(*[CHAT] * 300, bad), preset="chat", block_bytes=512)
    assert (found.rows, found.rejected, [place.line for place in found.reasons[0].places]) == (300, 1, [301])


def test_a_part_is_the_beginning_the_end_and_pieces_between(path: Path) -> None:
    rows = [{"n": n, "text": "x" * 100} for n in range(2000)]
    rows[-1]["last"] = True
    found = scanned(path, lines(*rows), most_bytes=150_000)
    assert not found.is_whole
    assert 100_000 < (found.bytes_looked_at or 0) < 200_000
    assert said(found) == ["n integer", "text string", "last boolean?"]
    assert 0 < found.rows < 2000
    assert found.keys["last"].first[Kind.BOOLEAN].line is None, "not all lines before it were looked at"
    packed = path.with_suffix(".jsonl.gz")
    packed_rows = [{"n": n, "text": str(random.Random(n).random()) * 9} for n in range(20_000)]
    found = scanned(packed, gzip.compress(lines(*packed_rows)), most_bytes=200_000)
    assert 0 < found.rows < 20_000, "its beginning"
    assert found.rejected == 0
    assert scanned(path, lines(*rows), most_bytes=1_000_000).is_whole


cell = st.one_of(st.integers(-5, 5), ln.scalar, ln.value)
row = st.fixed_dictionaries({}, optional={"a": cell, "b": ln.scalar, "c": ln.text, "odd key": ln.integer})


@examples(25)
@given(ln.soup(ln.spelled(row)), st.sampled_from([1, 64, 4096]), st.booleans())
def test_the_columns_take_every_good_row_and_nothing_else_is_said(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, block_bytes: int, dropping: bool
) -> None:
    assume(not data.startswith(b"\xef\xbb\xbf"))  # at a file's beginning it is no part of a row
    path = tmp_path_factory.mktemp("scan") / "rows.jsonl"
    drop = ("b",) if dropping else ()
    rows = [ln.read(line) or {} for line in ln.split(data) if not ln.is_blank(line)]
    has_columns = any(row.keys() - set(drop) for row in rows)
    with nullcontext() if has_columns else suppress(UsageProblem):
        found = scanned(path, data, block_bytes=block_bytes, drop=drop)
    if not has_columns:
        return
    made = found.plan.encoder().encode_rows(ln.block(data))
    rejected = [line for line, of in zip(ln.split(data), made, strict=True) if of.reject is not None]
    assert found.rejected == len(rejected)
    assert found.rows + found.rejected == sum(not ln.is_blank(line) for line in ln.split(data))
    sent = [ln.read(line) for line, of in zip(ln.split(data), made, strict=True) if of.body is not None]
    readable = [{key: value for key, value in row.items() if key not in drop} for row in sent if row is not None]
    if len(readable) == len(sent):
        assert {column.name: column for column in found.plan.columns or ()} == reference(readable)


def reference(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The columns of *rows* by the written rules, told once more."""
    from bulkup.rows.schema import Column, Holds

    found = {}
    for name in {key for row in rows for key in row}:
        values = [row[name] for row in rows if row.get(name) is not None]
        nullable = len(values) < len(rows)
        types = {type(value) for value in values}
        holds = Holds.TEXT
        if types <= {str}:
            holds = Holds.STRING
        elif types == {bool}:
            holds = Holds.BOOLEAN
        elif types == {int} and all(-(2**63) <= value < 2**63 for value in values):
            holds = Holds.INTEGER
        elif str in types and not types & {dict, list}:
            holds = Holds.CHARACTERS
        wire = {Holds.TEXT: "string", Holds.CHARACTERS: "string"}.get(holds, str(holds))
        found[name] = Column(name, holds, wire, nullable)
    return found


@given(st.binary(max_size=60), st.integers(0, 10))
def test_the_longest_line(data: bytes, least: int) -> None:
    assert largest_line(data, least) == max(least, *map(len, data.split(b"\n")))


@pytest.mark.parametrize("half", [b'["\\ud800"]', b'"\\udc00"', b'{"\\ud83d":1}', b'{"k":"\\ud83d\\u0041"}'])
def test_half_a_surrogate_pair_is_rejected_by_the_scan_and_by_a_text_column(path: Path, half: bytes) -> None:
    """Both leave it to the decoder, which looks into values that it hands on as they are written."""
    data = lines({"a": [1]}, {"a": "x"}, b'{"a":%b}' % half)
    found = scanned(path, data)
    made = found.plan.encoder().encode_rows(ln.block(data))
    assert [row.reject is not None for row in made] == [False, False, True]
    assert (said(found), found.rejected) == (["a string (JSON text)"], 1)


def test_white_space_around_a_row_is_a_part_of_it(path: Path) -> None:
    """As for an upload: it counts for the longest row, and what is wrong with a row is told of the line as it stands."""
    data = lines({"a": "x"}, b'{"a":"y"}' + b" " * 1000, b'{"a":"\\u8a9e  ')
    found = scanned(path, data, max_row_bytes=1000)
    made = found.plan.encoder().encode_rows(ln.block(data))
    assert [row.reject is not None for row in made] == [False, True, True]
    assert made[2].reject is not None
    assert made[2].reject.reason == found.reasons[1].text
    assert (found.rows, found.rejected) == (1, 2)
