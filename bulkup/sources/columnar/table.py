"""Files of columns: what is known of one once its footer or its headers have been read, and the reader of its rows by number."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import anyio.to_thread

from bulkup.encoding.lines import line_count
from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.refusal import Refusal
from bulkup.sources.columnar.loading import pyarrow, tried
from bulkup.sources.columnar.plain import LineMaker, without_form
from bulkup.sources.format import Item, SourceFile
from bulkup.sources.inputs import open_file
from bulkup.sources.reading import Reading
from bulkup.sources.separated.dialect import names_of

__all__ = ["Table", "TableReader", "Walk", "described", "readable"]

_BATCH_BYTES = 1024 * 1024
"""So much is read and made JSON at once, about."""

_PARKED = 2

_TOO_WIDE = "Integers with more than 64 bits"
"""What pyarrow says of polars' Int128 and UInt128."""

_TIDIED_EVERY_BYTES = 32 * 1024 * 1024
"""After so much JSON the memory that several threads have freed goes back to the system: else it grows with the file."""


@dataclass(frozen=True, slots=True)
class Table:
    """*rows* rows of columns with these *names*; each takes *step* positions, what it comes to as JSON, about."""

    rows: int
    step: int
    names: tuple[str, ...]
    note: str | None = None

    @property
    def length(self) -> int:
        """How many positions the file takes."""
        return self.rows * self.step


class Walk(Protocol):
    """Goes through the rows of a file from one on. Blocks. Raises what its library raises."""

    row: int
    """The number of the row that comes next."""

    firsts: list[int]
    """At which rows a new walk can begin: those of row groups, or of batches, and behind them the end."""

    def next(self, count: int) -> Any:
        """The next rows as a record batch, at most *count*, and at least one."""


def described(schema: Any, rows: int, size: int, reading: Reading) -> Table:
    """What a file of *schema* holds, whose values take *size* bytes. Raises `UsageProblem` where a column has no form in JSON."""
    for field in schema:
        fault = without_form(field.type)
        if fault is not None:
            raise UsageProblem(f"column {field.name}: {fault}; write the file without it, or as text")
    names, said = names_of(schema.names, reading)
    return Table(rows, max(size // rows, 1) if rows else 1, names, "; ".join(said) or None)


def readable(uri: str, title: str, work: Callable[[], Any]) -> Any:
    """What *work* gives. Raises `SourceUnreadable` where the file is damaged, `UsageProblem` where a type in it is not read."""
    found = tried(work)
    if isinstance(found, Refusal):
        if _TOO_WIDE in str(found.why):
            raise UsageProblem(
                f"{uri}: has a column of whole numbers of 128 bits, which are not read; write it as Decimal, or as text: "
                "frame.with_columns(pl.col(pl.Int128, pl.UInt128).cast(pl.String))"
            )
        raise SourceUnreadable(f"{uri}: damaged {title} ({_first_line(found)})") from found.why
    return found


def _first_line(found: Refusal) -> str:
    return str(found.why).strip().partition("\n")[0] or type(found.why).__name__


class TableReader:
    """Rows by their numbers, any range at any time. *walk* goes through the file from a row on.

    Going on where a range before has ended costs nothing. Any other range begins with what a walk passes over: one that stands
    before it, or a new one.
    """

    def __init__(
        self, file: SourceFile, base: int, *, block_bytes: int, walk: Callable[[SourceFile, int, int], Walk]
    ) -> None:
        self._fd = open_file(file) if file.where is None else None
        self._file = file
        self._table: Table = file.detail
        self._base = base
        self._block_bytes = block_bytes
        self._open = walk
        self._parked: dict[int, Walk] = {}
        self._made_bytes = 0

    async def rows(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        step = self._table.step
        row, last = -(-start // step), min(-(-stop // step), self._table.rows)
        if row >= last:
            return
        loop = asyncio.get_running_loop()
        walk = await anyio.to_thread.run_sync(self._walk_at, row)
        under_way: list[asyncio.Future[Any]] = [loop.run_in_executor(None, self._batch, walk, last)]
        blocks: Sequence[Block] = ()
        try:
            while under_way or blocks:
                # while these are worked on, the next ones are made of a batch, and behind them a batch is read
                fault = made = None
                if under_way:
                    try:
                        row, batch = await _done(under_way)
                    except SourceUnreadable as error:
                        fault = error  # what came before it is handed out first
                    else:
                        if walk.row < last:
                            under_way.append(loop.run_in_executor(None, self._batch, walk, last))
                        made = loop.run_in_executor(None, self._blocks, row, batch)
                        under_way.insert(0, made)
                for block in blocks:
                    yield block
                if fault is not None:
                    raise fault
                blocks = await _done(under_way) if made is not None else ()
        finally:
            if under_way:
                await asyncio.wait(under_way)
                for future in under_way:
                    future.exception()
            elif not blocks:
                self._park(walk)

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        raise ValueError("its bytes are no lines")

    def close(self) -> None:
        import os

        self._parked.clear()
        if self._fd is not None:
            os.close(self._fd)

    def prepare(self, start: int, stop: int) -> None:
        """Rows are found by a file's end: nothing can be fetched before that is known."""

    def _walk_at(self, row: int) -> Walk:
        before = max((at for at in list(self._parked) if at <= row), default=row)
        parked = self._parked.pop(before, None)  # another thread may have taken it
        if parked is not None and parked.row < parked.firsts[bisect_right(parked.firsts, row) - 1]:
            self._parked[before] = parked  # a new walk to that row passes over less
        elif parked is not None:
            while parked.row < row:
                self._sure(parked.row, partial(parked.next, row - parked.row))
            return parked
        walk: Walk = self._sure(row, lambda: self._open(self._file, row, max(_BATCH_BYTES // self._table.step, 1)))
        return walk

    def _park(self, walk: Walk) -> None:
        if walk.row < self._table.rows:
            self._parked[walk.row] = walk
            while len(self._parked) > _PARKED:
                self._parked.pop(next(iter(self._parked)))

    def _batch(self, walk: Walk, last: int) -> tuple[int, Any]:
        """The next rows before *last*, with the number of the first."""
        row = walk.row
        return row, self._sure(row, lambda: walk.next(last - row))

    def _blocks(self, row: int, batch: Any) -> Sequence[Block]:
        """The rows of *batch*, of which the first has the number *row*, as blocks."""
        step = self._table.step
        maker = LineMaker(batch.schema, self._table.names)
        lines = self._sure(row, lambda: maker.lines(batch))
        self._made_bytes += len(lines)
        if self._made_bytes >= _TIDIED_EVERY_BYTES:
            self._made_bytes = 0
            pyarrow().default_memory_pool().release_unused()
        begin = self._base + row * step
        blocks = _cut(lines, begin, step, self._block_bytes)
        if (blocks[-1].end if blocks else begin) != begin + batch.num_rows * step:
            raise SourceUnreadable(f"{self._file.uri}: its rows from {row + 1:,} on cannot be written as JSON")
        return blocks

    def _sure(self, row: int, work: Callable[[], Any]) -> Any:
        found = tried(work)
        if isinstance(found, Refusal):
            where = f"{self._file.uri}: cannot be read from row {row + 1:,} on"
            raise SourceUnreadable(f"{where} ({_first_line(found)}); what came before has been read") from found.why
        return found


async def _done(under_way: list[asyncio.Future[Any]]) -> Any:
    """What the first of *under_way* gives. It is no longer one of them then; while it is waited for, it is."""
    await asyncio.wait(under_way[:1])
    return under_way.pop(0).result()


def _cut(lines: bytes, begin: int, step: int, block_bytes: int) -> Sequence[Block]:
    made, at = [], 0
    while at < len(lines):
        behind = lines.rfind(b"\n", at, at + block_bytes) + 1
        if behind <= at:
            behind = lines.index(b"\n", at) + 1
        data = lines[at:behind]
        end = begin + line_count(data) * step
        made.append(Block(data, begin, end, range(begin, end, step)))
        begin, at = end, behind
    return made
