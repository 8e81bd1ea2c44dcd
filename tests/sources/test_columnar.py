"""Parquet and Arrow: each type comes to what `docs/values.md` says, in any range, and a file that is damaged is told."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import weakref
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.model import Block
from bulkup.sources import open_source
from bulkup.sources.columnar import parquet as columnar_parquet
from bulkup.sources.columnar import plain
from bulkup.sources.columnar.plain import LineMaker
from bulkup.sources.columnar.table import TableReader, Walk
from bulkup.sources.format import SourceFile
from tests.examples import examples
from tests.sources import reading

PAGE = Path(__file__).parents[2] / "docs" / "values.md"


def stream(table: pa.Table, path: Path, rows: int = 3, **how: Any) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema, **how) as out:
        out.write_table(table, max_chunksize=rows)


def file_of(table: pa.Table, path: Path, rows: int = 3, **how: Any) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, **how) as out:
        out.write_table(table, max_chunksize=rows)


def of_polars(table: pa.Table, path: Path) -> None:
    """Without a mark of the end before the footer."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    frame.write_ipc(path, compression="zstd")


def packed(table: pa.Table, path: Path) -> None:
    pf.write_feather(table, path, compression="lz4", chunksize=4)


def parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=3, store_schema=True)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": parquet, "stream": stream, "file": file_of, "feather": packed,
}  # fmt: skip


def lines(path: Path, cuts: list[int] | None = None) -> list[str]:
    source = open_source([str(path)], max_row_bytes=100_000)
    found = asyncio.run(reading.read_items(source, [0, *(cuts or []), reading.FAR]))
    items = [item for part in found for item in part]
    assert all(isinstance(item, Block) for item in items)
    for one, other in pairwise(items):
        assert one.end == other.start
    return [
        line for item in items if isinstance(item, Block) for line in item.data.decode().removesuffix("\n").split("\n")
    ]


D = Decimal
TWO = datetime(2024, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001 - a time without a zone is meant
HALF = timedelta(days=1, seconds=1, milliseconds=500)
TYPES: list[tuple[str, pa.Array, list[str]]] = [
    ("null", pa.nulls(1), ["null"]),
    ("boolean", pa.array([True, False, None]), ["true", "false", "null"]),
    ("whole", pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"]),
    ("whole", pa.array([2**63 - 1, -(2**63)]), ["9223372036854775807", "-9223372036854775808"]),
    ("whole", pa.array([-128, 127], pa.int8()), ["-128", "127"]),
    ("float64", pa.array([0.1, 1.0, 1e300, -0.0, 5e-324]), ["0.1", "1.0", "1e+300", "-0.0", "5e-324"]),
    ("float64", pa.array([0.1, 1e30, 16777216.0], pa.float32()), ["0.1", "1e+30", "16777216.0"]),
    ("float64", pa.array([1.5], pa.float16()), ["1.5"]),
    ("NaN", pa.array([float("nan"), 1.5, None, float("-inf"), 1e16]), ["NaN", "1.5", "null", "-Infinity", "1e+16"]),
    ("NaN", pa.array([float("inf"), 0.1], pa.float32()), ["Infinity", "0.1"]),
    ("decimal", pa.array([D("1.50"), D("-0.01"), None], pa.decimal128(10, 2)), ["1.50", "-0.01", "null"]),
    ("decimal", pa.array([D("9" * 50)], pa.decimal256(50, 0)), ["9" * 50]),
    ("text", pa.array(["text", "\x01\n", None]), ['"text"', '"\\u0001\\n"', "null"]),
    ("text", pa.array(["text"], pa.large_string()), ['"text"']),
    ("text", pa.array(["text"], pa.string_view()), ['"text"']),
    ("binary", pa.array([b"\xff\0", b"", None]), ['"/wA="', '""', "null"]),
    ("binary", pa.array([b"\xff\0"], pa.large_binary()), ['"/wA="']),
    ("binary", pa.array([b"\xff\0"], pa.binary(2)), ['"/wA="']),
    ("binary", pa.array([b"\xff\0"], pa.binary_view()), ['"/wA="']),
    ("date", pa.array([date(2024, 1, 2), None]), ['"2024-01-02"', "null"]),
    ("date", pa.array([date(2024, 1, 2)], pa.date64()), ['"2024-01-02"']),
    ("date or timestamp before", pa.array([0, -719_162, -719_163, 2_932_896, 2_932_897, 2**31 - 1], pa.date32()),
     ['"1970-01-01"', '"0001-01-01"', "date out of range", '"9999-12-31"', "date out of range", "date out of range"]),
    ("date or timestamp before", pa.array([None, 253_402_300_800_000, -(2**63)], pa.timestamp("ms")),
     ["null", "date out of range", "date out of range"]),
    ("date or timestamp before", pa.array([2**63 - 1, 0], pa.timestamp("us", "UTC")),
     ["date out of range", '"1970-01-01T00:00:00+00:00"']),
    ("timestamp with a zone", pa.array([0], pa.timestamp("ns", "Z")), ['"1970-01-01T00:00:00+00:00"']),
    ("timestamp", pa.array([TWO, datetime(2024, 1, 2)]), ['"2024-01-02T03:04:05.000006"', '"2024-01-02T00:00:00"']),  # noqa: DTZ001
    ("timestamp", pa.array([1], pa.timestamp("ns")), ['"1970-01-01T00:00:00.000000001"']),
    ("timestamp with a zone", pa.array([datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)], pa.timestamp("ms", "Europe/Berlin")),
     ['"2024-01-02T04:04:05+01:00"']),
    ("timestamp with a zone", pa.array([-(2**63) + 2, -2_019_705_671 * 10**9], pa.timestamp("ns", "Asia/Kolkata")),
     ['"1677-09-21T06:05:43.145224194+05:53"', '"1905-12-31T23:59:49+05:21"']),  # offsets with seconds: the same moment
    ("timestamp with a zone", pa.array([-(2**63) + 2], pa.timestamp("ns", "America/New_York")),
     ['"1677-09-20T19:16:43.145224194-04:56"']),
    ("timestamp with a zone", pa.array([-(2**63) + 2, 5], pa.timestamp("ns", "-00:45")),
     ['"1677-09-20T23:27:43.145224194-00:45"', '"1969-12-31T23:15:00.000000005-00:45"']),
    ("timestamp with a zone", pa.array([0, None], pa.timestamp("us", "+05:30")), ['"1970-01-01T05:30:00+05:30"', "null"]),
    ("time", pa.array([time(3, 4, 5, 6)]), ['"03:04:05.000006"']),
    ("time", pa.array([1], pa.time32("s")), ['"00:00:01"']),
    ("duration", pa.array([HALF, -HALF]), ['"P1DT1.5S"', '"-P1DT1.5S"']),
    ("list", pa.array([[1, None], [], None]), ["[1,null]", "[]", "null"]),
    ("list", pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), ["[1,2]", "null"]),
    ("list", pa.array([[D("1.5")], [], None, [None]], pa.large_list(pa.decimal128(3, 1))), ["[1.5]", "[]", "null", "[null]"]),
    ("struct", pa.array([{"a": 1, "b": None}, None]), ['{"a":1,"b":null}', "null"]),
    ("struct", pa.array([{"a": b"x"}, None, {"a": None}]), ['{"a":"eA=="}', "null", '{"a":null}']),
    ("map", pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())), ['{"a":1}', "{}", "null"]),
    ("map", pa.array([[(7, b"x")], None], pa.map_(pa.int64(), pa.binary())), ['{"7":"eA=="}', "null"]),
    ("dictionary", pa.array(["a", "b", "a", None]).dictionary_encode(), ['"a"', '"b"', '"a"', "null"]),
    ("UUID", pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16))),
     ['"30313233-3435-3637-3839-616263646566"']),
    ("another extension", pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])), ['"{}"']),
]  # fmt: skip
IPC_ALONE: list[tuple[str, pa.Array, list[str]]] = [
    ("list", pa.array([[1, 2], None], pa.list_view(pa.int8())), ["[1,2]", "null"]),
    ("run-end", pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), ['"a"', '"a"', '"b"']),
]


@pytest.mark.parametrize(("name", "array", "wanted"), TYPES, ids=[f"{name}-{array.type}" for name, array, _ in TYPES])
def test_each_type_comes_to_what_the_page_says(tmp_path: Path, name: str, array: pa.Array, wanted: list[str]) -> None:
    """And so it does within a list of structs."""
    said = [f'{{"x":{value}}}' for value in wanted]
    nested = [f'{{"x":[{{"y":{value}}}]}}' for value in wanted]
    for how, write in WRITERS.items():
        write(pa.table({"x": array}), tmp_path / how)
        assert lines(tmp_path / how) == said
        inner = pa.StructArray.from_arrays([array], ["y"])
        offsets = pa.array(range(len(array) + 1), pa.int32())
        write(pa.table({"x": pa.ListArray.from_arrays(offsets, inner)}), tmp_path / how)
        assert lines(tmp_path / how) == nested


@pytest.mark.parametrize(("name", "array", "wanted"), IPC_ALONE)
def test_what_only_arrow_has(tmp_path: Path, name: str, array: pa.Array, wanted: list[str]) -> None:
    stream(pa.table({"x": array}), tmp_path / "a")
    assert lines(tmp_path / "a") == [f'{{"x":{value}}}' for value in wanted]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (pa.array([0], pa.timestamp("us", "Mars/Base")), "column x: the time zone 'Mars/Base' is not known"),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["y", "y"]), "two of its fields are called 'y'"),
    ],
)
def test_a_column_that_cannot_be_sent_is_told_before_rows_are_read(tmp_path: Path, array: pa.Array, said: str) -> None:
    parquet(pa.table({"x": pa.ListArray.from_arrays([0, 1], array)}), tmp_path / "a")
    with pytest.raises(UsageProblem, match=said):
        open_source([str(tmp_path / "a")], max_row_bytes=1000)


def test_the_page_and_the_table_agree() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `(.+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 15
    for title, example in rows:
        assert any(title.startswith(name) and example in wanted for name, _, wanted in [*TYPES, *IPC_ALONE]) or any(
            name in title and example in wanted for name, _, wanted in [*TYPES, *IPC_ALONE]
        ), (title, example)


VALUES = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "t": st.text(max_size=5),
            "l": st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=3),
            "b": st.binary(max_size=3),
            "d": st.one_of(st.none(), st.decimals(-99, 99, places=2)),
        }
    ),
)
STRUCT = pa.struct(
    [
        ("n", pa.int64()),
        ("t", pa.string()),
        ("l", pa.list_(pa.float64())),
        ("b", pa.binary()),
        ("d", pa.decimal128(6, 2)),
    ]
)


@examples(15)
@given(
    st.lists(st.lists(VALUES, max_size=3), max_size=30),
    st.sampled_from(list(WRITERS)),
    st.lists(st.integers(0, 2000), max_size=5),
)
def test_rows_are_the_same_in_whatever_ranges_they_are_read(rows: list[list[Any]], how: str, cuts: list[int]) -> None:
    table = pa.table(
        {"x": pa.array(rows, pa.list_(STRUCT)), "y": pa.array(map(str, range(len(rows)))).dictionary_encode()}
    )
    with reading.scratch() as folder:
        WRITERS[how](table, Path(folder) / "a")
        whole = lines(Path(folder) / "a")
        assert lines(Path(folder) / "a", sorted(cuts)) == whole
    read = [json.loads(line, parse_float=str) for line in whole]
    assert [row["y"] for row in read] == [str(number) for number in range(len(rows))]
    for row, values in zip(read, rows, strict=True):
        for got, value in zip(row["x"], values, strict=True):
            if value is None:
                assert got is None
                continue
            assert (got["n"], got["t"], got["d"]) == (
                value["n"],
                value["t"],
                None if value["d"] is None else str(value["d"]),
            )
            assert [None if one is None else float(one) for one in got["l"]] == value["l"]


def test_a_file_that_polars_wrote(tmp_path: Path) -> None:
    of_polars(pa.table({"x": [1, 2], "y": [["a"], None]}), tmp_path / "a")
    assert lines(tmp_path / "a") == ['{"x":1,"y":["a"]}', '{"x":2,"y":null}']


@pytest.mark.parametrize("write", ["write_parquet", "write_ipc", "write_ipc_stream"])
def test_categories_that_polars_wrote(tmp_path: Path, write: str) -> None:
    """Their texts are views, which pyarrow takes out of no dictionary."""
    kinds: dict[str, Any] = {"a": pl.Categorical, "b": pl.Enum(["x", "y"]), "c": pl.List(pl.Categorical)}
    frame = pl.DataFrame({"a": ["u", None, "v"], "b": [None, "y", "x"], "c": [["u"], None, [None, "w"]]}, schema=kinds)
    getattr(frame, write)(tmp_path / "a")
    assert lines(tmp_path / "a", [1]) == [
        '{"a":"u","b":null,"c":["u"]}',
        '{"a":null,"b":"y","c":null}',
        '{"a":"v","b":"x","c":[null,"w"]}',
    ]


@pytest.mark.parametrize("write", ["write_parquet", "write_ipc", "write_ipc_stream"])
def test_whole_numbers_of_128_bits_are_told(tmp_path: Path, write: str) -> None:
    getattr(pl.DataFrame({"a": pl.Series([2**70], dtype=pl.Int128)}), write)(tmp_path / "a")
    with pytest.raises(
        UsageProblem, match=r"a: has a column of whole numbers of 128 bits, which are not read; write it as"
    ):
        lines(tmp_path / "a")


def test_a_walk_is_gone_on_with_and_others_begin_anew(tmp_path: Path) -> None:
    parquet(pa.table({"x": range(100)}), tmp_path / "a")
    source = open_source([str(tmp_path / "a")], max_row_bytes=1000)

    async def read() -> list[bytes]:
        cursor = source.cursor()
        step = source.files[0].detail.step
        found = []
        for start, stop in ((0, 10), (10, 20), (95, 100), (20, 22)):
            items = [item async for item in cursor.read(start * step, stop * step)]
            found.append(b"".join(item.data for item in items if isinstance(item, Block)))
        await cursor.aclose()
        return found

    found = asyncio.run(read())
    assert [json.loads(part.splitlines()[0])["x"] for part in found] == [0, 10, 95, 20]
    assert [len(part.splitlines()) for part in found] == [10, 10, 5, 2]


@pytest.mark.parametrize("how", ["parquet", "stream", "file"])
@pytest.mark.parametrize(("group", "opened"), [(1000, [0]), (10, [0, 20, 48, 70])])
def test_a_walk_that_stands_before_a_range_goes_on_where_that_passes_over_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, group: int, opened: list[int]
) -> None:
    """A row group of a million rows is not gone through from its beginning for each range of it, and none is gone through that can
    be passed over."""
    table = pa.table({"x": range(100)})
    if how == "parquet":
        pq.write_table(table, tmp_path / "a", row_group_size=group)
    else:
        {"stream": stream, "file": file_of}[how](table, tmp_path / "a", rows=group)
    source = open_source([str(tmp_path / "a")], max_row_bytes=1000)
    walks: list[int] = []
    begin = TableReader._walk_at

    def counted(reader: TableReader, row: int) -> Any:
        make = reader._open

        def noted(file: SourceFile, row: int, batch_rows: int) -> Walk:
            walks.append(row)
            return make(file, row, batch_rows)

        with monkeypatch.context() as patch:
            patch.setattr(reader, "_open", noted)
            return begin(reader, row)

    monkeypatch.setattr(TableReader, "_walk_at", counted)

    async def read() -> list[int]:
        cursor = source.cursor()
        step = source.files[0].detail.step
        for start, stop in ((0, 5), (20, 25), (28, 30), (48, 49), (70, 75)):
            items = [item async for item in cursor.read(start * step, stop * step)]
            data = b"".join(item.data for item in items if isinstance(item, Block))
            assert [json.loads(line)["x"] for line in data.splitlines()] == list(range(start, stop))
        await cursor.aclose()
        return walks

    assert asyncio.run(read()) == opened


@pytest.mark.parametrize("how", WRITERS)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a"
    WRITERS[how](pa.table({"x": ["some text that takes its place"] * 50}), path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20]):
        path.write_bytes(content)
        with pytest.raises(SourceUnreadable, match=r"/a: damaged (Parquet|Arrow)") as caught:
            lines(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", WRITERS)
def test_a_file_that_is_damaged_within_gives_what_comes_before(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a"
    WRITERS[how](pa.table({"x": [os.urandom(3000).hex() for _ in range(50)]}), path)
    open_source([str(path)], max_row_bytes=100_000)
    whole = bytearray(path.read_bytes())
    source = open_source([str(path)], max_row_bytes=100_000)
    middle = len(whole) * 2 // 3
    path.write_bytes(whole[:middle])
    with pytest.raises(Exception, match="has become shorter"):
        asyncio.run(reading.read_items(source, [0, reading.FAR]))


def test_what_stands_behind_a_null_may_be_anything(tmp_path: Path) -> None:
    """Such as a place in a dictionary that has no values."""
    kind = pa.dictionary(pa.int8(), pa.string())
    for of_all in (pa.struct([("a", kind)]), pa.list_(kind, 2), pa.struct([("a", pa.list_(kind, 2))])):
        file_of(pa.table({"x": pa.array([None, None], of_all)}), tmp_path / "a")
        assert lines(tmp_path / "a") == ['{"x":null}'] * 2


def test_a_part_of_lists_of_a_fixed_size_has_all_of_its_values(tmp_path: Path) -> None:
    of_all = pa.struct([("a", pa.int8()), ("b", pa.null())])
    rows = [[{"a": number, "b": None}, None] for number in range(3)]
    batch = pa.record_batch({"x": pa.array(rows, pa.list_(of_all, 2))})
    found = LineMaker(batch.schema, ["x"]).lines(batch.slice(1))
    assert [json.loads(line)["x"] for line in found.splitlines()] == rows[1:]


def test_a_file_with_fewer_rows_than_it_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(pa.table({"x": [1]}), tmp_path / "a")
    monkeypatch.setattr(
        columnar_parquet, "_batches", lambda *_: iter(())
    )  # so pyarrow reads what some of its versions write
    with pytest.raises(SourceUnreadable, match=re.escape("from row 1 on (it holds fewer rows than its footer says)")):
        lines(tmp_path / "a")


def test_a_file_without_rows(tmp_path: Path) -> None:
    for how, write in WRITERS.items():
        write(pa.table({"x": pa.array([], pa.string())}), tmp_path / how)
        assert lines(tmp_path / how) == []


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather"])
def test_an_empty_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceUnreadable, match="is empty"):
        lines(tmp_path / name)


@examples(15)
@given(
    st.lists(st.none() | st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=8),
    st.sampled_from([pa.ListViewArray, pa.LargeListViewArray]),
    st.lists(st.integers(0, 200), max_size=3),
    st.booleans(),
)
def test_list_views_may_stand_in_any_order_and_share_values(
    views: list[tuple[int, int] | None], kind: Any, cuts: list[int], is_nested: bool
) -> None:
    offset = pa.int64() if kind is pa.LargeListViewArray else pa.int32()
    places = [view or (9, 0) for view in views]  # where a null stands says nothing
    column = kind.from_arrays(
        pa.array([start for start, _ in places], offset),
        pa.array([length for _, length in places], offset),
        pa.array([0.5, None, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]),
        mask=pa.array([view is None for view in views]),
    )
    wanted = column.to_pylist()
    if is_nested:
        column, wanted = pa.StructArray.from_arrays([column], ["m"]), [{"m": value} for value in wanted]
    with reading.scratch() as folder:
        stream(pa.table({"x": column}), Path(folder) / "a")
        assert [json.loads(line)["x"] for line in lines(Path(folder) / "a", sorted(cuts))] == wanted


@pytest.mark.parametrize("is_nested", [False, True])
def test_list_views_that_share_so_much_that_they_have_no_room_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_nested: bool
) -> None:
    """By their lengths: eight thousand values can stand for as many as a file wants."""
    monkeypatch.setattr(plain, "MOST_UNFOLDED_BYTES", 2**20)
    values = pa.array([0.5] * 8192)
    for rows, length in ((16, 8192), (17, 8192), (1, 8192)):
        column = pa.ListViewArray.from_arrays([0] * rows, [length] * rows, values)
        if is_nested:  # one list of views, each of which has all values
            column = pa.ListViewArray.from_arrays([0], [rows], column)
        stream(pa.table({"x": column}), tmp_path / f"{rows}", rows=100)
        if rows < 17:
            assert len(lines(tmp_path / f"{rows}")) == (1 if is_nested else rows)
            continue
        with pytest.raises(
            SourceUnreadable, match=r"/17: .* row 1 .* share values: .* take 1\.1 MiB, and at most 1\.0 MiB"
        ):
            lines(tmp_path / f"{rows}")


@pytest.mark.parametrize("end", [8, 0])
def test_a_second_stream_behind_the_first_is_not_passed_over(tmp_path: Path, end: int) -> None:
    """What `cat a.arrows b.arrows` makes: readers stop at the first one's end, with its mark or without."""
    stream(pa.table({"a": [1]}), tmp_path / "a")
    one = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(one[: len(one) - end] + one)
    with pytest.raises(UsageProblem, match=rf"/b: .* ends at byte {len(one) - end:,}, and more stands behind it"):
        lines(tmp_path / "b")
    (tmp_path / "padded").write_bytes(one + bytes(64))
    assert lines(tmp_path / "padded") == ['{"a":1}']


def of_indexes(table: pa.Table, path: Path) -> None:
    """As other writers do: indexes of pages stand behind the data."""
    pq.write_table(table, path, row_group_size=3, write_page_index=True, data_page_size=16)


def polars_parquet(table: pa.Table, path: Path) -> None:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(path, row_group_size=3)


@pytest.mark.parametrize("write", [parquet, polars_parquet, of_indexes])
@pytest.mark.parametrize("rows", [0, 1, 500])
def test_parquet_files_one_behind_the_other_are_refused(
    tmp_path: Path, write: Callable[[pa.Table, Path], None], rows: int
) -> None:
    """What `cat a.parquet b.parquet` makes: the last footer alone would count, and its offsets are those of its own file."""
    texts = pa.array([f"a{row} PAR1" for row in range(rows)], pa.string())
    write(pa.table({"a": texts}), tmp_path / "a")
    write(pa.table({"a": ["x", "y", "z", "zz"]}), tmp_path / "b")
    one, other = (tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()
    assert len(lines(tmp_path / "b")) == 4
    assert rows == 0 or len(lines(tmp_path / "a")) == rows
    for together, begins in ((one + other, len(one)), (other + one, len(other)), (one + one + one, 2 * len(one))):
        (tmp_path / "c").write_bytes(together)
        with pytest.raises(
            UsageProblem, match=rf"/c: is several Parquet files .* begins at byte {begins:,}\).* name the"
        ):
            lines(tmp_path / "c")


def test_marks_of_parquet_within_a_file_are_values(tmp_path: Path) -> None:
    for number, texts in enumerate((["PAR1PAR1"], ["PAR1PAR1", "b" * 3000])):
        of_indexes(pa.table({"a": texts}), tmp_path / f"{number}")
        assert [json.loads(line)["a"] for line in lines(tmp_path / f"{number}")] == texts


def test_what_has_no_form_in_json_is_refused_with_its_column(tmp_path: Path) -> None:
    months = pa.array([pa.MonthDayNano([1, 2, 3])])
    stream(pa.table({"a": [1], "b": pa.StructArray.from_arrays([months], ["c"])}), tmp_path / "a")
    with pytest.raises(UsageProblem, match="/a: column b: month_day_nano_interval has no form in JSON"):
        lines(tmp_path / "a")


def test_columns_without_a_name_of_their_own_get_one(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", ""])
    stream(table, tmp_path / "a")
    source = open_source([str(tmp_path / "a")], max_row_bytes=100)
    assert "the key of column 2 is 'a_2'; column 3 has no name: its key is 'column_3'" in source.notes[0]
    assert lines(tmp_path / "a") == ['{"a":1,"a_2":2,"column_3":3}']


async def test_a_reader_is_gone_once_it_is_closed(tmp_path: Path) -> None:
    """Not only once garbage is collected: what is known of a file of thousands of row groups takes megabytes."""
    parquet(pa.table({"x": list(range(10))}), tmp_path / "a")
    source = open_source([str(tmp_path / "a")], max_row_bytes=1000)
    gc.disable()
    try:
        opened: list[weakref.ref[pq.ParquetFile]] = []
        real = pq.ParquetFile

        class Watched(real):  # type: ignore[misc,valid-type]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                opened.append(weakref.ref(self))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pq, "ParquetFile", Watched)
            cursor = source.cursor()
            async with aclosing(cursor.read(0, source.files[0].detail.step * 4)) as rows:
                assert [item async for item in rows]
            await cursor.aclose()
            del rows, cursor
        assert opened
        with anyio.fail_after(20):
            while any(ref() for ref in opened):  # a thread lets go of its last work a moment later
                await anyio.sleep(0.01)
    finally:
        gc.enable()


def test_what_is_encrypted_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"PARE" + b"\0" * 100 + b"PARE")
    with pytest.raises(UsageProblem, match="encrypted Parquet is not read yet"):
        lines(tmp_path / "a")


def test_rows_at_the_end_of_a_row_group_of_many_pages_are_found(tmp_path: Path) -> None:
    table = pa.table({"x": [f"{number} {'x' * 500}" for number in range(5000)]})
    pq.write_table(table, tmp_path / "a", row_group_size=5000, data_page_size=4096, use_dictionary=False)
    source = open_source([str(tmp_path / "a")], max_row_bytes=100_000)
    step = source.files[0].detail.step
    found = asyncio.run(reading.read_items(source, [4990 * step, 4991 * step, reading.FAR]))
    texts = [
        json.loads(line)["x"].split()[0]
        for part in found
        for item in part
        if isinstance(item, Block)
        for line in item.data.splitlines()
    ]
    assert texts == [str(number) for number in range(4990, 5000)]


def test_of_a_large_batch_polars_sees_only_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at all values of a list that it is given, whatever part of it the rows are: that grew with the square of a batch."""
    seen: list[pa.RecordBatch] = []
    from_arrow = pl.from_arrow

    def watched(batch: Any, **how: Any) -> Any:
        seen.append(batch)
        return from_arrow(batch, **how)

    monkeypatch.setattr(pl, "from_arrow", watched)
    turn = {"role": "user", "content": [{"text": "x"}]}
    batch = pa.RecordBatch.from_pylist([{"s": {"l": [number]}, "m": [turn] * 3} for number in range(1000)])
    lines = LineMaker(batch.schema, batch.schema.names).lines(batch.slice(500, 2))
    assert [json.loads(line)["s"]["l"] for line in lines.splitlines()] == [[500], [501]]
    (taken,) = seen
    assert len(taken["m"].values) == 6
    assert len(taken["m"].values.field("content").values) == 6
    assert len(taken["s"].field("l").values) == 2


def test_all_that_stands_before_damage_is_given(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table({"n": list(range(3000)), "text": [f"{n} " * 400 for n in range(3000)]})
    pa.parquet.write_table(table, path, row_group_size=1000, compression="none", use_dictionary=False)
    metadata = pa.parquet.ParquetFile(path).metadata
    begin = metadata.row_group(2).column(1).data_page_offset
    data = bytearray(path.read_bytes())
    data[begin : begin + 64] = b"\xff" * 64
    path.write_bytes(data)

    async def read() -> int:
        cursor, count = open_source([str(path)], max_row_bytes=1 << 20).cursor(), 0
        with pytest.raises(SourceUnreadable, match="from row 2,001 on"):
            async for item in cursor.read(0, 1 << 60):
                assert isinstance(item, Block)
                count += item.data.count(b"\n")
        await cursor.aclose()
        return count

    assert asyncio.run(read()) == 2000
