"""Excel workbooks: what stands in the cells is what is sent, and what cannot be sent is told with its cell."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.model import LongRow
from bulkup.sources import Reading, open_source
from tests.sources import reading


def save(path: Path, rows: Sequence[Sequence[Any]], **sheets: Sequence[Sequence[Any]]) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    for name, more in sheets.items():
        sheet = book.create_sheet(name)
        for row in more:
            sheet.append(row)
    book.save(path)


def read(path: Path, cuts: tuple[int, ...] = (), **how: Any) -> tuple[list[str], str]:
    source = open_source([str(path)], max_row_bytes=1000, reading=Reading(**how))
    found = asyncio.run(reading.read_items(source, [0, *cuts, reading.FAR]))
    rows: list[str] = []
    for item in (item for part in found for item in part):
        if isinstance(item, LongRow):
            rows.append(item.reason or "")
        else:
            rows += item.data.decode().removesuffix("\n").split("\n")
    return rows, source.notes[0].partition(": ")[2]


def test_each_cell_is_what_it_is(tmp_path: Path) -> None:
    half = timedelta(days=1, seconds=1, milliseconds=500)
    moment = datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001 - cells have no zone
    cells = ["text", 3, 3.0, 3.5, True, None, date(2024, 1, 2), moment, time(3, 4, 5), half, "02", '"\u00e9\n']
    save(tmp_path / "a.xlsx", [[f"c{number}" for number in range(len(cells))], cells])
    (row,), note = read(tmp_path / "a.xlsx")
    wanted = [
        '"text"',
        "3",
        "3",
        "3.5",
        "true",
        "null",
        '"2024-01-02"',
        '"2024-01-02T03:04:05"',
        '"03:04:05"',
        '"P1DT1.5S"',
    ]
    wanted += ['"02"', '"\\"\u00e9\\n"']
    assert row == "{" + ",".join(f'"c{number}":{value}' for number, value in enumerate(wanted)) + "}"
    assert note == "sheet 'Sheet'; 12 columns"


def test_characters_that_xml_has_no_place_for(tmp_path: Path) -> None:
    """Excel writes a return as `_x000D_`, and what looks like that as `_x005F_x000D_`."""
    rows = [["a_x0009_b"], ["x_x000D_\ny"], ["_x005F_x000D_"], ["_x000_ _x00zz_"], ["_xD83D__xDE00_"]]
    save(tmp_path / "a.xlsx", rows)
    wanted = [r"x\r\ny", "_x000D_", "_x000_ _x00zz_", "\U0001f600"]
    assert read(tmp_path / "a.xlsx")[0] == [f'{{"a\\tb":"{text}"}}' for text in wanted]


def test_formulas_that_come_to_an_empty_text_are_empty(tmp_path: Path) -> None:
    """`=IF(A2="","",A2)`, drawn down far below the rows, makes no rows; what has no value at all is told."""
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["a", "b"])
        for row, (value, text) in enumerate([(1, "x"), (2, ""), (None, "")], 1):
            sheet.write(row, 0, value)
            sheet.write_formula(row, 1, '=IF(A2=1,"x","")', None, text)
        sheet.write_formula(2, 2, '=""', None, "")  # beside the header
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():  # as Excel writes it
            new.writestr(name, re.sub(rb'<c r="(\w+)"><f>', rb'<c r="\1" t="str"><f>', old.read(name)))
    (tmp_path / "b.xlsx").rename(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx")[0] == ['{"a":1,"b":"x"}', '{"a":2,"b":null}', ""]
    save(tmp_path / "b.xlsx", [["a"], ["=1+1"]])
    assert read(tmp_path / "b.xlsx")[0][0].startswith("row 2: cell A2 holds a formula without its value")


def test_the_first_sheet_that_can_be_seen_is_read(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        hidden, seen = book.add_worksheet("lists"), book.add_worksheet("rows")
        hidden.write_column(0, 0, ["x", 1])
        seen.write_column(0, 0, ["a", 2])
        seen.activate()
        hidden.hide()
    rows, note = read(tmp_path / "a.xlsx")
    assert rows == ['{"a":2}']
    assert note.startswith("sheet 'rows' of 2")
    assert read(tmp_path / "a.xlsx", sheet="lists")[0] == ['{"x":1}']


def test_a_number_that_is_too_large_is_no_json(tmp_path: Path) -> None:
    """It is rejected as such numbers of other files are."""
    save(tmp_path / "a.xlsx", [["a"], [1e308]])
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"1e+308", b"1e+309"))
    assert read(tmp_path / "b.xlsx")[0] == ['{"a":Infinity}']


def test_errors_and_cells_beside_the_header_reject_their_rows(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["a", "b"], [1, "x"], [2, "#N/A"], [], [3, "y", "z"], [None, None], [4, None]]
    save(tmp_path / "a.xlsx", rows)
    wanted = [
        '{"a":1,"b":"x"}',
        "row 3: cell B3 holds #N/A",
        "",
        "row 5: cell C5 has no column in the header",
        "",
        '{"a":4,"b":null}',
    ]
    assert read(tmp_path / "a.xlsx")[0] == wanted
    assert read(tmp_path / "a.xlsx", cuts=(30,))[0] == wanted


def test_sheet_and_header_are_chosen(tmp_path: Path) -> None:
    first: list[list[Any]] = [["a"], [1]]
    save(tmp_path / "a.xlsx", first, Other=[["Title"], [None], ["x", None, "x"], [1, 2, 3]])
    assert read(tmp_path / "a.xlsx") == (['{"a":1}'], "sheet 'Sheet' of 2 (--sheet takes another); 1 column")
    rows, note = read(tmp_path / "a.xlsx", sheet="Other", header_row=3)
    assert rows == ['{"x":1,"column_2":2,"x_2":3}']
    assert "the header is row 3" in note
    assert read(tmp_path / "a.xlsx", sheet="1", has_header=False)[0] == ['{"column_1":"a"}', '{"column_1":1}']
    assert read(tmp_path / "a.xlsx", renames=(("a", "b"),))[0] == ['{"b":1}']
    with pytest.raises(UsageProblem, match=r"a\.xlsx: has no sheet 'None such'; it has Sheet, Other"):
        read(tmp_path / "a.xlsx", sheet="None such")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([[1, 2], [3, 4]], r"names no columns \(1, 2\); give --no-header"),
        ([["x", 2.5], ["y", 3]], r"'2.5' in it is like what stands below it \('3'\)"),
        ([["x", date(2024, 1, 2)], ["y", datetime(2024, 1, 2, 3, 4)]], "'2024-01-02 00:00:00' in it"),  # noqa: DTZ001
        ([["x", True], ["y", False]], "'True' in it"),
        (
            [["A report"], ["name", "age"], ["x", 3]],
            "names 1 column, and 2 of the next 2 rows have values to the right",
        ),
    ],
)
def test_a_first_row_that_is_no_header_is_not_lost_as_one(tmp_path: Path, cells: list[list[Any]], said: str) -> None:
    save(tmp_path / "a.xlsx", cells)
    with pytest.raises(UsageProblem, match=said):
        read(tmp_path / "a.xlsx")
    read(tmp_path / "a.xlsx", header_row=1)
    assert len(read(tmp_path / "a.xlsx", has_header=False)[0]) == len(cells)


def test_a_workbook_of_charts_alone_is_told(tmp_path: Path) -> None:
    book = xlsxwriter.Workbook(tmp_path / "a.xlsx")
    chart = book.add_chart({"type": "line"})
    chart.add_series({"values": "=Chart1!$A$1:$A$2"})
    book.add_chartsheet().set_chart(chart)
    book.close()
    with pytest.raises(
        UsageProblem, match="has no sheet of cells: it holds charts alone, or is Strict Open XML; save it as"
    ):
        read(tmp_path / "a.xlsx")


def test_numbers_may_be_names(tmp_path: Path) -> None:
    save(tmp_path / "a.xlsx", [["name", 2019, 2020], ["x", 2019, 2], ["y", 3, 4]])
    assert read(tmp_path / "a.xlsx")[0] == ['{"name":"x","2019":2019,"2020":2}', '{"name":"y","2019":3,"2020":4}']


def test_an_empty_sheet_has_no_rows(tmp_path: Path) -> None:
    save(tmp_path / "a.xlsx", [])
    source = open_source([str(tmp_path / "a.xlsx")], max_row_bytes=1000)
    assert asyncio.run(reading.read_items(source, [0, reading.FAR])) == [[]]


def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.xlsx", [["a"], [1]])
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<no workbook")
    with pytest.raises(SourceUnreadable, match=r"b\.xlsx: damaged workbook"):
        read(tmp_path / "b.xlsx")
    with zipfile.ZipFile(tmp_path / "c.xlsx", "w") as archive:
        archive.writestr("xl/workbook.bin", "")
    with pytest.raises(UsageProblem, match=r"c\.xlsx: a binary Excel workbook \(\.xlsb\) is not read"):
        read(tmp_path / "c.xlsx")
    (tmp_path / "d.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" + b"\0" * 100)
    with pytest.raises(UsageProblem, match=r"an old Excel workbook .*save it as \.xlsx, without a password"):
        read(tmp_path / "d.xlsx")
    monkeypatch.setattr("bulkup.sources.workbook.format.MOST_UNPACKED_BYTES", 1000)
    with pytest.raises(UsageProblem, match="the workbook unpacks to 0 MiB, the limit is"):
        read(tmp_path / "a.xlsx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageProblem, match=r"a\.xlsx: is an Excel workbook; to read it: pip install 'bulkup\[xlsx\]'"):
        read(tmp_path / "a.xlsx")


def test_a_formula_without_its_value_is_no_null(tmp_path: Path) -> None:
    """A program wrote it, and Excel has not reckoned since. A text that came to nothing has a value."""
    save(tmp_path / "a.xlsx", [["a", "b"], [1, "=A2+1"], [2, '=""'], [3, None]])
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'<c r="B3">', b'<c r="B3" t="str">'))
    said = "row 2: cell B2 holds a formula without its value; open the file in Excel, and save it"
    assert read(tmp_path / "b.xlsx")[0] == [said, '{"a":2,"b":null}', '{"a":3,"b":null}']
