"""A made-up format that is no text: its rows are found by number, at any time. Installed by the tests as another's package."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio.to_thread

from bulkup.errors import SourceUnreadable
from bulkup.model import Block, LongRow
from bulkup.sources import Access, Format, Item, SourceFile, Unit

__all__ = ["CELLS", "MAGIC", "RECORD", "STEP"]

MAGIC = b"CELL\0\0\0\0"
RECORD = 32
STEP = 50
"""How many positions a row takes: what it comes to as JSON, about."""


def length(file: SourceFile) -> int:
    """The positions of *file*."""
    return (Path(file.path).stat().st_size - len(MAGIC)) // RECORD * STEP


class CellReader:
    """Rows of two texts, read a block at a time in a thread."""

    def __init__(self, file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> None:
        self._file = Path(file.uri).open("rb")  # noqa: SIM115 - closed by `close`
        self._base = base
        self._count = max(1, block_bytes // STEP)
        self._max_row_bytes = max_row_bytes

    async def rows(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        first, last = -(-start // STEP), -(-stop // STEP)
        for number in range(first, last, self._count):
            count = min(self._count, last - number)
            lines = await anyio.to_thread.run_sync(self._lines, number, count)
            begin = self._base + number * STEP
            if max(map(len, lines)) > self._max_row_bytes:
                for place, line in enumerate(lines):
                    at = begin + place * STEP
                    yield LongRow(line, at, at + STEP)
                continue
            end = begin + count * STEP
            yield Block(b"".join(line + b"\n" for line in lines), begin, end, range(begin, end, STEP))

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        raise ValueError("its bytes are no lines")

    def close(self) -> None:
        self._file.close()

    def _lines(self, number: int, count: int) -> list[bytes]:
        self._file.seek(len(MAGIC) + number * RECORD)
        data = self._file.read(count * RECORD)
        if len(data) < count * RECORD:
            raise SourceUnreadable(f"{self._file.name}: cut off")
        records = (data[at : at + RECORD] for at in range(0, len(data), RECORD))
        return [_as_json(record) for record in records]


def _as_json(record: bytes) -> bytes:
    question, answer = (half.rstrip(b"\0").decode() for half in (record[: RECORD // 2], record[RECORD // 2 :]))
    return json.dumps({"question": question, "answer": answer}).encode()


CELLS = Format(
    name="cells",
    title="the cells format",
    magic=(MAGIC,),
    unit=Unit.ROW,
    access=Access.ANY_RANGE,
    reader=CellReader,
    length=length,
)
