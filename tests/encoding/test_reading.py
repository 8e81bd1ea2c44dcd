"""Rows that cannot be read: one clear line each. And what is known to pass."""

from __future__ import annotations

import json

import pytest

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowPlan
from bulkup.model import HEAD_BYTES, Block, LongRow
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Column, Holds
from tests.encoding.lines import LARGER, block

TURNS = b'"conv_prefix":[{"role":"user","content":"q"}]'
ROW = b"{" + TURNS + b',"response":{"role":"assistant","content":"a"}}'
QUESTION, CONTEXT = Column("question", Holds.TEXT, "string"), Column("context", Holds.STRING, "string")
Q = Column("q", Holds.STRING, "string")
PLAN = RowPlan(target=COLLINEAR, preset="identity")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a":"\xff"}', "not UTF-8: byte 0xff at byte 6"),
        (b'  {"\xc3\xa9":"\xff"}', "not UTF-8: byte 0xff at byte 9"),
        (b"\xef\xbb\xbf" + ROW, "a byte order mark stands before the row"),
        (ROW + ROW, f"two objects on one line: the second begins at byte {len(ROW)}"),
        (ROW + b" 7", f"something follows the row at byte {len(ROW) + 1}"),
        (b'{"a":', "not valid JSON: the line ends before the row does (what is open begins at or before byte 5)"),
        (b'{"a":"bc', "not valid JSON: the line ends before the row does (what is open begins at or before byte 5)"),
        (b'"b":2}', "something follows the row at byte 3"),
        (b'{"a":1,}', "not valid JSON: expecting property name enclosed in double quotes at byte 7"),
        (b'{"\xc3\xa9":1 2}', "not valid JSON: expecting ',' delimiter at byte 8"),
        (b'{"a":NaN}', "not valid JSON: NaN is not a JSON value"),
        (b'{"a":-Infinity}', "not valid JSON: -Infinity is not a JSON value"),
        (b'{"a":"\\ud800"}', "a lone surrogate escape at or after byte 6"),
        (
            b'{"a":' + b"9" * 5000 + b"}",
            "an integer of more than 4,300 digits, which is not read where it must be understood",
        ),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "a row must be an object, this is an array of 1"),
        (b"7", "a row must be an object, this is the integer 7"),
    ],
)
def test_a_row_that_cannot_be_read_says_why_and_where(line: bytes, reason: str) -> None:
    made = PLAN.encoder().encode(block(ROW + b"\n" + line + b"\n" + ROW))
    assert made.body == ROW + b"," + ROW
    (reject,) = made.rejects
    assert (reject.stage, reject.field, reject.position, reject.line) == ("read", None, len(ROW) + 1, 1)
    assert reason in reject.reason
    assert (reject.row, reject.length) == (line, len(line))


@pytest.mark.parametrize("length", [1, 1000])
@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80"])
@pytest.mark.parametrize("place", ["question", "context", "other"])
@pytest.mark.parametrize("way", ["preset", "mapping", "columns"])
def test_bytes_that_are_not_utf8_are_found_wherever_they_stand(way: str, place: str, bad: bytes, length: int) -> None:
    plan = {
        "preset": RowPlan(target=COLLINEAR, preset="question-answer", drop=("other",)),
        "mapping": RowPlan(target=NEBIUS, preset="mapping", mapping=parse_mapping({"q": "question"}), columns=(Q,)),
        "columns": RowPlan(
            target=NEBIUS, preset="identity", columns=(QUESTION, CONTEXT), drop=("other", "answer"), rewrite=True
        ),
    }[way]
    row = json.dumps({"question": "?" * length, "answer": "a", "context": "c", "other": "o"}).encode()
    assert plan.encoder().encode(block(row + b"\n" + row)).rows == 2
    key = f'"{place}": "'.encode()
    made = plan.encoder().encode(block(row + b"\n" + row.replace(key, key + bad) + b"\n" + row))
    (reject,) = made.rejects
    assert made.rows == 2
    assert reject.reason.startswith(f"not UTF-8: byte 0x{bad[0]:02x}")


def test_bytes_that_are_not_utf8_are_found_in_a_spliced_string_and_in_a_dropped_key() -> None:
    qa = b'{"question":"q","answer":"a","context":"c"}'
    for way, row, key in (
        (RowPlan(target=COLLINEAR, preset="question-answer"), qa, b'"question":"'),
        (RowPlan(target=COLLINEAR, preset="question-answer"), qa, b'"context":"'),
        (RowPlan(target=COLLINEAR, preset="identity", drop=("x",)), ROW[:-1] + b',"x":"y"}', b'"x":"'),
    ):
        made = way.encoder().encode(block(row + b"\n" + row.replace(key, key + b"\xff") + b"\n"))
        assert (made.rows, len(made.rejects)) == (1, 1)
        assert json.loads(made.body)


@pytest.mark.parametrize("content", [b"q", b"q" * 2000])
@pytest.mark.parametrize(("before", "after"), [(b" ", b""), (b"", b" "), (b"\t", b"\r")])
def test_white_space_around_a_row_is_not_sent(before: bytes, after: bytes, content: bytes) -> None:
    row = ROW.replace(b'"q"', b'"' + content + b'"')
    for data in (
        before + row + after + b"\n" + row,
        row + b"\n" + before + row + after,
        row + b"\n" + before + row + after + b"\n",
    ):
        made = PLAN.encoder().encode(block(data))
        assert (made.body, made.rows) == (row + b"," + row, 2)


@pytest.mark.parametrize("content", [b"q", b"q" * 2000])
def test_blank_lines_are_counted_even_where_two_rows_on_a_line_make_up_for_them(content: bytes) -> None:
    row = ROW.replace(b'"q"', b'"' + content + b'"')
    made = PLAN.encoder().encode(block(row + b"\n\n" + row + row + b"\n" + row))
    assert (made.rows, made.blank, len(made.rejects)) == (2, 1, 1)


def test_an_object_over_two_lines_is_two_rejected_rows_and_harms_no_neighbour() -> None:
    made = PLAN.encoder().encode(block(ROW + b"\n" + ROW[:20] + b"\n" + ROW[20:] + b"\n" + ROW + ROW + b"\n" + ROW))
    assert (made.rows, len(made.rejects), made.verbatim) == (2, 3, False)


def test_an_object_over_two_lines_cannot_hide_behind_two_on_one_line() -> None:
    split = TURNS.replace(b'"user","', b'"user",\n"')
    data = b"{" + split + b"," + ROW[len(TURNS) + 2 :] + ROW  # two rows, two lines, no row on a line of its own
    made = PLAN.encoder().encode(block(data))
    assert (made.rows, len(made.rejects)) == (0, 2)
    comma = b'{"conv_prefix":[{"role":"user","content":"q"}\n{"role":"user","content":"q"}],' + ROW[len(TURNS) + 2 :]
    made = PLAN.encoder().encode(block(comma + b"\n" + ROW))  # a break that would be valid as a comma
    assert (made.rows, len(made.rejects)) == (1, 2)


def test_a_row_over_the_limit_is_a_rejected_row_with_its_head() -> None:
    long = ROW.replace(b'"q"', b'"' + b"q" * 3000 + b'"')
    plan = RowPlan(target=COLLINEAR, preset="identity", max_row_bytes=2000)
    made = plan.encoder().encode(block(ROW + b"\n" + long + b"\n" + ROW * 1))
    (reject,) = made.rejects
    assert (made.rows, reject.row, reject.length) == (2, long[:HEAD_BYTES], len(long))
    assert reject.reason == f"the row is {len(long)} bytes long, the limit (max_row_bytes) is 2000" + LARGER
    kept = plan.encoder().reject_long(LongRow(long[:HEAD_BYTES], 70, 70 + 5000))
    assert (kept.stage, kept.position, kept.length) == ("read", 70, 5000)
    assert kept.reason == "the row is 5000 bytes long, the limit (max_row_bytes) is 2000" + LARGER


def test_lines_that_are_not_the_sources_own_bytes_keep_their_positions_and_are_not_verbatim() -> None:
    encoder = PLAN.encoder()
    whole = encoder.encode(Block(ROW + b"\n" + ROW + b"\n", 100, 900, [105, 500]))
    assert (whole.rows, whole.verbatim) == (2, False)
    rows = encoder.encode_rows(Block(ROW + b"\n{}\n", 100, 900, [105, 500]))
    assert [row.position for row in rows] == [105, 500]
    assert rows[1].reject is not None
    assert rows[1].reject.position == 500


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("between", [b"\n", b"\r\n"])
def test_both_breaks_are_the_fast_way(between: bytes, end: bytes) -> None:
    made = PLAN.encoder().encode(block(between.join([ROW] * 3) + end))
    assert (made.body, made.rows, made.verbatim) == (b",".join([ROW] * 3), 3, True)


def test_a_return_within_a_row_is_white_space_and_stays() -> None:
    row = ROW.replace(b",", b",\r")
    made = PLAN.encoder().encode(block(row + b"\r\n" + row + b"\r\n"))
    assert (made.body, made.rows, made.verbatim) == (row + b"," + row, 2, True)


def test_a_reason_stays_on_one_line_whatever_the_keys_are() -> None:
    line = json.dumps({"a\n\u2028\x1b" + "k" * 5000: 1}).encode()
    (reject,) = PLAN.encoder().encode(block(line)).rejects
    assert reject.reason.startswith("a\\n\\u2028\\x1bkkk")
    assert reject.field is not None
    assert max(len(reject.reason), len(reject.field)) < 600


def test_known_limit_a_number_beyond_a_double_passes_in_a_text_column_and_nowhere_else() -> None:
    def plan(column: Column) -> RowPlan:
        return RowPlan(target=NEBIUS, preset="identity", columns=(column,), rewrite=column.holds is Holds.TEXT)

    text = plan(Column("a", Holds.TEXT, "string")).encoder()
    assert text.encode(block(b'{"a":1e999}')).body == b'{"a":"1e999"}'
    (reject,) = plan(Column("a", Holds.AS_IS, "double")).encoder().encode(block(b'{"a":1e999}')).rejects
    assert reject.reason == "a number is too large for a double"
