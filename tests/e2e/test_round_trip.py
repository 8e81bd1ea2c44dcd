"""Tables at random, written by other people's writers: what the service stores of them is what it stores of the same JSON lines."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import orjson
import polars as pl
from hypothesis import Phase, given
from hypothesis import strategies as st

from bulkup.emulator import Spawned
from tests.e2e.harness import Bench, Row
from tests.examples import examples

FLAT: dict[str, Any] = {"i": pl.Int64, "f": pl.Float64, "b": pl.Boolean, "t": pl.String}
NESTED: dict[str, Any] = {"l": pl.List(pl.Int64), "s": pl.Struct({"x": pl.String, "y": pl.Int64})}


def _lines(rows: Sequence[Row], path: Path) -> None:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def _frame(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={name: {**FLAT, **NESTED}[name] for name in rows[0]})


def _workbook(rows: Sequence[Row], path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(list(rows[0]))
    for row in rows:
        book.active.append(list(row.values()))
    book.save(path)


WRITERS: dict[str, Callable[[Sequence[Row], Path], None]] = {
    "rows.parquet": lambda rows, path: _frame(rows).write_parquet(path, row_group_size=3),
    "rows.arrow": lambda rows, path: _frame(rows).write_ipc(path, compression="zstd"),
    "stream.arrow": lambda rows, path: _frame(rows).write_ipc_stream(path),
    "rows.csv": lambda rows, path: _frame(rows).write_csv(path),
    "rows.tsv": lambda rows, path: _frame(rows).write_csv(path, separator="\t", line_terminator="\r\n"),
    "rows.xlsx": _workbook,
}
OF_FLAT_ROWS = ("rows.csv", "rows.tsv", "rows.xlsx")

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")) | st.sampled_from('\n",;\t'), max_size=9
)
"""Not what a workbook cannot hold."""
ROWS = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-(2**53), 2**53),
        "f": st.none() | st.integers(-(10**6), 10**6).map(lambda eighths: eighths / 8 + 1 / 16),
        "b": st.none() | st.booleans(),
        "t": TEXT.map("t{}".format),
        "l": st.none() | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
        "s": st.none() | st.builds(lambda x, y: {"x": x, "y": y}, st.none() | TEXT, st.none() | st.integers(0, 9)),
    }
).map(lambda row: {name: row[name] for name in (*FLAT, *NESTED)})


@examples(5, phases=[Phase.generate])  # each example is two uploads: none for shrinking
@given(st.lists(ROWS, min_size=1, max_size=12), st.sampled_from(sorted(WRITERS)))
def test_what_is_stored_does_not_depend_on_the_kind_of_file(
    one_emulator: Spawned, made: list[dict[str, Any]], name: str
) -> None:
    rows = [{key: row[key] for key in FLAT} for row in made] if name in OF_FLAT_ROWS else made
    wanted = _stored(one_emulator, rows, "rows.jsonl", _lines)
    assert _stored(one_emulator, rows, name, WRITERS[name]) == wanted


def _stored(emulator: Spawned, rows: Sequence[Row], name: str, write: Callable[[Sequence[Row], Path], None]) -> Any:
    emulator.reset()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(emulator, Path(folder), [])
        write(rows, Path(folder) / name)
        receipt = asyncio.run(bench.run(bench.nebius(), source=Path(folder) / name))
        (lane,) = receipt.destinations.values()
        assert (receipt.exit_code, lane.rows_landed) == (0, len(rows)), lane.reason
        return bench.stored("nebius")
