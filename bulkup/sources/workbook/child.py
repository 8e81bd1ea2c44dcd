"""The process that reads a workbook: `python -m bulkup.sources.workbook.child PATH OPTIONS`, with at most a gigabyte of memory.

It writes lines. The first says what the sheet is. Then comes a line for each row below the header: a JSON object, nothing for an
empty row, or `!` and why the row cannot be sent. If the workbook cannot be read, it writes `?` and why, or `??` if it is asked
for what is not there.
"""

from __future__ import annotations

import json
import math
import re
import resource
import sys
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO

__all__ = ["MOST_MEMORY_BYTES", "NO_COLUMN", "main", "written"]

MOST_MEMORY_BYTES = 1024 * 1024 * 1024
NO_COLUMN = "has no column in the header"
"""What ends the reason of a row that is wider than the header."""

_EXACT = 2**53
_FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
_FORMULA_BYTES = 64
_PIECE_BYTES = 256 * 1024
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


class _Wrong(Exception):
    """A workbook that does not have what was asked for."""


def main() -> None:
    """The process."""
    path, options = sys.argv[1], json.loads(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    try:
        for line in written(path, **options):
            sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.stderr.close()
    except MemoryError:
        _say(b"?", f"it takes more than {MOST_MEMORY_BYTES // 2**20:,} MiB of memory")
    except _Wrong as error:
        _say(b"??", str(error))
    except Exception as error:  # noqa: BLE001 - whatever openpyxl raises about a damaged file
        _say(b"?", f"{type(error).__name__}: {error}".partition("\n")[0])


def _say(sign: bytes, text: str) -> None:
    out: BinaryIO = sys.stdout.buffer
    out.write(sign + text.encode("utf-8", "replace") + b"\n")
    out.flush()


def written(
    path: str, sheet: str | None, header_row: int | None, has_header: bool, names: Sequence[str] | None
) -> Iterator[bytes]:
    """The lines. *names* are the keys, once they are known."""
    with open(path, "rb") as file:  # noqa: PTH123 - by its path openpyxl opens it only if that ends as it should
        yield from _written(path, file, sheet, header_row, has_header, names)


def _written(
    path: str, file: BinaryIO, sheet: str | None, header_row: int | None, has_header: bool, names: Sequence[str] | None
) -> Iterator[bytes]:
    import openpyxl

    _keep_empty_texts()
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    chosen = _sheet(book, sheet)
    rows = ((number, *row) for number, row in enumerate(_rows(path, chosen), 1) if number >= (header_row or 1))
    first = next((row for row in rows if header_row or any(map(_is_there, row[1]))), None)
    if first is None:
        yield json.dumps({"sheets": book.sheetnames, "sheet": chosen.title, "header": [], "row": 0}).encode()
        return
    number, cells, formulas = first
    width = max((place for place, cell in enumerate(cells, 1) if _is_there(cell)), default=0)
    header = [None if not _is_there(cell) else _unescaped(str(cell.value)) for cell in cells[:width]]
    about = {"sheets": book.sheetnames, "sheet": chosen.title, "header": header, "row": number}
    yield json.dumps(about).encode()
    keys = [json.dumps(name, ensure_ascii=False) for name in names or [f"{place}" for place in range(width)]]
    if not has_header:
        yield _line(number, cells, keys, formulas)
    for number, cells, formulas in rows:
        yield _line(number, cells, keys, formulas)


def _keep_empty_texts() -> None:
    """Have openpyxl tell a formula that came to an empty text from one without its value: it gives nothing for both."""
    from openpyxl.worksheet import _read_only, _reader

    class Parser(_reader.WorkSheetParser):  # type: ignore[misc]
        def parse_cell(self, element: Any) -> dict[str, Any]:
            is_text = element.get("t") == "str"
            cell: dict[str, Any] = super().parse_cell(element)
            if is_text and cell["value"] is None:
                cell["value"] = ""
            return cell

    _read_only.WorkSheetParser = Parser


def _rows(path: str, sheet: Any) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
    """The rows of *sheet*, with the values that were saved, and where it has formulas, once more with these."""
    import openpyxl

    sheet.reset_dimensions()  # some writers say wrong ones
    if not _has_formulas(path, sheet):
        yield from ((row, ()) for row in sheet.iter_rows())
        return
    with open(path, "rb") as file:  # noqa: PTH123
        same = openpyxl.load_workbook(file, read_only=True)[sheet.title]
        same.reset_dimensions()
        yield from zip(sheet.iter_rows(), same.iter_rows(), strict=True)


def _has_formulas(path: str, sheet: Any) -> bool:
    with zipfile.ZipFile(path) as archive, archive.open(sheet._worksheet_path) as xml:
        end = b""
        while piece := xml.read(_PIECE_BYTES):
            if _FORMULA.search(end + piece):
                return True
            end = piece[-_FORMULA_BYTES:]
    return False


def _sheet(book: Any, wanted: str | None) -> Any:
    there = list(book.worksheets)
    if not there:
        raise _Wrong(
            "has no sheet of cells: it holds charts alone, or is Strict Open XML; save it as Excel Workbook (.xlsx)"
        )
    if wanted is None:
        return next((sheet for sheet in there if sheet.sheet_state == "visible"), there[0])
    for sheet in there:
        if sheet.title == wanted:
            return sheet
    if wanted.isdecimal() and 1 <= int(wanted) <= len(there):
        return there[int(wanted) - 1]
    raise _Wrong(f"has no sheet {wanted!r}; it has {', '.join(sheet.title for sheet in there)}")


def _is_there(cell: Any) -> bool:
    return cell.value not in (None, "")


def _line(number: int, cells: Sequence[Any], keys: Sequence[str], formulas: Sequence[Any] = ()) -> bytes:
    values = []
    for place, cell in enumerate(cells):
        if place < len(formulas) and formulas[place].data_type == "f" and cell.value is None and cell.data_type == "n":
            where = formulas[place].coordinate
            return f"!row {number:,}: cell {where} holds a formula without its value; open the file in Excel, and save it".encode()
        if cell.data_type == "e":
            return f"!row {number:,}: cell {cell.coordinate} holds {cell.value}".encode()
        if place >= len(keys):
            if _is_there(cell):
                return f"!row {number:,}: cell {cell.coordinate} {NO_COLUMN}".encode()
            continue
        values.append(_json(cell.value, getattr(cell, "number_format", "")))
    if all(value == "null" for value in values):
        return b""
    values += ["null"] * (len(keys) - len(values))
    return ("{" + ",".join(f"{key}:{value}" for key, value in zip(keys, values, strict=True)) + "}").encode(
        "utf-8", "replace"
    )


def _json(value: object, form: str) -> str:
    match value:
        case None | "":
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if not math.isfinite(value):  # Excel has no such numbers, but what is too large for 64 bits
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) <= _EXACT else repr(value)
        case datetime():
            return f'"{value.date().isoformat() if _is_date(form) else value.isoformat()}"'
        case date() | time():
            return f'"{value.isoformat()}"'
        case timedelta():
            return f'"{_duration(value)}"'
        case _:
            return json.dumps(_unescaped(str(value)), ensure_ascii=False)


def _unescaped(text: str) -> str:
    """*text* with the characters that XML has no place for: of a break Excel writes `_x000D_` and a `\\n`."""
    if "_x" not in text:
        return text
    text = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), text)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_date(form: str) -> bool:
    from openpyxl.styles.numbers import is_datetime

    return bool(is_datetime(form) == "date")


def _duration(value: timedelta) -> str:
    """ISO 8601."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    days = f"{value.days}D" if value.days else ""
    hours, rest = divmod(value.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    clock = (
        f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes) + f"{seconds}{fraction}S" * bool(seconds or fraction)
    )
    return f"{sign}P{days}{'T' + clock if clock else ''}" if days or clock else "PT0S"


if __name__ == "__main__":
    main()
