"""Files of columns: what is known of one once its footer or its headers have been read, and the reader of its rows by number."""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, Protocol

import anyio.to_thread

from bulkup.encoding.lines import line_count
from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.refusal import Refusal
from bulkup.sources.columnar.batches import FIRST_ROWS, rows_of
from bulkup.sources.columnar.loading import pyarrow, tried
from bulkup.sources.columnar.plain import LineMaker, without_form
from bulkup.sources.format import Item, SourceFile
from bulkup.sources.inputs import open_file
from bulkup.sources.reading import Reading
from bulkup.sources.separated.dialect import names_of

__all__ = ["Table", "TableReader", "Walk", "described", "readable"]

_UNFOLDED = 4
"""A batch may come to so many times as much JSON as is wanted at once; more of it is made piece by piece."""

_PARKED = 2
_AHEAD = 3
"""So many batches are on their way."""

_TOO_WIDE = "Integers with more than 64 bits"
"""What pyarrow says of polars' Int128 and UInt128."""

_TIDIED_EVERY_BYTES = 32 * 1024 * 1024
"""After so much JSON the memory that several threads have freed goes back to the system: else it grows with the file."""

_MOST_FIRSTS = 1024
"""Where there are more row groups or batches, each is little of the file."""


@dataclass(frozen=True, slots=True)
class Table:
    """*rows* rows of columns with these *names*; each takes *step* positions, what it comes to as JSON, about. *firsts*: the rows
    from which on it is read without passing over others, where they are far apart."""

    rows: int
    step: int
    names: tuple[str, ...]
    note: str | None = None
    firsts: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """How many positions the file takes."""
        return self.rows * self.step

    @property
    def starts(self) -> Sequence[int]:
        """The positions of `firsts`."""
        return [row * self.step for row in self.firsts]


class Walk(Protocol):
    """Goes through the rows of a file from one on. Blocks. Raises what its library raises."""

    row: int
    """The number of the row that comes next."""

    firsts: list[int]
    """At which rows a new walk can begin: those of row groups, or of batches, and behind them the end."""

    def next(self, count: int) -> Any:
        """The next rows as a record batch, at most *count*, and at least one."""


class Turn:
    """Threads take turns, by their numbers. *is_over*: nobody has anything to do any more."""

    def __init__(self) -> None:
        self._given = 0
        self._now = 0
        self._changed = threading.Condition()
        self.is_over = False

    def following(self) -> int:
        """The number of who comes next."""
        self._given += 1
        return self._given - 1

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        """Wait for the turn of *number*, and pass it on."""
        with self._changed:
            self._changed.wait_for(lambda: self._now == number)
        try:
            yield
        finally:
            with self._changed:
                self._now += 1
                self._changed.notify_all()


def described(uri: str, schema: Any, group_rows: Sequence[int], size: int, reading: Reading) -> Table:
    """What the file at *uri*, of *schema*, holds, whose values take *size* bytes, in row groups or batches of so many rows. Raises
    `UsageProblem` where a column has no form in JSON."""
    for field in schema:
        fault = without_form(field.type)
        if fault is not None:
            raise UsageProblem(f"{uri}: column {field.name}: {fault}; write the file without it, or as text")
    names, said = names_of(schema.names, reading)
    rows = sum(group_rows)
    firsts = tuple(accumulate(group_rows[:-1], initial=0)) if 0 < len(group_rows) <= _MOST_FIRSTS else ()
    return Table(rows, max(size // rows, 1) if rows else 1, names, "; ".join(said) or None, firsts)


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
        self._row_bytes: int | None = None
        """What a row came to as JSON, in the batch that was made last."""

    async def rows(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        step = self._table.step
        row, last = -(-start // step), min(-(-stop // step), self._table.rows)
        if row >= last:
            return
        loop = asyncio.get_running_loop()
        walk = await anyio.to_thread.run_sync(self._walk_at, row)
        turn = Turn()
        under_way: deque[asyncio.Future[Sequence[Block] | None]] = deque()
        is_whole = False
        try:
            while True:
                # while these are worked on, threads of their own read the next batches and make JSON of them
                while len(under_way) < (1 if self._row_bytes is None else _AHEAD):
                    under_way.append(loop.run_in_executor(None, self._next, walk, last, turn, turn.following()))
                await asyncio.wait({under_way[0]})
                blocks = under_way.popleft().result()
                if blocks is None:
                    break
                for block in blocks:
                    yield block
            is_whole = True
        finally:
            if under_way:
                await asyncio.wait(under_way)
                for future in under_way:
                    future.exception()
            if is_whole:
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
        walk: Walk = self._sure(row, lambda: self._open(self._file, row, rows_of(self._table.step)))
        return walk

    def _park(self, walk: Walk) -> None:
        if walk.row < self._table.rows:
            self._parked[walk.row] = walk
            while len(self._parked) > _PARKED:
                self._parked.pop(next(iter(self._parked)))

    def _next(self, walk: Walk, last: int, turn: Turn, number: int) -> Sequence[Block] | None:
        """The next rows before *last*; None where there are no more. Several threads make JSON at once, one at a time reads."""
        with turn.of(number):
            row = walk.row
            if row >= last or turn.is_over:
                return None
            turn.is_over = True  # unless it can be read
            batch = self._sure(row, lambda: walk.next(min(last - row, self._most_rows)))
            turn.is_over = False
        return self._blocks(row, batch)

    @property
    def _most_rows(self) -> int:
        """A batch as it is read may come to far more as JSON, where rows share values."""
        return FIRST_ROWS if self._row_bytes is None else _UNFOLDED * rows_of(self._row_bytes)

    def _blocks(self, row: int, batch: Any) -> Sequence[Block]:
        """The rows of *batch*, of which the first has the number *row*, as blocks."""
        step = self._table.step
        maker = LineMaker(batch.schema, self._table.names)
        lines = self._sure(row, lambda: maker.lines(batch))
        self._row_bytes = len(lines) // batch.num_rows
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
