"""CSV and other separated text: what it says is what is sent, digit for digit, and what is wrong with a row is said of that row."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import UsageProblem
from bulkup.model import LongRow
from bulkup.sources import Kind, Reading, Source, inspect, open_source
from bulkup.sources.separated import structure
from bulkup.sources.separated.conversion import JsonMaker, cells_of
from bulkup.sources.separated.cutter import LongRecord, RecordCutter, Records
from bulkup.sources.separated.deciding import KindFinder
from bulkup.sources.separated.dialect import Dialect
from bulkup.sources.separated.kinds import NOTHING, PATTERNS, TRUTHS, as_json_text, usual
from bulkup.sources.separated.octets import Octets
from bulkup.sources.separated.records import rows_in
from bulkup.sources.separated.structure import EvenRows, Forms, Structure, structure_of
from tests.examples import examples
from tests.sources import reading

Got = list[tuple[int, str]]


def read(path: Path, *, max_row_bytes: int = 1000, **how: Any) -> tuple[Got, tuple[str, ...]]:
    """Each row of the file as JSON with its position, or why it is none; and what is said of the file."""
    source = open_source([str(path)], max_row_bytes=max_row_bytes, reading=Reading(**how))
    items = asyncio.run(reading.read_items(source, [0, reading.FAR]))[0]
    got: Got = []
    for item in items:
        if isinstance(item, LongRow):
            got.append((item.start, item.reason or "long"))
        else:
            assert item.offsets is not None
            got += zip(item.offsets, item.data.decode().split("\n"), strict=False)
    return got, source.notes


def rows(tmp_path: Path, content: bytes, name: str = "a.csv", **how: Any) -> list[str]:
    (tmp_path / name).write_bytes(content)
    return [row for _, row in read(tmp_path / name, **how)[0]]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"a,b\n1,x\n", ['{"a":1,"b":"x"}']),
        (b"a,b\r\n1,x\r\n2,y", ['{"a":1,"b":"x"}', '{"a":2,"b":"y"}']),
        (b'a,b\r1,"x\ny"\r2,"\n"', ['{"a":1,"b":"x\\ny"}', '{"a":2,"b":"\\n"}']),
        (b'"a",b\r"x\n\n",1\r', ['{"a":"x\\n\\n","b":1}']),
        (b'a,b\n1,"x\ry"\n', ['{"a":1,"b":"x\\ry"}']),
        (b"a,b\n\xef\xbb\xbfx,1\n", ['{"a":"\ufeffx","b":1}']),
        (b"a,b\r1,x\r2,y\r", ['{"a":1,"b":"x"}', '{"a":2,"b":"y"}']),
        (b"\xef\xbb\xbfa\n1\n", ['{"a":1}']),
        (b'a,b\n"","x"\n,"y"\n', ['{"a":"","b":"x"}', '{"a":null,"b":"y"}']),
        (b'a,b\n"1,""2""\r\n3",\n', ['{"a":"1,\\"2\\"\\r\\n3","b":null}']),
        (b"a\n1\n02\n", ['{"a":"1"}', '{"a":"02"}']),
        (b"a\n1\n9007199254740993\n", ['{"a":1}', '{"a":9007199254740993}']),
        (b"a\n1\n-9223372036854775808\n", ['{"a":1}', '{"a":-9223372036854775808}']),
        (b"a\n1\n9223372036854775808\n", ['{"a":"1"}', '{"a":"9223372036854775808"}']),
        (b"a\n1\n2.50\n-0\n1e5\n", ['{"a":1}', '{"a":2.50}', '{"a":-0}', '{"a":1e5}']),
        (b"a\n+1\n", ['{"a":"+1"}']),
        (b"a\nTrue\nFalse\n", ['{"a":true}', '{"a":false}']),
        (b"a\nTrue\nfalse\n", ['{"a":"True"}', '{"a":"false"}']),
        (b"a,b\n\n1,\n", ["", '{"a":1,"b":null}']),
        (b"a\n1\n\n2\n", ['{"a":1}', "", '{"a":2}']),
        (b'a\n1\n""\n', ['{"a":"1"}', '{"a":""}']),
        (b'a,b\n5" pipe,x\n', ['{"a":"5\\" pipe","b":"x"}']),
        (b"a;b\n1,5;2,5\n", ['{"a":"1,5","b":"2,5"}']),
        (b"a|b|c\n1|2|x,y\n", ['{"a":1,"b":2,"c":"x,y"}']),
        (b"sep=;\r\na;b\r\n1;2\r\n", ['{"a":1,"b":2}']),
        (b'a,b\n1,\x01"\n2,\\u0001"\n', ['{"a":1,"b":"\\u0001\\""}', '{"a":2,"b":"\\\\u0001\\""}']),
    ],
)
def test_what_stands_in_a_file(tmp_path: Path, content: bytes, wanted: list[str]) -> None:
    assert rows(tmp_path, content) == wanted
    assert rows(tmp_path, gzip.compress(content), "a.csv.gz") == wanted


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (
            b"a,b\n1\n2,x\n3,x,y\n",
            ["line 2: 1 field where the header has 2", '{"a":2,"b":"x"}', "line 4: 3 fields where"],
        ),
        (
            b'a,b\n"x\ny",1\n"p"q,2\n',
            ['{"a":"x\\ny","b":1}', "line 4: something stands behind the closing quote of field 1"],
        ),
        (b"a,b\nx,1\n\xff,2\n", ['{"a":"x","b":1}', "line 3: not UTF-8: byte 0xff"]),
        (b'a,b\nx,1\n"y,2\nz,3\n', ['{"a":"x","b":1}', "line 3: a quote is opened and not closed"]),
    ],
)
def test_a_row_that_is_none_is_told_with_its_line(tmp_path: Path, content: bytes, wanted: list[str]) -> None:
    content += b"x,1\n" * 100 if b"\xff" in content else b""
    got = rows(tmp_path, content)[: len(wanted)]
    assert all(row.startswith(said) for row, said in zip(got, wanted, strict=True)), got


def test_a_row_that_is_too_long_is_not_held(tmp_path: Path) -> None:
    got = rows(tmp_path, b'a,b\n1,"' + b"x\n" * 300_000 + b'"\n2,y\n', max_row_bytes=10_000)
    assert got == ["long", '{"a":2,"b":"y"}']


def test_a_column_holds_the_same_in_all_files_and_rows(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(b"a,b\n" + b"1,1\n" * 90_000)
    (tmp_path / "2.csv").write_bytes(b"b,a\n" + b"1,1\n" * 200_000 + b"1,x\n")
    source = open_source([str(tmp_path / "1.csv"), str(tmp_path / "2.csv")], max_row_bytes=1000)
    items = asyncio.run(reading.read_items(source, [0, reading.FAR]))[0]
    first, last = items[0], items[-1]
    assert not isinstance(first, LongRow)
    assert not isinstance(last, LongRow)
    assert first.data.startswith(b'{"a":"1","b":1}\n')
    assert last.data.endswith(b'{"b":1,"a":"x"}\n')


@pytest.mark.parametrize(
    ("name", "how", "content", "wanted", "said"),
    [
        ("a.csv", {"has_header": False}, b"x,1\ny,2\n", ['{"column_1":"x","column_2":1}'], "2 columns; no header"),
        ("a.csv", {"has_header": False}, b'"x, y",1\n' * 2, ['{"column_1":"x, y","column_2":1}'], "separated by comma"),
        ("a.csv", {"header_row": 3}, b"Title,\n\nfor,2024\na,b\n1,2\n", ['{"a":1,"b":2}'], "the header is row 3"),
        ("a.txt", {"delimiter": b":"}, b"a:b\n1:2\n", ['{"a":1,"b":2}'], "separated by :, 2 columns; integers: a, b"),
        ("a.csv", {"kinds": (("a", Kind.STRING),)}, b"a,b\n1,2\n", ['{"a":"1","b":2}'], "integers: b"),
        (
            "a.csv",
            {"kinds": (("a", Kind.INTEGER),)},
            b"a,b\n1,2\nx,3\n",
            ['{"a":1,"b":2}', '{"a":"x"'],
            "integers: a, b",
        ),
        ("a.csv", {}, b"a,a,,b\n1,2,3,4\n", ['{"a":1,"a_2":2,"column_3":3,"b":4}'], "'a' names more than one column"),
        ("a.csv", {}, b"a,,column_2\n1,2,3\n", ['{"a":1,"column_2_2":2,"column_2":3}'], "column 2 has no name"),
        ("a.tsv", {}, b"a\tb,c\n1\t2\n", ['{"a":1,"b,c":2}'], "TSV, separated by tab"),
        ("a", {}, b"a,b\n1,2\n3,4\n", ['{"a":1,"b":2}'], "CSV, separated by comma"),
        ("a.csv", {"encoding": "cp1252"}, b"a,b\n\xe9,1\n", ['{"a":"\u00e9","b":1}'], "2 columns"),
    ],
)
def test_how_it_is_read_is_found_or_said(
    tmp_path: Path, name: str, how: dict[str, Any], content: bytes, wanted: list[str], said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    got, notes = read(tmp_path / name, **how)
    assert all(row.startswith(start) for (_, row), start in zip(got, wanted, strict=False)), got
    assert said in notes[0]


def test_a_databases_null_is_text_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'a,b\n\\N,"x\n"\n1,\n"\\N",z,too many\n')
    got, notes = read(tmp_path / "a.csv")
    assert json.loads(got[0][1]) == {"a": "\\N", "b": "x\n"}
    assert r"\N in 2 of the first 3 rows is text here; null is an empty field" in notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"a,b\n" + b"\xe9,1\n" * 20,
            "is not UTF-8 (20 of the first 21 rows); say in which encoding it is, such as --encoding",
        ),
        (b"1,2\n3,4\n", "its first row names no columns (1, 2); give --no-header"),
        (
            b"1,x,\\N\n2,y,z\n",
            "in it is a database's null); let the database write CSV",
        ),
        (b"a,b\n1,\0\n", "holds zero bytes"),
        (b"a" * 200_000, "the end of its first row does not stand in its first 128 KiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(Exception, match=said.replace("(", r"\(").replace(")", r"\)")):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x,2.5\ny,3.5\n", r"'2.5' in it is like what stands below it \('3.5'\); give --no-header if it is data"),
        (b"a,-1\nb,2\n", "'-1' in it"),
        (b'3,"Wall St."\n1,"Sport"\n3,"Oil"\n', r"'3' in it is like what stands below it \('1'\)"),
        (b"1,a\n2,b\n3,c\n", "'1' in it"),
        (b"2024-01-02,a\n2024-01-03,b\n", "'2024-01-02' in it"),
        (b"a,01/02/2024 10:00\nb,\nc,1/12/2024 9:30\n", "'01/02/2024 10:00' in it"),
        (b"a,10:00\nb,11:30\n", "'10:00' in it"),
        (b"https://a.example/1,x\nhttps://a.example/2,y\n", "'https://a.example/1' in it"),
        (b"a@b.org,x\nc@d.org,y\n", "'a@b.org' in it"),
        (b"a,00000000-0000-0000-0000-00000000000A\nb,00000000-0000-0000-0000-00000000000b\n", "-00000000000A' in it"),
        (b"a,True\nb,False\n", "'True' in it"),
        (
            b"# made by a tool\n# in 2024\nname,age\nbob,3\namy,4\n",
            r"has 1 field, and 3 of the next 4 have 2: it is not",
        ),
        (b"Report\nname,age\nbob,3\n", "has 1 field, and 2 of the next 2 have 2"),
        (b"a,b\n1,x,\n2,y,\n", "has 2 fields, and 2 of the next 2 have 3: it is not their header; give --header-row N"),
        (b"a,b,c,\n1,x,2\n2,y,3\n", "has 4 fields, and 2 of the next 2 have 3"),
    ],
)
def test_a_first_row_that_is_no_header_is_not_lost_as_one(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageProblem, match=said):
        read(tmp_path / "a.csv")
    read(tmp_path / "a.csv", header_row=1)
    got, _ = read(tmp_path / "a.csv", has_header=False)
    assert len(got) == content.count(b"\n")


@pytest.mark.parametrize(
    "content",
    [
        b"name,2019,2020\nx,1,2\ny,2019,3\n",  # years
        b",0,1,a\n0,1,x,q\n1,0,y,p\n",  # a matrix, as pandas writes it
        b"day,2024-01-01,2024-01-02\nx,1,2\ny,3,4\n",
        b"q,0.5\nmean,low\nmost,high\n",
        b"name,7\nx,7.5\ny,8\n",
        b"name,1\nx,2\n",
        b"a,true\nx,yes\n",
        b"a,http\nx,http://a.example\n",
        b"a,2.5\nx,\n",
        b"a,b\n1\n2,x\n3,x,y\n",
        b"a,b\n1,x,y\n",
    ],
)
def test_numbers_and_dates_may_be_names(tmp_path: Path, content: bytes) -> None:
    got = rows(tmp_path, content)
    assert len(got) == content.count(b"\n") - 1


def test_a_header_alone_is_no_row(tmp_path: Path) -> None:
    assert rows(tmp_path, b"a,b\n") == rows(tmp_path, b"") == rows(tmp_path, b"a,b") == []


def test_other_lines_are_not_taken_for_a_table(tmp_path: Path) -> None:
    """Only a name or an option makes one of what is not plainly one."""
    for text in (b"Hello, world\nBye, all, of you\n", b"a,a\n1,2\n", b"x\ny\n"):
        with pytest.raises(Exception, match="neither JSON lines nor"):
            rows(tmp_path, text, "a.txt")
    (tmp_path / "b.csv").write_bytes(b'{"a": 1}\n')
    assert inspect(str(tmp_path / "b.csv")).format.name == "jsonl"


STRAY = [b"a", b'5"', b"1", b"", b'x"y""', b' "z"']
PIECES = [b"a", b"1", b"2.5", b"true", b'"', b'"x,y"', b'""', b"\r", b"\r\n", b"\n", b",", b";", b'"a""b"', b"\xc3\xa9"]
PIECES += [b"\xff", b" ", b"\x01", b"\0", b"\\u0001", b"-0", b"1e5", b"TRUE", b"\t"]
NICE = [b"a", b"1", b"", b'"q\nz"', b'"x,y"', b'""', b'"a""b"', b"true", b"1.5", b" b ", b"\\n"]


@st.composite
def texts(draw: st.DrawFn) -> tuple[bytes, Dialect]:
    delimiter, line_break = draw(st.sampled_from([b",", b";", b"\t"])), draw(st.sampled_from([b"\n", b"\n", b"\r"]))
    columns = draw(st.integers(1, 3))
    if draw(st.booleans()):
        text = b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=25)))
    else:
        end = b"\r" if line_break == b"\r" else draw(st.sampled_from([b"\n", b"\r\n"]))
        row = st.lists(st.sampled_from(draw(st.sampled_from([NICE, STRAY]))), min_size=columns, max_size=columns).map(
            delimiter.join
        )
        text = end.join(draw(st.lists(row, min_size=1, max_size=8))) + draw(st.sampled_from([b"", end]))
    names = tuple(f'k"{number}\n' for number in range(columns))
    kinds = tuple(draw(st.sampled_from([None, *Kind])) for _ in range(columns))
    return text, Dialect(delimiter, line_break, names, 0, 1, kinds, "")


def cut(
    text: bytes, dialect: Dialect, size: int, step: Callable[[], int], forms: Forms | None = None
) -> list[Records | LongRecord]:
    cutter = RecordCutter(
        7,
        delimiter=dialect.delimiter,
        line_break=dialect.line_break,
        line=1,
        size=size,
        max_row_bytes=10_000,
        fields=len(dialect.names),
    )
    if forms is not None:
        cutter.ask(forms)
    found: list[Records | LongRecord] = []
    at = 0
    while at < len(text):
        count = step()
        found += cutter.feed(text[at : at + count])
        at += count
    found += cutter.finish()
    return [replace(one, offsets=list(one.offsets)) if isinstance(one, Records) else one for one in found]


@examples(300)
@given(texts(), st.data())
def test_many_rows_at_once_come_to_what_each_by_itself_comes_to(
    made: tuple[bytes, Dialect], data: st.DataObject
) -> None:
    """And where it is cut does not depend on the pieces in which it came."""
    text, dialect = made
    size = data.draw(st.sampled_from([4, 16, 64]))
    maker = JsonMaker(dialect, block_bytes=data.draw(st.sampled_from([10, 100])))
    with automata_for_anything() if data.draw(st.booleans()) else nullcontext():
        found = cut(text, dialect, size, lambda: 1000, maker.forms)
        assert found == cut(text, dialect, size, lambda: data.draw(st.integers(1, 9)), maker.forms)
    got: list[tuple[int, str | None]] = []
    for item in (item for one in found for item in maker.items(one)):
        if isinstance(item, LongRow):
            got.append((item.start, None))
        else:
            lines = item.data.decode().split("\n")
            assert item.offsets is not None
            assert (len(lines) - 1, item.start) == (len(item.offsets), item.offsets[0])
            got += zip(item.offsets, lines, strict=False)
        assert item.end <= 7 + len(text)
    wanted: list[tuple[int, str | None]] = []
    whole = text if text.endswith(dialect.line_break) or not text else text + dialect.line_break
    end = 0
    for begin, end in rows_in(whole, dialect.delimiter, dialect.line_break):
        cells = cells_of(whole[begin:end], dialect)
        wanted.append((7 + begin, None if isinstance(cells, str) else json_line(cells, dialect)))
    wanted += [(7 + end, None)] if end < len(whole) else []
    assert [(at, row and json.loads(row, parse_int=str, parse_float=str)) for at, row in got] == [
        (at, row and json.loads(row, parse_int=str, parse_float=str)) for at, row in wanted
    ]


@contextmanager
def automata_for_anything() -> Iterator[None]:
    """However little there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "_LEAST_BYTES", 0)
        patch.setattr(structure, "_LEAST_BYTES_OF_FORMS", -1)
        yield


@examples(300)
@given(texts(), st.sampled_from([16, 64]))
def test_rows_of_the_forms_that_were_asked_for_change_nothing_of_what_columns_hold(
    made: tuple[bytes, Dialect], size: int
) -> None:
    text, dialect = made
    text *= 4
    exact, asking = KindFinder(), KindFinder()
    with automata_for_anything():
        for found in cut(text, dialect, size, lambda: 1000):
            if isinstance(found, Records):
                forms = asking.forms(dialect)
                (again,) = (one for one in cut(found.data, dialect, 2 * len(found.data), lambda: 1000, forms))
                assert isinstance(again, Records)
                asking.see(again, dialect)
                exact.see(found, dialect)
                assert asking.forms(dialect) == exact.forms(dialect)
    assert [asking.kind(name) for name in dialect.names] == [exact.kind(name) for name in dialect.names]


@pytest.mark.parametrize(
    ("forms", "rows", "is_taken"),
    [
        ((PATTERNS[Kind.INTEGER], None), b'-1,x\n"2","y"\n,\n', True),
        ((PATTERNS[Kind.INTEGER], None), b'1,x\n"",y\n', False),
        ((PATTERNS[Kind.INTEGER], None), b"01,x\n", False),
        ((PATTERNS[Kind.INTEGER], None), b"-0,x\n", False),
        ((PATTERNS[Kind.NUMBER], None), b"1.50,x\n-0,y\n1e5,z\n-2.5E-10,\n", True),
        ((PATTERNS[Kind.NUMBER], None), b"1.,x\n", False),
        ((TRUTHS[1], NOTHING), b"True,\n,\nFalse,\n", True),
        ((TRUTHS[1], NOTHING), b"True,x\n", False),
        ((TRUTHS[1], NOTHING), b'True,""\n', False),
        ((PATTERNS[Kind.BOOLEAN], None), b"True,x\nFALSE,x\n", True),
    ],
)
def test_the_forms_that_are_found_at_once(forms: Forms, rows: bytes, is_taken: bool) -> None:
    pytest.importorskip("hyperscan")
    even = EvenRows(b",", b"\n", 2)
    even.forms = forms
    with automata_for_anything():
        found = even.structure(rows, Octets(rows), 7)
    assert found is not None
    assert found.forms == (forms if is_taken else None)


@given(st.sampled_from([*PATTERNS.values(), *TRUTHS]), st.data())
def test_what_is_usual_of_a_form_has_it(pattern: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(re.compile(usual(pattern)), fullmatch=True)).decode()
    assert re.match(pattern, text)


@examples(300)
@given(texts())
def test_what_the_automaton_takes_has_the_structure_that_arithmetic_finds(made: tuple[bytes, Dialect]) -> None:
    text, dialect = made
    text += dialect.line_break * (not text.endswith(dialect.line_break))
    taken = structure_at_once(text, dialect.delimiter, dialect.line_break, len(dialect.names))
    if taken is not None:
        wanted = structure_of(text, Octets(text), dialect.delimiter, dialect.line_break, len(dialect.names), 7)
        assert wanted is not None
        assert (list(taken.begins), taken.breaks, taken.is_even) == (wanted.begins, wanted.breaks, wanted.is_even)


@pytest.mark.parametrize(
    ("rows", "fields", "is_taken"),
    [
        (b'1,"a, ""b""\r\nc"\r\n2,d\n', 2, True),
        (b'a"b,5" tall\n', 2, True),  # no field begins with a quote
        (b'"",\n,"x"\n', 2, True),
        (b"a\n\nb\n", 1, True),
        (b"a,b,c\n1,2\n", 3, False),
        (b'"a"b,1\n', 2, False),
        (b'"a",b"\n', 2, False),
        (b"a\rb,1\n", 2, False),
        (b"a\0,1\n", 2, False),
    ],
)
def test_what_the_automaton_takes(rows: bytes, fields: int, is_taken: bool) -> None:
    pytest.importorskip("hyperscan")
    assert (structure_at_once(rows * 3, b",", b"\n", fields) is not None) is is_taken


def structure_at_once(rows: bytes, delimiter: bytes, line_break: bytes, fields: int) -> Structure | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "_LEAST_BYTES", 0)
        return EvenRows(delimiter, line_break, fields).structure(rows, Octets(rows), 7)


def json_line(cells: list[str | None], dialect: Dialect) -> str:
    values = (
        "null" if cell is None else as_json_text(cell, kind) or json.dumps(cell)
        for cell, kind in zip(cells, dialect.kinds, strict=True)
    )
    fields = (f"{json.dumps(name)}: {value}" for name, value in zip(dialect.names, values, strict=True))
    return "{" + ", ".join(fields) + "}" if cells else ""


@examples(20)
@given(st.lists(st.integers(0, 400), max_size=4))
def test_cuts_anywhere_lose_and_double_no_row(cuts: list[int]) -> None:
    content = b"a,b\n" + b'"x\n%d",2\n\n3\n' % 7 * 20 + b"last,1"
    with reading.scratch() as folder:
        (path,) = reading.written(folder, [content], "{}.csv")
        source = open_source([path], max_row_bytes=1000, block_bytes=64)
        whole = ranges(source, [0, reading.FAR])
        source = open_source([path], max_row_bytes=1000, block_bytes=64)
        parts = ranges(source, [0, *sorted(cuts), reading.FAR])
    assert parts == whole


def ranges(source: Source, cuts: list[int]) -> bytes:
    items = (item for part in asyncio.run(reading.read_items(source, cuts)) for item in part)
    return b"".join(item.head if isinstance(item, LongRow) else item.data for item in items)


def test_an_option_that_makes_no_sense_is_told() -> None:
    from bulkup.settings.run import parse_delimiter

    assert [parse_delimiter(text) for text in ("tab", ";", "space")] == ["\t", ";", " "]
    for text in ("", "::", "é", '"', "\n"):
        with pytest.raises(UsageProblem, match="give one ASCII character"):
            parse_delimiter(text)


def test_polars_is_not_imported_where_no_file_needs_it() -> None:
    """It takes a fifth of a second, and 40 MB."""
    code = "import sys, bulkup.cli.app, bulkup.run.story; print('polars' in sys.modules, 'pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
