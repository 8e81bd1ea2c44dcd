"""The pass over a source: every block, in order, to every judge."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from bulkup.encoding import RowOptions, Target
from bulkup.encoding.decision import exploder_of, readable_rows
from bulkup.encoding.exploding import block_of
from bulkup.errors import SourceUnreadable
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.scan.by_function import MadeRows
from bulkup.scan.counting import Check
from bulkup.scan.found import Found
from bulkup.scan.judging import Judge, judge_of
from bulkup.scan.sample import Sample
from bulkup.scan.seen import Place
from bulkup.scan.spread import Part
from bulkup.sources import Cursor, Item, Source, open_files
from bulkup.sources.positions import file_at

__all__ = ["scan"]

_UNREADABLE_BLOCKS = 1024
"""Before the first row that can be read; behind so many nobody looks for one."""

_END = 2**62
"""A position behind every source."""


async def scan(
    source: Source,
    lanes: Mapping[str, tuple[Target, RowOptions]],
    check: Check,
    reached: Callable[[int], None],
    parts: Sequence[Part] | None = None,
    *,
    goes_on: bool = False,
) -> dict[str, Found]:
    """What becomes of the rows of *source*, or where *parts* are given of these, in each of *lanes*. *reached* hears how many bytes
    of the files were read. *goes_on*: the source is the beginning of another.

    It blocks its event loop while it works, so it has one of its own. What cannot be read further is no error: what came before
    counts. Raises `UsageProblem` where a destination cannot take these rows at all, and `SourceChanged`.
    """
    options = next(iter(lanes.values()))[1]
    found: dict[str, Found] = {}
    judges = {name: await _judge(source, target, options, check) for name, (target, options) in lanes.items()}
    while judges:
        reading = _Reading(judges, check, reached)
        if parts is None:
            await reading.whole(source, goes_on=goes_on)
        else:
            await reading.parts(source, parts, options.max_row_bytes)
        again: dict[str, Judge] = {}
        for name, judge in judges.items():
            following = judge.next()
            if following is None:
                made = judge.found(reading.sample, reading.broke_off)
                found[name] = replace(made, bytes_looked_at=None if reading.is_whole else reading.done)
            else:
                again[name] = following
        judges = again
    return found


async def _judge(source: Source, target: Target, options: RowOptions, check: Check) -> Judge:
    """Of the rows of *source*, or of those that are made of them."""
    if not options.makes_several:
        return judge_of(target, options, await _first_block(source, options, lambda block: block), check)
    exploder = exploder_of(target, options)
    exploder.between = check
    of_made = options.of_made_rows()
    first = await _first_block(source, of_made, lambda block: block_of(exploder.lines(block), block))
    return MadeRows(judge_of(target, of_made, first, check), options, exploder)


async def _first_block(source: Source, options: RowOptions, made: Callable[[Block], Block | None]) -> Block | None:
    """What is *made* of the first block in which that has a row that can be read; where there is none of the first one."""
    first: Block | None = None
    count = 0
    cursor = source.cursor()
    try:
        async with aclosing(cursor.read(0, _END)) as items:
            async for item in items:
                if isinstance(item, Block):
                    rows = made(item)
                    first = first or rows
                    if rows is not None and any(readable_rows(rows, options)):  # a row without keys says nothing
                        return rows
                    count += 1
                if count > _UNREADABLE_BLOCKS:
                    return first
    except SourceUnreadable:
        pass  # the pass comes to it, too
    finally:
        await cursor.aclose()
    return first


@dataclass(slots=True)
class _File:
    """Where a file begins among the source's positions, and how many lines of it have come; None once some were passed over."""

    number: int
    base: int
    lines: int | None = 0


class _Reading:
    """One pass. *done* counts bytes of the files."""

    def __init__(self, judges: Mapping[str, Judge], check: Check, reached: Callable[[int], None]) -> None:
        self.sample = Sample()
        self.broke_off: str | None = None
        self.is_whole = True
        self.done = 0
        self._judges = judges
        self._check = check
        self._reached = reached

    async def whole(self, source: Source, *, goes_on: bool) -> None:
        """All of *source*, which is the beginning of another if it *goes_on*."""
        self.is_whole = not goes_on
        files: dict[int, _File] = {}
        cursor = source.cursor()

        def file_of(item: Item) -> _File:
            number, offset = file_at(item.start, source.bases)
            return files.setdefault(number, _File(number, item.start - offset))

        try:
            await self._read(cursor.read(0, _END), cursor, file_of, _END)
        except SourceUnreadable as error:
            self.broke_off = None if goes_on else str(error)
        finally:
            self.done = cursor.progress
            await cursor.aclose()

    async def parts(self, source: Source, parts: Sequence[Part], max_row_bytes: int) -> None:
        """These *parts*, of each file by itself."""
        self.is_whole = False
        for number, of_file in _by_file(parts):
            one = open_files((source.files[number],), max_row_bytes=max_row_bytes)
            file = _File(number, 0)
            before = self.done
            for part in of_file:
                cursor = one.cursor()
                if part.start:
                    file.lines = None
                try:
                    await self._read(cursor.read(part.start, part.stop), cursor, partial(_given, file), part.most_bytes)
                except SourceUnreadable:  # the upload comes to it
                    pass
                finally:
                    await cursor.aclose()
                self.done = before + cursor.progress if part.stop == _END else self.done + part.stop - part.start

    async def _read(
        self,
        rows: AsyncGenerator[Item, None],
        cursor: Cursor,
        file_of: Callable[[Item], _File],
        most_bytes: int,
    ) -> None:
        before = self.done
        async with aclosing(rows) as items:
            async for item in items:
                self._check()
                file = file_of(item)
                place = Place(file.number, item.start - file.base, None if file.lines is None else file.lines + 1)
                lines = 0
                for judge in self._judges.values():
                    lines = judge.take(item, place)
                if file.lines is not None:
                    file.lines += lines
                if isinstance(item, Block):
                    self.sample.add(item)
                self._reached(before + cursor.progress)
                if cursor.progress >= most_bytes:
                    return


def _given(file: _File, _item: Item) -> _File:
    return file


def _by_file(parts: Sequence[Part]) -> Iterator[tuple[int, list[Part]]]:
    found: dict[int, list[Part]] = {}
    for part in parts:
        found.setdefault(part.file, []).append(part)
    return iter(found.items())
